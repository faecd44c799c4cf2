"""Cure: fine-tune a classifier on what makes its shortcut useless, and measure what that changes.

The audit (:mod:`skdcgn.evaluation.audit`) names the mechanisms whose class the decision follows. The network then
learns from real pictures mixed with counterfactuals in which these mechanisms' labels are independent of the shape's,
and the labels of the others are the shape's (:mod:`skdcgn.classifiers.finetune`). A second audit, on the same pictures,
and the accuracy on held-out real pictures say whether that is a cure.
"""

import copy
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from skdcgn.base.contents import Reads
from skdcgn.base.cure_config import CureConfig, Trained
from skdcgn.base.errors import UserError, shown
from skdcgn.base.files import write_json
from skdcgn.base.home import from_home
from skdcgn.base.progress import Watch, log_progress, silent
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import generator
from skdcgn.cgn.classes import Classes
from skdcgn.cgn.mechanism import Teacher
from skdcgn.classifiers.any_classifier import AnyClassifier
from skdcgn.classifiers.ensemble import WORKERS
from skdcgn.classifiers.finetune import FineTune, Reading, last_layer, photo_accuracy
from skdcgn.classifiers.photo_batches import batches
from skdcgn.classifiers.schedules import Epochs, one_cycle
from skdcgn.data.counterfactuals import stream_from_cgn
from skdcgn.data.folders import check_pictures, list_photos
from skdcgn.data.images import PhotoFiles
from skdcgn.data.reads import photo_reads
from skdcgn.evaluation.audit import IMAGES
from skdcgn.evaluation.audit_record import PICTURES, AuditRecord
from skdcgn.experiments.audit import AuditConfig, Subject, measure, open_subject, write_audit
from skdcgn.experiments.cure_record import (
    FILE,
    CureRecord,
    cure_policy,
    follow_words,
    varied_mechanisms,
)
from skdcgn.experiments.cured_weights import keep_weights
from skdcgn.training.loop import report_to
from skdcgn.training.run_folder import RunFolder
from skdcgn.training.train import train

HELD_OUT = 10  # one picture of so many of a class is held out
TAKES = "cure trains modules of PyTorch: pass a run folder, module:function or an nn.Module"


@dataclass(frozen=True)
class _Task:
    """What is cured, by what, on which pictures."""

    subject: Subject
    photos: PhotoFiles
    held_out: PhotoFiles
    reading: Reading
    layers: Trained
    vary: tuple[str, ...] | None
    config: CureConfig
    audits: AuditConfig
    watch: Watch
    kept_audits: bool

    @property
    def classifier(self) -> AnyClassifier:
        return self.subject.classifier

    @property
    def seed(self) -> int:
        return self.audits.seed

    def audit(self, folder: Path | None) -> AuditRecord:
        """Audit the classifier as it is; read what an earlier call wrote into a folder."""
        if folder is None:
            return measure(self.subject, self.audits, self.watch).record
        return write_audit(self.subject, self.audits, folder, watch=self.watch).record


class Cure(NamedTuple):
    """The record of a cure, and the cured copy of the module; None unless it was kept."""

    record: CureRecord
    module: nn.Module | None


def cure(
    module: nn.Module | str | Path,
    cgn: Teacher | str | Path,
    real: str | Path,
    *,
    spec: str | Path | None = None,
    out: str | Path | None = None,
    layers: str = Trained.LAST,
    vary: Sequence[str] | None = None,
    test: str | Path | None = None,
    most_lost: float = 2.0,
    config: CureConfig | None = None,
    n: int = IMAGES,
    seed: int = 0,
    preprocess: str | None = None,
    size: int | None = None,
    names: str | Path | Sequence[str] | None = None,
    bgr: bool = False,
    crops: bool | None = None,
    device: str = "auto",
    watch: Watch = log_progress,
) -> Cure:
    """Cure a classifier of the shortcuts that an audit finds; resumes where it was killed.

    Nothing is trained if the audit finds none and ``vary`` names none. The caller's module never changes.

    Args:
        module: a module of PyTorch, a run folder of ours, ``module:function``, or ``efficientnet-lite0``.
        cgn: a teacher or a student, or the name or path of one.
        spec: what the CGN does not state, see :func:`skdcgn.load_teacher`.
        real: folder of real pictures, a sub-folder per class, called as the CGN's classes.
        out: folder of the run. It keeps the audits, the record, and the weights: of a run folder of ours the run folder
            ``cured``, of other modules the state dict ``cured.safetensors``. None: a folder that is deleted at the end.
        layers: ``last``, the linear layer that decides, or ``all``.
        vary: ``texture``, ``background`` or both: whose labels vary in the counterfactuals; None: those that the audit
            finds to be followed.
        test: held-out real pictures; None: a tenth of each class of ``real``.
        most_lost: points of accuracy on held-out pictures that may be lost; if more are, nothing is kept.
        config: of the training.
        n: base pictures of each audit.
        seed: of all random numbers.
        preprocess, size, names, bgr: of the classifier, as
            :func:`skdcgn.classifiers.any.open_classifier` takes them.
        crops: whether training sees random, mirrored crops of pictures; None: unless the CGN's pictures tile.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UserError: a classifier that is no module of PyTorch or has no last layer, other classes than the CGN's,
            pictures that cannot be read, or a folder that holds another run.
    """
    trained, varied = _as_layers(layers), _as_varied(vary)
    real, test = Path(from_home(str(real))), None if test is None else Path(from_home(str(test)))
    if not 0 <= most_lost <= 100:
        raise UserError(f"most_lost is {most_lost}: pass points of accuracy, 0 to 100")
    source = copy.deepcopy(module) if isinstance(module, nn.Module) else module
    subject = open_subject(
        source, cgn, spec=spec, preprocess=preprocess, size=size, names=names, bgr=bgr, device=device
    )
    _check_trainable(subject.classifier, trained)
    of_cgn = subject.cgn.spec
    own = Classes.of(subject.cgn_name, of_cgn)
    photos, held_out = _split(real, test, own, seed)
    reading = Reading(subject.classifier.size or of_cgn.image_size, not of_cgn.tiles if crops is None else crops)
    task = _Task(
        subject,
        photos,
        held_out,
        reading,
        trained,
        varied,
        config or CureConfig(),
        AuditConfig(n, seed),
        watch,
        out is not None,
    )
    with _folder(out) as path, ThreadPoolExecutor(WORKERS) as pool:
        folder = RunFolder(path, _identity(task), reads=_reads(task, real, test))
        record = _run(task, folder, most_lost, pool, device)
        keep_weights(subject.classifier, module, path, record.kept)
        write_json(path / FILE, record.to_dict())
    return Cure(record, subject.classifier.module if record.kept else None)


def _as_layers(layers: str) -> Trained:
    if layers not in list(Trained):
        raise UserError(f"layers {shown(layers)}: use last or all")
    return Trained(layers)


def _as_varied(vary: Sequence[str] | None) -> tuple[str, ...] | None:
    if vary is None:
        return None
    if not vary or not set(vary) <= set(PICTURES):
        raise UserError(f"vary {shown(list(vary))}: name texture, background or both")
    return tuple(name for name in PICTURES if name in vary)


def _check_trainable(classifier: AnyClassifier, layers: Trained) -> None:
    """Raise UserError unless a classifier's module can learn, and has a last layer if that alone is trained."""
    if classifier.module is None or classifier.batch is not None:
        raise UserError(f"{classifier.name} is {classifier.kind}: {TAKES}")
    if layers is Trained.LAST:
        last_layer(classifier)


def _split(real: Path, test: Path | None, own: Classes, seed: int) -> tuple[PhotoFiles, PhotoFiles]:
    """Return the pictures to learn from, and those held out: a tenth of each class, at least one of two or more."""
    photos = list_photos(real, own)
    check_pictures(photos.files, silent)
    if test is not None:
        held_out = list_photos(test, own)
        check_pictures(held_out.files, silent)
        return photos, held_out
    apart = torch.zeros(len(photos), dtype=torch.bool)
    for label in photos.labels.unique().tolist():
        rows = (photos.labels == label).nonzero().flatten()
        order = torch.randperm(len(rows), generator=generator(seed, "held out", label))
        apart[rows[order[: max(len(rows) // HELD_OUT, min(1, len(rows) - 1))]]] = True
    if not bool(apart.any()):
        raise UserError(f"{real} has one picture of each class, so that none can be held out: pass --test")
    return _rows(photos, ~apart), _rows(photos, apart)


def _rows(photos: PhotoFiles, mask: Tensor) -> PhotoFiles:
    rows = mask.nonzero().flatten()
    return PhotoFiles([photos.files[row] for row in rows.tolist()], photos.labels[rows], photos.names)


@contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    """Give the folder of the run; for None one that is deleted at the end."""
    if out is not None:
        yield Path(from_home(str(out)))
        return
    with tempfile.TemporaryDirectory(prefix="skdcgn-cure-") as place:
        yield Path(place)


def _identity(task: _Task) -> dict[str, Any]:
    """Return the settings of a run that decide on its weights and audits."""
    values = {"layers": str(task.layers), "crops": task.reading.crops, "vary": task.vary, "side": task.reading.size}
    return {**to_dict(task.config), **values, **to_dict(task.audits)}


def _reads(task: _Task, real: Path, test: Path | None) -> Reads:
    tests = {} if test is None else photo_reads("tests", test, task.held_out)
    return {**photo_reads("pictures", real, task.photos), **tests, **task.subject.reads}


def _run(task: _Task, folder: RunFolder, most_lost: float, pool: Executor, device: str) -> CureRecord:
    """Audit, train, audit again; without a shortcut the first audit is all."""
    path, one = folder.path, task.classifier
    before = task.audit(path / "audit-before" if task.kept_audits else None)
    accurate = photo_accuracy(one, task.held_out, task.reading, pool)
    varied = task.vary or varied_mechanisms(before)
    record = CureRecord(
        classifier=one.name,
        cgn=task.subject.cgn_name,
        seed=task.seed,
        layers=task.layers,
        varied=varied,
        before=before,
        after=None,
        accuracy_before=accurate,
        accuracy_after=None,
        held_out=len(task.held_out),
        most_lost=most_lost,
        kept=False,
        verdict=f"nothing to cure: {before.verdict}",
    )
    if not varied:
        return record
    _train(task, folder, cure_policy(varied, whole=before.whole), pool, device)
    after = task.audit(path / "audit-after" if task.kept_audits else None)
    record = replace(record, after=after, accuracy_after=photo_accuracy(one, task.held_out, task.reading, pool))
    return _judged(record)


def _train(task: _Task, folder: RunFolder, policy: tuple[str, ...], pool: Executor, device: str) -> None:
    config, seed = task.config, task.seed
    passes = -(-config.steps * config.batch_size // len(task.photos)) + 1
    epochs = Epochs(len(task.photos), config.batch_size, passes, seed)
    source = stream_from_cgn(task.subject.cgn, config.counterfactuals, policy=policy, seed=seed)
    train(
        FineTune(task.classifier, task.layers, config),
        batches(task.photos, source, epochs, task.reading.train, task.reading.counterfactuals, pool),
        folder,
        steps=config.steps,
        seed=seed,
        schedule=one_cycle,
        save_every=config.save_every,
        callbacks=(report_to(task.watch, "cure"),),
        device=device,
    )


def _judged(record: CureRecord) -> CureRecord:
    """Return the record with its verdict: kept unless too much accuracy is lost."""
    after, accurate = cast(AuditRecord, record.after), cast(float, record.accuracy_after)
    real = f"accuracy on held-out real pictures {record.accuracy_before:.1f} % before, {accurate:.1f} % after"
    lost = record.accuracy_before - accurate
    if lost > record.most_lost:
        words = f"not kept: {lost:.1f} points are lost, more than --most-lost {record.most_lost:g} ({real})"
        return replace(record, verdict=f"{words}: use fewer --steps, a lower --learning-rate or another --layers")
    names = record.varied
    words = f"follows before: {follow_words(record.before, names)}; after: {follow_words(after, names)}; {real}"
    return replace(record, kept=True, verdict=words)
