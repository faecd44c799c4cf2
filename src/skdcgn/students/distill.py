"""Distillation: a student mechanism learns to draw what its teacher drew at the same (noise, label).

.. math:: L = w_1 |s - t| + w_f sum_i w_i |f_i(s) - f_i(t)| + w_k sum_i KL(f_i(t)/T || f_i(s)/T) - w_a D(s, y)
              + w_p sum_i w_i |g_i(s) - g_i(t)|

(SKDCGN; TinyGAN, Chang & Lu 2020, Eq. 6). The discriminator D with its features f_i, hinge-trained to tell t from s,
exists only while w_f, w_k or w_a is not zero; the features g_i are fixed (:mod:`skdcgn.features.perceptual`). For masks
the first term may be the mean of (s - t)^2 instead. Teachers are seen through stored pairs alone.
"""

from pathlib import Path

from skdcgn.base.config import DistillConfig, QueryConfig
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
from skdcgn.training.run_folder import RunFolder
from skdcgn.training.trackers import require_tracker
from skdcgn.training.train import train


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
    callbacks: tuple[Callback, ...] = (),
) -> StudentGenerator:
    """Distill the pairs in ``pairs_folder`` in the run folder ``out``; resumes where it was killed.

    Before the first step it logs a warning if the noise explains nothing of the pictures
    (:mod:`skdcgn.students.meaning`).

    Args:
        teacher: queried again for images that the pairs do not store.
        extend: continue a run in ``out`` that differs in having fewer steps alone.
        track: ``tensorboard`` or ``wandb``, to log there too.
    """
    pairs = StoredPairs(pairs_folder, teacher, purpose=TRAIN)
    run = {**to_dict(config), "mechanism": pairs.mechanism, "seed": seed, "pairs": to_dict(pairs.plan)}
    reads = {
        **value_reads("pairs", to_dict(pairs.manifest.shards), f"the pairs in {pairs_folder}"),
        **distill_reads(config),
    }
    folder = RunFolder(out, run, reads=reads, extend=extend)
    begun = folder.checkpoint.exists()
    if process_index() == 0 and not begun:
        warn_of_meaningless_noise(pairs)
    set_seed(seed)
    student = new_student(config, pairs.mechanism, pairs.spec) if begun else first_student(config, pairs)
    method = Distill(config, student)
    rows_of = balanced_rows(pairs.labels)

    def batch_at(step: int) -> Batch:
        rows = own_share(rows_of(config.batch_size, generator(seed, "distill", pairs.mechanism, step)))
        return {"noise": pairs.noise[rows], "labels": pairs.labels[rows], "images": pairs.images(rows)}

    guard = collapse_guard(method.result, config.masks, guard_pairs(pairs), pairs.spec)
    train(
        method,
        batch_at,
        folder,
        steps=config.steps,
        seed=seed,
        schedule=decay_after(0.3),
        save_every=config.save_every,
        callbacks=(every(100, guard), *callbacks),
        device=device,
        track=track,
    )
    return method.result()


def distill_reads(config: DistillConfig) -> Reads:
    """Return the contents of the files that a distillation reads beside its pairs."""
    features = feature_reads(config.features) if config.perceptual else NOTHING
    return {**features, **file_reads("embeddings", config.embeddings)}


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
) -> StudentCGN:
    """Distill a teacher into a student CGN, saved in ``out/student``; resumes where it was killed.

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

    Raises:
        UserError: ``source`` is no teacher and no folder of pairs, ``out`` is missing or holds another distillation.
    """
    require_tracker(track)
    _check_source(source)
    if out is None:
        raise UserError('out is missing: name a folder for the student, as distill(teacher, "runs/mine")')
    out, config = Path(out), config or DistillConfig()
    if isinstance(source, str | Path):
        pairs = Path(source)
    else:
        pairs, query = out / "pairs", query or QueryConfig()
        ask(source, pairs, query, seed=seed, rank=Rank(process_index(), process_count()), watch=watch)
        wait_for_all()
        teacher = of_classes(source, parse_classes(query.classes, source.spec.classes))
    students = {}
    for mechanism in read_plans(pairs, TRAIN):
        students[mechanism] = distill_mechanism(
            pairs / mechanism / TRAIN,
            config,
            out / "students" / mechanism,
            teacher=teacher,
            seed=seed,
            device=device,
            extend=extend,
            track=track,
            callbacks=(report_to(watch, f"distill {mechanism}"),),
        )
    return assemble(students, config, out / "student")


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
    spec = mechanisms[Mechanism.SHAPE].spec
    student = StudentCGN(spec.to_dict(), {m.value: dict(student_size(config, m)) for m in Mechanism})
    for mechanism, trained in mechanisms.items():
        student.mechanisms[mechanism.value].load_state_dict(trained.state_dict())
    if process_index() == 0:
        student.save_pretrained(out)
    wait_for_all()
    return student.eval()
