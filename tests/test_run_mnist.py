"""The whole thing, small: one run from teacher to report, then again for nothing."""

import json
import shutil

import pytest
import torch
from PIL import Image

from skdcgn.base.errors import UserError
from skdcgn.base.presets import run_preset
from skdcgn.base.records import override, to_dict
from skdcgn.cgn.classes import Classes
from skdcgn.cgn.compose import compose
from skdcgn.experiments.run_mnist import FIRST_STEPS, run_mnist
from skdcgn.experiments.training_sets import MnistData, own_test_set, training_sets
from skdcgn.results.records import MnistResults, read_results
from skdcgn.training.side_by_side import Processes
from skdcgn.training.worker import threads

CONFIG = override(run_preset("smoke"), {"distill.steps": FIRST_STEPS + 1})


def written(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    with Processes(2, "skdcgn.experiments.run_mnist") as processes, threads(2):
        return out, run_mnist(CONFIG, out, device="cpu", speed_images=32, processes=processes)


@pytest.mark.slow
def test_results_are_kept_as_they_are_returned(finished):
    out, results = finished
    assert read_results(out, MnistResults) == results
    kept = json.loads((out / "results.json").read_text())
    assert kept == to_dict(results)
    assert set(kept["ood_accuracy"]) == {"biased", "teacher", "student", "oracle"}
    assert all(0 <= value <= 100 for value in kept["ood_accuracy"].values())
    assert results.parameters.teacher == 659_992
    assert results.queries == {"shape": 200, "texture": 100, "background": 100}
    assert set(results.pixel_l1) == set(results.diversity) == {"shape", "texture", "background"}
    assert results.diversity["shape"].glyphs > 0
    assert results.diversity["texture"].glyphs is None
    assert set(results.seconds) == {"query", "distill", "classify", "evaluate"}


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_a_cgns_training_set_may_be_real_and_biased(analytic_teacher, tmp_path, share):
    config = override(run_preset("smoke"), {"classify.images": 400, "classify.real": share})
    sets = training_sets(MnistData.of(config), {"student": analytic_teacher}, config.classify, tmp_path)
    data, count = sets["student"](), round((1 - share) * 400)
    if count:
        counterfactuals = compose(analytic_teacher, count, per_shape=10, seed=0)
        assert torch.equal(data.images[:count], counterfactuals.images)
        assert torch.equal(data.labels[:count], counterfactuals.shape_labels)
    biased = sets["biased"]()
    assert torch.equal(data.images[count:], biased.images[: 400 - count])
    assert torch.equal(data.labels[count:], biased.labels[: 400 - count])


@pytest.mark.slow
def test_a_report_and_its_pictures_lie_in_the_folder(finished):
    out, _ = finished
    assert "<html" in (out / "report.html").read_text()
    assert len(list((out / "pictures").glob("*.png"))) == 11
    assert (out / "pictures" / "first.png").exists()


@pytest.mark.slow
def test_a_finished_run_answers_at_once_with_the_same_results(finished):
    out, results = finished
    before = written(out)
    assert run_mnist(CONFIG, out, device="cpu", speed_images=32) == results
    assert {name for name, time in written(out).items() if before.get(name) != time} == {"report.html"}


@pytest.mark.slow
def test_evaluate_prints_the_table_again_and_knows_no_band_for_this_budget(finished, skdcgn):
    out, results = finished
    status, said, _ = skdcgn("evaluate", out)
    assert status == 0
    assert f"{results.ood_accuracy.student:.1f} %" in said
    assert "no card was measured with this preset, data and budget" in said


@pytest.mark.slow
def test_another_configuration_in_the_same_folder_is_refused(finished):
    out, _ = finished
    with pytest.raises(UserError, match="differs in seed"):
        run_mnist(override(CONFIG, {"seed": 1}), out, device="cpu")


@pytest.mark.slow
def test_losing_the_results_costs_only_the_last_stage(finished):
    out, results = finished
    weights = {p: p.stat().st_mtime_ns for p in out.rglob("checkpoint.safetensors")}
    (out / "results.json").unlink()
    again = run_mnist(CONFIG, out, device="cpu", speed_images=32)
    assert again.ood_accuracy == results.ood_accuracy
    assert again.pixel_l1 == results.pixel_l1
    assert again.counterfactuals_per_second == results.counterfactuals_per_second  # kept, not timed again
    assert weights == {p: p.stat().st_mtime_ns for p in weights}


@pytest.mark.slow
def test_a_classifier_that_is_trained_alone_has_the_bytes_of_one_side_by_side(finished):
    out, results = finished
    folder = out / "classifiers" / "student"
    before = (folder / "checkpoint.safetensors").read_bytes()
    shutil.rmtree(folder)
    (out / "results.json").unlink()
    with threads(2):
        assert run_mnist(CONFIG, out, device="cpu", speed_images=32).ood_accuracy == results.ood_accuracy
    assert (folder / "checkpoint.safetensors").read_bytes() == before


def test_a_users_own_pictures_are_a_test_set(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (50, 60), "white" if name == "a" else "black").save(tmp_path / name / "0.png")
    pictures = own_test_set(tmp_path, 32, Classes("two", 2))
    images, labels = pictures.images, pictures.labels
    assert pictures.names == ("a", "b")
    assert images.shape == (2, 3, 32, 32)
    assert [(x.item(), y.item()) for x, y in zip(images.mean((1, 2, 3)), labels, strict=True)] == [(1, 0), (-1, 1)]
    with pytest.raises(UserError, match=r"ten has 10 classes without names, .* has 2 classes \(.*--images"):
        own_test_set(tmp_path, 32, Classes("ten", 10))
