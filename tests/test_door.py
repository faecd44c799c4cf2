"""The door for what is read: whatever a file holds, a typed record comes in or one line says what to mend."""

import os

import pytest

from skdcgn.base.bounds import MOST_SEED
from skdcgn.base.config import DistillConfig, QueryConfig, RunConfig, StudentConfig
from skdcgn.base.door import MOST_JSON, parse_record, read_json, read_object, read_record, read_text
from skdcgn.base.errors import UserError, shortened, shown
from skdcgn.base.records import from_dict

NO_JSON = {
    "nothing": b"",
    "half": b'{"steps": 1',
    "NaN": b'{"learning_rate": NaN}',
    "infinity": b"[-Infinity]",
    "1e999": b"[1e999]",
    "depth": b"[" * 100_000,
    "digits": b"9" * 5000,
    "half a surrogate": rb'"\ud800"',
    "two values": b"{} {}",
}


@pytest.mark.parametrize("content", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json_is_refused_in_one_line(content, tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json is not JSON .*: restore it or delete it and run again") as refused:
        read_json(file)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_utf_8_is_read_with_and_without_a_byte_order_mark(mark, tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(mark + '{"glyphs": "Übung"}'.encode())
    assert read_record(file, RunConfig).glyphs == "Übung"


@pytest.mark.parametrize("coding", ["utf-16", "latin-1"])
def test_other_codings_are_named(coding, tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes('{"glyphs": "Übung"}'.encode(coding))
    with pytest.raises(UserError, match=r"a\.json is not UTF-8 text .*save it as UTF-8"):
        read_json(file)


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    words = {"pipe": "a pipe", "link": "link to a file that does not", "none": "does not exist", ".": "a folder"}
    for name, word in words.items():
        with pytest.raises(UserError, match=word):
            read_json(tmp_path / name)
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path / ("n" * 300))


def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    file = tmp_path / "a.json"
    with file.open("wb") as opened:
        opened.truncate(MOST_JSON + 1)
    with pytest.raises(UserError, match="too large"):
        read_json(file)
    with pytest.raises(UserError, match="too large"):
        read_text(file, 100)


WRONG = ["null", "[]", "3", '"x"', "true", '{"seed": true}', '{"seed": "3"}', '{"seed": 3.0}', '{"seed": null}',
         '{"query": []}', '{"query": null}', '{"query": {"classes": 3}}', '{"distill": {"bf16": "yes"}}',
         '{"distill": {"shape": {"channels": {"a": 1}}}}', '{"seed": [[[[1]]]]}', '{"\\u001b[31m": 1}']  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_values_of_other_types_are_named(text):
    with pytest.raises(UserError, match=r"^a\.json: ") as refused:
        parse_record(text, RunConfig, "a.json")
    assert str(refused.value).isprintable()


def test_an_object_is_what_settings_come_in(tmp_path):
    file = tmp_path / "a.json"
    for text in ("[]", "null", "3"):
        file.write_text(text)
        with pytest.raises(UserError, match=r"a\.json: its content: input should be an object"):
            read_object(file)


LARGE = {
    "seed": [-1, 2**63, 2**64, 10**4000],
    "distill.steps": [0, 10**10, 10**30],
    "distill.learning_rate": [1e308, float("inf"), float("nan"), -1.0],
    "distill.pixel": [1e308, float("inf"), float("nan")],
    "distill.temperature": [1e-320, 1e308],
    "distill.shape.grid": [10**9],
    "distill.shape.rank": [10**9],
    "distill.shape.embedding": [10**9],
    "distill.shape.channels": [(10**9, 4), (4,) * 1000],
    "query.shape": [10**18],
    "classify.decay": [1e308, float("inf")],
    "classify.real": [float("nan")],
}


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in LARGE.items() for value in values])
def test_numbers_beyond_their_bounds_are_refused_with_the_bound(path, value):
    *parents, key = path.split(".")
    values = {key: value}
    for parent in reversed(parents):
        values = {parent: values}
    with pytest.raises(UserError, match=rf"^a\.json: {path}.*(than|at most|finite)") as refused:
        from_dict(RunConfig, values, "a.json")
    assert len(str(refused.value)) < 250


def test_the_greatest_seed_is_taken():
    assert from_dict(RunConfig, {"seed": MOST_SEED}).seed == MOST_SEED


def test_values_that_no_json_has_are_named():
    for values in ({"seed": 10**5000}, {"seed": {1, 2}}, {"seed": object()}):
        with pytest.raises(UserError, match=r"^a\.json: "):
            from_dict(RunConfig, values, "a.json")


def test_what_an_error_shows_is_short_and_printable():
    for value in (10**5000, "x" * 10**6, "\x1b[31m", "\ud800", [10**5000], {"a": ["\n"] * 1000}):
        assert shown(value).isprintable()
        assert len(shown(value)) < 100
    assert shortened("a b") == "a b"


def test_defaults_lie_within_their_bounds():
    for config in (QueryConfig(), DistillConfig(), StudentConfig(), RunConfig()):
        assert from_dict(type(config), {}) == config
