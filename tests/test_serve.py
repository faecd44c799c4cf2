"""The service of skdcgn serve, and its teacher, on loopback: equal answers, counts, limits, and a flaky service."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import replace
from io import BytesIO

import httpx2
import numpy as np
import pytest
import torch
from PIL import Image

from skdcgn.base.config import DistillConfig, QueryConfig, StudentConfig
from skdcgn.base.errors import RefusedError, UserError
from skdcgn.base.files import sha256
from skdcgn.base.tensors import parse_tensors
from skdcgn.cgn.black_box import Access, BlackBox
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.cgn.wire import as_question
from skdcgn.students.distill import distill
from skdcgn.teachers.http_loop import Patience
from skdcgn.teachers.remote import HttpTeacher, open_http

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from skdcgn.deploy.serve import serve, serving

SIZES = StudentConfig(channels=(4, 4, 4), embedding=2)
TINY = DistillConfig(steps=2, batch_size=2, shape=SIZES, texture=SIZES, background=SIZES)
FEW = QueryConfig(6, 6, 6, 6)
QUICK = Patience(total=10, tries=20, first=0.005, longest=0.01)
BATCH = 16


def questions(count, seed=0):
    return torch.randn(count, 32, generator=torch.Generator().manual_seed(seed)), torch.arange(count) % 10


def as_json(noise, labels, **more):
    return {"noise": noise.tolist(), "labels": labels.tolist(), **more}


@pytest.fixture(scope="module")
def service(analytic_teacher):
    with serving(analytic_teacher, batch=BATCH) as address:
        yield address


@pytest.fixture(scope="module")
def remote(service):
    teacher = open_http(service)
    yield teacher
    teacher.close()


@pytest.fixture
def client(service):
    with httpx2.Client(base_url=service, trust_env=False) as client:
        yield client


def test_a_service_is_a_black_box_with_the_spec_and_the_digest_of_its_cgn(remote, analytic_teacher):
    assert isinstance(remote, BlackBox)
    assert (remote.spec, remote.digest, remote.size) == (analytic_teacher.spec, "analytic", None)
    assert remote.access == Access(batch=BATCH, in_flight=2, paid=True, idempotent=True)


@pytest.mark.parametrize("mechanism", Mechanism)
def test_its_answers_are_those_of_the_cgn_in_the_order_of_the_rows(mechanism, remote, analytic_teacher):
    noise, labels = questions(50)
    assert torch.equal(remote.query(mechanism, noise, labels), analytic_teacher.query(mechanism, noise, labels))
    assert remote.query(mechanism, noise[:0], labels[:0]).shape == (0, mechanism.channels, 32, 32)


def test_numbers_by_hand_in_json_and_npz_are_answered_in_every_form(client, analytic_teacher):
    noise, labels = questions(3)
    expected = analytic_teacher.query("texture", noise, labels)
    body = as_json(noise, labels, mechanism="texture")
    answer = client.post("/query", json=body)
    assert torch.equal(parse_tensors(answer.content, "it")[0]["images"], expected)
    file = BytesIO()
    np.savez_compressed(file, noise=noise.numpy(), labels=labels.numpy(), mechanism="texture")
    headers = {"Content-Type": "application/x-npz", "Accept": "application/x-npz"}
    answer = client.post("/query", content=file.getvalue(), headers=headers)
    assert np.array_equal(np.load(BytesIO(answer.content))["images"], expected.numpy())
    answer = client.post("/query", json=body, headers={"Accept": "text/html, image/png;q=0.8"})
    picture = np.asarray(Image.open(BytesIO(answer.content)))
    assert picture.shape == (96, 32, 3)
    assert np.abs(picture[32:64] / 127.5 - 1 - expected[1].permute(1, 2, 0).numpy()).max() < 1 / 127


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_line_of_its_page_draws_a_picture(service, client, tmp_path):
    lines = client.get("/docs").text.split("<pre>")[3].split("</pre>")[0].replace("&gt;", ">").replace("&#34;", '"')
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    subprocess.run(["sh", "-ec", lines], cwd=tmp_path, env=environment, check=True, capture_output=True)
    with Image.open(tmp_path / "texture.png") as picture:
        assert picture.size == (32, 32)


def test_its_page_fetches_nothing_and_its_schema_names_the_binary_bodies(client):
    page = client.get("/", follow_redirects=True)
    assert page.url.path == "/docs"
    assert not re.findall(r"""(?:src|href|url\()=?["'(]?(?:https?:)?//""", page.text)
    assert "<h2" in page.text and "/query</code>" in page.text  # noqa: PT018
    query = client.get("/openapi.json").json()["paths"]["/query"]["post"]
    assert {"application/x-safetensors", "application/x-npz", "application/json"} == set(
        query["requestBody"]["content"]
    )
    assert "image/png" in query["responses"]["200"]["content"]
    assert client.get("/health").json() == {"status": "ok"}


def test_a_repeated_key_is_answered_again_and_paid_once(analytic_teacher):
    with serving(analytic_teacher) as address, httpx2.Client(base_url=address, trust_env=False) as client:
        noise, labels = questions(4)
        body, key = as_json(noise, labels), {"Idempotency-Key": "mine"}
        answers = [client.post("/query?mechanism=shape", json=body, headers=key).content for _ in range(3)]
        assert answers[0] == answers[1] == answers[2]
        assert client.get("/stats").json() == {"requests": 3, "answers": 4, "repeated": 0}
        other = client.post("/query?mechanism=texture", json=body, headers=key)
        assert (other.status_code, other.json()["detail"][:20]) == (422, "this Idempotency-Key")
        client.post("/query?mechanism=shape", json=as_json(noise[2:], labels[2:]))
        assert client.get("/stats").json() == {"requests": 5, "answers": 6, "repeated": 2}


def test_the_key_of_a_question_is_a_function_of_all_that_is_asked():
    noise, labels = questions(4)
    changed = noise.clone()
    changed[3, 31] += 1e-6
    asked = [
        ("shape", noise, labels),
        ("texture", noise, labels),
        ("shape", changed, labels),
        ("shape", noise, labels + 1),
    ]
    assert len({as_question(*one).key for one in asked}) == 4
    assert as_question("shape", noise.double(), labels).key == as_question("shape", noise, labels).key


NOISE, LABELS = questions(2)
WRONG = {
    "no type": (415, {"content": b"x"}),
    "another type": (415, {"content": b"x", "headers": {"Content-Type": "text/html"}}),
    "no answer of that type": (406, {"json": as_json(NOISE, LABELS), "headers": {"Accept": "text/html"}}),
    "no JSON": (422, {"content": b"{", "headers": {"Content-Type": "application/json"}}),
    "no UTF-8": (422, {"content": b"\xff", "headers": {"Content-Type": "application/json"}}),
    "no npz": (422, {"content": b"PK", "headers": {"Content-Type": "application/x-npz"}}),
    "no safetensors": (422, {"content": b"x", "headers": {"Content-Type": "application/x-safetensors"}}),
    "no labels": (422, {"json": {"noise": NOISE.tolist()}}),
    "ragged": (422, {"json": {"noise": [[0.0] * 32, [0.0] * 31], "labels": [0, 0]}}),
    "too few numbers": (422, {"json": as_json(NOISE[:, :9], LABELS)}),
    "too large a number": (422, {"json": {"noise": [[1e300] * 32], "labels": [0]}}),
    "a label too many": (422, {"json": as_json(NOISE, torch.arange(3))}),
    "a class too many": (422, {"json": as_json(NOISE, LABELS + 9)}),
    "a label of 40 digits": (422, {"json": {"noise": NOISE.tolist(), "labels": [0, 10**40]}}),
    "a mechanism that is none": (422, {"json": as_json(NOISE, LABELS, mechanism="colour")}),
    "no mechanism": (422, {"json": as_json(NOISE, LABELS)}),
    "no pairs": (422, {"json": {"noise": [], "labels": [], "mechanism": "shape"}}),
    "too many pairs": (413, {"json": as_json(*questions(17), mechanism="shape")}),
    "too long, as it says": (413, {"content": b"x" * 10**6, "headers": {"Content-Type": "application/json"}}),
    "too long": (413, {"content": iter([b"x" * 10**5] * 9), "headers": {"Content-Type": "application/json"}}),
    "a long key": (422, {"json": as_json(NOISE, LABELS, mechanism="shape"), "headers": {"Idempotency-Key": "x" * 999}}),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_question_is_refused_in_one_line_and_costs_nothing(name, client):
    status, request = WRONG[name]
    before = client.get("/stats").json()["answers"]
    answer = client.post("/query", **request)
    assert answer.status_code == status
    assert 0 < len(answer.json()["detail"]) < 500
    assert "\n" not in answer.json()["detail"]
    assert client.get("/stats").json()["answers"] == before


def test_a_token_in_the_environment_is_asked_for_and_sent(analytic_teacher, monkeypatch):
    monkeypatch.setenv("SKDCGN_TOKEN", "very-secret")
    with serving(analytic_teacher) as address:
        teacher = open_http(address)
        assert len(teacher.query("shape", *questions(2))) == 2
        teacher.close()
        with httpx2.Client(base_url=address, trust_env=False) as client:
            answers = [client.get("/spec"), client.get("/stats"), client.post("/query", json={})]
            assert [answer.status_code for answer in answers] == [401, 401, 401]
            assert client.get("/health").status_code == client.get("/docs").status_code == 200
        monkeypatch.setenv("SKDCGN_TOKEN", "wrong")
        with pytest.raises(RefusedError, match="check SKDCGN_TOKEN"):
            open_http(address)
        monkeypatch.delenv("SKDCGN_TOKEN")
        with pytest.raises(RefusedError, match="set SKDCGN_TOKEN"):
            open_http(address)


def test_a_cgn_that_fails_is_an_error_of_the_service(analytic_teacher):
    class Broken:
        spec, digest, size = analytic_teacher.spec, "broken", None

        def query(self, mechanism, noise, labels):
            return analytic_teacher.query(mechanism, noise, labels) * 300

    with serving(Broken()) as address:
        teacher = HttpTeacher(address, patience=replace(QUICK, tries=2))
        with pytest.raises(RefusedError, match=r"answers 500 .*scale it to"):
            teacher.query("texture", *questions(2))
        teacher.close()


def test_a_flaky_service_gives_every_answer_and_no_pair_is_paid_twice(analytic_teacher, monkeypatch):
    monkeypatch.setattr("skdcgn.deploy.serve_faults.LATE", 0.01)
    with serving(analytic_teacher, fail=0.3, seed=1) as address:
        teacher = HttpTeacher(address, patience=QUICK)
        for seed in range(60):
            noise, labels = questions(3, seed)
            answer = teacher.query("texture", noise, labels)
            assert torch.equal(answer, analytic_teacher.query("texture", noise, labels))
        teacher.close()
        stats = httpx2.get(f"{address}/stats", trust_env=False).json()
    assert (stats["answers"], stats["repeated"]) == (180, 0)
    assert stats["requests"] > 80


def test_a_student_of_a_flaky_service_has_the_bytes_of_one_of_the_cgn_itself(analytic_teacher, tmp_path, monkeypatch):
    monkeypatch.setattr("skdcgn.deploy.serve_faults.LATE", 0.01)
    distill(analytic_teacher, tmp_path / "own", TINY, FEW, device="cpu")
    with serving(analytic_teacher, batch=2, fail=0.2, seed=3) as address:
        teacher = HttpTeacher(address, patience=QUICK)
        distill(teacher, tmp_path / "far", TINY, FEW, device="cpu")
        distill(teacher, tmp_path / "far", TINY, FEW, device="cpu")  # all of it is there
        teacher.close()
        stats = httpx2.get(f"{address}/stats", trust_env=False).json()
    assert (stats["answers"], stats["repeated"]) == (36, 0)
    own, far = (sha256(tmp_path / name / "student" / "model.safetensors") for name in ("own", "far"))
    assert own == far


def test_faults_come_in_their_shares_and_in_the_order_of_the_seed():
    from skdcgn.deploy.serve_faults import SHARES, Faults

    draws = [[faults.draw() for _ in range(20_000)] for faults in (Faults(0.05, 1), Faults(0.05, 1), Faults(0.05, 2))]
    assert draws[0] == draws[1] != draws[2]
    for fault, share in SHARES.items():
        assert draws[0].count(fault) / 20_000 == pytest.approx(0.05 * share, abs=0.003)
    assert Faults(0, 1).draw() is None


def test_a_port_in_use_is_named_in_one_line(service, skdcgn):
    port = service.rpartition(":")[2]
    status, output, error = skdcgn("serve", "double-colored-digits", "--port", port)
    assert (status, output) == (2, "")
    assert error == (
        f"error: cannot listen at port {port} of 127.0.0.1 (Address already in use): pass another --port "
        "(0 takes a free one) or --host\n"
    )
    assert skdcgn("serve", "double-colored-digits", "--host", "no.such.host.example")[0] == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_at_once_and_frees_the_port(number, skdcgn):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), number))
    timer.start()
    start = time.monotonic()
    status, output, _ = skdcgn("serve", "double-colored-digits", "--port", "0")
    signal.signal(signal.SIGINT, before)
    assert status == 128 + number
    address = re.search(r"is served at http://127.0.0.1:(\d+) ", output)
    assert time.monotonic() - start < 20
    with socket.create_server(("127.0.0.1", int(address[1]))):
        pass


def test_missing_packages_are_named_with_the_command_that_installs_them(analytic_teacher, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=re.escape("pip install 'skdcgn[serve]'")):
        serve(analytic_teacher, port=0)


def test_the_answer_of_spec_is_one_flat_object(client, analytic_teacher):
    stated = client.get("/spec").json()
    assert json.loads(json.dumps(analytic_teacher.spec.to_dict())).items() <= stated.items()
    assert stated.keys() - analytic_teacher.spec.to_dict().keys() == {
        *("digest", "size", "batch", "in_flight", "idempotent", "paid", "formats")
    }  # fmt: skip
