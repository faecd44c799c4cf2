"""Teaching: train a CGN on biased pictures, the source data that a distillation never sees."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from skdcgn.base.config import TeachConfig
from skdcgn.base.errors import TrainingStoppedError
from skdcgn.base.seeds import generator
from skdcgn.base.tensors import write_tensors
from skdcgn.cgn.drawings import layers_grid
from skdcgn.cgn.mechanism import Teacher
from skdcgn.cgn.pictures import save_picture
from skdcgn.data.folders import as_unit
from skdcgn.teachers.cgn import CGNTeacher
from skdcgn.teachers.checkpoints import load_cgn
from skdcgn.teachers.following import check_following
from skdcgn.teachers.health import Health, RealReference, Symptom, check_health, real_reference, symptoms
from skdcgn.teachers.teach_method import Teach
from skdcgn.teachers.teaching_data import TeachingData, load_teaching_data, teaching_reads
from skdcgn.training.loop import Batch, Callback, Record, balanced_rows, decay_after, every
from skdcgn.training.run_folder import RunFolder
from skdcgn.training.train import train

logger = logging.getLogger(__name__)
COLOUR_IMAGES, COLOUR_LIMIT = 1000, 0.95  # images whose mean colour backgrounds begin at, and its greatest value
WARN_AFTER, STOP_AFTER = 0.25, 0.5  # of the run
CheckHealth = Callable[[Teacher, RealReference, int], Health]


@torch.no_grad()
def start_at(cgn: nn.Module, images: Tensor) -> None:
    """Let backgrounds begin at the mean colour of images (N, 3, H, W), most of which is background.

    Data-dependent initialisation (Salimans & Kingma 2016, Sec. 3), by the offset of the last batch norm.
    """
    colour = images.mean((0, 2, 3)).clamp(-COLOUR_LIMIT, COLOUR_LIMIT).atanh()
    cast(nn.BatchNorm2d, cast(nn.Sequential, cgn.f_text2)[-2]).bias.copy_(colour)


@dataclass
class _Samples:
    """A callback that draws samples, logs their health and warns of symptoms, or stops the training."""

    method: Teach
    data: TeachingData
    folder: RunFolder
    check: CheckHealth

    def __post_init__(self) -> None:
        self.config = self.method.config
        self.reference = real_reference(self.data.real, self.data.spec.classes, self.config.seed)
        logger.info(str(self.reference))

    def __call__(self, record: Record) -> None:
        teacher, seed = self.method.teacher(), self.config.seed
        health = self.check(teacher, self.reference, seed)
        logger.info(f"step {record.step}: {health}")
        failures, numbers = list(symptoms(health, self.reference)), health.numbers | self.reference.numbers
        if self.config.images:
            following = check_following(teacher, self.method.modules["encoder"], self.data, seed)
            numbers |= following.numbers
            failures += following.symptoms
            logger.info(f"step {record.step}: {following}" if following.numbers else "too few pictures for mask_gain")
        self.folder.log(Record(record.step, record.total, numbers))
        save_picture(self.folder.path / f"samples-{record.step:06d}.png", layers_grid(teacher, rows=6, seed=seed))
        if record.step >= WARN_AFTER * record.total:
            self._report(failures, record)

    def _report(self, failures: list[Symptom], record: Record) -> None:
        for symptom in failures:
            if symptom.fatal and not self.config.policy and record.step >= STOP_AFTER * record.total:
                raise TrainingStoppedError(f"step {record.step}: {symptom.words}")
            logger.warning(f"step {record.step}: {symptom.words}")


def teach(
    config: TeachConfig,
    out: Path,
    *,
    data_root: Path | None = None,
    device: str = "auto",
    sample_every: int = 500,
    extend: bool = False,
    track: str | None = None,
    callbacks: tuple[Callback, ...] = (),
    check: CheckHealth = check_health,
) -> CGNTeacher:
    """Train a CGN in the run folder ``out`` and return it; resumes where it was killed.

    Writes ``teacher.safetensors`` at the end, with the names of the classes; every ``sample_every`` steps
    ``samples-STEP.png`` (masks, textures, backgrounds, composed) and its :class:`Health` in metrics.jsonl; logs it, and
    warns of symptoms.

    Args:
        extend: continue a run in ``out`` that differs in having fewer steps alone.
        track: ``tensorboard`` or ``wandb``, to log there too.
        check: compares the CGN at each sample with real masks or pictures; the last argument is the seed.

    Raises:
        UserError: no such glyphs, appearance, features, pictures or policy.
        TrainingStoppedError: masks are still empty, full or all one shape after half of the steps. Under a policy this
            is a warning.
    """
    data = load_teaching_data(config, data_root)
    pictures, spec = data.pictures, data.spec
    torch.manual_seed(config.seed)
    method = Teach(config, spec)
    reads = teaching_reads(config, data_root)
    folder = RunFolder(out, config, reads=reads, extend=extend)  # after every check of the configuration
    rows_of = balanced_rows(pictures.labels)
    start_at(method.modules["cgn"], as_unit(pictures.images[rows_of(COLOUR_IMAGES, generator(config.seed, "first"))]))

    sample = _Samples(method, data, folder, check)

    def batch_at(step: int) -> Batch:
        rows = rows_of(config.batch_size, generator(config.seed, "teach", step))
        masks = {} if data.masks is None else {"masks": data.masks[rows] / 255}
        return {"images": as_unit(pictures.images[rows]), "labels": pictures.labels[rows], **masks}

    train(
        method,
        batch_at,
        folder,
        steps=config.steps,
        seed=config.seed,
        schedule=decay_after(0.5),
        callbacks=(every(sample_every, sample), *callbacks),
        device=device,
        track=track,
    )
    write_tensors(out / "teacher.safetensors", method.teacher().cgn.state_dict(), spec.to_metadata())
    return load_cgn(out / "teacher.safetensors")
