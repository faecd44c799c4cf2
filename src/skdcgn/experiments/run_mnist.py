"""``skdcgn run``: query, distill, compose, classify, evaluate, report, in one folder; a killed run can be resumed.

RUN/config.json, pairs/, students/, student/, classifiers/, comparison.json, pictures/, results.json, report.html
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import torch

from skdcgn.base.config import ClassifyConfig, RunConfig
from skdcgn.base.errors import UserError
from skdcgn.base.progress import Watch, log_progress, logger
from skdcgn.cgn.captions import Caption
from skdcgn.cgn.classes import Classes, match_classes
from skdcgn.cgn.drawings import draw_cgns, draw_two, interpolate
from skdcgn.cgn.mechanism import Teacher
from skdcgn.cgn.pictures import as_rgb, grid, join_vertically, save_picture, save_strip
from skdcgn.cgn.policy import parse_policy
from skdcgn.cgn.subset import ALL
from skdcgn.classifiers.small_cnn import computes_bf16
from skdcgn.data.glyphs import glyph_classes
from skdcgn.data.images import LabelledImages
from skdcgn.evaluation.fidelity import mean_diversity
from skdcgn.experiments.early import COUNT, RUN, is_long
from skdcgn.experiments.stages import Run, Workspace, compare_with_teacher, open_run, query_and_distill
from skdcgn.experiments.training_sets import CLASSIFIERS, OTHER_CLASSES, MnistData, train_and_test, training_sets
from skdcgn.report.mnist import write_mnist_report
from skdcgn.results.records import ClassifierBudget, MnistResults, OodAccuracy, RunResults, read_results, write_results
from skdcgn.students.distill import Preview
from skdcgn.students.generator import StudentCGN
from skdcgn.teachers.load import load_teacher
from skdcgn.training.side_by_side import Job, Processes, run_jobs, share_of_threads, spare_processes
from skdcgn.training.train import make_accelerator
from skdcgn.training.worker import threads

SPEED_IMAGES = 256
FIRST_STEPS = 60  # of each mechanism, before the first picture
LONGEST_FIRST = ("teacher", "student", "oracle", "biased")
INTERPOLATED = ("shape", "texture", "background", "all")
FIRST, LAST = 3, 5  # classes between which the report interpolates


def run_mnist(
    config: RunConfig,
    out: Path,
    *,
    data_root: Path | None = None,
    device: str = "auto",
    speed_images: int = SPEED_IMAGES,
    watch: Watch = log_progress,
    processes: Processes | None = None,
) -> MnistResults:
    """Run all stages in ``out``; return the results, which ``out/results.json`` keeps.

    Args:
        speed_images: number of counterfactuals that each CGN composes in a round of the timing.
        processes: for mechanisms and classifiers side by side; None: new ones, if they save time.

    Raises:
        UserError: the teacher, the data or an intervention is wrong; they are checked before the first query.
    """
    if config.query.classes != ALL:
        raise UserError("--query-classes: run measures on every class of its data: leave it out, or use skdcgn query")
    workspace = Workspace(out, data_root, device, watch)
    teacher = load_teacher(config.teacher, spec=config.spec, device=workspace.torch_device)
    data = MnistData.of(config, data_root)
    run = open_run(config, teacher, workspace, data.reads())
    if run.finished:
        write_mnist_report(out)
        return read_results(out, MnistResults)
    parse_policy(config.classify.policy, run.teacher.spec.classes)
    match_classes(glyph_classes(config.glyphs), Classes.of(config.teacher, run.teacher.spec), OTHER_CLASSES)
    data.load("train")
    with _processes(config, device, processes) as workers:
        results = _results(replace(run, workspace=replace(workspace, processes=workers)), data, speed_images)
    write_results(out, results)
    write_mnist_report(out)
    return results


@contextmanager
def _processes(config: RunConfig, device: str, started: Processes | None) -> Iterator[Processes | None]:
    if started or is_long(config):
        with spare_processes(COUNT, device, RUN, started=started) as processes:
            yield processes
    else:
        yield None


def _results(run: Run[RunConfig], data: MnistData, speed_images: int) -> MnistResults:
    config, test = run.config, data.test_images()
    classifiers = classifier_jobs(run)
    queries, student = query_and_distill(run, first_picture(run), [classifiers["biased"]])
    with run.clock("classify"):
        percents = run_jobs(
            list(classifiers.values()), run.workspace.watch, run.workspace.processes, at_once=torch.get_num_threads()
        )
        accuracy = OodAccuracy(**dict(zip(classifiers, percents, strict=True)))
    with run.clock("evaluate"):
        common = compare_with_glyphs(
            compare_with_teacher(run, student, queries, speed_images=speed_images), data, run.teacher.spec.classes
        )
        draw_pictures(run, student, data, test)
    return MnistResults(
        **vars(common) | {"seconds": run.clock.seconds},
        ood_accuracy=accuracy,
        classifier_budget=classifier_budget(config.classify),
        test_images=len(test.labels),
    )


def first_picture(run: Run[RunConfig]) -> Preview | None:
    """Return the early look that writes ``pictures/first.png`` and says so; None if it is there."""
    file, steps = run.path / "pictures" / "first.png", run.config.distill.steps

    def show(student: StudentCGN) -> None:
        draw_two(
            {"teacher": run.teacher, f"student after {FIRST_STEPS} of {steps} steps": student}, file, run.config.seed
        )
        logger.info(f"first picture: {file}: teacher above student, after {FIRST_STEPS} of {steps} steps")

    return None if file.exists() else Preview(FIRST_STEPS, show)


def classifier_jobs(run: Run[RunConfig]) -> dict[str, Job[float]]:
    """Return a job for each training set, by name: it trains a classifier and returns its accuracy on the test images.

    Those of the teacher and the student, which take longest, come first. A classifier that has been tested is not
    trained again.
    """
    space = run.workspace
    work = partial(_classifier_accuracy, run.config, run.folder.digest, space.folder, space.data_root, space.device)
    return {name: Job(f"classify {name}", partial(work, name)) for name in LONGEST_FIRST}


def _classifier_accuracy(
    config: RunConfig, run: str, folder: Path, data_root: Path | None, device: str, name: str, watch: Watch
) -> float:
    """Train and test the classifier ``name`` of a run, whose digest is ``run``, in its share of the threads."""
    data, seed = MnistData.of(config, data_root), config.seed
    with threads(share_of_threads(len(CLASSIFIERS))):
        cgns = {name: _cgn(name, config, folder, device)} if name in ("teacher", "student") else {}
        sets = training_sets(data, cgns, config.classify, folder / "mask-filters", seed=seed, device=device)
        return train_and_test(
            sets[name],
            data.test_images(),
            config.classify,
            folder / "classifiers" / name,
            origin={"run": run, "data": name},
            seed=seed,
            device=device,
            watch=watch,
        )


def _cgn(name: str, config: RunConfig, folder: Path, device: str) -> Teacher:
    place = str(make_accelerator(device).device)
    if name == "student":
        return StudentCGN.load(folder / "student").to(place)
    return load_teacher(config.teacher, spec=config.spec, device=place)


def compare_with_glyphs(results: RunResults, data: MnistData, classes: int) -> RunResults:
    """Add the diversity of real masks to that of the CGNs' masks."""
    glyphs = data.load("test")
    shape = replace(results.diversity["shape"], glyphs=mean_diversity(glyphs.images, glyphs.labels, classes))
    return replace(results, diversity=results.diversity | {"shape": shape})


def classifier_budget(config: ClassifyConfig) -> ClassifierBudget:
    """Return the settings of the classifiers that the results name."""
    settings = {field.name: getattr(config, field.name) for field in fields(ClassifierBudget)}
    return ClassifierBudget(**settings | {"bf16": config.bf16 and computes_bf16()})


def draw_pictures(run: Run[RunConfig], student: StudentCGN, data: MnistData, test: LabelledImages) -> None:
    """Write the report's pictures: teacher above student, counterfactuals, interpolations, training and test images."""
    out, seed, classes = run.path / "pictures", run.config.seed, run.teacher.spec.classes
    draw_cgns(run.teacher, student, out, seed)
    ends = Caption((f"class {FIRST}", f"class {LAST}"))
    for mechanism in INTERPOLATED:
        frames = interpolate(student, mechanism, FIRST, LAST, seed=seed)
        save_strip(out / f"interpolation_{mechanism}.png", frames, ends)
    biased = data.paint(data.load("train"), correlated=True, seed=seed)
    rows = [grid(as_rgb(examples(images, 3, classes)), classes) for images in (biased, test)]
    caption = Caption(test.classes(data.glyphs).words, ("training", "test"))
    save_picture(out / "data.png", join_vertically(rows), scale=2, caption=caption)


def examples(data: LabelledImages, rows: int, classes: int) -> torch.Tensor:
    """Return the first ``rows`` images of each class, class by class within a row: (rows * classes, 3, H, W)."""
    columns = [data.images[data.labels == label][:rows] for label in range(classes)]
    return torch.stack(columns, dim=1).flatten(0, 1)
