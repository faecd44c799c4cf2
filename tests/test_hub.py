"""Students on the Hugging Face Hub, against a server on loopback: fetched, pushed, and what goes wrong."""

import io
import logging
import re
import time
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from hub_server import TOKEN, fake_hub
from skdcgn.base.door import read_json
from skdcgn.base.errors import UserError
from skdcgn.base.files import write_json
from skdcgn.base.presets import RUNS
from skdcgn.base.records import to_dict
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.deploy.hub import push_student
from skdcgn.evaluation.scores import HeadScores
from skdcgn.students.endpoint import within
from skdcgn.students.generator import StudentCGN
from skdcgn.students.hub import MOST_BYTES, fetched, is_repository_name
from skdcgn.teachers.load import load_student, load_teacher

SIZES = {"channels": (6, 4), "grid": 4, "embedding": 3, "separable": False}


def student_cgn(seed=0):
    torch.manual_seed(seed)
    return StudentCGN(Spec().to_dict(), dict.fromkeys(Mechanism, SIZES))


RUN = read_json(Path(__file__).parents[1] / "benchmarks" / "results" / "double-colored-digits.json")["runs"][0]
FILES = ["README.md", "config.json", "model.safetensors", "samples.png"]


@pytest.fixture
def run(tmp_path):
    """The folder of a finished run of digits with a student in it."""
    folder, student = tmp_path / "runs/mine", student_cgn()
    student.save_pretrained(folder / "student")
    results = RUN | {"parameters": RUN["parameters"] | {"student": student.size}}
    write_json(folder / "results.json", results)
    write_json(folder / "config.json", to_dict(RUNS["double-colored-digits"]) | {"seed": RUN["seed"]})
    pairs = {"teacher": RUN["teacher"]["digest"], "count": 3000}
    write_json(folder / "students/shape/config.json", {"pairs": pairs, "seed": RUN["seed"]})
    return folder


def front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub on loopback that ``HF_ENDPOINT`` names, with an empty cache, and no account."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_ETAG_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with fake_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def pushed(hub):
    """A student that is on the Hub as ``user/student``."""
    student = student_cgn()
    student.push_to_hub("user/student", licence="MIT", token=TOKEN)
    hub.requests.clear()
    return student


def test_a_student_is_loaded_by_the_name_of_its_repository_and_a_folder_wins_over_it(hub, pushed, tmp_path):
    assert load_student("user/student").digest == pushed.digest
    assert load_teacher("user/student").digest == pushed.digest
    other = student_cgn(seed=1)
    other.save_pretrained(tmp_path / "user/student")
    hub.requests.clear()
    assert load_student("user/student").digest == other.digest == load_teacher("user/student").digest
    assert not hub.requests


def test_only_the_files_of_a_student_are_fetched_and_none_that_is_too_large(hub, pushed):
    hub.commit("user/student", "main", {"evil.py": b"boom", "../../up": b"boom", "big.bin": b"0"})
    folder = fetched("user/student")
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    hub.sizes["model.safetensors"] = MOST_BYTES["model.safetensors"] + 1
    with pytest.raises(UserError, match=r"its model.safetensors has 1,073,741,825 bytes"):
        fetched("user/student")
    hub.commit("user/text", "main", {"config.json": b"{}"})
    with pytest.raises(UserError, match=r"has no model.safetensors"):
        fetched("user/text")


@pytest.mark.parametrize(
    ("status", "words"),
    {401: "no public repository", 403: "ask its owner", 404: "no public repository", 500: "at the moment"}.items(),
)
def test_a_refusal_is_one_line_at_once(hub, status, words):
    hub.status, start = status, time.perf_counter()
    with pytest.raises(UserError, match=f"'user/student' is no file .*{words}") as caught:
        load_student("user/student")
    assert time.perf_counter() - start < 5
    assert str(status) in str(caught.value)
    assert len(hub.requests) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://nobody.invalid", "nothing", "http://[::bad"])
def test_no_endpoint_is_one_line_at_once(hub, monkeypatch, url):
    monkeypatch.setenv("HF_ENDPOINT", url)
    start = time.perf_counter()
    with pytest.raises(UserError, match=rf"'user/student' is no .* {re.escape(url)} cannot be reached") as caught:
        load_teacher("user/student")
    assert time.perf_counter() - start < 5
    assert "\n" not in str(caught.value)


def test_an_endpoint_that_hangs_is_left_in_time_and_the_copy_in_the_cache_is_used(hub, pushed, monkeypatch, caplog):
    load_student("user/student")
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.2")
    hub.hang, start = 0.5, time.perf_counter()
    with pytest.raises(UserError, match=r"did not answer within 0.2 s"):
        load_student("user/other")
    with caplog.at_level(logging.WARNING):
        assert load_student("user/student").digest == pushed.digest
    assert "the copy in the cache is used" in caplog.text
    assert time.perf_counter() - start < 3


def test_a_lookup_that_cannot_be_interrupted_is_left_in_time():
    start = time.perf_counter()
    with pytest.raises(TimeoutError):
        within(0.1, lambda: time.sleep(5))
    assert time.perf_counter() - start < 3


def test_offline_mode_takes_the_copy_in_the_cache(hub, pushed, monkeypatch):
    load_student("user/student")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert load_student("user/student").digest == pushed.digest
    assert StudentCGN.from_pretrained("user/student", local_files_only=True).digest == pushed.digest
    with pytest.raises(UserError, match="not in the cache: fetch it once without HF_HUB_OFFLINE"):
        load_student("user/other")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        pushed.push_to_hub("user/other", licence="MIT", token=TOKEN)
    assert not hub.requests


def test_a_revision_is_loaded_and_a_wrong_one_is_named(hub, pushed):
    other = student_cgn(seed=1)
    other.push_to_hub("user/student", licence="MIT", token=TOKEN, branch="v2")
    assert load_student("user/student", revision="v2").digest == other.digest
    assert load_student("user/student").digest == pushed.digest
    with pytest.raises(UserError, match="no revision 'v3'"):
        load_student("user/student", revision="v3")


def test_a_token_is_sent_to_the_endpoint_and_never_shown(hub, pushed, monkeypatch):
    with pytest.raises(UserError, match="needs a token that may write: set HF_TOKEN"):
        pushed.push_to_hub("user/student", licence="MIT")
    for token in ("hf_wrong", "hf_\u00e9wrong", "hf_\x01wrong"):
        with pytest.raises(UserError, match=r"token|reached") as caught:
            pushed.push_to_hub("user/student", licence="MIT", token=token)
        assert "wrong" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.requests.clear()
    load_student("user/student")
    assert {authorization for *_, authorization in hub.requests} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    "name", ["runs/cgn.safetensors", "a/b/c", "one", "../up", "~/mine", "/root/x", "a /b", "http://a", ""]
)
def test_what_is_no_name_of_a_repository_is_never_asked_for(hub, name):
    assert not is_repository_name(name)
    with pytest.raises(UserError):
        load_student(name)
    assert not hub.requests


def test_a_push_writes_the_student_and_a_card_whose_lines_run(hub, run, skdcgn, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    before = sorted(file.name for file in (run / "student").iterdir())
    status, out, _ = skdcgn("push", run / "student", "user/digits", "--private")
    assert status == 0
    assert f"pushed to {hub.url}/user/digits" in out
    assert sorted(file.name for file in (run / "student").iterdir()) == before
    files = hub.files("user/digits", "main")
    assert sorted(files) == FILES
    assert hub.private["user/digits"] == "private"
    assert Image.open(io.BytesIO(files["samples.png"])).width <= 1024
    lines = re.search(r"```python\n(.*?)```", files["README.md"].decode(), re.DOTALL)[1]
    assert lines.count("\n") == 3
    exec(lines, names := {})
    assert names["student"].digest == load_student(run / "student").digest
    assert names["images"].shape == (16, 3, 32, 32)


def test_the_card_has_the_numbers_of_the_run_and_no_others(run):
    push_student(run / "student", "user/digits", dry_run=True)
    card, student = (run / "student/README.md").read_text(), load_student(run / "student")
    matter, accuracies = front_matter(card), RUN["ood_accuracy"]
    assert (matter["license"], matter["library_name"]) == ("mit", "skdcgn")
    assert matter["model-index"][0]["results"][0]["metrics"][0]["value"] == accuracies["student"]
    speeds = RUN["counterfactuals_per_second"]
    for text in (
        *(f"| {value:.1f} |" for value in accuracies.values()),
        *(f"{value:,.0f} |" for value in speeds.values()),
        *(RUN["teacher"]["digest"], student.digest, f"{student.size:,}", "3,000 of shape", "32 x 32 pixels"),
        *(f"`skdcgn run double-colored-digits --seed {RUN['seed']}`.", RUN["versions"]["machine"], "N(0, 1)"),
    ):
        assert text in card
    student.save_pretrained(run.parent / "alone")
    push_student(run.parent / "alone", "user/alone", teacher_licence="CC-BY-NC-4.0", dry_run=True)
    alone = (run.parent / "alone/README.md").read_text()
    assert front_matter(alone)["license"] == "cc-by-nc-4.0"
    assert "Measured" not in alone
    assert "model-index" not in alone


def test_other_settings_than_the_presets_and_names_of_classes_are_in_the_card(run):
    config = to_dict(RUNS["double-colored-digits"])
    distill = config["distill"] | {"steps": 41, "embeddings": "/home/me/secret/embeddings.npy"}
    write_json(run / "config.json", config | {"distill": distill})
    spec = {"classes": 2, "names": ("a|b", "<script>")}
    StudentCGN(spec, dict.fromkeys(Mechanism, SIZES)).save_pretrained(run.parent / "named")
    push_student(run / "student", "user/digits", revision="v2", dry_run=True)
    push_student(run.parent / "named", "user/named", teacher_licence="MIT", dry_run=True)
    card, named = (run / "student/README.md").read_text(), (run.parent / "named/README.md").read_text()
    assert "`distill.steps = 41`, `distill.embeddings = embeddings.npy`." in card
    assert "secret" not in card
    assert 'load_student("user/digits", revision="v2")' in card
    assert "a&#124;b, &lt;script&gt;" in named


def test_the_tables_of_a_run_on_photographs_say_what_its_pictures_are(run):
    scores = {"top-1": HeadScores(80, {"ensemble": 41.25})}
    common = {name: RUN[name] for name in ("preset", "seed", "digest", "versions", "seconds")}
    own = {"student": {"parameters": student_cgn().size, "pixel_l1": RUN["pixel_l1"]}, "photo_cgn": "0" * 64}
    kept = {"parameters": {"teacher": None, "student": student_cgn().size}}
    records = {
        "stand in for ImageNet": {**RUN, **kept, "ensembles": {"real": scores}, "stand_in": True},
        "are drawings": {**common, **own, "classifiers": {"real": scores}, "synthetic": True, "names": ["a", "b"]}
        | {"photographs": {"train": 8, "train_usable": 6, "test": 4, "test_usable": 4}}
        | {"budget": {"steps": 1, "real_steps": 1, "images": 4, "counterfactuals": 2}},
    }
    for words, record in records.items():
        write_json(run / "results.json", to_dict(record))
        push_student(run / "student", "user/photos", teacher_licence="MIT", dry_run=True)
        card = (run / "student/README.md").read_text()
        assert words in card
        assert "| top-1 | 80 | 41.2 |" in card
        assert f"| shape | {RUN['pixel_l1']['shape']['student']:.4f} |" in card


@pytest.mark.parametrize(
    ("teacher", "digest", "stated", "expected"),
    [
        ("double-colored-digits", "0", None, "mit"),
        ("/home/me/secret/teacher.pth", RUN["teacher"]["digest"], None, "mit"),
        ("published-imagenet", "0", "LicenseRef-mixed", "other"),
        ("http://10.0.0.1:80", "0", "Apache-2.0", "apache-2.0"),
        (
            "published-imagenet",
            "0",
            None,
            r"licence of the teacher published-imagenet .*MIT for the code.*by --teacher-l",
        ),
        ("mine:draw", "0", None, r"licence of the teacher is not known: find it out, and pass .* --teacher-licence"),
        ("mine:draw", "0", "the usual", r"'the usual' is no SPDX identifier"),
        ("wildlife-mnist", "0", "GPL-3.0", r"the zoo's wildlife-mnist has the licence MIT: leave"),
    ],
)
def test_the_licence_is_the_zoos_or_asked_for_and_never_assumed(run, teacher, digest, stated, expected):
    results = read_json(run / "results.json")
    write_json(run / "results.json", results | {"teacher": {"name": teacher, "digest": digest}})
    if " " in expected:
        with pytest.raises(UserError, match=expected):
            push_student(run / "student", "user/x", teacher_licence=stated, dry_run=True)
        return
    push_student(run / "student", "user/x", teacher_licence=stated, dry_run=True)
    card = (run / "student/README.md").read_text()
    assert front_matter(card)["license"] == expected
    assert "10.0.0.1" not in card
    assert "secret" not in card


def test_a_saved_student_states_no_licence_that_nobody_stated(run):
    assert front_matter((run / "student/README.md").read_text())["license"] == "unknown"


@pytest.mark.parametrize(
    ("path", "status", "line"),
    [
        ("/api/whoami-v2", 401, "refuses the token (401), and 'user/x' was not pushed: renew HF_TOKEN"),
        ("/api/whoami-v2", 503, "does not work at the moment (it answered 503)"),
        ("/api/repos/create", 403, "'user/x' was not pushed to"),
        ("/api/models/user/x/commit/main", 413, "'user/x' was not pushed to"),
    ],
)
def test_a_push_that_is_refused_is_one_line(hub, run, skdcgn, monkeypatch, path, status, line):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.refused[path] = status
    code, _, error = skdcgn("push", run / "student", "user/x")
    assert (code, error.count("\n")) == (2, 1)
    assert line in error
    assert str(status) in error
    assert TOKEN not in error


def test_an_answer_that_is_no_hubs_or_never_ends_is_refused(hub, monkeypatch):
    hub.refused["/api/models/user/x/revision/main"] = 200
    with pytest.raises(UserError, match=r"on user/x: .*: check HF_ENDPOINT, and the network"):
        load_student("user/x")
    hub.commits["user/x", "1"] = {f"{number:04}" * 50: b"" for number in range(50_000)}
    hub.branches["user/x", "main"] = "1"
    del hub.refused["/api/models/user/x/revision/main"]
    with pytest.raises(UserError, match=r"its answer has more than 8,388,608 bytes"):
        load_student("user/x")


def test_a_card_of_ones_own_goes_as_it_is(hub, run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (run / "student/README.md").write_text("mine")
    assert push_student(run / "student", "user/mine").own_card
    assert hub.files("user/mine", "main")["README.md"] == b"mine"
    assert len(hub.files("user/mine", "main")) == 3


def test_a_push_that_cannot_be_is_one_line_and_sends_nothing(hub, run, skdcgn):
    for words, line in {
        (run, "user/x"): f"it lies one level below: pass {run / 'student'}",
        (run / "student", "x"): "'x' is no name of a repository: write user/student",
        (run / "student", "user/x"): "set the environment variable HF_TOKEN",
    }.items():
        status, _, error = skdcgn("push", *words)
        assert (status, error.count("\n")) == (2, 1)
        assert line in error
    write_json(run / "results.json", RUN)
    with pytest.raises(UserError, match=r"results.json is of another student"):
        push_student(run / "student", "user/x", dry_run=True)
    assert not hub.requests
