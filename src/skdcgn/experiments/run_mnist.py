"""``skdcgn run``: query, distill, compose, classify, evaluate, report, in one folder that any kill leaves usable.

RUN/config.json, pairs/, students/, student/, classifiers/, pictures/, results.json, report.html
"""

from dataclasses import fields, replace
from pathlib import Path

import torch

from skdcgn.base.config import RunConfig
from skdcgn.base.errors import UserError
from skdcgn.base.progress import Watch, log_progress
from skdcgn.cgn.captions import Caption, class_labels
from skdcgn.cgn.mechanism import Teacher
from skdcgn.cgn.pictures import above, as_rgb, draw_cgns, grid, interpolate, save_picture, save_strip
from skdcgn.cgn.policy import parse_policy
from skdcgn.cgn.subset import ALL
from skdcgn.data.appearances import paint
from skdcgn.data.glyphs import load_glyphs
from skdcgn.data.images import LabelledImages
from skdcgn.evaluation.fidelity import mean_diversity
from skdcgn.experiments.stages import Clock, compare_with_teacher, query_and_distill
from skdcgn.experiments.training_sets import CLASSIFIERS, score, test_set, textures, training_sets
from skdcgn.report.mnist import write_mnist_report
from skdcgn.results.records import (
    RESULTS_FILE,
    ClassifierBudget,
    MnistResults,
    OodAccuracy,
    read_results,
    write_results,
)
from skdcgn.students.generator import StudentCGN
from skdcgn.teachers.load import load_teacher
from skdcgn.training.run_folder import RunFolder
from skdcgn.training.train import make_accelerator

SPEED_IMAGES = 512
INTERPOLATED = ("shape", "texture", "background", "all")
FIRST, LAST = 3, 5  # classes between which the report interpolates


def run_mnist(
    config: RunConfig,
    out: Path,
    *,
    data_root: Path | None = None,
    device: str = "auto",
    watch: Watch = log_progress,
) -> MnistResults:
    """Run the whole pipeline in ``out``; return the results, which stand in ``out/results.json`` too."""
    if config.query.classes != ALL:
        raise UserError("--query-classes: run measures on every class of its data: leave it out, or use skdcgn query")
    place = str(make_accelerator(device).device)
    teacher = load_teacher(config.teacher, device=place)
    folder = RunFolder(out, config)
    if (out / RESULTS_FILE).exists():
        write_mnist_report(out)
        return read_results(out, MnistResults)
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
        common = compare_with_teacher(config, folder, teacher, student, queries, speed_images=SPEED_IMAGES)
        glyphs = load_glyphs(config.glyphs, "test", data_root)
        real = mean_diversity(glyphs.images, glyphs.labels, teacher.spec.classes)
        diversity = common.diversity | {"shape": replace(common.diversity["shape"], glyphs=real)}
        draw_pictures(config, teacher, student, test, out / "pictures", data_root)
    budget = {field.name: getattr(config.classify, field.name) for field in fields(ClassifierBudget)}
    results = MnistResults(
        **vars(common)
        | {"diversity": diversity, "seconds": clock.seconds}
        | {"ood_accuracy": OodAccuracy(**scores), "classifier_budget": ClassifierBudget(**budget)},
        test_images=len(test.labels),
    )
    write_results(out, results)
    write_mnist_report(out)
    return results


def draw_pictures(
    config: RunConfig, teacher: Teacher, student: StudentCGN, test: LabelledImages, out: Path, data_root: Path | None
) -> None:
    """Write what the report shows: teacher above student, counterfactuals, interpolations, the data."""
    draw_cgns(teacher, student, out, config.seed)
    ends = Caption((f"class {FIRST}", f"class {LAST}"))
    for what in INTERPOLATED:
        frames = interpolate(student, what, FIRST, LAST, seed=config.seed)
        save_strip(out / f"interpolation_{what}.png", frames, ends)
    glyphs = load_glyphs(config.glyphs, "train", data_root)
    biased = paint(glyphs, config.appearance, correlated=True, seed=config.seed, textures=textures(config))
    classes = teacher.spec.classes
    shown = [grid(as_rgb(some_of_each_class(data, 3, classes)), classes) for data in (biased, test)]
    caption = Caption(class_labels(classes), ("training", "test"))
    save_picture(out / "data.png", above(shown), scale=2, caption=caption)


def some_of_each_class(data: LabelledImages, rows: int, classes: int) -> torch.Tensor:
    """Return the first ``rows`` images of each class, class by class within a row: (rows * classes, 3, H, W)."""
    columns = [data.images[data.labels == c][:rows] for c in range(classes)]
    return torch.stack(columns, dim=1).flatten(0, 1)
