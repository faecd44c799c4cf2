"""doctor says what is missing and what to do about it."""

import importlib.metadata

import pytest

from skdcgn.experiments.doctor import State, examine
from skdcgn.zoo import cards


def findings(**keywords):
    return {finding.name: finding for finding in examine(**keywords)}


def test_what_is_ok_can_be_used_now_and_what_is_downloaded_when_needed_is_not_here(monkeypatch, tmp_path):
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path)
    by_name = findings()
    assert by_name["torch"][1:] == (State.OK, importlib.metadata.version("torch"))
    assert {f"teacher {name}" for name in cards()} <= by_name.keys()
    assert by_name["teacher double-colored-digits"][1:] == (State.OK, "in the package")
    assert by_name["teacher published-colored-mnist"].state is State.NOT_HERE
    assert by_name["teacher initial-imagenet"].state is State.NOT_HERE
    assert by_name["mnist"].state is State.NOT_HERE


def test_a_teacher_that_was_downloaded_is_ok(monkeypatch, tmp_path):
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path)
    (tmp_path / "published-colored-mnist.pth").touch()
    assert findings()["teacher published-colored-mnist"].state is State.OK


def test_a_missing_package_is_broken_and_names_its_mend():
    finding = findings(packages=["no-such-package"])["no-such-package"]
    assert finding[1:] == (State.BROKEN, "not installed: pip install no-such-package")


def test_a_data_root_without_data_is_broken(tmp_path):
    finding = findings(data_root=tmp_path)["mnist"]
    assert finding.state is State.BROKEN
    assert str(tmp_path) in finding.words


@pytest.mark.parametrize(("free", "state"), [(0.5, State.BROKEN), (20.0, State.OK)])
def test_a_disk_that_is_nearly_full_is_broken(free, state):
    assert findings(free_gib=free)["disk"].state is state


def test_the_exit_status_says_whether_something_is_broken(skdcgn, tmp_path, monkeypatch):
    monkeypatch.delenv("SKDCGN_DATA", raising=False)
    assert skdcgn("doctor")[0] == 0
    status, said, _ = skdcgn("doctor", "--data-root", tmp_path)
    assert status == 1
    assert "broken" in said
