"""Distillation: a student mechanism learns to draw what its teacher drew at the same (noise, label).

.. math:: L = w_1 |s - t| + w_f sum_i w_i |f_i(s) - f_i(t)| + w_k sum_i KL(f_i(t)/T || f_i(s)/T) - w_a D(s, y)
              + w_p sum_i w_i |g_i(s) - g_i(t)|

(SKDCGN; TinyGAN, Chang & Lu 2020, Eq. 6). The discriminator D with its features f_i, hinge-trained to tell t from s,
exists only while w_f, w_k or w_a is not zero; the features g_i stay as they are (:mod:`skdcgn.features.perceptual`). Of
masks the first term may be the mean of (s - t)^2 instead. Teachers are seen through stored pairs alone.
"""

import copy
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from skdcgn.base.config import Distance, DistillConfig, QueryConfig, StudentConfig
from skdcgn.base.errors import TrainingStoppedError, UserError
from skdcgn.base.progress import Watch, log_progress
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import generator
from skdcgn.base.weights import read_state_dict
from skdcgn.cgn.mechanism import Mechanism, Spec, Teacher
from skdcgn.cgn.subset import of_classes, parse_classes
from skdcgn.features.perceptual import load_features
from skdcgn.metrics.pixels import class_diversity
from skdcgn.pairs.query import Rank, query_all
from skdcgn.pairs.stored import PLAN, TRAIN, Pairs, StoredPairs
from skdcgn.students.discriminator import Discriminator
from skdcgn.students.generator import StudentCGN, StudentGenerator
from skdcgn.training import losses
from skdcgn.training.loop import (
    Batch,
    Callback,
    Method,
    Record,
    Step,
    average_into,
    balanced_rows,
    decay_after,
    every,
    held,
    report_to,
)
from skdcgn.training.processes import own_share, process_count, process_index, wait_for_all
from skdcgn.training.run_folder import RunFolder
from skdcgn.training.train import train

BETAS = (0.5, 0.99)
DISCRIMINATOR_BETAS = (0.0, 0.9)
COLLAPSED = 0.02
GUARD_AFTER = 0.5
GUARD_PER_CLASS = 16
STARTED_FROM = 10_000


class Distill(Method):
    """One step of distillation; the batch holds ``noise``, ``labels`` and the teacher's ``images``."""

    def __init__(self, config: DistillConfig, mechanism: Mechanism, spec: Spec) -> None:
        student = StudentGenerator(mechanism, spec, **student_size(config, mechanism))
        modules: dict[str, torch.nn.Module] = {"student": student}
        optimizers: dict[str, torch.optim.Optimizer] = {
            "student": torch.optim.Adam(student.parameters(), lr=config.learning_rate, betas=BETAS)
        }
        self.judged = bool(config.feature or config.kl or config.adversarial)
        if self.judged:
            modules["discriminator"] = judge = Discriminator(mechanism.channels, spec.classes)
            optimizers["discriminator"] = torch.optim.Adam(
                judge.parameters(), lr=config.discriminator_rate, betas=DISCRIMINATOR_BETAS
            )
        if config.ema:
            modules["ema"] = copy.deepcopy(student).requires_grad_(False)
        super().__init__(modules, optimizers, {"features": load_features(config.features)} if config.perceptual else {})
        self.config = config
        by_mean = mechanism is Mechanism.SHAPE and config.masks is Distance.L2
        self.distance = losses.pixel_l2 if by_mean else losses.pixel_l1
        self.bf16, self.channels_last, self.compiled = config.bf16, config.channels_last, config.compile

    @property
    def kept(self) -> StudentGenerator:
        """The student, or the average of its weights."""
        return cast(StudentGenerator, self.modules["ema" if self.config.ema else "student"].eval())

    def step(self, batch: Batch, now: Step) -> dict[str, float]:
        with self.autocast():
            student = self.modules["student"].train()(batch["noise"], batch["labels"])
        terms = {"pixel": self.config.pixel * self.distance(student, batch["images"])}
        if self.config.perceptual:
            terms["perceptual"] = self.config.perceptual * self._perceived(student, batch["images"])
        logged: dict[str, float] = {}
        if self.judged:
            logged["discriminator"] = self._train_discriminator(batch["images"], student.detach(), batch["labels"])
            terms |= self._judge(student, batch["images"], batch["labels"])
        self.descend("student", torch.stack(list(terms.values())).sum())
        if self.config.ema:
            average_into(self.modules["ema"], self.modules["student"], self.config.ema)
        return logged | {name: value.item() for name, value in terms.items()}

    def _perceived(self, student: Tensor, teacher: Tensor) -> Tensor:
        with self.autocast():
            seen, wanted = (self.frozen["features"](images.expand(-1, 3, -1, -1)) for images in (student, teacher))
        return losses.feature_l1(seen, wanted)

    def _judge(self, student: Tensor, teacher: Tensor, labels: Tensor) -> dict[str, Tensor]:
        config = self.config
        with held(self.modules["discriminator"]) as judge, self.autocast():
            with torch.no_grad():
                wanted = [f.float() for f in judge(teacher, labels).features]
            seen = judge(student, labels)
        found = [f.float() for f in seen.features]
        terms = {}
        if config.feature:
            terms["feature"] = config.feature * losses.feature_l1(found, wanted)
        if config.kl:
            terms["kl"] = config.kl * losses.feature_kl(found, wanted, config.temperature)
        if config.adversarial:
            terms["adversarial"] = config.adversarial * losses.hinge_generator(seen.logits)
        return terms

    def _train_discriminator(self, real: Tensor, fake: Tensor, labels: Tensor) -> float:
        judge = self.modules["discriminator"]
        with self.autocast():
            told = judge(real, labels).logits, judge(fake, labels).logits
        loss = losses.hinge_discriminator(*told)
        self.descend("discriminator", loss)
        return loss.item()


def student_size(config: DistillConfig, mechanism: Mechanism) -> dict[str, Any]:
    """Return the keywords of :class:`StudentGenerator` for one mechanism."""
    sizes: dict[Mechanism, StudentConfig] = {
        Mechanism.SHAPE: config.shape,
        Mechanism.TEXTURE: config.texture,
        Mechanism.BACKGROUND: config.background,
    }
    return to_dict(sizes[mechanism])


def distill_mechanism(
    pairs_folder: Path,
    config: DistillConfig,
    out: Path,
    *,
    teacher: Teacher | None = None,
    seed: int = 0,
    device: str = "auto",
    callbacks: tuple[Callback, ...] = (),
) -> StudentGenerator:
    """Distill the pairs in ``pairs_folder`` in the run folder ``out``; resumes where it was killed.

    ``teacher`` is asked again for images that were not kept.
    """
    pairs = StoredPairs(pairs_folder, teacher)
    mechanism, spec = pairs.mechanism, pairs.spec
    plan = {key: pairs.manifest[key] for key in PLAN}
    folder = RunFolder(out, {**to_dict(config), "mechanism": mechanism, "seed": seed, "pairs": plan})
    torch.manual_seed(seed)
    method = Distill(config, mechanism, spec)
    some = few_of_each(pairs.labels, STARTED_FROM)
    begun = cast(StudentGenerator, method.modules["student"])
    begun.start_at(pairs.images(some), pairs.labels[some])
    if config.embeddings:
        begun.embed_as(read_embeddings(Path(config.embeddings), *begun.embed.weight.shape))
    if config.ema:
        average_into(method.modules["ema"], begun, 0.0)
    rows_of = balanced_rows(pairs.labels)

    def batch_at(step: int) -> Batch:
        rows = own_share(rows_of(config.batch_size, generator(seed, "distill", mechanism, step)))
        return {"noise": pairs.noise[rows], "labels": pairs.labels[rows], "images": pairs.images(rows)}

    train(
        method,
        batch_at,
        folder,
        steps=config.steps,
        seed=seed,
        schedule=decay_after(0.3),
        save_every=config.save_every,
        callbacks=(every(100, collapse_guard(method, few_pairs(pairs), spec)), *callbacks),
        device=device,
    )
    return method.kept


def read_embeddings(file: Path, classes: int, size: int) -> Tensor:
    """Read class embeddings (classes, size): ``embeddings.weight`` of a BigGAN's file, transposed, or the one tensor.

    Raises:
        UserError: the file is missing or damaged, holds no such tensor, or one of another shape.
    """
    state = read_state_dict(file)
    held = state["embeddings.weight"].T if "embeddings.weight" in state else next(iter(state.values()))
    if held.shape != (classes, size) or ("embeddings.weight" not in state and len(state) > 1):
        raise UserError(
            f"{file} holds no embeddings of {classes} classes in {size} dimensions (found {tuple(held.shape)}): pass "
            "BigGAN's file or a single tensor, and make the students' embedding as wide"
        )
    return held.float()


def few_of_each(labels: Tensor, total: int) -> Tensor:
    """Return the first rows of every class among ``labels`` (N,), ``total`` of them or fewer, but one at least."""
    classes = labels.unique()
    each = max(1, total // len(classes))
    return torch.cat([(labels == c).nonzero()[:each, 0] for c in classes])


def few_pairs(pairs: StoredPairs) -> Pairs:
    """Return ``GUARD_PER_CLASS`` pairs of each class."""
    rows = few_of_each(pairs.labels, GUARD_PER_CLASS * len(pairs.labels.unique()))
    return Pairs(pairs.noise[rows], pairs.labels[rows], pairs.images(rows))


def collapse_guard(method: Distill, few: Pairs, spec: Spec) -> Callback:
    """Stop in the second half of a run if a class has lost the diversity that its teacher has in ``few`` pairs."""
    noise, labels, images = few
    wanted = class_diversity(images, labels, spec.classes)

    def guard(record: Record) -> None:
        if record.step < GUARD_AFTER * record.total:
            return
        student = method.kept
        device = next(student.parameters()).device
        with torch.no_grad():
            found = class_diversity(student(noise.to(device), labels.to(device)).cpu(), labels, spec.classes)
        lost = ((found < COLLAPSED * wanted) & (wanted > 0.02)).nonzero()[:, 0].tolist()
        if lost:
            by_median = student.mechanism is Mechanism.SHAPE and method.config.masks is Distance.L1
            raise TrainingStoppedError(
                f"the student draws one {student.mechanism} whatever the noise for class {lost[0]} at step "
                f"{record.step}: the last good checkpoint is kept; raise the pixel weight or lower the learning rate"
                + (", or let masks be learned by their mean (masks: l2)" if by_median else "")
            )

    return guard


def distill(
    source: Teacher | str | Path,
    out: str | Path,
    config: DistillConfig | None = None,
    query: QueryConfig | None = None,
    *,
    teacher: Teacher | None = None,
    seed: int = 0,
    device: str = "auto",
    watch: Watch = log_progress,
) -> StudentCGN:
    """Distill a teacher into a student CGN, saved in ``out/student``; resumes where it was killed.

    Args:
        source: a teacher, asked for the pairs of ``query`` into ``out/pairs``; or a folder of stored pairs.
        out: gets a run folder per mechanism under ``students`` and the student.
        config: sizes, losses and steps; None takes the defaults.
        query: the query budget; None takes the defaults. Ignored for stored pairs.
        teacher: of stored pairs that keep no images, which it is asked for again.
        seed: of the queries, the initial weights and the batches.
        device: ``auto``, ``cpu`` or ``cuda``.
        watch: begins each part's progress report; by default it is logged.
    """
    out, config = Path(out), config or DistillConfig()
    if isinstance(source, str | Path):
        pairs = Path(source)
    else:
        pairs, query = out / "pairs", query or QueryConfig()
        query_all(source, pairs, query, seed=seed, rank=Rank(process_index(), process_count()), watch=watch)
        wait_for_all()
        teacher = of_classes(source, parse_classes(query.classes, source.spec.classes))
    trained = {}
    for mechanism in Mechanism:
        trained[mechanism] = distill_mechanism(
            pairs / mechanism / TRAIN,
            config,
            out / "students" / mechanism,
            teacher=teacher,
            seed=seed,
            device=device,
            callbacks=(report_to(watch, f"distill {mechanism}"),),
        )
    return assemble(trained, config, out / "student")


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
