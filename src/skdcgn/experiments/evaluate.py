"""Evaluation of what a folder or a name holds: a classifier, a CGN, an ensemble or a finished run."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from skdcgn.base.config import ClassifyConfig, RunConfig
from skdcgn.base.door import read_object
from skdcgn.base.errors import UserError
from skdcgn.base.presets import DEFAULT
from skdcgn.base.records import from_dict, settings_of
from skdcgn.cgn.classes import Classes, in_order_of
from skdcgn.cgn.mechanism import Teacher
from skdcgn.classifiers.ensemble import load_ensemble, read_ensemble_form
from skdcgn.data.folders import check_pictures
from skdcgn.evaluation.attribution import (
    BUDGET,
    IMAGES,
    Axioms,
    axioms,
    train_mechanism_classifiers,
)
from skdcgn.evaluation.imagenet import measure_ensemble, open_challenges
from skdcgn.evaluation.measure import Measurement, compare_cgn, compare_with_pairs
from skdcgn.evaluation.scores import HeadScores
from skdcgn.experiments.artifacts import ArtifactKind, artifact_kind, must_hold
from skdcgn.experiments.evaluate_classifier import preset_images
from skdcgn.experiments.training_sets import own_test_set
from skdcgn.features.extractors import load_extractor
from skdcgn.metrics.pixels import PairAgreement
from skdcgn.results.photo_record import PhotosResults
from skdcgn.results.records import ImageNetResults, MnistResults, read_results
from skdcgn.teachers.load import open_cgn
from skdcgn.training.train import make_accelerator

USE_TEACHER = "pass a CGN of the same classes by --teacher"


@dataclass(frozen=True)
class CGNEvaluation:
    """How a CGN's counterfactuals compare.

    Args:
        distances: to real images, by metric.
        pairs: L1, PSNR and SSIM to held-out answers of the teacher, by mechanism; empty if there are no pairs.
        axioms: None if no mechanism classifiers were trained.
    """

    distances: dict[str, Measurement]
    pairs: dict[str, PairAgreement] = field(default_factory=dict)
    axioms: Axioms | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values: dict[str, Any] = {name: number.to_dict() for name, number in self.distances.items()}
        if self.pairs:
            values["pairs"] = {mechanism: agreement.to_dict() for mechanism, agreement in self.pairs.items()}
        if self.axioms:
            values["axioms"] = self.axioms.to_dict()
        return values


def evaluate_cgn(
    cgn: str | Path | Teacher,
    *,
    extractor: str = "digits",
    n: int = 5000,
    images: Path | None = None,
    pairs: Path | None = None,
    mechanism_classifiers: Path | None = None,
    teacher: str | Path | Teacher | None = None,
    budget: ClassifyConfig = BUDGET,
    preset: str = DEFAULT,
    textures: Path | None = None,
    spec: str | Path | None = None,
    data_root: Path | None = None,
    device: str = "auto",
) -> CGNEvaluation:
    """Compare a CGN's counterfactuals with decorrelated real images: a preset's, or a user's own.

    Args:
        cgn: a teacher or a student.
        extractor: of the features: ``digits``, ``efficientnet-lite0``, a classifier's folder or an ONNX file.
        n: how many counterfactuals; the axioms take 1,000 at most.
        images: your own real pictures, a sub-folder per class, instead of the preset's.
        pairs: folder that query wrote: the CGN is compared with its teacher's held-out answers too.
        mechanism_classifiers: folder for a classifier of each mechanism's label, by which the axioms are measured;
            None: they are not.
        teacher: whose counterfactuals these classifiers learn; None: the CGN's own, with its faults.
        budget: of each of these classifiers.
        preset: whose decorrelated test images.
        textures: folder of texture pictures; None: the preset's.
        spec: what the CGN does not state, see :func:`skdcgn.load_teacher`.
        data_root: folder with MNIST's files.
        device: where networks run.

    Raises:
        UserError: a teacher without a folder for mechanism classifiers; real images of other classes or another size.
    """
    if teacher is not None and not mechanism_classifiers:
        raise UserError("--teacher is for mechanism classifiers: name a folder for them: --mechanism-classifiers DIR")
    place = str(make_accelerator(device).device)
    (student, owner), features = open_cgn(cgn, place, spec=spec), load_extractor(extractor, device=place)
    own = Classes.of(owner, student.spec)
    size, measured = student.spec.image_size, None
    of_preset = partial(preset_images, own, size, preset, textures, data_root)
    real = own_test_set(images, size, own) if images else of_preset()
    agreement = compare_with_pairs(student, pairs) if pairs else {}
    distances = compare_cgn(student, features, real, n=n)
    if mechanism_classifiers:
        source = student
        if teacher is not None:
            source = in_order_of(own, open_cgn(teacher, place)[0], "--teacher", USE_TEACHER)
        classifiers = train_mechanism_classifiers(source, mechanism_classifiers, budget, device=device)
        measured = axioms(student, classifiers, features, real.images, n=min(n, IMAGES))
    return CGNEvaluation(distances, agreement, measured)


def evaluate_ensemble(
    folder: Path,
    *,
    images: Path | None = None,
    cue_conflict: Path | None = None,
    in9: Path | None = None,
    in9_map: Path | None = None,
    device: str = "auto",
) -> dict[str, HeadScores]:
    """Measure the ensemble of a run folder and each of its heads, by metric.

    Args:
        folder: the run folder that ensemble wrote.
        images: labelled photographs, a sub-folder per class, for top-1 and top-5.
        cue_conflict: cue-conflict images, as ``airplane/airplane1-bear2.png``, for shape bias.
        in9: ImageNet-9, as ``mixed_rand/val/00_dog/x.JPEG``, for BG-gap.
        in9_map: JSON of which of the nine classes each class is; None: ``in_to_in9.json`` in or beside ``in9``.
        device: where networks run.

    Raises:
        UserError: no ensemble there, no images to measure it on, or images of another layout.
    """
    must_hold(folder, ArtifactKind.ENSEMBLE)
    if not (images or cue_conflict or in9):
        raise UserError(f"{folder} is an ensemble: name images to measure it on: --images, --cue-conflict or --in9")
    ensemble, names = load_ensemble(folder)
    size = read_ensemble_form(folder).image_size
    challenges = open_challenges(names, images=images, cue_conflict=cue_conflict, in9_folder=in9, in9_map=in9_map)
    check_pictures(challenges.files)
    return measure_ensemble(ensemble.to(make_accelerator(device).device), names, size, challenges)


@dataclass(frozen=True)
class RunEvaluation:
    """The results of a finished run on digits, and the configuration that says which band each should lie in."""

    results: MnistResults
    config: RunConfig


def evaluate_run(folder: Path) -> RunEvaluation | ImageNetResults | PhotosResults:
    """Read the results of a finished run; raise UserError if it has not ended, or if ``folder`` holds another thing."""
    kind = artifact_kind(folder)
    if kind is ArtifactKind.IMAGENET_RUN:
        return read_results(folder, ImageNetResults)
    if kind is ArtifactKind.PHOTOS_RUN:
        return read_results(folder, PhotosResults)
    if kind is not ArtifactKind.RUN:
        raise UserError(f"{folder} is {kind}, not a run: pass the folder that skdcgn run wrote to")
    path = folder / "config.json"
    config = from_dict(RunConfig, settings_of(read_object(path)), str(path))
    return RunEvaluation(read_results(folder, MnistResults), config)
