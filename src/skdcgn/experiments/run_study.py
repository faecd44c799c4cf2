"""``skdcgn study`` and ``skdcgn reproduce``: plan the points of a study, measure them over seeds, record, report.

OUT/teacher-*, pairs-*, student-*, classifier-* are shared by all studies of one folder. OUT/STUDY/ gets results.jsonl
(a line per score, while the study goes on), study.json, report.html and figure.png.
"""

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from skdcgn.base.bounds import MOST_SEEDS
from skdcgn.base.config import RunConfig, TeachConfig
from skdcgn.base.errors import UserError, shown
from skdcgn.base.files import exclusive
from skdcgn.base.presets import run_preset, teach_preset
from skdcgn.base.progress import Watch, log_progress, logger
from skdcgn.base.records import digest, override
from skdcgn.experiments.stages import Workspace
from skdcgn.experiments.studies import Study, find_study, find_table, miniature, select_points
from skdcgn.experiments.study import COMPARED, measure_points, study_record
from skdcgn.report.study import write_study_report
from skdcgn.report.study_png import save_study_figure
from skdcgn.results.records import write_study
from skdcgn.results.study_record import PointScore, StudyPoint, StudyRecord, lay_points

Announce = Callable[[str], None]


class StudyResults(NamedTuple):
    """The results of a study, the folder that keeps them, its report, and its figure (None without accuracies)."""

    record: StudyRecord
    folder: Path
    report: Path
    figure: Path | None

    def _repr_html_(self) -> str:
        """Return the record's table, for notebooks."""
        return self.record._repr_html_()


class StudyPlan(NamedTuple):
    """A study laid over a preset: its points, the configurations that they change, and how many seeds there are."""

    study: Study
    base: RunConfig
    teaching: TeachConfig
    points: list[StudyPoint]
    seeds: int
    quick: bool
    command: str


def plan_study(
    name: str,
    preset: str,
    *,
    teacher: str | None = None,
    spec: str | None = None,
    textures: str | None = None,
    only: Sequence[str] = (),
    seeds: int = 3,
    quick: bool = False,
) -> StudyPlan:
    """Lay the study ``name`` over ``preset``; arguments are those of :func:`run_study`."""
    study = find_study(name)
    changes = {key: value for key, value in (("teacher", teacher), ("spec", spec), ("textures", textures)) if value}
    base = run_preset(preset)
    base = override(base, {**study.recipe(base), **changes})
    if not 1 <= seeds <= MOST_SEEDS:
        raise UserError(f"{shown(seeds)} seeds: pass 1 to {MOST_SEEDS}")
    if quick:
        base, seeds = miniature(base), 1
    names = {key: value if key == "spec" and "=" in value else Path(value).name for key, value in changes.items()}
    flags = [f"--{key} {shlex.quote(value)}" for key, value in names.items()]
    flags += [f"--only {shlex.quote(point)}" for point in only] + ["--quick"] * quick
    return StudyPlan(
        study,
        base,
        override(teach_preset(preset), {"textures": base.textures}),
        select_points(study.points(base), only),
        seeds,
        quick,
        " ".join(["skdcgn study", name, preset, f"--seeds {seeds}", *flags]),
    )


def run_study(
    name: str,
    preset: str,
    out: Path | None = None,
    *,
    teacher: str | None = None,
    spec: str | None = None,
    textures: str | None = None,
    only: Sequence[str] = (),
    seeds: int = 3,
    quick: bool = False,
    compared: int = COMPARED,
    data_root: Path | None = None,
    device: str = "auto",
    watch: Watch = log_progress,
    announce: Announce = logger.info,
) -> StudyResults:
    """Measure the points of a study over seeds; record and report them.

    Processes and machines that see one folder share the work, and a study that was killed goes on where it stopped.

    Args:
        out: the folder of the stages, which all studies of one preset may share; None: ``runs/study-PRESET-DIGEST``.
        teacher: a zoo name or a file instead of the preset's teacher.
        spec: what that teacher does not state, see :func:`skdcgn.load_teacher`.
        textures: a folder of texture pictures instead of the preset's.
        only: names of points; others are left out.
        seeds: how many, from 0.
        quick: a miniature: small budgets and one seed, whose numbers compare with no others.
        compared: how many counterfactuals of a student and of its teacher the Frechet distance compares.
        announce: gets a line for each score.

    Raises:
        UserError: an unknown study, preset or point; a teacher or data that cannot be read.
    """
    plan = plan_study(name, preset, teacher=teacher, spec=spec, textures=textures, only=only, seeds=seeds, quick=quick)
    stages = out or Path("runs") / f"study-{preset}-{digest(plan.base)}"
    folder = stages / name
    if only:  # the results of all points stay in the parent folder
        folder /= digest([point.name for point in plan.points])
    workspace = Workspace(stages, data_root, device, watch)
    scores = list(_announced_scores(plan, workspace, folder / "results.jsonl", compared, announce))
    with exclusive(folder / ".lock"):  # processes that shared the work time its students one after the other
        record = study_record(
            plan.study,
            plan.base,
            plan.teaching,
            plan.points,
            scores,
            command=plan.command,
            quick=quick,
        )
        write_study(folder, record)
    figure = save_study_figure(record, folder / "figure.png")
    return StudyResults(record, folder, write_study_report(folder), figure)


def _announced_scores(
    plan: StudyPlan, workspace: Workspace, results: Path, compared: int, announce: Announce
) -> Iterator[PointScore]:
    """Yield the scores of a study, each with a line and a step of its progress."""
    total = plan.seeds * sum(len(point.sources) for point in plan.points)
    tell = workspace.watch(f"study {plan.study.name}", total)
    points = lay_points(plan.base, plan.points, plan.teaching)
    scores = measure_points(points, workspace, range(plan.seeds), results=results, compared=compared)
    for number, score in enumerate(scores, 1):
        announce(f"point {number} of {total}: {score_line(score)}")
        tell(number)
        yield score


def score_line(score: PointScore) -> str:
    """Return point, source and seed of a score, with its accuracy or the reason why its training was stopped."""
    accuracy = f"stopped: {score.stopped}" if score.ood_accuracy is None else f"{score.ood_accuracy:.1f} %"
    return f"{score.point}, {score.source}, seed {score.seed}: {accuracy}"


def reproduce(
    table: str,
    out: Path = Path("runs/reproduce"),
    *,
    seeds: int = 3,
    quick: bool = False,
    data_root: Path | None = None,
    device: str = "auto",
    watch: Watch = log_progress,
    announce: Announce = logger.info,
) -> Iterator[StudyResults]:
    """Run the study of ``table`` on each of its presets, in ``out/PRESET``; yield the results of each when it ends.

    Raises:
        UserError: an unknown table; data that cannot be read.
    """
    study, presets = find_table(table)
    for preset in presets:
        yield run_study(
            study,
            preset,
            out / preset,
            seeds=seeds,
            quick=quick,
            data_root=data_root,
            device=device,
            watch=watch,
            announce=announce,
        )
