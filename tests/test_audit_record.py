"""The record of an audit: what audit.json holds comes back, and what is inconsistent is refused in one line."""

import json
from pathlib import Path

import pytest

from helpers_audit import small_record
from skdcgn import UserError
from skdcgn.base.files import write_json
from skdcgn.evaluation.audit_record import FILE, Interval, read_audit


def test_audit_json_comes_back_as_the_same_record(tmp_path: Path) -> None:
    record = small_record()
    write_json(tmp_path / FILE, record.to_dict())
    assert read_audit(tmp_path) == record
    assert json.loads((tmp_path / FILE).read_text())["mechanisms"]["texture"]["flip"]["value"] == 6.0


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("mechanisms", {}, "mechanisms should have the keys"),
        ("confusion", {"shape": [[1]], "texture": [[1]], "background": [[1]]}, "not of 3 classes"),
        ("images", 0, "images"),
    ],
)
def test_an_inconsistent_record_is_refused(tmp_path: Path, key: str, value: object, words: str) -> None:
    write_json(tmp_path / FILE, small_record().to_dict() | {key: value})
    with pytest.raises(UserError, match=words):
        read_audit(tmp_path)


def test_an_interval_holds_its_value() -> None:
    assert str(Interval(34.2, 31.4, 37.1)) == "34 % [31, 37]"
    assert str(Interval(6.04, 5, 8)) == "6.0 % [5.0, 8.0]"
    with pytest.raises(UserError, match="between"):
        Interval(5, 6, 7)
