"""Studies: the points differ in one thing, and several seeds give mean and deviation.

A point is a preset with changes (:mod:`skdcgn.experiments.studies` lists them by study). Its stages (teacher, pairs,
student, classifier) have folders that are named by the digest of their configuration, so points and studies share
stages, and a killed study can be resumed. Processes and machines that see one folder share the work: each takes jobs
that no other process works on.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from skdcgn.base.bounds import Measure
from skdcgn.base.config import RunConfig, TeachConfig
from skdcgn.base.contents import digests
from skdcgn.base.door import read_record
from skdcgn.base.errors import TrainingStoppedError, UserError
from skdcgn.base.files import exclusive, write_bytes, write_json
from skdcgn.base.records import digest, to_dict
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.deploy.bench import rates
from skdcgn.evaluation.fidelity import fidelity
from skdcgn.evaluation.measure import frechet
from skdcgn.evaluation.scores import PixelL1
from skdcgn.experiments.stages import Workspace
from skdcgn.experiments.studies import Study
from skdcgn.experiments.training_sets import CLASSIFIERS, MnistData, train_and_test, training_sets
from skdcgn.features.extractors import load_extractor
from skdcgn.results.statistics import mean_and_deviation
from skdcgn.results.study_record import (
    PixelL1Summary,
    PointConfig,
    PointScore,
    PointSummary,
    StudyPoint,
    StudyRecord,
    lay_points,
)
from skdcgn.results.versions import versions
from skdcgn.students.asking import ask
from skdcgn.students.distill import distill, distill_reads
from skdcgn.students.generator import StudentCGN, student_size
from skdcgn.teachers.load import load_teacher
from skdcgn.teachers.teach import teach
from skdcgn.teachers.teaching_data import teaching_reads
from skdcgn.training.loop import report_to

COMPARED = 5000  # counterfactuals of teacher and student, as published, for the Frechet distance between them
ScorePoint = Callable[[PointConfig, str, int, Workspace], PointScore]  # point, source, seed, workspace


def measure_points(
    points: Sequence[PointConfig],
    workspace: Workspace,
    seeds: Sequence[int],
    *,
    results: Path,
    compared: int = COMPARED,
    score: ScorePoint | None = None,
) -> Iterator[PointScore]:
    """Yield the score of each point, source and seed; keep them in the file ``results``, a JSON line each, in order.

    A training that is stopped gives a score that says so, and the others go on. Scores that another process works on
    come last. The workspace gets the stages teacher-*, pairs-*, student-*, mask-filter-* and classifier-*, each an
    ordinary run folder.

    Args:
        seeds: of queries, initial weights, batches and labels alike.
        compared: how many counterfactuals of a student and of its teacher the Frechet distance compares.
        score: does one job; None: :func:`score_point`.

    Raises:
        UserError: a source that is none of biased, teacher, student, oracle.
    """
    _check_sources(points)
    score = score or partial(score_point, compared=compared)
    # seeds in the outer loop, so that a study that is stopped early still compares all points
    jobs = [(point, source, seed) for seed in seeds for point in points for source in point.sources]
    scores: dict[int, PointScore] = {}
    for wait in (False, True):  # first the jobs that no process works on, then those of others, which end or die
        for number, (point, source, seed) in enumerate(jobs):
            if number in scores:
                continue
            job = digest([to_dict(replace(point.config, seed=seed)), source, to_dict(point.teach)])
            with exclusive(workspace.folder / f".{job}.lock", wait=wait) as locked:
                if not locked:
                    continue
                try:
                    scores[number] = score(point, source, seed, workspace)
                except TrainingStoppedError as error:  # a collapse of a point's students is a result
                    scores[number] = PointScore(point.name, source, seed, None, None, {}, stopped=str(error))
            lines = [json.dumps(to_dict(scores[done])) + "\n" for done in sorted(scores)]
            write_bytes(results, "".join(lines).encode())
            yield scores[number]


def _check_sources(points: Sequence[PointConfig]) -> None:
    for point in points:
        for source in point.sources:
            if source not in CLASSIFIERS:
                raise UserError(f"{point.name}: unknown source {source!r}: use one of {', '.join(CLASSIFIERS)}")


def score_point(
    point: PointConfig, source: str, seed: int, workspace: Workspace, compared: int = COMPARED
) -> PointScore:
    """Train the classifier of one point, source and seed, and whatever it needs; return its score."""
    config = replace(point.config, seed=seed)
    if point.teach:
        config = replace(config, teacher=str(_taught_teacher(replace(point.teach, seed=seed), workspace)))
    cgn: Teacher | None = None
    comparison = TeacherComparison({}, None)
    if source == "student":
        cgn, comparison = _student(load_teacher(config.teacher, spec=config.spec), config, workspace, compared)
    elif source == "teacher":
        cgn = load_teacher(config.teacher, spec=config.spec)
    accuracy = _accuracy(source, cgn, config, workspace)
    size = cgn.size if cgn else None
    return PointScore(point.name, source, seed, accuracy, size, comparison.pixel_l1, comparison.frechet_distance)


def _taught_teacher(config: TeachConfig, workspace: Workspace) -> Path:
    reads = digests(teaching_reads(config, workspace.data_root))
    folder = workspace.folder / f"teacher-{digest([config, reads])}"
    file = folder / "teacher.safetensors"
    if not file.exists():
        report = report_to(workspace.watch, f"teach {folder.name}")
        teach(config, folder, data_root=workspace.data_root, device=workspace.device, callbacks=(report,))
    return file


@dataclass(frozen=True)
class TeacherComparison:
    """How near a student's pictures are to its teacher's, or why its training was stopped."""

    pixel_l1: dict[str, PixelL1]
    frechet_distance: Measure | None
    stopped: str = ""


def pairs_folder(teacher: Teacher, config: RunConfig, workspace: Workspace) -> Path:
    """Return the folder of a point's pairs, which all students of the same queries share."""
    return workspace.folder / f"pairs-{digest(_query(teacher, config))}"


def _query(teacher: Teacher, config: RunConfig) -> list[Any]:
    return [teacher.digest, to_dict(config.query), config.seed]


def _student(
    teacher: Teacher, config: RunConfig, workspace: Workspace, compared: int
) -> tuple[StudentCGN, TeacherComparison]:
    """Distill a student, unless that was done before; return it with its comparison."""
    pairs, reads = pairs_folder(teacher, config, workspace), digests(distill_reads(config.distill))
    folder = workspace.folder / f"student-{digest([_query(teacher, config), config.distill, reads])}"
    result = folder / f"teacher-comparison-{compared}.json"
    if not result.exists():
        ask(teacher, pairs, config.query, seed=config.seed, watch=workspace.watch)
        try:
            student = distill(
                pairs,
                folder,
                config.distill,
                teacher=teacher,
                seed=config.seed,
                device=workspace.device,
                watch=workspace.watch,
            )
        except TrainingStoppedError as error:  # kept, so that the next point that shares this student stops at once
            comparison = TeacherComparison({}, None, str(error))
        else:
            images = (compose(cgn, compared, seed=config.seed).images for cgn in (teacher, student))
            distance = frechet(load_extractor(), *images).value
            comparison = TeacherComparison(fidelity(student, pairs, teacher, watch=workspace.watch)[0], distance)
        write_json(result, to_dict(comparison))
    comparison = read_record(result, TeacherComparison)
    if comparison.stopped:
        raise TrainingStoppedError(comparison.stopped)
    return StudentCGN.load(folder / "student"), comparison


def _accuracy(source: str, cgn: Teacher | None, config: RunConfig, workspace: Workspace) -> float:
    """Return the out-of-domain accuracy of a classifier on ``source``, whose CGN is ``cgn`` if it has one."""
    origin = {"data": source, "cgn": cgn.digest if cgn else ""}
    data = MnistData.of(config, workspace.data_root)
    images = [config.glyphs, config.appearance, config.textures, config.test_copies, digests(data.reads())]
    folder = workspace.folder / f"classifier-{digest([origin, images, config.classify, config.seed])}"
    filters = workspace.folder / f"mask-filter-{digest([origin, config.seed])}"
    cgns = {source: cgn} if cgn else {}
    sets = training_sets(data, cgns, config.classify, filters, seed=config.seed, device=workspace.device)
    return train_and_test(
        sets[source],
        data.test_images(),
        config.classify,
        folder,
        origin=origin,
        seed=config.seed,
        device=workspace.device,
        watch=workspace.watch,
    )


def summarize(scores: Sequence[PointScore]) -> tuple[PointSummary, ...]:
    """Return mean and deviation over the seeds that came to an end, for each point and source in their order."""
    groups: dict[tuple[str, str], list[PointScore]] = {}
    for one in scores:
        if one.ood_accuracy is not None:
            groups.setdefault((one.point, one.source), []).append(one)
    return tuple(_summary(group) for group in groups.values())


def _summary(group: Sequence[PointScore]) -> PointSummary:
    first, distances = group[0], _numbers(one.frechet_distance for one in group)
    l1 = {
        mechanism: PixelL1Summary(
            mean_and_deviation([one.pixel_l1[mechanism].student for one in group]),
            mean_and_deviation([one.pixel_l1[mechanism].label_mean for one in group]),
        )
        for mechanism in first.pixel_l1
    }
    return PointSummary(
        first.point,
        first.source,
        tuple(one.seed for one in group),
        first.parameters,
        mean_and_deviation(_numbers(one.ood_accuracy for one in group)),
        l1,
        mean_and_deviation(distances) if distances else None,
    )


def _numbers(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def study_record(
    study: Study,
    base: RunConfig,
    teaching: TeachConfig,
    points: Sequence[StudyPoint],
    scores: Sequence[PointScore],
    *,
    command: str,
    quick: bool = False,
) -> StudyRecord:
    """Return all results of a study, in the order of its points.

    Paths lose their folders, which are of one machine. Where the study asks for it, the teacher and the student of
    each point are timed, in turn.
    """
    places = [(point.name, source) for point in points for source in point.sources]
    ordered = sorted(scores, key=lambda one: (one.seed, places.index((one.point, one.source))))
    return StudyRecord(
        command=command,
        study=study.name,
        preset=base.preset,
        question=study.question,
        axis=study.axis,
        quick=quick,
        base=replace(base, teacher=Path(base.teacher).name, textures=base.textures and Path(base.textures).name),
        teaching=replace(teaching, textures=teaching.textures and Path(teaching.textures).name),
        points=tuple(points),
        summary=summarize(ordered),
        scores=tuple(ordered),
        counterfactuals_per_second=student_speeds(base, points) if study.timed else None,
        versions=versions(),
    )


def student_speeds(base: RunConfig, points: Sequence[StudyPoint]) -> dict[str, dict[str, float]]:
    """Return the counterfactuals per second of the teacher and of each point's untrained student, by form."""
    teacher = load_teacher(base.teacher, spec=base.spec)
    configs = {point.name: point.config.distill for point in lay_points(base, points)}
    sizes = {name: {m.value: student_size(config, m) for m in Mechanism} for name, config in configs.items()}
    students = {name: StudentCGN(teacher.spec.to_dict(), size) for name, size in sizes.items()}
    return rates({"teacher": teacher, **students})
