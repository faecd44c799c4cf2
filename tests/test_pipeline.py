"""The whole thing, small: one run from teacher to report, then again for nothing."""

import json

import pytest

from skdcgn.config import override
from skdcgn.errors import UserError
from skdcgn.pipeline import run
from skdcgn.presets import run_preset

PROMISED = {
    "preset": str,
    "seed": int,
    "ood_accuracy": dict,
    "parameters": dict,
    "counterfactuals_per_second": dict,
    "queries": dict,
    "pixel_l1": dict,
    "seconds": dict,
    "versions": dict,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return out, run(run_preset("smoke"), out, device="cpu")


def test_results_keep_the_contract(finished):
    out, results = finished
    assert json.loads((out / "results.json").read_text()) == results
    assert all(isinstance(results[key], kind) for key, kind in PROMISED.items())
    assert set(results["ood_accuracy"]) == {"biased", "teacher", "student", "oracle"}
    assert all(0 <= value <= 100 for value in results["ood_accuracy"].values())
    assert results["parameters"]["teacher"] == 659_992
    assert results["queries"] == {"shape": 200, "texture": 100, "background": 100}
    for mechanism in ("shape", "texture", "background"):
        assert set(results["pixel_l1"][mechanism]) == {"student", "label_mean"}
    assert set(results["seconds"]) == {"query", "distill", "classify", "evaluate"}


def test_a_report_and_its_pictures_lie_in_the_folder(finished):
    out, _ = finished
    assert "<html" in (out / "report.html").read_text()
    assert len(list((out / "pictures").glob("*.png"))) == 10


def test_a_finished_run_answers_at_once_with_the_same_results(finished, monkeypatch):
    out, results = finished
    monkeypatch.setattr("skdcgn.pipeline.distill", None)  # would fail if it were called
    assert run(run_preset("smoke"), out, device="cpu") == results


def test_another_configuration_in_the_same_folder_is_refused(finished):
    out, _ = finished
    with pytest.raises(UserError, match="differs in seed"):
        run(override(run_preset("smoke"), {"seed": 1}), out, device="cpu")


def test_losing_the_results_costs_only_the_last_stage(finished):
    out, results = finished
    weights = {p: p.stat().st_mtime_ns for p in out.rglob("checkpoint.safetensors")}
    (out / "results.json").unlink()
    again = run(run_preset("smoke"), out, device="cpu")
    assert again["ood_accuracy"] == results["ood_accuracy"]
    assert again["pixel_l1"] == results["pixel_l1"]
    assert weights == {p: p.stat().st_mtime_ns for p in weights}
