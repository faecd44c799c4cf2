"""The report of a synthetic run folder: what it says, what it embeds, and that it needs nothing else."""

# ruff: noqa: RUF001
import base64
import json
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from skdcgn.base.errors import UserError
from skdcgn.base.presets import RUNS
from skdcgn.base.records import to_dict
from skdcgn.cgn.pictures import frames_in, save_strip
from skdcgn.evaluation.scores import PixelL1
from skdcgn.report.mnist import write_mnist_report
from skdcgn.report.pictures import PICTURES, embedded_picture
from skdcgn.report.tables import changed_settings
from skdcgn.report.words import (
    compared_with,
    count,
    duration,
    percent,
    remark,
    size_phrase,
    speed_phrase,
    summary,
    times,
    verdict,
)
from skdcgn.results.records import MnistResults, OodAccuracy, Sizes, Speeds, read_results

PRESET = "double-colored-digits"
RESULTS: dict[str, Any] = {
    "preset": PRESET,
    "seed": 7,
    "digest": "ab12cd34ef56",
    "ood_accuracy": {"biased": 10.2, "teacher": 81.0, "student": 80.5, "oracle": 84.6},
    "parameters": {"teacher": 659992, "student": 41000},
    "counterfactuals_per_second": {"teacher": 700.0, "student": 5200.0},
    "queries": {"shape": 6000, "texture": 3001, "background": 3002},
    "held_out_queries": 501,
    "pixel_l1": {
        "shape": {"student": 0.0314, "label_mean": 0.0823},
        "texture": {"student": 0.0222, "label_mean": 0.0361},
        "background": {"student": 0.0153, "label_mean": 0.0149},
    },
    "diversity": {
        "shape": {"teacher": 0.123, "student": 0.117},
        "texture": {"teacher": 0.0621, "student": 0.0513},
        "background": {"teacher": 0.0311, "student": None},
    },
    "teacher": {"name": "double-colored-digits", "digest": "9f2c" * 16},
    "classifier_budget": {"images": 20000, "per_shape": 10, "epochs": 2, "batch_size": 16},
    "test_images": 5000,
    "seconds": {"query": 20.1, "distill": 90.3, "classify": 80.0, "evaluate": 9.1},
    "versions": {"skdcgn": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
}
MAIN_TABLE = ("659,992", "41,000", "16×", "700", "5,200", "7.4×", "10.2", "81.0", "80.5", "84.6")
FIDELITY_TABLE = (
    *("6,000", "0.0314", "0.0823", "0.38", "0.123", "0.117"),
    *("3,001", "0.0222", "0.0361", "0.61", "0.0621", "0.0513"),
    *("3,002", "0.0153", "0.0149", "1.03", "0.0311", "–"),
)
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """A parsed page: its elements, its text, and whether its tags nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & {*self.open}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def values(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(attribute))]


def log(path: Path, lines: list[dict[str, float]]) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def change(run: Path, **changes: Any) -> None:
    """Lay ``changes`` over results.json."""
    (run / "results.json").write_text(json.dumps(RESULTS | changes))


def page(run: Path) -> Page:
    return Page(write_mnist_report(run).read_text(encoding="utf-8"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def write_run(folder: Path) -> Path:
    """A run folder with everything in it; its strips go from black to red."""
    (folder / "pictures").mkdir(parents=True)
    for place, name in enumerate(PICTURES):
        path = folder / "pictures" / f"{name}.png"
        if name.startswith("interpolation"):
            save_strip(path, 2 * strip_of_reds(12, 8 + place) - 1)
        else:
            Image.new("RGB", (20 + place, 10), (place, 0, 0)).save(path)
    for mechanism in ("shape", "texture", "background"):
        lines = [{"step": 50 * i, "pixel": 1 / i, "feature": 2 / i} for i in range(1, 5)]
        log(folder / "students" / mechanism / "metrics.jsonl", lines)
    for name in ("biased", "teacher", "student", "oracle"):
        lines = [{"step": 50 * i, "loss": 1 / i, "accuracy": 20.0 * i} for i in range(1, 5)]
        log(folder / "classifiers" / name / "metrics.jsonl", lines)
    config = {"digest": "ab12cd34ef56", **to_dict(RUNS[PRESET]), "seed": 7}
    (folder / "config.json").write_text(json.dumps(config))
    change(folder)
    return folder


def strip_of_reds(frames: int, side: int) -> torch.Tensor:
    """Frames (F, 3, side, side) in [0, 1], frame n of the red n / 255."""
    red = torch.arange(frames)[:, None, None, None] / 255 * torch.tensor([1.0, 0, 0])[:, None, None]
    return red.expand(-1, -1, side, side)


def test_the_tables_hold_every_number(run: Path) -> None:
    text = page(run).text
    for number in (*MAIN_TABLE, *FIDELITY_TABLE, "501", "20,000", "5,000"):
        assert number in text, number


def test_nothing_is_loaded_from_elsewhere(run: Path) -> None:
    html = write_mnist_report(run).read_text(encoding="utf-8")
    parsed = Page(html)
    assert "://" not in html
    assert "@import" not in html
    assert not {tag for tag, _ in parsed.elements} & {"link", "iframe", "object", "embed", "base"}
    assert parsed.all("script") == [{}]  # one, written into the page
    assert all(value.startswith("data:image/png;base64,") for value in parsed.values("src"))
    assert all(value.startswith("#") for value in parsed.values("href"))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_ids_are_unique_and_every_reference_has_one(run: Path) -> None:
    html = write_mnist_report(run).read_text(encoding="utf-8")
    parsed = Page(html)
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    referred = [*parsed.values("aria-labelledby"), *(value[1:] for value in parsed.values("href"))]
    assert {*referred, *re.findall(r"url\(#([^)]*)\)", html)} <= set(ids)


def test_every_picture_is_embedded_exactly(run: Path) -> None:
    images = page(run).all("img")
    embedded = {base64.b64decode((image["src"] or "").split(",")[1]) for image in images}
    assert embedded == {path.read_bytes() for path in (run / "pictures").iterdir()}
    for image in images:
        size = Image.open(BytesIO(base64.b64decode((image["src"] or "").split(",")[1]))).size
        assert (int(image["width"] or 0), int(image["height"] or 0)) == size


def test_everything_seen_is_described(run: Path) -> None:
    parsed = page(run)
    assert all(image["alt"] for image in parsed.all("img"))
    labels = [drawing["aria-label"] or "" for drawing in parsed.all("svg")]
    assert len(labels) == 1 + 3 + 4 + 1  # accuracy, distillation, classifiers, seconds
    assert "student 80.5" in labels[0]
    assert "pixel from 1.000 to 0.250, feature from 2.000 to 0.500" in labels[1]


def test_colours_come_from_the_page(run: Path) -> None:
    html = write_mnist_report(run).read_text(encoding="utf-8")
    drawings = "".join(re.findall(r"(?s)<svg.*?</svg>", html))
    assert not re.search(r"#[0-9a-f]{6}\b", drawings)
    assert set(re.findall(r"var\((--[a-z0-9-]+)\)", html)) <= {*re.findall(r"(--[a-z0-9-]+):", html)}
    assert "prefers-color-scheme: dark" in html


def test_the_same_folder_gives_the_same_bytes(run: Path) -> None:
    first = write_mnist_report(run).read_bytes()
    assert write_mnist_report(run).read_bytes() == first


def test_the_users_matplotlib_settings_change_nothing(run: Path) -> None:
    import matplotlib

    first = write_mnist_report(run).read_bytes()
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red"}):
        assert write_mnist_report(run).read_bytes() == first
        assert matplotlib.rcParams["font.size"] == 30


def test_strips_tell_their_frames(run: Path) -> None:
    assert page(run).values("data-frames") == ["12"] * 4
    Image.new("RGB", (21, 10)).save(run / "pictures" / "interpolation_shape.png")
    assert page(run).values("data-frames") == ["12"] * 3


@pytest.mark.parametrize(("frames", "side"), [(2, 1), (12, 28), (12, 64), (300, 2)])
def test_a_strip_is_counted_as_it_was_written(tmp_path: Path, frames: int, side: int) -> None:
    save_strip(tmp_path / "strip.png", torch.zeros(frames, 3, side, side))
    written = embedded_picture(tmp_path / "strip.png")
    assert frames_in(written.width, written.height) == frames


def test_one_frame_or_a_part_of_one_is_no_strip() -> None:
    assert [frames_in(*size) for size in ((10, 10), (20, 10), (5, 10))] == [None] * 3


def test_figures_carry_the_values_that_they_draw(run: Path) -> None:
    accuracy, shape, *_ = page(run).all("svg")
    bars, curves = (json.loads(drawing["data-marks"] or "") for drawing in (accuracy, shape))
    assert [(name, points[0][2], points[0][3]) for _, name, points in bars] == [
        ("biased", "10.2\u00a0%", "74.4 points below the oracle"),
        ("teacher", "81.0\u00a0%", "3.6 points below the oracle"),
        ("student", "80.5\u00a0%", "4.1 points below the oracle"),
        ("oracle", "84.6\u00a0%", ""),
    ]
    assert [(color, name) for color, name, _ in curves] == [("--line-1", "pixel"), ("--line-2", "feature")]
    assert [point[2:] for point in curves[0][2]] == [
        ["1.000", "step 50"],
        ["0.500", "step 100"],
        ["0.333", "step 150"],
        ["0.250", "step 200"],
    ]


def test_marks_stand_on_the_drawn_line(run: Path) -> None:
    drawing = page(run).all("svg")[1]
    (_, _, points), _ = json.loads(drawing["data-marks"] or "")
    line = next(path for path in page(run).all("path") if "stroke: var(--line-1)" in (path.get("style") or ""))
    numbers = [float(word) for word in (line["d"] or "").split() if word not in ("M", "L")]
    assert numbers == pytest.approx([at for x, y, *_ in points for at in (x, y)], abs=0.06)


def test_a_loss_that_is_no_number_has_no_mark(run: Path) -> None:
    (run / "students" / "shape" / "metrics.jsonl").write_text(
        '{"step": 50, "pixel": 1.0}\n{"step": 100, "pixel": NaN}\n{"step": 150, "pixel": 0.5}\n'
    )
    marks = page(run).all("svg")[1]["data-marks"] or ""
    assert "step 100" not in marks
    assert "step 150" in marks


@pytest.mark.parametrize("missing", PICTURES)
def test_a_missing_picture_is_left_out(run: Path, missing: str) -> None:
    (run / "pictures" / f"{missing}.png").unlink()
    assert len(page(run).all("img")) == len(PICTURES) - 1


def test_only_the_numbers_are_needed(run: Path) -> None:
    for path in [*run.rglob("*.png"), *run.rglob("metrics.jsonl")]:
        path.unlink()
    change(run, seconds={}, pixel_l1={})
    parsed = page(run)
    assert parsed.all("img") == []
    assert len(parsed.all("svg")) == 1
    assert "80.5" in parsed.text


def test_a_log_of_one_line_is_drawn(run: Path) -> None:
    (run / "students" / "shape" / "metrics.jsonl").write_text('{"step": 50, "pixel": 0.0}\n')
    assert len(page(run).all("svg")) == 9


@pytest.mark.parametrize("first", [-0.5, 0.001])
def test_losses_of_any_sign_and_size_are_drawn(run: Path, first: float) -> None:
    lines = [{"step": 50, "adversarial": first}, {"step": 100, "adversarial": 1.0}]
    (run / "students" / "shape" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert len(page(run).all("svg")) == 9


def test_an_unfinished_run_names_the_mend(run: Path) -> None:
    (run / "results.json").unlink()
    with pytest.raises(UserError, match=r"results\.json does not exist: .*finish the run by repeating its command"):
        write_mnist_report(run)
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ood_accuracy": {"biased": 10.0}}, "ood_accuracy.teacher is missing"),
        ({"parameters": {"teacher": 5, "student": 0}}, "parameters.student: .*greater than 0"),
        ({"seed": None}, "seed: .*integer"),
    ],
)
def test_damaged_results_are_named_in_one_line(run: Path, changes: dict[str, Any], message: str) -> None:
    change(run, **changes)
    with pytest.raises(UserError, match=f"{message}.*: delete the file and repeat the run") as error:
        write_mnist_report(run)
    assert "\n" not in str(error.value)


def test_a_picture_that_is_none_is_named(run: Path) -> None:
    picture = run / "pictures" / "shape.png"
    whole = picture.read_bytes()
    for data, words in ((b"GIF89a", "is not a picture"), (whole[:-60], "is not a picture"), (gif(), "is not a PNG")):
        picture.write_bytes(data)
        with pytest.raises(UserError, match=rf"shape\.png {words}"):
            write_mnist_report(run)


def gif() -> bytes:
    file = BytesIO()
    Image.new("P", (4, 4)).save(file, "GIF")
    return file.getvalue()


def test_a_teacher_of_unknown_size_has_no_ratio(run: Path) -> None:
    change(run, parameters={"teacher": None, "student": 41000})
    text = page(run).text
    assert "The student has 41,000 parameters (its teacher's size is unknown) and draws 7.4× as fast." in text
    assert "unknown" in text.split("Trained on")[1]
    assert "16×" not in text


def test_names_are_text_not_markup(run: Path) -> None:
    change(run, preset="<b>", teacher={"name": "<i>&", "digest": '"><u>'}, versions={"<s>": "<script>"})
    html = write_mnist_report(run).read_text(encoding="utf-8")
    parsed = Page(html)
    assert not {"b", "i", "u", "s"} & {tag for tag, _ in parsed.elements}
    assert len(parsed.all("script")) == 1
    assert "skdcgn run '<b>' --seed 7" in parsed.text
    assert "<i>&" in parsed.text


def test_warnings_stand_where_the_error_is_large(run: Path) -> None:
    text = page(run).text
    assert "shape 6,000" in text
    assert "texturecoarse" in text
    assert "backgrounddraws little more than class averages" in text


def test_the_summary_is_made_from_the_numbers(run: Path) -> None:
    assert summary(read_results(run, MnistResults)).striptags().replace("\u00a0", " ") == (
        "The student is 16× smaller than its teacher and draws 7.4× as fast."
        " A classifier trained on its counterfactuals reaches 80.5 % accuracy out of domain;"
        " trained on its teacher's, 81.0 %; on biased data, 10.2 %; the oracle, 84.6 %."
    )


def test_a_smaller_but_slower_student_is_not_praised(run: Path) -> None:
    change(run, counterfactuals_per_second={"teacher": 1000, "student": 430})
    assert summary(read_results(run, MnistResults)).startswith(
        "The student is 16× smaller than its teacher but draws only 0.43× as fast."
    )


@pytest.mark.parametrize(
    ("teacher", "student", "phrase"),
    [
        (1600, 100, ("is 16× smaller than its teacher", True)),
        (740, 100, ("is 7.4× smaller than its teacher", True)),
        (100, 101, ("is about as large as its teacher", True)),
        (100, 150, ("is 1.5× larger than its teacher", False)),
        (None, 1500, ("has 1,500 parameters (its teacher's size is unknown)", True)),
    ],
)
def test_sizes_in_words(teacher: int | None, student: int, phrase: tuple[str, bool]) -> None:
    assert size_phrase(Sizes(teacher, student)) == phrase


@pytest.mark.parametrize(
    ("student", "phrase"),
    [
        (250, ("draws 2.5× as fast", True)),
        (101, ("draws about as fast", True)),
        (50, ("draws only 0.5× as fast", False)),
    ],
)
def test_speeds_in_words(student: float, phrase: tuple[str, bool]) -> None:
    assert speed_phrase(Speeds(100, student)) == phrase


@pytest.mark.parametrize(
    ("biased", "teacher", "student", "phrase"),
    [
        (10.2, 81.0, 80.5, "Of the 70.8 points that its teacher gains over biased data, the student keeps 70.3."),
        (10.0, 80.0, 80.0, "The student gains 70.0 points over biased data, as much as its teacher."),
        (10.0, 80.0, 81.5, "The student gains 71.5 points over biased data, 1.5 points more than its teacher."),
        (45.0, 44.0, 50.0, "The student gains 5.0 points over biased data, although its teacher gains nothing."),
        (45.0, 44.0, 30.0, "do not improve on biased data here; nor do its teacher's."),
        (45.0, 60.0, 45.0, "do not improve on biased data here; its teacher's gain 15.0 points."),
    ],
)
def test_the_verdict_is_honest(biased: float, teacher: float, student: float, phrase: str) -> None:
    assert verdict(OodAccuracy(biased, teacher, student, 90.0)).endswith(phrase)


@pytest.mark.parametrize(
    ("student", "label_mean", "word"),
    [
        (0.10, 0.2, ""),
        (0.11, 0.2, "coarse"),
        (0.20, 0.2, "draws little more than class averages"),
        (0.008, 0.0079, "draws little more than class averages"),
        (0.008, 0.0077, "the teacher varies by less than a grey level"),
        (0.0, 0.0, "the teacher varies by less than a grey level"),
    ],
)
def test_remarks(student: float, label_mean: float, word: str) -> None:
    assert remark(PixelL1(student, label_mean), 2 / 255) == word


def test_numbers_as_they_are_printed() -> None:
    assert " ".join(map(times, (0.043, 0.96, 1.0, 9.94, 9.96, 1234.0))) == "0.043× 1.0× 1.0× 9.9× 10× 1,234×"
    assert " ".join(map(duration, (0, 9.14, 59.7, 90.3, 3725))) == "0.0 s 9.1 s 1 min 00 s 1 min 30 s 1 h 02 min"
    assert [count(x) for x in (3, 4.56, 659992)] == ["3", "4.56", "659,992"]
    assert percent(80.49) == "80.5\u00a0%"
    assert compared_with(80.46, 84.6, "it") == "4.1 points below it"
    assert compared_with(84.64, 84.6, "it") == "equal to it"


def test_the_command_tells_what_was_changed(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert changed_settings(PRESET, config, RUNS) == []
    config["distill"]["steps"], config["test_copies"] = 40, 1
    (run / "config.json").write_text(json.dumps(config))
    text = page(run).text
    assert f"skdcgn run {PRESET} --seed 7" in text
    assert "With these settings changed: test_copies = 1, distill.steps = 40." in text
    assert changed_settings("custom", config, RUNS) == []


def test_the_composition_policy_is_reported_where_there_is_one(run):
    assert "Each is changed by" not in page(run).text
    budget = {**RESULTS["classifier_budget"], "policy": ["shape.elastic:1", "shape.sharpen:4"], "agreement": 0.1}
    change(run, classifier_budget=budget)
    text = page(run).text
    assert "share a mask. Each is changed by shape.elastic:1, shape.sharpen:4." in text
    assert "drawn again if the mask filter gives its class a probability below 0.1. All are tested" in text


def test_the_share_of_real_images_is_reported_where_there_is_one(run):
    assert "biased ones" not in page(run).text
    change(run, classifier_budget={**RESULTS["classifier_budget"], "real": 0.25})
    assert "Of the teacher's and the student's images, 25 % are real, biased ones." in page(run).text
