"""The figure of a study, and the kept records that figures and expected accuracies come from."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from skdcgn.base.config import TeachConfig
from skdcgn.base.door import read_json
from skdcgn.base.presets import run_preset
from skdcgn.base.records import from_dict
from skdcgn.report.plots import far_apart
from skdcgn.report.study_png import front, panel_points, save_study_figure
from skdcgn.report.study_points import point_accuracies
from skdcgn.results.expected import bundled_studies, expected_study
from skdcgn.results.statistics import MeanDeviation
from skdcgn.results.study_record import PointSummary, StudyPoint, StudyRecord

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
CURVES = [StudyPoint(f"{name} {at:g}", {}, curve=name, at=at) for name in ("noise", "spin") for at in (0.0, 0.5, 1.0)]
DOTS = [StudyPoint(name, {}) for name in ("a", "b", "c")]
CELLS = [
    StudyPoint("plain", {}),
    StudyPoint("x", {}, cell=("grey", "texture")),
    StudyPoint("y", {}, cell=("grey", "shape")),
]


def record(points, speeds=None, sources=("teacher", "student", "oracle")):
    summary = [
        PointSummary(point.name, source, (0, 1), 1000 * (place + 1), MeanDeviation(80.0 + place, 1.0), {})
        for place, point in enumerate(points)
        for source in sources
    ]
    return StudyRecord(
        command="skdcgn study letters smoke",
        study="letters",
        preset="smoke",
        question="Which letter?",
        axis="amount",
        quick=False,
        base=run_preset("smoke"),
        teaching=TeachConfig(),
        points=points,
        summary=summary,
        scores=(),
        counterfactuals_per_second=speeds,
        versions={},
    )


SPEEDS = {"teacher": {"eager": 300.0}, **{name: {"eager": 6000.0, "onnx-fp32": 9000.0} for name in "abc"}}


@pytest.mark.parametrize("one", [record(CURVES), record(DOTS), record(CELLS), record(DOTS, SPEEDS)])
def test_a_study_of_any_form_is_drawn_as_the_same_picture_each_time(tmp_path, one):
    first, second = (save_study_figure(one, tmp_path / name / "figure.png") for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as picture:
        assert min(picture.size) > 200
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 20


@pytest.mark.parametrize("count", [1, 2])
def test_few_points_have_a_figure_too(tmp_path, count):
    assert save_study_figure(record(DOTS[:count]), tmp_path / "figure.png").exists()


def test_a_study_without_an_accuracy_has_no_figure(tmp_path):
    assert save_study_figure(replace(record(DOTS), summary=()), tmp_path / "figure.png") is None
    assert not list(tmp_path.iterdir())


def test_a_column_of_a_heat_map_is_a_panel_that_has_the_plain_point_too():
    panels = panel_points(point_accuracies(record(CELLS, sources=("student",))))
    assert {title: [one.point.name for one in own] for title, own in panels.items()} == {
        "texture": ["plain", "x"],
        "shape": ["plain", "y"],
    }


def test_the_front_has_the_points_that_no_other_beats():
    points = [(10, 85.0), (20, 87.0), (40, 86.0), (80, 88.0)]
    assert front(points, less_is_better=True) == [(10, 85.0), (20, 87.0), (80, 88.0)]
    assert front(points, less_is_better=False) == [(80, 88.0)]


def kept_studies():
    values = {path.stem: read_json(path) for path in sorted(RESULTS.glob("*.json"))}
    return {name: from_dict(StudyRecord, one, name) for name, one in values.items() if "scores" in one}


def test_expected_accuracies_follow_from_the_kept_records():
    kept = {one.command: expected_study(one) for one in kept_studies().values()}
    for study in bundled_studies():
        measured = {point.name: point for point in kept[study.command].points}
        for point in study.points:
            assert measured[point.name].changes == point.changes
            assert measured[point.name].out_of_domain_accuracy_percent == point.out_of_domain_accuracy_percent


def test_numbers_on_a_logarithmic_axis_do_not_touch():
    assert far_apart([100, 300, 1000, 2000, 5000, 20_000]) == [100, 300, 1000, 5000, 20_000]
    assert far_apart([1, 2, 4, 8, 16]) == [1, 2, 4, 8, 16]
