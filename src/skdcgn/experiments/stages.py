"""Stages that every run shares: asking and distilling, costs and fidelity, the clock."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from skdcgn.base.config import ImageNetConfig, RunConfig
from skdcgn.base.files import read_json, write_json
from skdcgn.base.progress import Watch
from skdcgn.cgn.mechanism import Teacher
from skdcgn.cgn.subset import ALL
from skdcgn.evaluation.fidelity import fidelity
from skdcgn.evaluation.timing import counterfactuals_per_second
from skdcgn.pairs.query import query_all
from skdcgn.results.records import RunResults, Sizes, Speeds, TeacherIdentity
from skdcgn.results.versions import versions
from skdcgn.students.distill import distill
from skdcgn.students.generator import StudentCGN
from skdcgn.training.run_folder import RunFolder
from skdcgn.training.train import make_accelerator


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
    teacher: Teacher, config: RunConfig | ImageNetConfig, out: Path, clock: Clock, device: str, watch: Watch
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


def compare_with_teacher(
    config: RunConfig | ImageNetConfig,
    folder: RunFolder,
    teacher: Teacher,
    student: StudentCGN,
    queries: dict[str, int],
    *,
    speed_images: int,
) -> RunResults:
    """Return the results that every run has: which run it was, sizes, speeds and fidelity; as yet without seconds."""
    l1, diversity = fidelity(student, folder.path / "pairs", teacher)
    return RunResults(
        preset=config.preset,
        seed=config.seed,
        digest=folder.digest,
        queries=queries,
        held_out_queries=config.query.held_out,
        teacher=TeacherIdentity(config.teacher, teacher.digest),
        versions=versions(),
        parameters=Sizes(teacher.size, student.size),
        counterfactuals_per_second=Speeds(
            **counterfactuals_per_second({"teacher": teacher, "student": student}, speed_images)
        ),
        pixel_l1=l1,
        diversity=diversity,
        seconds={},
    )
