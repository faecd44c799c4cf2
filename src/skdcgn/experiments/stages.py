"""Stages that all runs share: open the run, query and distill, compare the student with its teacher."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from skdcgn.base.bounds import Duration
from skdcgn.base.config import ImageNetConfig, RunConfig
from skdcgn.base.contents import Reads, value_reads
from skdcgn.base.door import read_record
from skdcgn.base.errors import UserError
from skdcgn.base.files import write_json
from skdcgn.base.photo_config import PhotosConfig
from skdcgn.base.progress import Watch, log_progress, logger
from skdcgn.base.records import to_dict
from skdcgn.cgn.black_box import access_of
from skdcgn.cgn.mechanism import Teacher
from skdcgn.cgn.subset import ALL
from skdcgn.evaluation.fidelity import fidelity
from skdcgn.evaluation.scores import Diversity, PixelL1
from skdcgn.evaluation.timing import SPEED_SECONDS, counterfactuals_per_second
from skdcgn.pairs.budget import most_answers
from skdcgn.results.records import RESULTS_FILE, RunResults, Sizes, Speeds, TeacherIdentity
from skdcgn.results.versions import versions
from skdcgn.students.asking import ask
from skdcgn.students.distill import Preview, distill, distill_reads
from skdcgn.students.generator import StudentCGN
from skdcgn.training.run_folder import RunFolder
from skdcgn.training.side_by_side import Job, Processes
from skdcgn.training.train import make_accelerator

C = TypeVar("C", RunConfig, ImageNetConfig, PhotosConfig)
OfTeacher = TypeVar("OfTeacher", RunConfig, ImageNetConfig)  # runs that name a teacher


class Clock:
    """Seconds per stage, kept in a file, so that a resumed run adds to them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of each stage that has ended, in their order."""
        return read_record(self.path, dict[str, Duration]) if self.path.exists() else {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        before = self.seconds
        write_json(self.path, before | {stage: round(before.get(stage, 0.0) + time.perf_counter() - start, 2)})


@dataclass(frozen=True)
class Workspace:
    """Where stages work: the folder that they write to, the folder of local data, the device, progress, processes."""

    folder: Path
    data_root: Path | None = None
    device: str = "auto"
    watch: Watch = log_progress
    processes: Processes | None = None  # for jobs side by side

    @property
    def torch_device(self) -> str:
        """The device as PyTorch names it, as ``cuda:0``."""
        return str(make_accelerator(self.device).device)


@dataclass(frozen=True)
class Run(Generic[C]):
    """A run whose teacher is loaded and whose folder is open."""

    config: C
    teacher: Teacher
    folder: RunFolder
    workspace: Workspace

    @property
    def path(self) -> Path:
        return self.folder.path

    @property
    def clock(self) -> Clock:
        return Clock(self.path / "seconds.json")

    @property
    def finished(self) -> bool:
        return (self.path / RESULTS_FILE).exists()


def open_run(config: OfTeacher, teacher: Teacher, workspace: Workspace, data: Reads) -> Run[OfTeacher]:
    """Open the folder of a run.

    Args:
        data: the contents of the data that the run reads; those of its teacher and its distillation are added.

    Raises:
        UserError: it holds a run of another configuration or on other data, or a budget bounds a paid black box, which
            a run asks for more than pairs.
    """
    _check_budget(config, teacher)
    of_teacher = value_reads("teacher", teacher.digest, f"the teacher {config.teacher}")
    reads = {**of_teacher, **distill_reads(config.distill), **data}
    return Run(config, teacher, RunFolder(workspace.folder, config, reads=reads), workspace)


def _check_budget(config: OfTeacher, teacher: Teacher) -> None:
    access = access_of(teacher)
    if access is None or not access.paid:
        return
    if most_answers(config.query) is not None:
        raise UserError(
            f"{config.teacher} may cost money, and a run measures the teacher beside its student, which takes answers "
            "beyond the budget of its pairs: use skdcgn query with --budget, and skdcgn distill"
        )
    logger.warning(
        f"{config.teacher} may cost money, and a run asks it for more than pairs: for its own counterfactuals and its "
        "speed; skdcgn query and skdcgn distill ask for pairs alone"
    )


def query_and_distill(
    run: Run[C], preview: Preview | None = None, meanwhile: Sequence[Job[Any]] = ()
) -> tuple[dict[str, int], StudentCGN]:
    """Query the teacher, which has the classes of the run alone, and distill it; do other jobs meanwhile.

    Returns the number of queries of each mechanism, and the student on the run's device.
    """
    config, space, pairs = run.config, run.workspace, run.path / "pairs"
    with run.clock("query"):
        budget = replace(config.query, classes=ALL)
        queries = ask(run.teacher, pairs, budget, seed=config.seed, watch=space.watch)
    with run.clock("distill"):
        student = distill(
            pairs,
            run.path,
            config.distill,
            teacher=run.teacher,
            seed=config.seed,
            device=space.device,
            watch=space.watch,
            preview=preview,
            processes=space.processes,
            meanwhile=meanwhile,
        )
    return queries, student.to(space.torch_device)


@dataclass(frozen=True)
class Comparison:
    """The numbers of a student beside its teacher's, as ``comparison.json`` of a run keeps them."""

    counterfactuals_per_second: Speeds
    pixel_l1: dict[str, PixelL1]
    diversity: dict[str, Diversity]


def compared_student(run: Run[C], student: StudentCGN, speed_images: int, speed_seconds: float) -> Comparison:
    """Return the fidelity and the speed of the student; what was measured before is read."""
    file, watch = run.path / "comparison.json", run.workspace.watch
    if file.exists():
        return read_record(file, Comparison)
    l1, diversity = fidelity(student, run.path / "pairs", run.teacher, watch=watch)
    cgns: dict[str, Teacher] = {"teacher": run.teacher, "student": student}
    speeds = counterfactuals_per_second(cgns, speed_images, watch=watch, seconds=speed_seconds)
    comparison = Comparison(Speeds(**speeds), l1, diversity)
    write_json(file, to_dict(comparison))
    return comparison


def compare_with_teacher(
    run: Run[OfTeacher],
    student: StudentCGN,
    queries: dict[str, int],
    *,
    speed_images: int,
    speed_seconds: float = SPEED_SECONDS,
) -> RunResults:
    """Return the results that all runs have: their identity, sizes, speeds and fidelity; ``seconds`` is still empty.

    Args:
        speed_images: of each CGN in a round of the timing.
        speed_seconds: that all rounds of the timing may take.
    """
    teacher, comparison = run.teacher, compared_student(run, student, speed_images, speed_seconds)
    return RunResults(
        preset=run.config.preset,
        seed=run.config.seed,
        digest=run.folder.digest,
        queries=queries,
        held_out_queries=run.config.query.held_out,
        teacher=TeacherIdentity(run.config.teacher, teacher.digest),
        versions=versions(),
        parameters=Sizes(teacher.size, student.size),
        **vars(comparison),
        seconds={},
    )
