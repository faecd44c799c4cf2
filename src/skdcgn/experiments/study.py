"""Studies: one thing is changed from point to point, everything else stays; seeds give mean and deviation.

A point is a preset with changes laid over it (:mod:`skdcgn.experiments.studies` has those of the studies by name). Its
stages (teacher, pairs, student, classifier) live in folders named by the digest of what they depend on, so that points,
and studies, share what they have in common, and a killed study goes on where it stopped. Processes and machines that
see one folder share the work: each takes what nobody else is at.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from skdcgn.base.config import RunConfig, TeachConfig
from skdcgn.base.errors import TrainingStoppedError, UserError
from skdcgn.base.files import alone, read_json, write_bytes, write_json
from skdcgn.base.progress import Watch, log_progress
from skdcgn.base.records import digest, to_dict
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.deploy.bench import rates
from skdcgn.evaluation.fidelity import fidelity
from skdcgn.evaluation.measure import frechet
from skdcgn.evaluation.scores import PixelL1
from skdcgn.experiments.studies import Study
from skdcgn.experiments.training_sets import CLASSIFIERS, score, test_set, training_sets
from skdcgn.features.extractors import load_extractor
from skdcgn.pairs.query import query_all
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
from skdcgn.students.distill import distill
from skdcgn.students.generator import StudentCGN, student_size
from skdcgn.teachers.load import load_teacher
from skdcgn.teachers.teach import teach
from skdcgn.training.loop import report_to

COMPARED = 5000  # counterfactuals of teacher and student, as published, for the Frechet distance between them


def measure_points(
    points: Sequence[PointConfig],
    out: Path,
    seeds: Sequence[int],
    *,
    results: Path,
    compared: int = COMPARED,
    data_root: Path | None = None,
    device: str = "auto",
    watch: Watch = log_progress,
) -> Iterator[PointScore]:
    """Yield the score of each point, source and seed, and keep them in the file ``results``, a line each, in order.

    A training that is stopped gives a score that says so, and the others go on. What another process is at comes last.

    Stages go to ``out``: teacher-*, pairs-*, student-*, judge-*, classifier-*, each an ordinary run folder. Seeds are
    of everything: queries, initial weights, batches, labels.

    Args:
        compared: how many counterfactuals of a student and of its teacher the Frechet distance compares.

    Raises:
        UserError: a source that is none of biased, teacher, student, oracle.
    """
    for point in points:
        for source in point.sources:
            if source not in CLASSIFIERS:
                raise UserError(f"{point.name}: unknown source {source!r}: use one of {', '.join(CLASSIFIERS)}")
    # one seed of everything first: a study that was cut short still compares all points
    jobs = [(point, source, seed) for seed in seeds for point in points for source in point.sources]
    scores: dict[int, PointScore] = {}
    for wait in (False, True):  # first what nobody is at, then what others were: they have done it, or died
        for number, (point, source, seed) in enumerate(jobs):
            if number in scores:
                continue
            config = replace(point.config, seed=seed)
            asked = digest([to_dict(config), source, to_dict(point.teach)])
            with alone(out / f".{asked}.lock", wait=wait) as mine:
                if not mine:
                    continue
                try:
                    scores[number] = _score(point, source, config, out, compared, data_root, device, watch)
                except TrainingStoppedError as error:  # that a point's students collapse is a finding
                    scores[number] = PointScore(point.name, source, seed, None, None, {}, stopped=str(error))
            lines = [json.dumps(to_dict(scores[known])) + "\n" for known in sorted(scores)]
            write_bytes(results, "".join(lines).encode())
            yield scores[number]


def _score(
    point: PointConfig,
    source: str,
    config: RunConfig,
    out: Path,
    compared: int,
    data_root: Path | None,
    device: str,
    watch: Watch,
) -> PointScore:
    cgn: Teacher | None = None
    if point.teach:
        config = replace(
            config, teacher=_teacher(replace(point.teach, seed=config.seed), out, data_root, device, watch)
        )
    l1: dict[str, PixelL1] = {}
    apart: float | None = None
    if source == "student":
        cgn, l1, apart = _student(load_teacher(config.teacher), config, out, compared, device, watch)
    elif source == "teacher":
        cgn = load_teacher(config.teacher)
    origin = {"data": source, "cgn": cgn.digest if cgn else ""}
    data = [config.glyphs, config.appearance, config.textures, config.test_copies]
    folder = out / f"classifier-{digest([origin, data, to_dict(config.classify), config.seed])}"
    judges = out / f"judge-{digest([origin, config.seed])}"
    make = training_sets(config, {source: cgn} if cgn else {}, data_root, judges, device)[source]
    reached = score(make, test_set(config, data_root), config, folder, origin, device, watch)
    return PointScore(point.name, source, config.seed, reached, cgn.size if cgn else None, l1, apart)


def _teacher(config: TeachConfig, out: Path, data_root: Path | None, device: str, watch: Watch) -> str:
    folder = out / f"teacher-{digest(config)}"
    file = folder / "teacher.safetensors"
    if not file.exists():
        report = report_to(watch, f"teach {folder.name}")
        teach(config, folder, data_root=data_root, device=device, callbacks=(report,))
    return str(file)


def _student(
    teacher: Teacher, config: RunConfig, out: Path, compared: int, device: str, watch: Watch
) -> tuple[StudentCGN, dict[str, PixelL1], float]:
    """Return a student, its L1 of held-out pairs, and how far its counterfactuals lie from its teacher's."""
    asked = [teacher.digest, to_dict(config.query), config.seed]
    pairs = out / f"pairs-{digest(asked)}"
    folder = out / f"student-{digest([asked, to_dict(config.distill)])}"
    result = folder / f"teacher-comparison-{compared}.json"
    if not result.exists():
        query_all(teacher, pairs, config.query, seed=config.seed, watch=watch)
        try:
            student = distill(
                pairs, folder, config.distill, teacher=teacher, seed=config.seed, device=device, watch=watch
            )
        except TrainingStoppedError as error:  # whoever asks for it next is told at once
            write_json(result, {"stopped": str(error)})
        else:
            made = (compose(cgn, compared, seed=config.seed).images for cgn in (teacher, student))
            apart = frechet(load_extractor(), *made).value
            write_json(
                result,
                {
                    "pixel_l1": {name: to_dict(one) for name, one in fidelity(student, pairs, teacher)[0].items()},
                    "frechet_distance": apart,
                },
            )
    told = read_json(result)
    if "stopped" in told:
        raise TrainingStoppedError(told["stopped"])
    l1 = {name: PixelL1(**numbers) for name, numbers in told["pixel_l1"].items()}
    return StudentCGN.load(folder / "student"), l1, told["frechet_distance"]


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
    """Return everything that a study gave, in the order of its points, whoever measured them when.

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
    teacher = load_teacher(base.teacher)
    configs = {point.name: point.config.distill for point in lay_points(base, points)}
    sizes = {name: {m.value: student_size(config, m) for m in Mechanism} for name, config in configs.items()}
    students = {name: StudentCGN(teacher.spec.to_dict(), size) for name, size in sizes.items()}
    return rates({"teacher": teacher, **students})
