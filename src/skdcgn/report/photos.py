"""``report.html`` of a run on a user's own photographs: what its classifiers follow, and what its photo CGN shows."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from skdcgn.base.door import read_object
from skdcgn.base.photo_config import PhotosConfig
from skdcgn.base.presets import PHOTO_RUNS
from skdcgn.evaluation.scores import NOT_MEASURED, PixelL1
from skdcgn.report.figures import seconds_figure
from skdcgn.report.page import write_page
from skdcgn.report.pictures import embedded_picture
from skdcgn.report.tables import changed_settings, settings
from skdcgn.report.words import NO_BREAK, NOTHING, count, decimal, remark
from skdcgn.results.photo_record import SCORE, PhotosResults
from skdcgn.results.records import read_results

MEANING = {
    "real": "real photographs alone",
    "counterfactuals": "+ counterfactuals: whole objects, backgrounds independent",
    "independent": "+ counterfactuals, all three mechanisms independent",
    "ensemble": "the same, with a head for each mechanism",
    "paste": "+ plain copy and paste: whole objects on whole photographs",
    "student": "+ the student's counterfactuals: whole objects, backgrounds independent",
}
COLUMNS = {
    "top-1": "top-1",
    "mixed_same": "mixed-same",
    "mixed_rand": "mixed-rand",
    "BG-gap": "BG-gap",
    "only_bg_t": "only background",
}
"""The measures of the main table, and their headings."""
GREY_LEVEL = 1 / 255
PICTURES = ("layers", "counterfactuals", "independent", "student", "challenge")


class Line(NamedTuple):
    """One classifier: its name, what it was trained on, and its values by measure."""

    name: str
    meaning: str
    values: list[str]


class StudentLine(NamedTuple):
    """One mechanism of the student: its L1 to the photo CGN, that of the class means, their ratio, and a warning."""

    mechanism: str
    student: str
    label_mean: str
    ratio: str
    warning: str


def write_photos_report(run: Path) -> Path:
    """Write ``run/report.html`` from what the run folder holds; return its path."""
    results, config = read_results(run, PhotosResults), read_object(run / "config.json")
    paths = {name: run / "pictures" / f"{name}.png" for name in PICTURES}
    return write_page(
        run,
        "photos.html",
        results=results,
        summary=photos_summary(results),
        headings=list(COLUMNS.values()),
        lines=photo_lines(results, tuple(COLUMNS)),
        measures=all_measures(results),
        every=photo_lines(results, all_measures(results)),
        fidelities=student_lines(results.student.pixel_l1) if results.student else [],
        pictures={name: embedded_picture(path) for name, path in paths.items() if path.is_file()},
        seconds=seconds_figure(results.seconds),
        settings=settings(config, PhotosConfig()),
        changed=changed_settings(results.preset, config, PHOTO_RUNS),
        command=f"skdcgn run {shlex.quote(results.preset)} --seed {results.seed}",
        count=count,
    )


def photo_lines(results: PhotosResults, measures: tuple[str, ...]) -> list[Line]:
    """Return a line per classifier with its own score by each of the measures."""
    return [
        Line(
            name,
            MEANING.get(name, name),
            [scores[one].text(SCORE) if one in scores else NOT_MEASURED for one in measures],
        )
        for name, scores in results.classifiers.items()
    ]


def student_lines(pixel_l1: Mapping[str, PixelL1]) -> list[StudentLine]:
    """Return how near the student comes to the photo CGN, a line per mechanism."""
    return [
        StudentLine(
            name,
            decimal(l1.student),
            decimal(l1.label_mean),
            f"{l1.student / l1.label_mean:.2f}" if l1.label_mean else NOTHING,
            remark(l1, GREY_LEVEL),
        )
        for name, l1 in pixel_l1.items()
    ]


def all_measures(results: PhotosResults) -> tuple[str, ...]:
    """Return the names of all measures."""
    return tuple(next(iter(results.classifiers.values()), {}))


def photos_summary(results: PhotosResults) -> Markup:
    """Say what the run measured: the top-1 accuracy and the BG-gap of real photographs alone, then with the others."""
    values = {line.name: line.values for line in photo_lines(results, ("top-1", "BG-gap"))}
    sentence = Markup(
        "Trained on {} photographs alone, a classifier reaches {} top-1; its BG-gap is {} points."
    ).format(count(results.photographs.train), *_with_units(values["real"]))
    if "counterfactuals" not in values:
        return sentence
    return sentence + Markup(
        " With counterfactuals of the photo CGN in the same budget, it reaches <strong>{}</strong>; its BG-gap is"
        " <strong>{} points</strong>."
    ).format(*_with_units(values["counterfactuals"]))


def _with_units(values: list[str]) -> tuple[str, str]:
    top, gap = values
    return f"{top}{NO_BREAK}%", gap
