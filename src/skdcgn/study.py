"""Studies: one thing is changed from point to point, everything else stays; seeds give mean and deviation.

A point is a preset with changes laid over it. Its stages (pairs, student, classifier) live in folders named by the
digest of what they depend on, so that points share what they have in common, and a killed study goes on where it
stopped. OUT/pairs-*, student-*, classifier-*; OUT/results.jsonl holds a line per point, source and seed.
"""

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from skdcgn.config import RunConfig, digest, override, to_dict
from skdcgn.distiller import distill
from skdcgn.errors import UserError
from skdcgn.evaluate import fidelity
from skdcgn.files import read_json, write_bytes, write_json
from skdcgn.mechanism import Teacher
from skdcgn.pairs import query_all
from skdcgn.pipeline import CLASSIFIERS, score, test_set, training_sets
from skdcgn.progress import Watch, unwatched
from skdcgn.students.generator import StudentCGN
from skdcgn.teachers.registry import load_teacher


class Point(NamedTuple):
    """A named configuration of a study, and what classifiers are trained on there."""

    name: str
    config: RunConfig
    sources: tuple[str, ...] = ("student",)


class Score(NamedTuple):
    """What one point gave for one source and one seed; fidelity is a student's alone."""

    point: str
    source: str
    seed: int
    ood_accuracy: float
    parameters: int | None
    pixel_l1: dict[str, dict[str, float]]


def points(base: RunConfig, changes: dict[str, dict[str, Any]], sources: tuple[str, ...] = ("student",)) -> list[Point]:
    """Return one point per name in ``changes``, each laid over ``base`` on its own."""
    return [Point(name, override(base, change, name), sources) for name, change in changes.items()]


def study(
    what: Sequence[Point],
    out: Path,
    seeds: Sequence[int],
    *,
    data_root: Path | None = None,
    device: str = "auto",
    watch: Watch = unwatched,
) -> Iterator[Score]:
    """Yield the score of each point, source and seed, and keep them in ``out/results.jsonl``.

    Seeds are of everything: queries, initial weights, batches, labels.

    Raises:
        UserError: a source that is none of biased, teacher, student, oracle.
    """
    for point in what:
        for source in point.sources:
            if source not in CLASSIFIERS:
                raise UserError(f"{point.name}: unknown source {source!r}: use one of {', '.join(CLASSIFIERS)}")
    scores: list[Score] = []
    for seed in seeds:  # one seed of everything first: a study that was cut short still compares all points
        for point in what:
            config = replace(point.config, seed=seed)
            for source in point.sources:
                scores.append(_measure(point.name, source, config, out, data_root, device, watch))
                yield scores[-1]
                lines = [json.dumps(one._asdict()) + "\n" for one in scores]
                write_bytes(out / "results.jsonl", "".join(lines).encode())


def _measure(
    name: str, source: str, config: RunConfig, out: Path, data_root: Path | None, device: str, watch: Watch
) -> Score:
    cgn: Teacher | None = None
    l1: dict[str, dict[str, float]] = {}
    if source == "student":
        cgn, l1 = _student(load_teacher(config.teacher), config, out, device, watch)
    elif source == "teacher":
        cgn = load_teacher(config.teacher)
    origin = {"data": source, "cgn": cgn.digest if cgn else ""}
    data = [config.glyphs, config.appearance, config.textures, config.test_copies]
    folder = out / f"classifier-{digest([origin, data, to_dict(config.classify), config.seed])}"
    judges = out / f"judge-{digest([origin, config.seed])}"
    make = training_sets(config, {source: cgn} if cgn else {}, data_root, judges, device)[source]
    reached = score(make, test_set(config, data_root), config, folder, origin, device, watch)
    return Score(name, source, config.seed, reached, cgn.size if cgn else None, l1)


def _student(
    teacher: Teacher, config: RunConfig, out: Path, device: str, watch: Watch
) -> tuple[StudentCGN, dict[str, dict[str, float]]]:
    asked = [teacher.digest, to_dict(config.query), config.seed]
    pairs = out / f"pairs-{digest(asked)}"
    folder = out / f"student-{digest([asked, to_dict(config.distill)])}"
    result = folder / "fidelity.json"
    if not result.exists():
        query_all(teacher, pairs, config.query, seed=config.seed, watch=watch)
        student = distill(pairs, folder, config.distill, seed=config.seed, device=device, watch=watch)
        write_json(result, fidelity(student, pairs)[0])
    return StudentCGN.load(folder / "student"), read_json(result)


def summary(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Return mean and sample deviation over the seeds, a row per point and source in their order."""
    rows: dict[tuple[str, str], list[Score]] = {}
    for one in scores:
        rows.setdefault((one.point, one.source), []).append(one)
    return [
        {
            "point": point,
            "source": source,
            "seeds": [one.seed for one in group],
            "parameters": group[0].parameters,
            "ood_accuracy": spread([one.ood_accuracy for one in group]),
            "pixel_l1": {
                mechanism: {who: spread([one.pixel_l1[mechanism][who] for one in group]) for who in numbers}
                for mechanism, numbers in group[0].pixel_l1.items()
            },
        }
        for (point, source), group in rows.items()
    ]


def spread(values: list[float]) -> dict[str, float]:
    """Mean and sample deviation; of one value the deviation is 0."""
    return {"mean": statistics.mean(values), "deviation": statistics.stdev(values) if len(values) > 1 else 0.0}
