"""Students on the Hugging Face Hub, against a server on loopback: fetched, pushed, and what goes wrong."""

import logging
import re
import time

import pytest
import torch

import skdcgn
from hub_server import TOKEN, fake_hub
from skdcgn.base.errors import UserError
from skdcgn.students.generator import StudentCGN
from skdcgn.students.hub import MOST_BYTES, fetched, is_repository_name, within

SIZES = {"channels": (6, 4), "grid": 4, "embedding": 3, "separable": False}


def student_cgn(seed=0):
    torch.manual_seed(seed)
    return StudentCGN(skdcgn.Spec().to_dict(), dict.fromkeys(skdcgn.Mechanism, SIZES))


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
    assert skdcgn.load_student("user/student").digest == pushed.digest
    assert skdcgn.load_teacher("user/student").digest == pushed.digest
    other = student_cgn(seed=1)
    other.save_pretrained(tmp_path / "user/student")
    hub.requests.clear()
    assert skdcgn.load_student("user/student").digest == other.digest == skdcgn.load_teacher("user/student").digest
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
        skdcgn.load_student("user/student")
    assert time.perf_counter() - start < 1
    assert str(status) in str(caught.value)
    assert len(hub.requests) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://nobody.invalid", "nothing", "http://[::bad"])
def test_no_endpoint_is_one_line_at_once(hub, monkeypatch, url):
    monkeypatch.setenv("HF_ENDPOINT", url)
    start = time.perf_counter()
    with pytest.raises(UserError, match=rf"'user/student' is no .* {re.escape(url)} cannot be reached") as caught:
        skdcgn.load_teacher("user/student")
    assert time.perf_counter() - start < 3
    assert "\n" not in str(caught.value)


def test_an_endpoint_that_hangs_is_left_in_time_and_the_copy_in_the_cache_is_used(hub, pushed, monkeypatch, caplog):
    skdcgn.load_student("user/student")
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.2")
    hub.hang, start = 0.5, time.perf_counter()
    with pytest.raises(UserError, match=r"did not answer within 0.2 s"):
        skdcgn.load_student("user/other")
    with caplog.at_level(logging.WARNING):
        assert skdcgn.load_student("user/student").digest == pushed.digest
    assert "the copy in the cache is used" in caplog.text
    assert time.perf_counter() - start < 1


def test_a_lookup_that_cannot_be_interrupted_is_left_in_time():
    start = time.perf_counter()
    with pytest.raises(TimeoutError):
        within(0.1, lambda: time.sleep(1))
    assert time.perf_counter() - start < 0.5


def test_offline_mode_takes_the_copy_in_the_cache(hub, pushed, monkeypatch):
    skdcgn.load_student("user/student")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert skdcgn.load_student("user/student").digest == pushed.digest
    assert StudentCGN.from_pretrained("user/student", local_files_only=True).digest == pushed.digest
    with pytest.raises(UserError, match="not in the cache: fetch it once without HF_HUB_OFFLINE"):
        skdcgn.load_student("user/other")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        pushed.push_to_hub("user/other", licence="MIT", token=TOKEN)
    assert not hub.requests


def test_a_revision_is_loaded_and_a_wrong_one_is_named(hub, pushed):
    other = student_cgn(seed=1)
    other.push_to_hub("user/student", licence="MIT", token=TOKEN, branch="v2")
    assert skdcgn.load_student("user/student", revision="v2").digest == other.digest
    assert skdcgn.load_student("user/student").digest == pushed.digest
    with pytest.raises(UserError, match="no revision 'v3'"):
        skdcgn.load_student("user/student", revision="v3")


def test_a_token_is_sent_to_the_endpoint_and_never_shown(hub, pushed, monkeypatch):
    with pytest.raises(UserError, match="needs a token that may write: set HF_TOKEN"):
        pushed.push_to_hub("user/student", licence="MIT")
    for token in ("hf_wrong", "hf_\u00e9wrong", "hf_\x01wrong"):
        with pytest.raises(UserError, match=r"token|reached") as caught:
            pushed.push_to_hub("user/student", licence="MIT", token=token)
        assert "wrong" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.requests.clear()
    skdcgn.load_student("user/student")
    assert {authorization for *_, authorization in hub.requests} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    "name", ["runs/cgn.safetensors", "a/b/c", "one", "../up", "~/mine", "/root/x", "a /b", "http://a", ""]
)
def test_what_is_no_name_of_a_repository_is_never_asked_for(hub, name):
    assert not is_repository_name(name)
    with pytest.raises(UserError):
        skdcgn.load_student(name)
    assert not hub.requests
