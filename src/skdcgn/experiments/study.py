"""Studies: one thing is changed from point to point, everything else stays; seeds give mean and deviation.

A point is a preset with changes laid over it (:mod:`skdcgn.experiments.studies` has those of the studies by name). Its
stages (teacher, pairs, student, classifier) live in folders named by the digest of what they depend on, so that points,
and studies, share what they have in common, and a killed study goes on where it stopped. Processes and machines that
see one folder share the work: each takes what nobody else is at.
"""

import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from skdcgn.base.config import RunConfig, TeachConfig
from skdcgn.base.errors import TrainingStoppedError, UserError
from skdcgn.base.files import alone, read_json, write_bytes, write_json
from skdcgn.base.progress import Watch, log_progress
from skdcgn.base.records import digest, override, to_dict
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.deploy.bench import rates
from skdcgn.evaluation.fidelity import fidelity
from skdcgn.evaluation.measure import frechet
from skdcgn.experiments.studies import Planned
from skdcgn.experiments.training_sets import CLASSIFIERS, score, test_set, training_sets
from skdcgn.features.extractors import load_extractor
from skdcgn.pairs.query import query_all
from skdcgn.results.versions import versions
from skdcgn.students.distill import distill, student_size
from skdcgn.students.generator import StudentCGN
from skdcgn.teachers.load import load_teacher
from skdcgn.teachers.teach import teach
from skdcgn.training.loop import report_to

COMPARED = 5000  # counterfactuals of teacher and student, as published, for the Frechet distance between them


class Point(NamedTuple):
    """A named configuration of a study, what classifiers are trained on there, and how its teacher is taught."""

    name: str
    config: RunConfig
    sources: tuple[str, ...] = ("student",)
    teach: TeachConfig | None = None


class Score(NamedTuple):
    """What one point gave for one source and one seed.

    A student's alone: L1 of held-out pairs beside the label mean's, by mechanism, and the Frechet distance of its
    counterfactuals to its teacher's. ``stopped``: why a training was given up, and there is no accuracy.
    """

    point: str
    source: str
    seed: int
    ood_accuracy: float | None
    parameters: int | None
    pixel_l1: dict[str, dict[str, float]]
    frechet_distance: float | None = None
    stopped: str = ""


def points(base: RunConfig, planned: Sequence[Planned], taught: TeachConfig | None = None) -> list[Point]:
    """Lay each planned point over ``base``, and over ``taught`` what it says of its teacher."""
    return [
        Point(
            plan.name,
            override(base, plan.changes, plan.name),
            plan.sources,
            None if plan.teach is None else override(taught or TeachConfig(), plan.teach, plan.name),
        )
        for plan in planned
    ]


def measure(
    what: Sequence[Point],
    out: Path,
    seeds: Sequence[int],
    *,
    results: Path,
    data_root: Path | None = None,
    device: str = "auto",
    watch: Watch = log_progress,
) -> Iterator[Score]:
    """Yield the score of each point, source and seed, and keep them in the file ``results``, a line each, in order.

    A training that is stopped gives a score that says so, and the others go on. What another process is at comes last.

    Stages go to ``out``: teacher-*, pairs-*, student-*, judge-*, classifier-*, each an ordinary run folder. Seeds are
    of everything: queries, initial weights, batches, labels.

    Raises:
        UserError: a source that is none of biased, teacher, student, oracle.
    """
    for point in what:
        for source in point.sources:
            if source not in CLASSIFIERS:
                raise UserError(f"{point.name}: unknown source {source!r}: use one of {', '.join(CLASSIFIERS)}")
    # one seed of everything first: a study that was cut short still compares all points
    jobs = [(point, source, seed) for seed in seeds for point in what for source in point.sources]
    scores: dict[int, Score] = {}
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
                    scores[number] = _score(point, source, config, out, data_root, device, watch)
                except TrainingStoppedError as error:  # that a point's students collapse is a finding
                    scores[number] = Score(point.name, source, seed, None, None, {}, stopped=str(error))
            lines = [json.dumps(scores[known]._asdict()) + "\n" for known in sorted(scores)]
            write_bytes(results, "".join(lines).encode())
            yield scores[number]


def _score(
    point: Point, source: str, config: RunConfig, out: Path, data_root: Path | None, device: str, watch: Watch
) -> Score:
    cgn: Teacher | None = None
    if point.teach:
        config = replace(
            config, teacher=_teacher(replace(point.teach, seed=config.seed), out, data_root, device, watch)
        )
    l1: dict[str, dict[str, float]] = {}
    apart: float | None = None
    if source == "student":
        cgn, l1, apart = _student(load_teacher(config.teacher), config, out, device, watch)
    elif source == "teacher":
        cgn = load_teacher(config.teacher)
    origin = {"data": source, "cgn": cgn.digest if cgn else ""}
    data = [config.glyphs, config.appearance, config.textures, config.test_copies]
    folder = out / f"classifier-{digest([origin, data, to_dict(config.classify), config.seed])}"
    judges = out / f"judge-{digest([origin, config.seed])}"
    make = training_sets(config, {source: cgn} if cgn else {}, data_root, judges, device)[source]
    reached = score(make, test_set(config, data_root), config, folder, origin, device, watch)
    return Score(point.name, source, config.seed, reached, cgn.size if cgn else None, l1, apart)


def _teacher(config: TeachConfig, out: Path, data_root: Path | None, device: str, watch: Watch) -> str:
    folder = out / f"teacher-{digest(config)}"
    file = folder / "teacher.safetensors"
    if not file.exists():
        report = report_to(watch, f"teach {folder.name}")
        teach(config, folder, data_root=data_root, device=device, callbacks=(report,))
    return str(file)


def _student(
    teacher: Teacher, config: RunConfig, out: Path, device: str, watch: Watch
) -> tuple[StudentCGN, dict[str, dict[str, float]], float]:
    """Return a student, its L1 of held-out pairs, and how far its counterfactuals lie from its teacher's."""
    asked = [teacher.digest, to_dict(config.query), config.seed]
    pairs = out / f"pairs-{digest(asked)}"
    folder = out / f"student-{digest([asked, to_dict(config.distill)])}"
    result = folder / "beside-teacher.json"
    if not result.exists():
        query_all(teacher, pairs, config.query, seed=config.seed, watch=watch)
        try:
            student = distill(
                pairs, folder, config.distill, teacher=teacher, seed=config.seed, device=device, watch=watch
            )
        except TrainingStoppedError as error:  # whoever asks for it next is told at once
            write_json(result, {"stopped": str(error)})
        else:
            made = (compose(cgn, COMPARED, seed=config.seed).images for cgn in (teacher, student))
            apart = frechet(load_extractor(), *made).value
            write_json(result, {"pixel_l1": fidelity(student, pairs, teacher)[0], "frechet_distance": apart})
    told = read_json(result)
    if "stopped" in told:
        raise TrainingStoppedError(told["stopped"])
    return StudentCGN.load(folder / "student"), told["pixel_l1"], told["frechet_distance"]


def summary(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Return mean and deviation over the seeds that came to an end, a row per point and source in their order."""
    rows: dict[tuple[str, str], list[Score]] = {}
    for one in scores:
        if one.ood_accuracy is None:
            continue
        rows.setdefault((one.point, one.source), []).append(one)
    return [
        {
            "point": point,
            "source": source,
            "seeds": [one.seed for one in group],
            "parameters": group[0].parameters,
            "ood_accuracy": spread(_known(one.ood_accuracy for one in group)),
            "pixel_l1": {
                mechanism: {who: spread([one.pixel_l1[mechanism][who] for one in group]) for who in numbers}
                for mechanism, numbers in group[0].pixel_l1.items()
            },
            **({"frechet_distance": spread(apart)} if (apart := _known(one.frechet_distance for one in group)) else {}),
        }
        for (point, source), group in rows.items()
    ]


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def told(
    command: str, base: RunConfig, what: Sequence[Point], scores: Sequence[Score], *, timed: bool
) -> dict[str, Any]:
    """Return everything that a study found, as JSON values, in the order of its points, whoever measured them when.

    Paths lose their folders, which tell nobody anything.

    ``timed``: with the counterfactuals per second of the teacher and of each point's student, in turn.
    """
    places = [(point.name, source) for point in what for source in point.sources]
    scores = sorted(scores, key=lambda one: (one.seed, places.index((one.point, one.source))))
    plain = to_dict(base)
    plain |= {key: Path(plain[key]).name for key in ("teacher", "textures") if plain[key]}
    record = {
        "command": command,
        "versions": versions(),
        "base": plain,
        "summary": summary(scores),
        "scores": [score._asdict() for score in scores],
    }
    if timed:
        teacher = load_teacher(base.teacher)
        sized = {p.name: {m.value: student_size(p.config.distill, m) for m in Mechanism} for p in what}
        students = {name: StudentCGN(teacher.spec.to_dict(), size) for name, size in sized.items()}
        record["counterfactuals_per_second"] = rates({"teacher": teacher, **students})
    return record


def spread(values: list[float]) -> dict[str, float]:
    """Mean and sample deviation; of one value the deviation is 0."""
    return {"mean": statistics.mean(values), "deviation": statistics.stdev(values) if len(values) > 1 else 0.0}
