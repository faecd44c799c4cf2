"""doctor says what is missing and what to do about it."""

import importlib.metadata

from skdcgn.experiments.doctor import examine
from skdcgn.zoo import cards


def findings(**keywords):
    return {name: (fine, words) for name, fine, words in examine(**keywords)}


def test_a_whole_installation_is_fine():
    found = findings()
    assert found["torch"] == (True, importlib.metadata.version("torch"))
    assert found["torchvision"][0]
    assert {f"teacher {name}" for name in cards()} <= found.keys()
    assert found["teacher double-colored-digits"] == (True, "in the package")


def test_a_missing_package_names_its_mend(monkeypatch):
    monkeypatch.setattr("skdcgn.experiments.doctor.CORE", ("no-such-package",))
    assert findings()["no-such-package"] == (False, "pip install no-such-package")


def test_data_that_is_not_there_is_told(tmp_path):
    fine, words = findings(data_root=tmp_path)["mnist"]
    assert not fine
    assert str(tmp_path) in words


def test_a_disk_that_is_nearly_full_is_told(monkeypatch):
    monkeypatch.setattr("skdcgn.experiments.doctor.shutil.disk_usage", lambda path: type("Usage", (), {"free": 2**20}))
    assert findings()["disk"][0] is False
