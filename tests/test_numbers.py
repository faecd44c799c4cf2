"""Numbers of the command line: one that is too large, or none, is refused in a line and at once, before any memory."""

import time

import pytest

from skdcgn.base.config import ClassifyConfig
from skdcgn.base.errors import UserError
from skdcgn.base.seeds import set_seed
from skdcgn.experiments.run_study import plan_study

CGN = "imagenet-smoke"
LINES = """
generate {CGN} --out O -n 9e18 | unable to convert "9e18" into int
generate {CGN} --out O -n 9000000000000000000 | Must be <= 1000000000
generate {CGN} --out O -n 5 --per-shape 9000000000000000000 | Must be <= 1000000000
generate {CGN} --out O --seed 18446744073709551616 | Must be <= 9223372036854775807
generate {CGN} --out O --seed -1 | Must be >= 0
generate {CGN} --out O --interpolate shape --classes 9999999999999 1 | classes 9999999999999 and 1: use classes 0 to 15
generate {CGN} --out O --interpolate shape --classes -1 1 | use classes 0 to 15
generate {CGN} --out O --interpolate shape --frames 9000000000000 | Must be <= 1000
generate {CGN} --out O -n 3 --policy texture.jitter:1e308 | amount 1e+308 is not from 0 to 1e+06
generate {CGN} --out O -n 3 --policy texture.freeze:9999999999999 | is not from 0 to 999999
query {CGN} --out O --classes 5-3,7 | '5-3' runs backwards: write 3-5
query {CGN} --out O --classes 0-99999999 | the teacher has classes 0 to 15
query {CGN} --out O --classes 9999999999999 | the teacher has classes 0 to 15
query {CGN} --out O --shape 1000000000000 | shape: input should be less than or equal to 1000000000
query {CGN} --out O --shape 1000000000 --shard-size 1 | pass --shard-size 50000
query {CGN} --out O --seed 18446744073709551616 | Must be <= 9223372036854775807
query {CGN} --out O --rank 3 --ranks 9000000000000 | Must be <= 100000
study losses smoke --out O --seeds 9e29 | unable to convert "9e29" into int
study losses smoke --out O --seeds 900000000000000000000000000000 | Must be <= 1000
run smoke --out O --seed 18446744073709551616 | seed: input should be less than or equal to 9223372036854775807
run smoke --out O --seed -1 | seed: input should be greater than or equal to 0
run smoke --out O --distill-learning-rate inf | learning_rate: input should be a finite number
run smoke --out O --distill-learning-rate nan | learning_rate: input should be a finite number
run smoke --out O --distill-learning-rate 1e308 | learning_rate: input should be less than or equal to
run smoke --out O --distill-pixel 1e308 | pixel: input should be less than or equal to 1000000
run smoke --out O --classify-decay 1e308 | decay: input should be less than or equal to 1
run smoke --out O --classify-images 9000000000000000000 | images: input should be less than or equal to 10000000
run smoke --out O --distill-shape-channels 9000000000 | channels.0: input should be less than or equal to 4096
run smoke --out O --distill-shape-embedding 9000000000 | embedding: input should be less than or equal to 4096
run smoke --out O --distill-shape-grid 1000000000 | grid: input should be less than or equal to 4096
run smoke --out O --config {C} | query.classes: input should be a valid string, got 1000000000.0
teach smoke --out O --steps 9000000000000000000 | steps: input should be less than or equal to 1000000000
teach smoke --out O --kl inf | kl: input should be a finite number
teach smoke --out O --image-size 1000000000 | image_size: input should be less than or equal to 4096
distill O --out P --seed 18446744073709551616 | Must be <= 9223372036854775807
evaluate cgn {CGN} -n 9000000000000000000 | Must be <= 1000000
bench O --batch 9000000000000000000 | Must be <= 100000
ensemble --real O --out P --workers 9000000000000 --cgn {CGN} | Must be <= 1024
"""
CASES = [tuple(part.strip() for part in line.split(" | ")) for line in LINES.strip().splitlines()]


@pytest.mark.parametrize(("words", "answer"), CASES, ids=[words for words, _ in CASES])
def test_a_number_that_is_none_or_too_large_is_refused_at_once(words, answer, skdcgn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.json").write_text('{"query": {"classes": 1e9}}')
    start = time.perf_counter()
    status, _, error = skdcgn(*words.format(CGN=CGN, C="my.json").split())
    assert time.perf_counter() - start < 10
    assert status == 2
    assert error.count("\n") == 1
    assert answer in error
    assert [path.name for path in tmp_path.iterdir()] == ["my.json"]


CONFIGS = {
    "a byte order mark": (b'\xef\xbb\xbf{"seed": -1}', "seed: input should be greater than or equal to 0"),
    "UTF-16": ('{"seed": 1}'.encode("utf-16"), "is not UTF-8 text"),
    "no object": (b"[1]", "its content: input should be an object"),
    "null": (b"null", "its content: input should be an object"),
    "depth": (b'{"query": ' * 10**5, "is not JSON"),
    "5,000 digits": (b'{"seed": ' + b"9" * 5000 + b"}", "is not JSON"),
    "a section that is none": (b'{"query": 3}', "unknown key 'query'"),
    "an object in place of a number": (b'{"seed": {"a": 1}}', "unknown key 'seed.a'"),
    "a million unknown keys": (b'{"a": {' + b",".join(b'"%d":0' % n for n in range(10**5)) + b"}}", "unknown key"),
}


@pytest.mark.parametrize(("content", "answer"), CONFIGS.values(), ids=CONFIGS)
def test_a_file_of_settings_that_is_wrong_is_named(content, answer, skdcgn, tmp_path):
    file = tmp_path / "my.json"
    file.write_bytes(content)
    status, _, error = skdcgn("run", "smoke", "--out", tmp_path / "out", "--config", file)
    assert (status, error.count("\n")) == (2, 1)
    assert f"{file}" in error
    assert answer in error
    assert len(error) < 3000


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64, 10**5000], ids=["negative", "2^63", "2^64", "digits"])
def test_a_seed_of_the_library_has_the_same_bound(seed):
    with pytest.raises(UserError, match="pass a whole number from 0 to 9223372036854775807"):
        set_seed(seed)


@pytest.mark.parametrize("seeds", [0, -1, 10**30])
def test_a_study_has_a_bounded_number_of_seeds(seeds):
    with pytest.raises(UserError, match="seeds: pass 1 to 1000"):
        plan_study("losses", "smoke", seeds=seeds)


def test_the_published_budget_lies_within_the_bounds():
    assert ClassifyConfig(images=100_000, epochs=10, batch_size=64).images == 100_000
