"""The report of a study: sentences that follow from the numbers, and a page with every point."""

import json

from skdcgn.base.config import TeachConfig
from skdcgn.base.presets import run_preset
from skdcgn.base.records import to_dict
from skdcgn.report import study_words
from skdcgn.report.study import Cell, heat_maps, write_study_report
from skdcgn.report.study_figures import study_figure
from skdcgn.report.study_points import PointAccuracy
from skdcgn.results.study_record import StudyPoint
from test_report import Page


def findings(accuracies, axis):
    """What a page says, with spaces where it has spaces that do not break."""
    return [sentence.replace("\u00a0", " ") for sentence in study_words.findings(accuracies, axis)]


def curve(source, *means, deviation=0.5):
    return [
        PointAccuracy(StudyPoint(f"noise {at}", {}, curve="noise", at=at), source, mean, deviation)
        for at, mean in enumerate(means)
    ]


def test_a_curve_is_reported_by_its_ends():
    (sentence,) = findings(curve("student", 80.0, 70.0, 60.0), "amount")
    assert (
        sentence
        == "Student, noise: accuracy falls by 20.0 points from 80.0 ± 0.5 % at 0 to 60.0 ± 0.5 % at 2 (amount)."
    )


def test_what_seeds_explain_is_not_called_a_change():
    (sentence,) = findings(curve("student", 80.0, 81.0), "amount")
    same = "Student, noise: accuracy is the same within seed noise, 80.0 ± 0.5 % at 0 and 81.0 ± 0.5 % at {} (amount)."
    assert sentence == same.format(1)
    (sentence,) = findings(curve("student", 80.0, 70.0, 81.0), "amount")
    assert sentence == same.format(2) + " In between, it is 70.0 ± 0.5 % at 1."


def test_the_best_of_points_without_order_is_named_and_doubted():
    points = [
        PointAccuracy(StudyPoint(name, {}), "student", mean, 1.0)
        for name, mean in (("a", 80.0), ("b", 81.0), ("c", 79.0))
    ]
    assert findings(points, "") == ["Student: best is “b” with 81.0 ± 1.0 %, 1.0 points above “a”, within seed noise."]
    points[1] = points[1]._replace(mean=90.0)
    assert findings(points, "")[0].endswith("10.0 points above “a”.")
    assert findings([points[1], points[0]], "")[0] == "Student: no other point exceeds “b”, 90.0 ± 1.0 %."


def test_student_and_teacher_are_compared_where_both_were_measured():
    sentences = findings(curve("teacher", 80.0, 70.0, 60.0) + curve("student", 82.0, 69.0), "amount")
    alone = findings(curve("teacher", 80.0) + curve("student", 82.0), "amount")
    assert alone == ["At “noise 0”, the student reaches 2.0 points more than its teacher."]
    assert findings(curve("teacher", 80.0) + curve("student", 80.0), "amount") == [
        "At “noise 0”, the student reaches as much as its teacher."
    ]
    assert sentences[-1] == (
        "On average over 2 settings, the student reaches 0.5 points more than its teacher (from -1.0 to +2.0)."
    )


def test_a_table_of_distortions_tells_what_each_costs():
    cells = {
        "plain": None,
        "shape, blur": ("blur", "shape"),
        "texture, blur": ("blur", "texture"),
        "texture, grey": ("grey", "texture"),
    }
    points = [
        PointAccuracy(StudyPoint(name, {}, cell=cell), "student", mean, 0.5)
        for (name, cell), mean in zip(cells.items(), (80.0, 20.0, 80.5, 60.0), strict=True)
    ]
    assert heat_maps(points) == {
        "student": {
            "blur": [Cell("20.0", "-60.0", 0.75), Cell("80.5", "+0.5", 0.0)],
            "grey": [None, Cell("60.0", "-20.0", 0.25)],
        }
    }
    assert findings(points, "") == [
        "Student: “shape, blur” costs most, from 80.0 ± 0.5 % to 20.0 ± 0.5 %."
        " 1 of 3 changes have no effect beyond seed noise."
    ]
    assert findings(points[:1] + points[2:3], "") == [
        "Student: no change lowers accuracy below 80.0 ± 0.5 % of “plain”."
    ]
    assert heat_maps(curve("student", 80.0, 70.0)) == {}


def record(rows, points, **changes):
    """The JSON of a study of ``points``, with a row per (point, source, mean accuracy)."""
    summary = [
        {
            "point": point,
            "source": source,
            "seeds": [0, 1],
            "parameters": 20_374 if source == "student" else None,
            "ood_accuracy": {"mean": mean, "deviation": 0.5},
            "pixel_l1": {
                "shape": {
                    "student": {"mean": 0.1, "deviation": 0.0},
                    "label_mean": {"mean": 0.4, "deviation": 0.0},
                }
            }
            if source == "student"
            else {},
            **({"frechet_distance": {"mean": 0.095, "deviation": 0.005}} if source == "student" else {}),
        }
        for point, source, mean in rows
    ]
    return {
        "command": "skdcgn study shape <smoke>",
        "study": "shape",
        "preset": "smoke",
        "question": "What if?",
        "axis": "amount",
        "quick": False,
        "versions": {"skdcgn": "0"},
        "base": to_dict(run_preset("smoke")),
        "teaching": to_dict(TeachConfig()),
        "points": [to_dict(point) for point in points],
        "summary": summary,
        "scores": [],
        **changes,
    }


def score(point, source="student", seed=0, accuracy=80.0, stopped=""):
    numbers = {"ood_accuracy": None if stopped else accuracy, "parameters": None, "pixel_l1": {}}
    return {"point": point, "source": source, "seed": seed, "stopped": stopped, **numbers}


def marks(svg):
    return json.loads(svg["data-marks"])


def panels(accuracies, axis):
    """The attributes of each panel of a study's figure."""
    return [svg for panel in study_figure(accuracies, axis).panels for svg in Page(panel).all("svg")]


def test_the_page_holds_question_figures_and_every_point(tmp_path):
    planned = [StudyPoint(f"noise {at}", {}, ("teacher", "student"), "noise", at) for at in (0.0, 1.0)]
    planned.append(StudyPoint("plain & simple", {}))
    rows = [(plan.name, source, 80.0 - plan.at) for plan in planned for source in plan.sources]
    (tmp_path / "study.json").write_text(json.dumps(record(rows, planned)))
    page = write_study_report(tmp_path).read_text()
    assert "What if?" in page
    assert page.count("<svg") == 2  # a curve, and dots for the point without one
    assert "plain &amp; simple" in page
    assert "<td>20,374</td>" in page
    assert "<td>0.25</td><td>0.095 ± 0.005</td>" in page
    assert "skdcgn study shape &lt;smoke&gt;" in page
    assert "://" not in page
    bands, dots = map(marks, Page(page).all("svg"))
    assert [line[:2] for line in bands] == [["--line-1", "teacher"], ["--line-2", "student"]]
    assert bands[0][2][0][2:] == ["80.0 ± 0.5", "amount 0"]
    assert dots[0][2][0][2:] == ["80.0 ± 0.5", "plain & simple"]


def test_one_seed_has_no_deviation_and_says_so(tmp_path):
    planned = [StudyPoint(f"noise {at}", {}, curve="noise", at=at) for at in (0.0, 1.0)]
    study = record([(plan.name, "student", 80.0 - 20 * plan.at) for plan in planned], planned)
    for row in study["summary"]:
        row |= {"seeds": [0], **{key: {**row[key], "deviation": 0.0} for key in ("ood_accuracy", "frechet_distance")}}
    study["scores"] = [score(plan.name) for plan in planned]
    (tmp_path / "study.json").write_text(json.dumps(study))
    page = write_study_report(tmp_path).read_text()
    assert "falls by 20.0 points from 80.0\u00a0% at 0 to 60.0\u00a0% at 1 (amount)" in page
    assert "±" not in page
    assert "One seed of everything" in page


def test_far_places_are_printed_as_numbers(tmp_path):
    planned = [StudyPoint(f"{at:,}", {}, curve="k = 1", at=at) for at in (1_000, 100_000)]
    rows = [(plan.name, "student", 80.0) for plan in planned]
    (tmp_path / "study.json").write_text(json.dumps(record(rows, planned, axis="images")))
    page = write_study_report(tmp_path).read_text()
    assert "at 100,000 (images)" in page
    assert ">100,000</text>" in page
    assert "mathdefault" not in page


def test_a_curve_that_settles_is_reported_where():
    (sentence,) = findings(curve("student", 50.0, 79.5, 80.0, 80.0), "amount")
    assert sentence.endswith("at 3 (amount). From 1 on, it is level within seed noise.")


def test_a_teacher_that_no_change_touches_is_a_line_across_every_panel():
    rows = [
        PointAccuracy(StudyPoint(f"{at:,}, {curve}", {}, curve=curve, at=at), "student", mean, 1.0)
        for curve, means in (("random", (50.0, 79.0)), ("sobol", (55.0, 80.0)))
        for at, mean in zip((100, 1000), means, strict=True)
    ]
    rows.insert(0, rows[0]._replace(source="teacher", mean=80.0))
    for panel in panels(rows, "queries"):
        teacher, student = marks(panel)
        assert (teacher[:2], student[:2]) == (["--line-1", "teacher"], ["--line-2", "student"])
        assert [point[2:] for point in teacher[2]] == [["80.0 ± 1.0", ""]]
        assert len(student[2]) == 2
    assert findings(rows, "queries")[-1] == (
        "The teacher reaches 80.0 ± 1.0 %; students within seed noise of it: “1,000, random”, “1,000, sobol”."
    )


def test_panels_beside_each_other_have_one_scale(tmp_path):
    rows = [
        PointAccuracy(StudyPoint(f"{curve} {at}", {}, curve=curve, at=at), "student", mean, 1.0)
        for curve, mean in (("noise", 20.0), ("spin", 80.0))
        for at in (0.0, 1.0)
    ]
    heights = [marks(panel)[0][2][0][1] for panel in panels(rows, "amount")]
    assert heights[0] > heights[1] + 50  # 20 % lies below 80 %: in a drawing places count from above


def test_students_that_were_timed_stand_beside_the_eager_teacher(tmp_path):
    planned = [StudyPoint("small", {}, ("teacher", "student"))]
    study = record([("small", "teacher", 80.0), ("small", "student", 79.0)], planned)
    study["counterfactuals_per_second"] = {
        "teacher": {"eager": 300.0, "channels-last": 400.0},
        "small": {"eager": 6000.0, "channels-last": 6100.0, "onnx-fp32": 12_150.0},
    }
    (tmp_path / "study.json").write_text(json.dumps(study))
    page = write_study_report(tmp_path).read_text()
    assert "<td>20.0 / 40.5</td></tr>" in page
    assert page.count("Speed, times the teacher's") == 1


def test_a_training_that_was_stopped_is_reported(tmp_path):
    planned = [StudyPoint(name, {}) for name in ("small", "smaller")]
    study = record([("small", "student", 80.0)], planned)
    study["scores"] = [score("smaller", seed=1, stopped="the student draws one image")]
    (tmp_path / "study.json").write_text(json.dumps(study))
    page = write_study_report(tmp_path).read_text()
    assert "Student, smaller: the training with seed 1 was stopped: the student draws one image." in page


def test_a_study_of_which_every_training_was_stopped_has_a_page(tmp_path):
    planned = [StudyPoint("smaller", {}, curve="size", at=1)]
    study = record([], planned)
    why = "the student draws one shape"
    study["scores"] = [score("smaller", seed=seed, stopped=why) for seed in (0, 1)]
    (tmp_path / "study.json").write_text(json.dumps(study))
    page = write_study_report(tmp_path).read_text()
    assert study_figure([], "size").panels == []
    assert "Student, smaller: the training with seed 1 was stopped: the student draws one shape." in page
    assert "One seed" not in page
    assert "<svg" not in page


def test_a_miniature_has_a_banner_and_no_findings(tmp_path):
    planned = [StudyPoint(f"noise {at}", {}, curve="noise", at=at) for at in (0.0, 1.0)]
    rows = [(plan.name, "student", 80.0 - 20 * plan.at) for plan in planned]
    pages = []
    for quick in (False, True):
        (tmp_path / "study.json").write_text(json.dumps(record(rows, planned, quick=quick)))
        pages.append(Page(write_study_report(tmp_path).read_text()).text)
    banner = "Miniature: budgets this small are not comparable with any published or expected number."
    assert [banner in page for page in pages] == [False, True]
    assert ["Findings" in page for page in pages] == [True, False]
    assert ["falls by" in page for page in pages] == [True, False]


def test_every_figure_names_its_axes_and_its_lines(tmp_path):
    planned = [StudyPoint(f"noise {at}", {}, ("teacher", "student"), "noise", at) for at in (0.0, 1.0)]
    planned.append(StudyPoint("plain", {}))
    rows = [(plan.name, source, 80.0) for plan in planned for source in plan.sources]
    (tmp_path / "study.json").write_text(json.dumps(record(rows, planned)))
    text = Page(write_study_report(tmp_path).read_text()).text
    for words in ("amount", "accuracy, %", "accuracy out of domain, %", "trained on: teacher", "trained on: student"):
        assert words in text
