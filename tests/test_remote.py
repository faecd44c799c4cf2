"""The teacher behind HTTP: what it does about services that fail, lie, drip or redirect, and what it never sends."""

import pickle
import runpy
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import numpy as np
import pytest
import torch

from raw_service import NAN, changed, raw_service, response, sound, status, zip_bomb
from skdcgn.base.config import DistillConfig, QueryConfig, StudentConfig
from skdcgn.base.errors import LostAnswerError, RefusedError, UserError
from skdcgn.cgn.wire import Body, answer_to_bytes
from skdcgn.students.distill import distill
from skdcgn.teachers.http_address import check_address, token_for
from skdcgn.teachers.http_client import retry_after
from skdcgn.teachers.http_loop import Patience
from skdcgn.teachers.load import load_teacher
from skdcgn.teachers.remote import HttpTeacher

QUICK = Patience(connect=2, read=2, total=2, tries=4, first=0.01, longest=0.02, retry_after=0.3)
NOISE, LABELS = torch.randn(5, 32, generator=torch.Generator().manual_seed(0)), torch.arange(5)
SIZES = StudentConfig(channels=(4, 4, 4), embedding=2)
TINY = DistillConfig(steps=2, batch_size=2, shape=SIZES, texture=SIZES, background=SIZES)
FEW = QueryConfig(6, 6, 6, 6)
ask = partial(lambda teacher: teacher.query("texture", NOISE, LABELS))


@pytest.fixture
def open_teacher():
    teachers = []

    def opened(url, spec=None, patience=QUICK):
        teachers.append(HttpTeacher(url, spec, patience))
        return teachers[-1]

    yield opened
    for teacher in teachers:
        teacher.close()


def filled(images, value):
    images = images.clone()
    images[2, 1, 3, 3] = value
    return images


def cut(raw, head, body):
    return sound(raw, head, body)[:-1000]


def dripping(raw, head, body):
    yield response(b"", length=1000)
    for _ in range(1000):
        yield b"x"
        time.sleep(0.02)


def dripping_head(raw, head, body):
    for byte in response(b"", x="y" * 1000):
        yield bytes([byte])
        time.sleep(0.02)


def endless(raw, head, body):
    yield response(b"", length="none")
    while True:
        yield b"x" * 65536


SOUND_AND_SHORT = lambda x: x[:4]  # noqa: E731
WRONG = {
    "no answer": (lambda raw, head, body: b"", "connection broke"),
    "no HTTP": (lambda raw, head, body: b"SSH-2.0-OpenSSH_9.2\r\n", "connection broke"),
    "a body that ends early": (cut, "connection broke"),
    "a body that ends early, of no stated length": (
        lambda raw, head, body: response(answer_to_bytes(raw.images(head, body), Body.SAFETENSORS)[:-9], length="none"),
        "not a whole safetensors",
    ),
    "a page of a proxy": (status("200 OK", b"<html>Sign in</html>"), "is of type application/json.*Sign in"),
    "a page that says safetensors": (
        lambda raw, head, body: response(b"<html>" * 40), "not a whole safetensors"),
    "NaN": (changed(lambda x: filled(x, NAN)), "NaN"),
    "infinity": (changed(lambda x: filled(x, -1 / torch.zeros(()))), "infinity"),
    "out of range": (changed(lambda x: x * 127), "scale it to"),
    "a row of pixels less": (changed(lambda x: x[:, :, 1:]), "has shape"),
    "an image less": (changed(SOUND_AND_SHORT), "has shape"),
    "channels last": (changed(lambda x: x.permute(0, 2, 3, 1)), "has shape"),
    "too large, as it says": (lambda raw, head, body: response(b"x", length=10**12), "more than"),
    "endless": (endless, "more than"),
    "compressed": (changed(lambda x: x, Content_Encoding="gzip"), "encoded"),
    "npz of zeros, 16 MiB unpacked": (lambda raw, head, body: response(zip_bomb(), kind=Body.NPZ.mime), "unpacks to"),
    "a PNG of other pictures": (changed(SOUND_AND_SHORT, Body.PNG), "is a picture of"),
    "a PNG that ends early": (
        lambda raw, head, body: response(answer_to_bytes(raw.images(head, body), Body.PNG)[:200], kind="image/png"),
        "not a picture",
    ),
    "nothing, as 204 says": (status("204 No Content", b""), "answers 204"),
    "a gateway that waited": (status("504 Gateway Timeout"), "answers 504"),
    "a byte at a time": (dripping, "within 0.3 s"),
    "a head of a byte at a time": (dripping_head, "within 0.3 s"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_asked_again_with_its_key_or_is_lost(name, analytic_teacher, open_teacher):
    wrong, words = WRONG[name]
    patience = replace(QUICK, total=0.3) if "0.3" in words else QUICK
    start = time.monotonic()
    with raw_service(analytic_teacher, [wrong]) as raw:
        assert torch.equal(ask(open_teacher(raw.address, patience=patience)), ask(analytic_teacher)) or "PNG" in name
        assert len(raw.heads) == 2
        assert len(set(raw.keys())) == 1
    with raw_service(analytic_teacher, [wrong], idempotent=False) as raw:
        with pytest.raises(LostAnswerError, match=words) as error:
            ask(open_teacher(raw.address, patience=patience))
        assert len(raw.heads) == 1
        assert "\n" not in str(error.value)
    assert time.monotonic() - start < 10


def test_an_answer_that_costs_nothing_is_asked_again_without_a_promise(analytic_teacher, open_teacher):
    with raw_service(analytic_teacher, 9 * [cut], idempotent=False, paid=False) as raw:
        with pytest.raises(RefusedError, match="connection broke"):
            ask(open_teacher(raw.address))
        assert len(raw.heads) == QUICK.tries


def test_an_answer_that_is_always_wrong_is_lost_in_the_end(analytic_teacher, open_teacher):
    with raw_service(analytic_teacher, [status("503 Busy")] + 9 * [cut]) as raw:
        with pytest.raises(LostAnswerError, match="may have been paid"):
            ask(open_teacher(raw.address))
        assert len(raw.heads) == QUICK.tries


@pytest.mark.parametrize("line", ["429 Slow down", "500 Oops", "503 Busy", "408 Late", "409 Twice"])
@pytest.mark.parametrize("idempotent", [True, False])
def test_a_refusal_costs_nothing_and_is_asked_again(line, idempotent, analytic_teacher, open_teacher):
    with raw_service(analytic_teacher, 2 * [status(line)], idempotent=idempotent) as raw:
        assert torch.equal(ask(open_teacher(raw.address)), ask(analytic_teacher))
        assert len(raw.heads) == 3
        raw.answers = 9 * [status(line)]
        with pytest.raises(RefusedError, match=line[:3]):
            ask(open_teacher(raw.address))


def test_the_pause_that_a_service_asks_for_is_kept_up_to_a_limit(analytic_teacher, open_teacher):
    with raw_service(analytic_teacher, [status("429 Slow down", Retry_After="86400")]) as raw:
        start = time.monotonic()
        ask(open_teacher(raw.address))
        assert QUICK.retry_after <= time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0, 0),
        ("9" * 5000, 1e8, 1e9),
        ("soon", 0, 0),
        ("-3", 0, 0),
        ("", 0, 0),
        ("Fri, 99 Foo 1999", 0, 0),
    ],
)
def test_retry_after_is_a_number_or_a_date(value, least, most):
    assert least <= retry_after(value) <= most


def test_retry_after_may_be_a_date_in_the_future():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 60 <= retry_after(date) <= 90


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("400 Bad", "answers 400 .*no"),
        ("401 Who", "set SKDCGN_TOKEN"),
        ("403 No", "check SKDCGN_TOKEN"),
        ("404 Gone", "check the address"),
        ("413 Long", "smaller batch"),
        ("422 Odd", "answers 422"),
        ("302 There", "redirects to http://elsewhere.example/"),
    ],
)
def test_a_request_that_the_service_does_not_take_is_sent_once(line, words, analytic_teacher, open_teacher):
    answer = status(line, Location="http://elsewhere.example/")
    with raw_service(analytic_teacher, [answer], idempotent=False) as raw:
        with pytest.raises(RefusedError, match=words):
            ask(open_teacher(raw.address))
        assert len(raw.heads) == 1


def test_the_token_reaches_its_host_and_neither_another_one_nor_a_message(analytic_teacher, open_teacher, monkeypatch):
    monkeypatch.setenv("SKDCGN_TOKEN", "very-secret")
    with raw_service(analytic_teacher) as other, raw_service(analytic_teacher) as raw:
        teacher = open_teacher(raw.address)
        raw.answers = [status("307 There", b"very-secret", Location=f"{other.address}/very-secret")]
        with pytest.raises(RefusedError, match="redirects") as error:
            ask(teacher)
        assert "Bearer very-secret" in raw.heads[0]
        assert "secret" not in str(error.value)
        assert "secret" not in repr(pickle.dumps(teacher))
        assert other.heads == []


def test_a_token_is_not_sent_for_anyone_to_read(monkeypatch):
    monkeypatch.setenv("SKDCGN_TOKEN", "very-secret")
    assert token_for("https://cgn.example") == token_for("http://localhost:1") == token_for("http://[::1]:1") != None  # noqa: E711
    with pytest.raises(UserError, match="use https://") as error:
        token_for("http://cgn.example")
    assert "very-secret" not in str(error.value)
    monkeypatch.setenv("SKDCGN_TOKEN", "a\nb")
    with pytest.raises(UserError, match="characters that no token has"):
        token_for("https://cgn.example")


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://user:very-secret@host",
        "http://very-secret@host:80/x",
        "http://host?key=very-secret",
        "http://host#very-secret",
        "http://host:99999",
        "http://host:0",
        "http://host:x",
        "http://[::1",
        "http://ho st",
        "http://höst",
        "ftp://host",
        "http:/host",
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url):
    with pytest.raises(UserError) as error:
        check_address(url)
    assert "very-secret" not in str(error.value)


def test_a_service_that_is_not_there_was_surely_not_paid(analytic_teacher, open_teacher):
    with raw_service(analytic_teacher) as raw:
        teacher = open_teacher(raw.address)
    with pytest.raises(RefusedError, match="no connection"):
        ask(teacher)
    with pytest.raises(RefusedError, match="no connection"):
        open_teacher(raw.address)


SPECS = {
    "no JSON": (b"<html>", "is not JSON"),
    "no UTF-8": (b"\xff\xfe\xff", "is not UTF-8"),
    "a list": (b"[1]", "should be an object"),
    "a field missing": (b'{"image_size": 32, "classes": 3}', "noise_dim is missing"),
    "a size of words": (b'{"image_size": "32", "noise_dim": 4, "classes": 3}', "image_size"),
    "too large": (b'{"image_size": 99999, "noise_dim": 4, "classes": 3}', "at most"),
    "no batch": (b'{"image_size": 32, "noise_dim": 4, "classes": 3, "batch": 0}', "batch"),
    "no body that is known here": (b'{"image_size": 32, "noise_dim": 4, "classes": 3, "formats": ["x"]}', "formats"),
}


@pytest.mark.parametrize("name", SPECS)
def test_a_wrong_spec_is_refused_in_one_line(name, analytic_teacher, open_teacher):
    body, words = SPECS[name]
    with raw_service(analytic_teacher, stated=response(body, kind="application/json")) as raw:
        with pytest.raises(UserError, match=words) as error:
            open_teacher(raw.address)
        assert raw.address in str(error.value)
        assert "paid" not in str(error.value)


def test_a_service_may_state_three_numbers_and_more_than_is_known_here(analytic_teacher, open_teacher):
    body = b'{"image_size": 32, "noise_dim": 32, "classes": 10, "colour": "blue"}'
    with raw_service(analytic_teacher, stated=response(body, kind="application/json")) as raw:
        teacher = open_teacher(raw.address)
        assert (teacher.access.paid, teacher.access.idempotent, teacher.access.in_flight) == (True, False, 1)
        assert teacher.digest == open_teacher(f"{raw.address}/").digest
        assert teacher.digest.startswith("http:")


def test_what_a_caller_states_completes_a_service_without_a_spec_and_contradicts_no_other(
    analytic_teacher, open_teacher
):
    words = "image_size=32,noise_dim=32,classes=10"
    with raw_service(analytic_teacher, stated=response(b"", "404 Not Found")) as raw:
        with pytest.raises(UserError, match="state image_size, noise_dim, classes by --spec"):
            load_teacher(raw.address)
        assert torch.equal(ask(load_teacher(raw.address, spec=words)), ask(analytic_teacher))
    with raw_service(analytic_teacher) as raw, pytest.raises(UserError, match="states noise_dim 32"):
        load_teacher(raw.address, spec="noise_dim=7")


def test_large_queries_are_split_and_asked_together_in_order(analytic_teacher, open_teacher):
    together = threading.Barrier(3, timeout=5)

    def answer(raw, head, body):
        together.wait()  # passes when three queries are in flight
        return sound(raw, head, body)

    with raw_service(analytic_teacher, batch=2, in_flight=3) as raw:
        raw.answers = [answer]
        noise, labels = torch.randn(12, 32), torch.arange(12) % 10
        answers = open_teacher(raw.address).query("shape", noise, labels)
    assert torch.equal(answers, analytic_teacher.query("shape", noise, labels))
    assert len(raw.heads) == 6


def test_a_query_of_which_a_part_was_answered_is_lost(analytic_teacher, open_teacher):
    with raw_service(analytic_teacher, [sound, status("403 No")], batch=3) as raw:
        with pytest.raises(LostAnswerError, match="1 of 2 queries were answered"):
            ask(open_teacher(raw.address))
        raw.answers = [status("403 No")]
        with pytest.raises(RefusedError):
            ask(open_teacher(raw.address))


def test_threads_share_a_teacher_and_a_copy_asks_the_same_service(analytic_teacher, open_teacher):
    with raw_service(analytic_teacher) as raw:
        teacher = open_teacher(raw.address)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: ask(teacher), range(24)))
        copy = pickle.loads(pickle.dumps(teacher))
        assert all(torch.equal(answer, ask(copy)) for answer in answers)
        copy.close()


@pytest.mark.parametrize("body", [Body.NPZ, Body.PNG])
def test_a_service_answers_in_a_form_that_it_likes(body, analytic_teacher, open_teacher):
    with raw_service(analytic_teacher, [changed(lambda x: x, body)], formats=["json", body]) as raw:
        difference = (ask(open_teacher(raw.address)) - ask(analytic_teacher)).abs().max()
    assert difference <= (0 if body is Body.NPZ else 1 / 255 + 1e-6)
    assert f"accept: {body.mime}\r\n" in raw.heads[0].lower()
    question = body if body is Body.NPZ else Body.JSON
    assert f"content-type: {question.mime}\r\n" in raw.heads[0].lower()


def test_a_server_of_the_standard_library_that_reads_and_writes_npz_is_a_teacher(analytic_teacher):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def do_POST(self):
            if self.headers["Content-Type"] != "application/x-npz":
                self.send_error(415)
                return
            asked = np.load(BytesIO(self.rfile.read(int(self.headers["Content-Length"]))))
            noise, labels = torch.from_numpy(asked["noise"]), torch.from_numpy(asked["labels"])
            images = analytic_teacher.query(str(asked["mechanism"]), noise, labels).numpy()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-npz")
            self.end_headers()
            np.savez_compressed(self.wfile, images=images.astype(">f8"))

        def log_message(self, *words):
            pass

    with answering(HTTPServer(("127.0.0.1", 0), Handler)) as address:
        teacher = load_teacher(address, spec="image_size=32,noise_dim=32,classes=10")
        assert torch.equal(ask(teacher), ask(analytic_teacher))


@contextmanager
def answering(server):
    """Let a server of the standard library answer for the block; yield its address."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_example_of_a_service_is_a_teacher_that_can_be_distilled(tmp_path):
    example = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "http_service.py"))

    class Quiet(WSGIRequestHandler):
        def log_message(self, *words):
            pass

    with answering(make_server("127.0.0.1", 0, example["application"], handler_class=Quiet)) as address:
        teacher = load_teacher(address)
        assert (teacher.spec.noise_dim, teacher.digest, teacher.access.paid) == (2, "discs, version 1", False)
        student = distill(teacher, tmp_path, TINY, FEW, device="cpu")
    assert student.spec == teacher.spec
