"""The main table, and whether a run fell inside what its recipe's card promises."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from skdcgn.base.config import ClassifyConfig, RunConfig
from skdcgn.base.errors import UserError
from skdcgn.base.presets import RUNS, run_preset, teach_preset
from skdcgn.base.records import from_dict, override
from skdcgn.base.seeds import generator
from skdcgn.classifiers.small_cnn import classify
from skdcgn.data.images import LabelledImages
from skdcgn.experiments.evaluate import artifact_kind, evaluate_cgn, evaluate_classifier, evaluate_run
from skdcgn.experiments.studies import find_study
from skdcgn.results.expected import Band, bands, studied, table
from skdcgn.results.records import ClassifierBudget, MnistResults, OodAccuracy, Sizes, Speeds, TeacherIdentity
from skdcgn.results.study_record import lay_points

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
        found = bands(override(preset, changes))
        assert found == {name: band for name, band in bands(preset).items() if name != "student"}
        assert found.keys() == {"biased", "teacher", "oracle"}


def test_a_point_that_a_study_measured_has_its_band():
    (record,) = [one for one in studied() if one["command"].startswith("skdcgn study shape double-colored-mnist")]
    preset = from_dict(RunConfig, record["base"])
    (noisy,) = [plan for plan in find_study("shape").points(preset) if plan.name == "noise 1"]
    config = override(preset, noisy.changes)
    found = bands(replace(config, seed=7))
    assert found.keys() == {"teacher", "student"}
    assert found["student"].low < 11 < found["student"].high
    assert bands(override(config, {"distill.steps": 7})) == {"teacher": found["teacher"]}
    assert bands(override(config, {"classify.policy": ["shape.noise:0.9"]})) == {}


def test_the_band_of_a_cgn_that_is_taught_again_is_its_own():
    preset = run_preset("double-colored-mnist")
    made = lay_points(preset, find_study("taught").points(preset), teach_preset(preset.preset))
    found = {point.name: bands(replace(point.config, seed=4), replace(point.teach, seed=4)) for point in made}
    means = {name: (band["teacher"].low + band["teacher"].high) / 2 for name, band in found.items()}
    assert means["noise, taught"] < 30 < means["plain"]
    plain, noisy = made[0], next(point for point in made if point.name == "noise, taught")
    assert plain.config == noisy.config  # only how their CGNs were taught tells them apart
    assert bands(plain.config) not in found.values()
    assert bands(plain.config, override(plain.teach, {"steps": 999})) == {}


def test_every_point_of_a_bundled_study_has_bands_around_its_means():
    for record in studied():
        for point in record["points"]:
            for told in point["out_of_domain_accuracy_percent"].values():
                assert 0 <= told["low"] <= told["mean"] <= told["high"] <= 100


def trained(folder, classes, size):
    """A classifier of coloured squares that has taken a step."""
    labels = torch.arange(2 * classes) % classes
    images = torch.rand(len(labels), 3, size, size, generator=generator("evaluate")) * 2 - 1
    classify(LabelledImages(images, labels), ClassifyConfig(epochs=1), folder, origin={})


def test_a_classifier_of_other_classes_or_another_size_is_not_measured_on_a_presets_images(tmp_path):
    trained(tmp_path / "three", 3, 64)
    with pytest.raises(UserError, match=r"3 classes at 64 pixels, .* 10 classes at 32 pixels.*--images"):
        evaluate_classifier(tmp_path / "three")
    trained(tmp_path / "ten", 10, 32)
    evaluation = evaluate_classifier(tmp_path / "ten")
    counts = torch.tensor(evaluation.confusion)
    assert counts.shape == (10, 10)
    assert evaluation.ood_accuracy == pytest.approx(100 * float(counts.diag().sum() / counts.sum()), abs=1e-4)
    assert evaluation.sensitivity == {}


def test_a_cgn_that_draws_other_classes_than_the_classifier_knows_is_refused(tmp_path):
    trained(tmp_path / "two", 2, 32)
    for label in ("a", "b"):
        (tmp_path / "test" / label).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "test" / label / "0.png")
    assert evaluate_classifier(tmp_path / "two", images=tmp_path / "test").ood_accuracy == 50
    with pytest.raises(UserError, match="2 classes at 32 pixels, the CGN draws 10 classes at 32 pixels"):
        evaluate_classifier(tmp_path / "two", images=tmp_path / "test", cgn="double-colored-digits")


def test_a_cgn_of_other_pictures_than_the_presets_is_refused():
    with pytest.raises(UserError, match=r"imagenet-smoke draws .* 10 classes at 32 pixels"):
        evaluate_cgn("imagenet-smoke")


def test_a_run_is_evaluated_only_where_there_is_one(tmp_path):
    trained(tmp_path, 2, 32)
    with pytest.raises(UserError, match="is a classifier, not a run"):
        evaluate_run(tmp_path)


def test_a_folder_says_where_its_student_lies(tmp_path):
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "model.safetensors").touch()
    with pytest.raises(UserError, match=f"pass {tmp_path / 'student'}"):
        artifact_kind(tmp_path)
    (tmp_path / "begun" / "pairs").mkdir(parents=True)
    with pytest.raises(UserError, match="has not ended: repeat its command"):
        artifact_kind(tmp_path / "begun")
