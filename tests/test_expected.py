"""Expected accuracies: bands of cards and bundled studies, and the main table that compares a run with them."""

from dataclasses import replace

import pytest

from skdcgn.base.config import TeachConfig
from skdcgn.base.presets import RUNS, run_preset, teach_preset
from skdcgn.base.records import override
from skdcgn.experiments.studies import find_study
from skdcgn.results.expected import Band, bands, bundled_studies, expected_accuracy, expected_study, table
from skdcgn.results.records import ClassifierBudget, MnistResults, OodAccuracy, Sizes, Speeds, TeacherIdentity
from skdcgn.results.statistics import MeanDeviation
from skdcgn.results.study_record import PointSummary, StudyPoint, StudyRecord, lay_points

RESULTS = MnistResults(
    preset="smoke",
    seed=0,
    digest="",
    queries={},
    held_out_queries=100,
    teacher=TeacherIdentity("mine", ""),
    versions={},
    parameters=Sizes(659_992, 42_000),
    counterfactuals_per_second=Speeds(700.0, 7000.0),
    pixel_l1={},
    diversity={},
    seconds={},
    ood_accuracy=OodAccuracy(10.0, 85.0, 79.94, 90.0),
    classifier_budget=ClassifierBudget(640, 1, 1, 16),
    test_images=500,
)


def test_a_band_says_inside_or_outside_to_the_digit_that_is_printed():
    band = Band(80.0, 90.0)
    assert band.verdict(79.96) == "inside 80.0-90.0"
    assert band.verdict(79.94) == "OUTSIDE 80.0-90.0"
    assert band.verdict(90.1) == "OUTSIDE 80.0-90.0"


def test_the_table_puts_each_accuracy_beside_its_band():
    rows = {row[0]: row for row in table(RESULTS, {"teacher": Band(80, 90), "student": Band(80, 90)})}
    assert rows["teacher"] == ("teacher", "659,992", "700", "85.0 %", "inside 80.0-90.0")
    assert rows["student"][-1].startswith("OUTSIDE")
    assert rows["oracle"][-1] == "-"


@pytest.mark.parametrize("name", [name for name in RUNS if name != "smoke"])
def test_a_measured_recipe_has_a_card_with_a_band_for_its_teacher(name):
    band = bands(run_preset(name))["teacher"]
    assert 50 < band.low < band.high <= 100


def test_a_band_holds_for_other_seeds_and_teachers_but_not_for_other_budgets_or_data():
    preset = run_preset("double-colored-mnist")
    assert bands(replace(preset, seed=5, teacher="mine.safetensors")) == bands(preset) != {}
    assert bands(override(preset, {"classify.images": 100})) == {}
    assert bands(override(preset, {"appearance": "colored"})) == {}
    assert bands(run_preset("smoke")) == {}
    assert bands(replace(preset, preset="custom")) == {}


def test_another_student_takes_nothing_from_what_is_expected_of_the_others():
    preset = run_preset("double-colored-digits")
    for changes in ({"distill.steps": 7}, {"query.shape": 70}):
        expected_bands = bands(override(preset, changes))
        assert expected_bands == {name: band for name, band in bands(preset).items() if name != "student"}
        assert expected_bands.keys() == {"biased", "teacher", "oracle"}


def test_a_point_that_a_study_measured_has_its_band():
    (study,) = [one for one in bundled_studies() if one.command.startswith("skdcgn study shape double-colored-mnist")]
    preset = study.base
    (noisy,) = [plan for plan in find_study("shape").points(preset) if plan.name == "noise 1"]
    config = override(preset, noisy.changes)
    expected_bands = bands(replace(config, seed=7))
    assert expected_bands.keys() == {"teacher", "student"}
    assert expected_bands["student"].low < 11 < expected_bands["student"].high
    assert bands(override(config, {"distill.steps": 7})) == {"teacher": expected_bands["teacher"]}
    assert bands(override(config, {"classify.policy": ["shape.noise:0.9"]})) == {}


def test_the_band_of_a_cgn_that_is_taught_again_is_its_own():
    preset = run_preset("double-colored-mnist")
    preset = override(preset, find_study("taught").recipe(preset))
    points = lay_points(preset, find_study("taught").points(preset), teach_preset(preset.preset))
    expected_bands = {
        point.name: bands(replace(point.config, seed=4), replace(point.teach, seed=4)) for point in points
    }
    means = {name: (band["teacher"].low + band["teacher"].high) / 2 for name, band in expected_bands.items()}
    assert means["noise in teaching"] < 30 < means["plain"]
    plain, noisy = points[0], next(point for point in points if point.name == "noise in teaching")
    assert plain.config == noisy.config  # only how their CGNs were taught tells them apart
    assert bands(plain.config) not in expected_bands.values()
    assert bands(plain.config, override(plain.teach, {"steps": 999})) == {}


def test_every_point_of_a_bundled_study_has_bands_around_its_means():
    for study in bundled_studies():
        assert study.points
        for point in study.points:
            for accuracy in point.out_of_domain_accuracy_percent.values():
                assert 0 <= accuracy.low <= accuracy.mean <= accuracy.high <= 100


def test_a_band_is_the_t_interval_of_one_more_seed():
    band = expected_accuracy(MeanDeviation(50.0, 2.0), 3)
    reach = 4.302653 * 2.0 * (4 / 3) ** 0.5  # t(0.975) of two degrees of freedom
    assert (band.low, band.high) == (pytest.approx(50 - reach, abs=0.01), pytest.approx(50 + reach, abs=0.01))
    assert expected_accuracy(MeanDeviation(99.0, 2.0), 3).high == 100.0


def test_points_of_one_seed_have_no_band():
    points = (StudyPoint("a", {"classify.images": 7}), StudyPoint("b", {}, teach={"steps": 7}))
    summary = tuple(
        PointSummary(name, "student", seeds, 7, MeanDeviation(80.0, 1.0), {})
        for name, seeds in (("a", (0,)), ("b", (0, 1)))
    )
    record = StudyRecord(
        command="x",
        study="letters",
        preset="smoke",
        question="",
        axis="",
        quick=False,
        base=run_preset("smoke"),
        teaching=TeachConfig(),
        points=points,
        summary=summary,
        scores=(),
        versions={},
    )
    (point,) = expected_study(record).points
    assert (point.name, point.teach) == ("b", TeachConfig(steps=7))
    assert point.out_of_domain_accuracy_percent["student"].mean == 80.0
