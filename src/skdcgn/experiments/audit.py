"""The audit of a classifier by name, file or object, and its run folder.

The folder holds ``config.json`` (the settings, and digests of the classifier and the CGN), ``audit.json``, ``pairs/``
with two PNG files of each telling pair, and ``report.html``. A finished audit is shown, not measured again; one that
was killed starts again. Functions of Python have no digest of what they compute: their audits are always measured.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from skdcgn.base.bounds import LEAST_AUDITED, MOST_AUDITED
from skdcgn.base.contents import Reads, digests, value_reads
from skdcgn.base.door import is_file
from skdcgn.base.errors import UserError, shown
from skdcgn.base.files import write_json
from skdcgn.base.home import from_home
from skdcgn.base.progress import Watch, log_progress, silent
from skdcgn.base.records import digest, to_dict
from skdcgn.cgn.classes import Classes
from skdcgn.cgn.mechanism import Teacher
from skdcgn.cgn.pictures import save_picture
from skdcgn.classifiers.any import open_classifier
from skdcgn.classifiers.any_classifier import AnyClassifier
from skdcgn.classifiers.preprocess import DEFAULT
from skdcgn.evaluation.audit import IMAGES, Audit, audit_classifier
from skdcgn.evaluation.audit_record import FILE, AuditRecord, pair_files, read_audit
from skdcgn.evaluation.input_check import better_preprocess
from skdcgn.evaluation.verdict import near_chance
from skdcgn.report.audit import write_audit_report
from skdcgn.teachers.load import open_cgn
from skdcgn.training.run_folder import RunFolder
from skdcgn.training.train import make_accelerator

CALLABLE = "callable:"  # begins the digest of a function
Model = str | Path | nn.Module | Callable[[Tensor], Any] | AnyClassifier


@dataclass(frozen=True)
class AuditConfig:
    """The settings of an audit: base pictures, seed, whole objects (None: if the CGN's pictures do not tile)."""

    images: int = IMAGES
    seed: int = 0
    whole: bool | None = None

    def __post_init__(self) -> None:
        if not LEAST_AUDITED <= self.images <= MOST_AUDITED:
            raise UserError(f"an audit of {shown(self.images)} base pictures: pass {LEAST_AUDITED} to {MOST_AUDITED:,}")


@dataclass(frozen=True)
class Subject:
    """What is audited.

    Args:
        classifier: decides among the CGN's classes, in their order.
        cgn: whose pictures it is shown.
        cgn_name: in the record.
        words: of the command line that names both; empty if one has no name.
    """

    classifier: AnyClassifier
    cgn: Teacher
    cgn_name: str
    words: tuple[str, ...] = ()

    @property
    def reads(self) -> Reads:
        """The contents of both, and how the classifier reads pictures."""
        one = self.classifier
        way = one.preprocess
        form = [way.mean, way.deviation, way.bgr, one.size, one.classes.words]
        return {
            **value_reads("classifier", one.digest, f"the classifier {one.name}"),
            **value_reads("input", form, "the preprocess, the size or the classes"),
            **value_reads("cgn", self.cgn.digest, f"the CGN {self.cgn_name}"),
        }

    @property
    def is_function(self) -> bool:
        """Whether either is a function of Python, which has no digest of what it computes."""
        return any(one.startswith(CALLABLE) for one in (self.classifier.digest, self.cgn.digest))

    def command(self, config: AuditConfig) -> str:
        """Return the command that repeats the audit; empty if there is none."""
        if not self.words:
            return ""
        whole = [] if config.whole is None else ["--whole" if config.whole else "--no-whole"]
        return shlex.join(
            ["skdcgn", "audit", *self.words, "-n", str(config.images), "--seed", str(config.seed), *whole]
        )


class WrittenAudit(NamedTuple):
    """A record, and the report in its folder."""

    record: AuditRecord
    report: Path


def audit(
    model: Model,
    cgn: str | Path | Teacher,
    *,
    spec: str | Path | None = None,
    n: int = IMAGES,
    whole: bool | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    preprocess: str | None = None,
    size: int | None = None,
    names: str | Path | Sequence[str] | None = None,
    bgr: bool = False,
    device: str = "auto",
    watch: Watch = log_progress,
) -> AuditRecord:
    """Measure which mechanism a classifier follows: what it does when one mechanism's label alone changes.

    Args:
        model: a callable, images (B, 3, H, W) in [-1, 1] -> logits or probabilities (B, classes), or what
            :func:`skdcgn.classifiers.any.open_classifier` takes: a run folder, an ONNX file, ``module:name``, ...
        cgn: a CGN with some of the classifier's classes, matched by name, or its name, file or folder.
        spec: what the CGN does not state, see :func:`skdcgn.load_teacher`.
        n: base pictures.
        whole: see :func:`skdcgn.evaluation.audit.audit_classifier`.
        seed: the same seed gives the same record on the same machine.
        out: folder for ``audit.json``, the telling pairs and ``report.html``; None: nothing is written.
        preprocess, size, names, bgr: how the classifier reads pictures, and its classes, as ``open_classifier`` takes
            them.
        device: where networks run.
        watch: shows progress.

    Raises:
        UserError: a model or a CGN that cannot be read, classes that do not fit, ``n`` out of range, or another run in
            ``out``.
    """
    config = AuditConfig(n, seed, whole)
    subject = open_subject(model, cgn, spec=spec, preprocess=preprocess, size=size, names=names, bgr=bgr, device=device)
    if out is None:
        return measure(subject, config, watch).record
    return write_audit(subject, config, Path(from_home(str(out))), watch=watch).record


def open_subject(
    model: Model,
    cgn: str | Path | Teacher,
    *,
    spec: str | Path | None = None,
    preprocess: str | None = None,
    size: int | None = None,
    names: str | Path | Sequence[str] | None = None,
    bgr: bool = False,
    device: str = "auto",
) -> Subject:
    """Open a classifier and a CGN, and let the classifier decide among the CGN's classes; see :func:`audit`."""
    place = str(make_accelerator(device).device)
    teacher, owner = open_cgn(cgn, place, spec=spec)
    classifier = open_classifier(
        model, preprocess=preprocess, size=size, names=names, bgr=bgr, device=place, side=teacher.spec.image_size
    )
    own = classifier.on_classes(Classes.of(owner, teacher.spec))
    if not (isinstance(model, str | Path) and isinstance(cgn, str | Path)) or (
        names is not None and not isinstance(names, str | Path)
    ):
        return Subject(own, teacher, owner)
    flags = {"--spec": spec, "--preprocess": preprocess, "--size": size, "--names": names}
    further = [word for flag, value in flags.items() if value is not None for word in (flag, str(value))]
    return Subject(own, teacher, owner, (str(model), "--cgn", owner, *further, *(["--bgr"] if bgr else [])))


def measure(subject: Subject, config: AuditConfig, watch: Watch = silent) -> Audit:
    """Audit a subject; warn of a preprocess with which the classifier decides better."""
    classifier, cgn = subject.classifier, subject.cgn
    measured = audit_classifier(
        classifier.probabilities,
        cgn,
        n=config.images,
        whole=config.whole,
        seed=config.seed,
        watch=watch,
        name=classifier.name,
        cgn_name=subject.cgn_name,
    )
    record, agree = measured.record, measured.record.mechanisms["shape"].agree
    guessed = classifier.preprocess.origin == DEFAULT or near_chance(agree.low, 100 / len(record.classes))
    hint = better_preprocess(classifier, cgn, whole=record.whole, seed=config.seed) if guessed else None
    record = replace(
        record,
        warnings=(*record.warnings, *([hint] if hint else [])),
        description=str(classifier),
        command=subject.command(config),
    )
    return Audit(record, measured.pictures)


def write_audit(
    subject: Subject, config: AuditConfig, out: Path | None = None, *, watch: Watch = silent
) -> WrittenAudit:
    """Measure, and write the folder of an audit; return the record of one that is finished.

    Args:
        subject: from :func:`open_subject`.
        config: its base pictures and seed.
        out: the folder; None: ``runs/audit-DIGEST``, of the settings and of what is read.
        watch: shows progress.

    Raises:
        UserError: another run is in ``out``.
    """
    reads = subject.reads
    folder = out or Path("runs") / f"audit-{digest(to_dict(config) | {'reads': digests(reads)})}"
    RunFolder(folder, config, reads=reads)
    if is_file(folder / FILE) and not subject.is_function:
        record = read_audit(folder)
    else:
        record, pictures = measure(subject, config, watch)
        _write_pairs(folder, pictures)
        write_json(folder / FILE, record.to_dict())
    return WrittenAudit(record, write_audit_report(folder))


def _write_pairs(folder: Path, pictures: Tensor) -> None:
    """Write the pictures (P, 2, 3, H, W) uint8 of pairs."""
    for index, pair in enumerate(pictures):
        for name, picture in zip(pair_files(index), pair, strict=True):
            save_picture(folder / name, picture.permute(1, 2, 0))
