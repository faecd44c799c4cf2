"""Studies: points share what they have in common, a killed study goes on, seeds become mean and deviation."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from conftest import SHORT_RUN
from skdcgn.base.config import TeachConfig
from skdcgn.base.errors import UserError
from skdcgn.base.presets import run_preset
from skdcgn.base.progress import log_progress
from skdcgn.base.records import override, to_dict
from skdcgn.evaluation.scores import PixelL1
from skdcgn.experiments.stages import Workspace
from skdcgn.experiments.studies import Study
from skdcgn.experiments.study import measure_points, study_record, summarize
from skdcgn.experiments.study_points import named
from skdcgn.results.records import read_study, write_study
from skdcgn.results.statistics import MeanDeviation
from skdcgn.results.study_record import PointConfig, PointScore, StudyPoint, lay_points

SMOKE = override(run_preset("smoke"), SHORT_RUN | {"distill.steps": 6}, "test")
PLANNED = named(
    {
        "plain": {},
        "sharp": {"classify.policy": ["shape.sharpen:4"]},
        "short": {"distill.steps": 4},
    }
)


def folders(out):
    return {kind: len(list(out.glob(f"{kind}-*"))) for kind in ("pairs", "student", "classifier")}


def measure(points, folder, seeds=(0,), watch=log_progress):
    workspace = Workspace(folder, device="cpu", watch=watch)
    return list(measure_points(points, workspace, seeds, results=folder / "results.jsonl", compared=100))


@pytest.mark.slow
def test_points_share_pairs_and_students_and_nothing_is_done_twice(tmp_path):
    points = [
        *lay_points(SMOKE, PLANNED),
        PointConfig("ceiling", SMOKE, ("oracle", "teacher")),
    ]
    first = measure(points, tmp_path)
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
    assert lines == [to_dict(one) for one in first]

    before = checkpoints(tmp_path)
    assert measure(points, tmp_path) == first
    assert checkpoints(tmp_path) == before != {}

    *_, other = measure(points[:1], tmp_path, [0, 1])
    assert (other.seed, folders(tmp_path)) == (1, {"pairs": 2, "student": 3, "classifier": 6})  # another everything


def checkpoints(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def test_processes_share_the_work_and_each_yields_all_scores_in_order(tmp_path):
    planned = named({"a": {}, "b": {"distill.steps": 20}, "c": {"distill.steps": 30}})
    points = lay_points(run_preset("smoke"), planned)
    begun, done, together = [], set(), Barrier(2)

    def score(point, source, seed, workspace):
        job = (point.name, seed)
        if job not in done:
            begun.append(job)
            if len(begun) <= 2:
                together.wait(10)  # both are at work at the same time, or this raises
            done.add(job)
        return PointScore(point.name, source, seed, 50.0 + seed, 7, {})

    def work(results):
        return list(measure_points(points, Workspace(tmp_path), [0, 1], results=results, score=score))

    results = [tmp_path / "one", tmp_path / "two"]
    with ThreadPoolExecutor(2) as pool:
        scores = list(pool.map(work, results, timeout=20))
    assert sorted(begun) == sorted(done)  # nothing twice
    assert len(done) == 6
    study = Study("letters", "Which letter?", "", lambda base: planned)
    records = [study_record(study, run_preset("smoke"), TeachConfig(), planned, one, command="x") for one in scores]
    ordered = [list(record.scores) for record in records]
    assert [(one.seed, one.point) for one in ordered[0]] == [(s, name) for s in (0, 1) for name in "abc"]
    assert ordered[0] == ordered[1]
    for file in results:
        assert [json.loads(line) for line in file.read_text().splitlines()] == [to_dict(one) for one in ordered[0]]


def test_a_summary_is_mean_and_sample_deviation_over_the_seeds():
    def one(point, seed, accuracy, l1, distance=None):
        return PointScore(point, "student", seed, accuracy, 7, {"shape": PixelL1(l1, 0.5)}, distance)

    first, second = summarize([one("a", 0, 80.0, 0.1, 3.0), one("b", 0, 50.0, 0.3), one("a", 1, 90.0, 0.2, 4.0)])
    assert [(row.point, row.seeds, row.parameters) for row in (first, second)] == [("a", (0, 1), 7), ("b", (0,), 7)]
    assert (first.ood_accuracy.mean, first.ood_accuracy.deviation) == (85.0, pytest.approx(50**0.5))
    assert first.pixel_l1["shape"].student.mean == pytest.approx(0.15)
    assert first.pixel_l1["shape"].label_mean == MeanDeviation(0.5, 0.0)
    assert (first.frechet_distance.mean, first.frechet_distance.deviation) == (3.5, pytest.approx(0.5**0.5))
    assert second.frechet_distance is None
    assert second.ood_accuracy == MeanDeviation(50.0, 0.0)


def test_a_record_is_read_as_it_was_written(tmp_path):
    planned = [*named({"a": {"classify.policy": ["shape.noise:1"]}}), StudyPoint("b", {}, teach={"steps": 7})]
    base = override(run_preset("smoke"), {"teacher": "/somewhere/mine.safetensors"})
    scores = [
        PointScore("b", "student", 0, None, None, {}, stopped="the student draws one image"),
        PointScore("a", "student", 0, 80.0, 7, {"shape": PixelL1(0.1, 0.5)}, 3.0),
    ]
    study = Study("letters", "Which letter?", "number", lambda base: planned)
    record = study_record(study, base, TeachConfig(), planned, scores, command="x", quick=True)
    write_study(tmp_path, record)
    assert read_study(tmp_path) == record
    assert (record.study, record.preset, record.axis, record.quick) == ("letters", "smoke", "number", True)
    assert record.base.teacher == "mine.safetensors"
    assert [one.point for one in record.scores] == ["a", "b"]


def test_a_record_that_is_damaged_is_one_line(tmp_path):
    (tmp_path / "study.json").write_text('{"command": "x"}')
    with pytest.raises(UserError, match=r"study\.json: study is missing: delete the file and repeat the study"):
        read_study(tmp_path)


def test_a_training_that_is_stopped_is_reported_once_and_the_others_go_on(tmp_path):
    diverges = named({"diverges": {"distill.learning_rate": 1e30}, "again": {"distill.learning_rate": 1e30}})
    points = [*lay_points(run_preset("smoke"), diverges), PointConfig("ceiling", run_preset("smoke"), ("oracle",))]
    first, second, last = measure(points, tmp_path)
    assert first.ood_accuracy is second.ood_accuracy is None
    assert "became nan" in first.stopped
    assert second.stopped == first.stopped
    assert last.ood_accuracy > 0
    assert folders(tmp_path)["student"] == 1
    assert [(row.point, row.seeds) for row in summarize([first, second, last])] == [("ceiling", (0,))]

    def never(name, total):
        raise AssertionError(f"{name} was done again")

    assert measure(points, tmp_path, watch=never) == [first, second, last]


def test_mistakes_are_reported_before_anything_is_done(tmp_path):
    with pytest.raises(UserError, match="unknown source 'oracel'"):
        measure([PointConfig("x", run_preset("smoke"), ("oracel",))], tmp_path)
    with pytest.raises(UserError, match=r"x: classify\.images"):
        lay_points(run_preset("smoke"), named({"x": {"classify.images": 0}}))
    assert folders(tmp_path) == {"pairs": 0, "student": 0, "classifier": 0}
