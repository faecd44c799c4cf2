"""Studies: points share what they have in common, a killed study goes on, seeds become mean and deviation."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from skdcgn.base.errors import TrainingStoppedError, UserError
from skdcgn.base.presets import run_preset
from skdcgn.experiments import study as module
from skdcgn.experiments.studies import named
from skdcgn.experiments.study import Point, Score, measure, points, summary, told

PLANNED = named(
    {
        "plain": {},
        "sharp": {"classify.policy": ["shape.sharpen:4"]},
        "short": {"distill.steps": 20},
    }
)


pytestmark = pytest.mark.usefixtures("few_compared")


def folders(out):
    return {kind: len(list(out.glob(f"{kind}-*"))) for kind in ("pairs", "student", "classifier")}


def test_points_share_pairs_and_students_and_seeds_nothing_and_nothing_is_done_twice(tmp_path, monkeypatch):
    what = [*points(run_preset("smoke"), PLANNED), Point("ceiling", run_preset("smoke"), ("oracle", "teacher"))]
    first = list(measure(what, tmp_path, [0], results=tmp_path / "results.jsonl", device="cpu"))
    assert [(one.point, one.source) for one in first] == [
        ("plain", "student"),
        ("sharp", "student"),
        ("short", "student"),
        ("ceiling", "oracle"),
        ("ceiling", "teacher"),
    ]
    assert folders(tmp_path) == {"pairs": 1, "student": 2, "classifier": 5}
    assert set(first[0].pixel_l1) == {"shape", "texture", "background"}
    assert first[0].pixel_l1 == first[1].pixel_l1 != first[2].pixel_l1
    assert (first[3].parameters, first[4].parameters) == (None, 659_992)
    assert first[0].frechet_distance == first[1].frechet_distance != first[2].frechet_distance
    assert min(one.frechet_distance for one in first[:3]) > 0
    assert first[3].frechet_distance is first[4].frechet_distance is None
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert lines == [one._asdict() for one in first]

    def never(*args, **kwargs):
        raise AssertionError("done twice")

    with monkeypatch.context() as patched:
        for name in ("query_all", "distill"):
            patched.setattr(module, name, never)
        assert list(measure(what, tmp_path, [0], results=tmp_path / "results.jsonl", device="cpu")) == first

    *_, other = measure(what[:1], tmp_path, [0, 1], results=tmp_path / "another.jsonl", device="cpu")
    assert (other.seed, folders(tmp_path)) == (1, {"pairs": 2, "student": 3, "classifier": 6})  # another everything


def test_processes_share_the_work_and_each_tells_all_of_it_in_order(tmp_path, monkeypatch):
    what = points(run_preset("smoke"), named({"a": {}, "b": {"distill.steps": 20}, "c": {"distill.steps": 30}}))
    begun, done, together = [], set(), Barrier(2)

    def score(point, source, config, *_):
        mine = (point.name, config.seed)
        if mine not in done:
            begun.append(mine)
            if len(begun) <= 2:
                together.wait(10)  # both are at work at the same time, or this raises
            done.add(mine)
        return Score(point.name, source, config.seed, 50.0 + config.seed, 7, {})

    monkeypatch.setattr(module, "_score", score)
    results = [tmp_path / "one", tmp_path / "two"]
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(lambda r=r: list(measure(what, tmp_path, [0, 1], results=r))) for r in results]
        scores = [one.result(20) for one in both]
    assert sorted(begun) == sorted(done)  # nothing twice
    assert len(done) == 6
    ordered = [told("x", run_preset("smoke"), what, one, timed=False)["scores"] for one in scores]
    assert [(one["seed"], one["point"]) for one in ordered[0]] == [(s, name) for s in (0, 1) for name in "abc"]
    assert ordered[0] == ordered[1]
    for file in results:
        assert [json.loads(line) for line in file.read_text().splitlines()] == ordered[0]


def test_a_summary_is_mean_and_sample_deviation_over_the_seeds():
    def one(point, seed, accuracy, l1, apart=None):
        return Score(point, "student", seed, accuracy, 7, {"shape": {"student": l1}}, apart)

    rows = summary([one("a", 0, 80.0, 0.1, 3.0), one("b", 0, 50.0, 0.3), one("a", 1, 90.0, 0.2, 4.0)])
    assert [(row["point"], row["seeds"], row["parameters"]) for row in rows] == [("a", [0, 1], 7), ("b", [0], 7)]
    assert rows[0]["ood_accuracy"] == {"mean": 85.0, "deviation": pytest.approx(50**0.5)}
    assert rows[0]["pixel_l1"]["shape"]["student"]["mean"] == pytest.approx(0.15)
    assert rows[0]["frechet_distance"] == {"mean": 3.5, "deviation": pytest.approx(0.5**0.5)}
    assert "frechet_distance" not in rows[1]
    assert rows[1]["ood_accuracy"] == {"mean": 50.0, "deviation": 0.0}


def test_a_training_that_is_stopped_is_told_and_the_others_go_on(tmp_path, monkeypatch):
    tried = []

    def collapses(*args, **kwargs):
        tried.append(args)
        raise TrainingStoppedError("the student draws one image")

    monkeypatch.setattr(module, "distill", collapses)
    what = [*points(run_preset("smoke"), named({"plain": {}})), Point("ceiling", run_preset("smoke"), ("oracle",))]
    first, second = measure(what, tmp_path, [0], results=tmp_path / "results.jsonl", device="cpu")
    assert (first.ood_accuracy, first.stopped) == (None, "the student draws one image")
    assert second.ood_accuracy > 0
    assert [(row["point"], row["seeds"]) for row in summary([first, second])] == [("ceiling", [0])]
    again, _ = measure(what, tmp_path, [0], results=tmp_path / "results.jsonl", device="cpu")
    assert (again, len(tried)) == (first, 1)


def test_mistakes_are_told_before_anything_is_done(tmp_path):
    with pytest.raises(UserError, match="unknown source 'oracel'"):
        next(measure([Point("x", run_preset("smoke"), ("oracel",))], tmp_path, [0], results=tmp_path / "r"))
    with pytest.raises(UserError, match=r"x: classify\.images"):
        points(run_preset("smoke"), named({"x": {"classify.images": 0}}))
    assert folders(tmp_path) == {"pairs": 0, "student": 0, "classifier": 0}
