"""Results in a notebook: a table that holds the numbers and escapes every text."""

from dataclasses import replace
from pathlib import Path

from skdcgn.base.door import read_json
from skdcgn.base.records import from_dict
from skdcgn.evaluation.scores import HeadScores
from skdcgn.results.notebook import html_table
from skdcgn.results.records import ImageNetResults, MnistResults
from skdcgn.results.study_record import StudyRecord

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
STUDY = from_dict(StudyRecord, read_json(RESULTS / "masks-double-colored-mnist.json"))
RUN = read_json(RESULTS / "double-colored-digits.json")["runs"][0]


def test_every_text_is_escaped():
    table = html_table("<b>", ["&"], [["<script>"]])
    assert "<b>" not in table
    assert "<script>" not in table
    assert "&lt;script&gt;" in table


def test_a_study_shows_a_row_per_point_and_training_set():
    table = STUDY._repr_html_()
    assert table.count("<tr>") == 1 + len(STUDY.summary)
    first = STUDY.summary[0]
    assert f"<td>{first.ood_accuracy.mean:.1f} ± {first.ood_accuracy.deviation:.1f}</td>" in table


def test_a_miniature_says_that_it_is_one():
    assert "Miniature" in replace(STUDY, quick=True)._repr_html_()
    assert "Miniature" not in STUDY._repr_html_()


def test_a_run_shows_its_accuracies():
    results = from_dict(MnistResults, RUN)
    assert f"<td>oracle</td><td>{results.ood_accuracy.oracle:.1f}</td>" in results._repr_html_()


def test_a_run_on_photographs_shows_a_column_per_ensemble():
    common = {
        key: value for key, value in RUN.items() if key not in ("ood_accuracy", "classifier_budget", "test_images")
    }
    results = from_dict(ImageNetResults, {**common, "ensembles": {}, "stand_in": True})
    bias = HeadScores(80, {"ensemble": None, "shape": 50.0})  # the ensemble decides for no shape and no texture
    scores = {"BG-gap": HeadScores(80, {"ensemble": 5.25, "shape": 1.0}), "shape bias": bias}
    table = replace(results, ensembles={"plain": scores, "student": scores})._repr_html_()
    assert "<th>plain</th><th>student</th>" in table
    assert "<td>BG-gap, ensemble</td><td>5.2</td><td>5.2</td>" in table
    assert "<td>BG-gap, shape head</td><td>1.0</td><td>1.0</td>" in table
    assert "<td>shape bias, ensemble</td><td>not measured</td><td>not measured</td>" in table
