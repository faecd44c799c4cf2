"""``skdcgn run``: query, distill, compose, classify, evaluate, report, in one folder that any kill leaves usable.

RUN/config.json, pairs/, students/, student/, classifiers/, pictures/, results.json, report.html
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from skdcgn.base.config import NaturalConfig, RunConfig, to_dict
from skdcgn.base.errors import UserError
from skdcgn.base.files import read_json, write_json
from skdcgn.base.progress import Watch, unwatched
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Teacher
from skdcgn.cgn.pictures import above, as_rgb, draw_cgns, grid, interpolate, save_picture, save_strip
from skdcgn.cgn.policy import parse_policy
from skdcgn.cgn.subset import ALL
from skdcgn.classifiers.mask_filter import shape_judge
from skdcgn.classifiers.small_cnn import accuracy, classify
from skdcgn.data.appearances import Dataset, paint
from skdcgn.data.folders import as_unit, load_pictures
from skdcgn.data.glyphs import load_glyphs
from skdcgn.evaluation.evaluate import counterfactuals_per_second, fidelity, versions
from skdcgn.metrics.pixels import class_diversity
from skdcgn.pairs.query import query_all
from skdcgn.report.build import write_report
from skdcgn.students.distill import distill
from skdcgn.students.generator import StudentCGN
from skdcgn.teachers.load import load_teacher
from skdcgn.training.train import Record, RunFolder, make_accelerator

CLASSIFIERS = ("biased", "teacher", "student", "oracle")
SPEED_IMAGES = 512
INTERPOLATED = ("shape", "texture", "background", "all")


def run(
    config: RunConfig,
    out: Path,
    *,
    data_root: Path | None = None,
    device: str = "auto",
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Run the whole pipeline in ``out``; return the results, which stand in ``out/results.json`` too."""
    if config.query.classes != ALL:
        raise UserError("--query-classes: run measures on every class of its data: leave it out, or use skdcgn query")
    place = str(make_accelerator(device).device)
    teacher = load_teacher(config.teacher, device=place)
    folder = RunFolder(out, config)
    done = out / "results.json"
    if done.exists():
        write_report(out)
        return dict(read_json(done))
    parse_policy(config.classify.policy, teacher.spec.classes)  # first: a wrong word, or data that cannot be had,
    test = test_set(config, data_root)  # must not cost a query
    clock = Clock(out / "seconds.json")
    queries, student = query_and_distill(teacher, config, out, clock, device, watch)
    sets = training_sets(config, {"teacher": teacher, "student": student}, data_root, out / "judges", device)
    scores = {}
    with clock("classify"):
        for name in CLASSIFIERS:
            origin = {"run": folder.digest, "data": name}
            scores[name] = score(sets[name], test, config, out / "classifiers" / name, origin, device, watch)
    with clock("evaluate"):
        told = costs_and_fidelity(teacher, student, out, SPEED_IMAGES)
        glyphs = load_glyphs(config.glyphs, "test", data_root)
        real = float(class_diversity(glyphs.masks, glyphs.labels, teacher.spec.classes).mean())
        told["diversity"]["shape"]["glyphs"] = real
        draw_pictures(config, teacher, student, test, out / "pictures", data_root)
    budget = to_dict(config.classify)
    results = {
        **identity(config, folder, teacher, queries),
        **told,
        "ood_accuracy": scores,
        "classifier_budget": {
            key: budget[key] for key in ("images", "real", "per_shape", "policy", "agreement", "epochs", "batch_size")
        },
        "test_images": len(test.labels),
        "seconds": clock.seconds,
    }
    write_json(done, results)
    write_report(out)
    return results


class Clock:
    """Seconds spent per stage, kept in a file so that a resumed run adds to them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = read_json(path) if path.exists() else {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - start, 2)
        write_json(self.path, self.seconds)


def query_and_distill(
    teacher: Teacher, config: RunConfig | NaturalConfig, out: Path, clock: Clock, device: str, watch: Watch
) -> tuple[dict[str, int], StudentCGN]:
    """Ask ``teacher``, which knows the wanted classes alone, and distill it on ``device``.

    Returns how many queries were asked of each mechanism, and the student on the teacher's device.
    """
    asked = replace(config.query, classes=ALL)
    with clock("query"):
        queries = query_all(teacher, out / "pairs", asked, seed=config.seed, watch=watch)
    with clock("distill"):
        pairs = out / "pairs"
        student = distill(pairs, out, config.distill, teacher=teacher, seed=config.seed, device=device, watch=watch)
    return queries, student.to(make_accelerator(device).device)


def costs_and_fidelity(teacher: Teacher, student: StudentCGN, out: Path, speed_images: int) -> dict[str, Any]:
    """Return the part of the results that tells how a student compares with its teacher."""
    l1, diversity = fidelity(student, out / "pairs", teacher)
    return {
        "parameters": {"teacher": teacher.size, "student": student.size},
        "counterfactuals_per_second": counterfactuals_per_second(
            {"teacher": teacher, "student": student}, speed_images
        ),
        "pixel_l1": l1,
        "diversity": diversity,
    }


def identity(
    config: RunConfig | NaturalConfig, folder: RunFolder, teacher: Teacher, queries: dict[str, int]
) -> dict[str, Any]:
    """Return the part of the results that tells which run it was."""
    return {
        "preset": config.preset,
        "seed": config.seed,
        "digest": folder.digest,
        "queries": queries,
        "held_out_queries": config.query.held_out,
        "teacher": {"name": config.teacher, "digest": teacher.digest},
        "versions": versions(),
    }


def training_sets(
    config: RunConfig, cgns: dict[str, Teacher], data_root: Path | None, judges: Path, device: str = "auto"
) -> dict[str, Callable[[], Dataset]]:
    """Return how to make each training set, all of ``config.classify.images`` images.

    Of a CGN's, a share ``config.classify.real`` are real images with the shortcut; the rest are counterfactuals.
    ``judges`` gets the run folder of each CGN's judge of shapes, where the configuration asks for one.
    """

    def counterfactuals(name: str, cgn: Teacher) -> Dataset:
        told, accept = config.classify, None
        among = round(told.real * told.images)
        if among == told.images:
            return real(among, correlated=True)
        if told.agreement:
            accept = shape_judge(cgn, told.agreement, judges / name, seed=config.seed, device=device)
        wanted = told.images - among
        made = compose(cgn, wanted, per_shape=told.per_shape, policy=told.policy, accept=accept, seed=config.seed)
        data = Dataset(made.images, made.shape_labels)
        return Dataset(*map(torch.cat, zip(data, real(among, correlated=True), strict=True))) if among else data

    def real(wanted: int, *, correlated: bool) -> Dataset:
        glyphs = load_glyphs(config.glyphs, "train", data_root)
        copies = -(-wanted // len(glyphs.labels))
        painted = paint(
            glyphs, config.appearance, correlated=correlated, seed=config.seed, copies=copies, textures=textures(config)
        )
        return Dataset(painted.images[:wanted], painted.labels[:wanted])

    return {
        "biased": lambda: real(config.classify.images, correlated=True),
        "oracle": lambda: real(config.classify.images, correlated=False),
        **{name: partial(counterfactuals, name, cgn) for name, cgn in cgns.items()},
    }


def test_set(config: RunConfig, data_root: Path | None) -> Dataset:
    """Return the decorrelated test images; their colours are drawn from seed 0 whatever the run's seed."""
    glyphs = load_glyphs(config.glyphs, "test", data_root)
    return paint(
        glyphs, config.appearance, correlated=False, seed=0, copies=config.test_copies, textures=textures(config)
    )


def own_test_set(folder: Path, image_size: int, classes: int) -> Dataset:
    """Return a user's own test pictures; raise UserError if their sub-folders are not the classifier's classes."""
    pictures = load_pictures(folder, image_size)
    if len(pictures.names) != classes:
        raise UserError(f"{folder} has {len(pictures.names)} sub-folders: the classifier knows {classes} classes")
    return Dataset(as_unit(pictures.images), pictures.labels)


def textures(config: RunConfig) -> Path | None:
    return Path(config.textures) if config.textures else None


def score(
    make: Callable[[], Dataset],
    test: Dataset,
    config: RunConfig,
    out: Path,
    origin: dict[str, str],
    device: str,
    watch: Watch,
) -> float:
    """Train a classifier on what ``make`` returns and measure it on ``test``, unless that was done before."""
    result = out / "result.json"
    if result.exists():
        return float(read_json(result)["ood_accuracy"])
    budget = config.classify
    tell = watch(f"classify {out.name}", -(-budget.images // budget.batch_size) * budget.epochs)

    def report(record: Record) -> None:
        tell(record.step)

    classifier = classify(make(), budget, out, seed=config.seed, device=device, origin=origin, callbacks=(report,))
    reached = round(accuracy(classifier, test), 3)
    write_json(result, {"ood_accuracy": reached, "test_images": len(test.labels)})
    return reached


def draw_pictures(
    config: RunConfig, teacher: Teacher, student: StudentCGN, test: Dataset, out: Path, data_root: Path | None
) -> None:
    """Write what the report shows: teacher above student, counterfactuals, interpolations, the data."""
    draw_cgns(teacher, student, out, config.seed)
    for what in INTERPOLATED:
        save_strip(out / f"interpolation_{what}.png", interpolate(student, what, 3, 5, seed=config.seed))
    glyphs = load_glyphs(config.glyphs, "train", data_root)
    biased = paint(glyphs, config.appearance, correlated=True, seed=config.seed, textures=textures(config))
    classes = teacher.spec.classes
    shown = [grid(as_rgb(some_of_each_class(data, 3, classes)), classes) for data in (biased, test)]
    save_picture(out / "data.png", above(shown), scale=2)


def some_of_each_class(data: Dataset, rows: int, classes: int) -> torch.Tensor:
    """Return the first ``rows`` images of each class, class by class within a row: (rows * classes, 3, H, W)."""
    columns = [data.images[data.labels == c][:rows] for c in range(classes)]
    return torch.stack(columns, dim=1).flatten(0, 1)
