"""Distillation: a student mechanism learns to draw what its teacher drew at the same (noise, label).

.. math:: L = w_1 |s - t| + w_f sum_i w_i |f_i(s) - f_i(t)| + w_k sum_i KL(f_i(t)/T || f_i(s)/T) - w_a D(s, y)
              + w_p sum_i w_i |g_i(s) - g_i(t)|

(SKDCGN; TinyGAN, Chang & Lu 2020, Eq. 6). The discriminator D with its features f_i, hinge-trained to tell t from s,
exists only while w_f, w_k or w_a is not zero; the features g_i are fixed (:mod:`skdcgn.features.perceptual`). For masks
the first term may be the mean of (s - t)^2 instead. Teachers are seen through stored pairs alone.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from skdcgn.base.config import DistillConfig, QueryConfig, Store
from skdcgn.base.contents import NOTHING, Reads, file_reads, value_reads
from skdcgn.base.errors import UserError
from skdcgn.base.progress import Watch, log_progress
from skdcgn.base.rank import Rank
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import generator, set_seed
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.cgn.subset import of_classes, parse_classes
from skdcgn.features.reads import feature_reads
from skdcgn.pairs.manifest import TRAIN, read_plans
from skdcgn.pairs.stored import StoredPairs
from skdcgn.students.asking import ask
from skdcgn.students.collapse import collapse_guard, guard_pairs
from skdcgn.students.generator import StudentCGN, StudentGenerator, student_size
from skdcgn.students.meaning import warn_of_meaningless_noise
from skdcgn.students.method import Distill
from skdcgn.students.start import first_student, new_student
from skdcgn.training.loop import (
    Batch,
    Callback,
    balanced_rows,
    decay_after,
    every,
    report_to,
)
from skdcgn.training.processes import own_share, process_count, process_index, wait_for_all
from skdcgn.training.run_folder import RunFolder, steps_done
from skdcgn.training.side_by_side import LEAST_STEPS, Job, Processes, run_jobs, share_of_threads, spare_processes
from skdcgn.training.trackers import require_tracker
from skdcgn.training.train import train
from skdcgn.training.worker import threads


def distill_mechanism(
    pairs_folder: Path,
    config: DistillConfig,
    out: Path,
    *,
    teacher: Teacher | None = None,
    seed: int = 0,
    device: str = "auto",
    extend: bool = False,
    track: str | None = None,
    until: int | None = None,
    callbacks: tuple[Callback, ...] = (),
) -> StudentGenerator:
    """Distill the pairs in ``pairs_folder`` in the run folder ``out``; resumes where it was killed.

    Before the first step it logs a warning if the noise explains nothing of the pictures
    (:mod:`skdcgn.students.meaning`).

    Each mechanism has a third of the threads, whether three of them are distilled side by side or not, so that the
    weights are the same; all threads where the teacher is queried again.

    Args:
        teacher: queried again for images that the pairs do not store.
        extend: continue a run in ``out`` that differs in having fewer steps alone.
        track: ``tensorboard`` or ``wandb``, to log there too.
        until: the step after which to stop, with a checkpoint; None: the last one.
    """
    pairs = StoredPairs(pairs_folder, teacher, purpose=TRAIN)
    run = {**to_dict(config), "mechanism": pairs.mechanism, "seed": seed, "pairs": to_dict(pairs.plan)}
    reads = {
        **value_reads("pairs", to_dict(pairs.manifest.shards), f"the pairs in {pairs_folder}"),
        **distill_reads(config),
    }
    folder = RunFolder(out, run, reads=reads, extend=extend)
    with threads(share_of_threads(1 if pairs.plan.store is Store.NONE else len(Mechanism))):
        method = _begin(config, pairs, folder, seed)
        train(
            method,
            _batches(config, pairs, seed),
            folder,
            steps=config.steps,
            until=until,
            seed=seed,
            schedule=decay_after(0.3),
            save_every=config.save_every,
            callbacks=(
                every(100, collapse_guard(method.result, config.masks, guard_pairs(pairs), pairs.spec)),
                *callbacks,
            ),
            device=device,
            track=track,
        )
    return method.result()


def _begin(config: DistillConfig, pairs: StoredPairs, folder: RunFolder, seed: int) -> Distill:
    """Return the method before its first step; its weights are none yet if a checkpoint will be read."""
    begun = folder.checkpoint.exists()
    if process_index() == 0 and not begun:
        warn_of_meaningless_noise(pairs)
    set_seed(seed)
    return Distill(config, new_student(config, pairs.mechanism, pairs.spec) if begun else first_student(config, pairs))


def _batches(config: DistillConfig, pairs: StoredPairs, seed: int) -> Callable[[int], Batch]:
    rows_of = balanced_rows(pairs.labels)

    def batch_at(step: int) -> Batch:
        rows = own_share(rows_of(config.batch_size, generator(seed, "distill", pairs.mechanism, step)))
        return {"noise": pairs.noise[rows], "labels": pairs.labels[rows], "images": pairs.images(rows)}

    return batch_at


def distill_reads(config: DistillConfig) -> Reads:
    """Return the contents of the files that a distillation reads beside its pairs."""
    features = feature_reads(config.features) if config.perceptual else NOTHING
    return {**features, **file_reads("embeddings", config.embeddings)}


class Preview(NamedTuple):
    """An early look at a student: after how many steps, and what to do with it then, once in the life of a run."""

    steps: int
    show: Callable[[StudentCGN], None]


def distill(
    source: Teacher | str | Path,
    out: str | Path | None = None,
    config: DistillConfig | None = None,
    query: QueryConfig | None = None,
    *,
    teacher: Teacher | None = None,
    seed: int = 0,
    device: str = "auto",
    extend: bool = False,
    track: str | None = None,
    watch: Watch = log_progress,
    preview: Preview | None = None,
    processes: Processes | None = None,
    meanwhile: Sequence[Job[Any]] = (),
) -> StudentCGN:
    """Distill a teacher into a student CGN, saved in ``out/student``; resumes where it was killed.

    With more than one thread on a CPU, the three mechanisms are distilled side by side, each in a process of its own.

    Args:
        source: a teacher, whose answers to ``query`` go to ``out/pairs``; or a folder of stored pairs.
        out: gets a run folder per mechanism under ``students`` and the student; must be named.
        config: sizes, losses and steps; None takes the defaults.
        query: the query budget; None takes the defaults. Not used with stored pairs.
        teacher: queried again if stored pairs hold no images.
        seed: of the queries, the initial weights and the batches.
        device: ``auto``, ``cpu`` or ``cuda``.
        extend: continue a distillation in ``out`` that differs in having fewer steps alone. The learning rate follows
            the longer schedule from there on: the student is not the one of all steps at once.
        track: ``tensorboard`` or ``wandb``, to log there too.
        watch: begins each part's progress report; by default it is logged.
        preview: an early look at the student, before which no mechanism takes further steps.
        processes: that distill side by side; None: three, unless ``config.steps`` are too few, they would compute on a
            GPU or with several ranks, there is one thread alone, ``track`` is set, or the teacher is queried again.
        meanwhile: further jobs, for processes that have no mechanism left to distill; not done without processes.

    Raises:
        UserError: ``source`` is no teacher and no folder of pairs, ``out`` is missing or holds another distillation.
    """
    require_tracker(track)
    _check_source(source)
    if out is None:
        raise UserError('out is missing: name a folder for the student, as distill(teacher, "runs/mine")')
    out, config = Path(out), config or DistillConfig()
    with ExitStack() as ending:
        if processes is None and config.steps >= LEAST_STEPS:
            processes = ending.enter_context(spare_processes(len(Mechanism), device, __name__))
        if isinstance(source, Teacher):
            pairs, query = out / "pairs", query or QueryConfig()
            ask(source, pairs, query, seed=seed, rank=Rank(process_index(), process_count()), watch=watch)
            wait_for_all()
            teacher = of_classes(source, parse_classes(query.classes, source.spec.classes))
        else:
            pairs = Path(source)
        students = partial(
            _students,
            pairs,
            config,
            out,
            watch,
            processes,
            teacher=teacher,
            seed=seed,
            device=device,
            extend=extend,
            track=track,
        )
        if preview and _steps_done(out) <= preview.steps < config.steps:
            preview.show(joined(students(until=preview.steps), config))
        return assemble(students(meanwhile=meanwhile), config, out / "student")


def _students(
    pairs: Path,
    config: DistillConfig,
    out: Path,
    watch: Watch,
    processes: Processes | None,
    *,
    teacher: Teacher | None,
    track: str | None,
    meanwhile: Sequence[Job[Any]] = (),
    **more: Any,
) -> dict[Mechanism, StudentGenerator]:
    """Distill the three mechanisms, in processes if nothing of a job belongs to this one alone."""
    plans = read_plans(pairs, TRAIN)
    if track or any(plan.store is Store.NONE for plan in plans.values()):
        processes = None
    else:
        teacher = None  # the pairs have its answers
    work = partial(_weights, config=config, teacher=teacher, track=track, **more)
    jobs = [
        Job(f"distill {one}", partial(work, pairs / one / TRAIN, out / "students" / one, f"distill {one}"))
        for one in plans
    ]
    results = run_jobs([*jobs, *(meanwhile if processes else ())], watch, processes)
    return {
        one: _with_weights(new_student(config, one, plan.spec), weights)
        for (one, plan), weights in zip(plans.items(), results, strict=False)
    }


def _weights(pairs: Path, out: Path, task: str, watch: Watch, **more: Any) -> dict[str, NDArray[np.generic]]:
    """Distill a mechanism; return the weights of the student, as arrays, which pass from process to process."""
    student = distill_mechanism(pairs, out=out, callbacks=(report_to(watch, task),), **more)
    return {name: value.cpu().numpy() for name, value in student.state_dict().items()}


def _with_weights(student: StudentGenerator, weights: dict[str, NDArray[np.generic]]) -> StudentGenerator:
    student.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return student.eval()


def _steps_done(out: Path) -> int:
    """Return the most steps that a mechanism's checkpoint has."""
    return max(steps_done(out / "students" / mechanism) for mechanism in Mechanism)


def _check_source(source: object) -> None:
    if not isinstance(source, str | Path | Teacher):
        raise UserError(
            f"{source!r} is no teacher: pass what load_teacher returns, for a function of yours load_teacher(function)"
        )
    if isinstance(source, str | Path) and not Path(source).is_dir():
        raise UserError(
            f"no folder of pairs {str(source)!r}: pass a folder that query wrote, or a teacher, as "
            f"load_teacher({str(source)!r}) returns it"
        )


def assemble(mechanisms: dict[Mechanism, StudentGenerator], config: DistillConfig, out: Path) -> StudentCGN:
    """Join three trained mechanisms into a student CGN and save it in ``out``."""
    student = joined(mechanisms, config)
    if process_index() == 0:
        student.save_pretrained(out)
    wait_for_all()
    return student


def joined(mechanisms: dict[Mechanism, StudentGenerator], config: DistillConfig) -> StudentCGN:
    """Return the student CGN of three mechanisms, in evaluation mode."""
    spec = mechanisms[Mechanism.SHAPE].spec
    student = StudentCGN(spec.to_dict(), {m.value: dict(student_size(config, m)) for m in Mechanism})
    for mechanism, trained in mechanisms.items():
        student.mechanisms[mechanism.value].load_state_dict(trained.state_dict())
    return student.eval()
