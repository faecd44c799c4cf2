"""Evaluation of any classifier: accuracy and confusion on decorrelated images, scores on photographs, sensitivity."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from skdcgn.base.config import RunConfig
from skdcgn.base.door import is_folder
from skdcgn.base.errors import UserError
from skdcgn.base.home import from_home
from skdcgn.base.presets import DEFAULT, run_preset
from skdcgn.base.records import override
from skdcgn.cgn.classes import Classes, in_order_of
from skdcgn.cgn.mechanism import Teacher
from skdcgn.classifiers.any import open_classifier
from skdcgn.classifiers.any_classifier import AnyClassifier
from skdcgn.classifiers.sources import SMALL
from skdcgn.data.folders import as_unit, check_pictures
from skdcgn.data.images import LabelledImages
from skdcgn.evaluation.attribution import Sensitivity, confusion, run_trial, sensitivity
from skdcgn.evaluation.imagenet import measure_logits, open_challenges
from skdcgn.evaluation.scores import HeadScores
from skdcgn.experiments.artifacts import ArtifactKind, artifact_kind, must_hold
from skdcgn.experiments.training_sets import own_test_set, test_set
from skdcgn.teachers.load import open_cgn
from skdcgn.training.train import make_accelerator

logger = logging.getLogger(__name__)
PHOTO_SIDE = 224  # pixels of photographs for a classifier that takes any size
USE_IMAGES = "pass test pictures of its own classes by --images FOLDER, or another --preset"
USE_CGN = "pass a CGN of the classifier's classes by --cgn"


@dataclass(frozen=True)
class ClassifierEvaluation:
    """How a classifier does out of domain.

    Args:
        test: what accuracy and confusion were measured on: a preset, or a folder of pictures; empty if they were not.
        ood_accuracy: percent of the test images that it gets right; None if it was not measured.
        confusion: how many images of class i (rows) it takes for class j (columns).
        names: of the classes, in the order of rows and columns; their numbers, where they have none.
        sensitivity: by mechanism, of a CGN's counterfactuals in which its label alone varied; empty without a CGN.
        classifier: what it is, in one line.
        scores: on folders of photographs, by metric (:func:`skdcgn.evaluation.imagenet.measure_logits`).
    """

    test: str
    ood_accuracy: float | None
    confusion: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    sensitivity: dict[str, Sensitivity] = field(default_factory=dict)
    classifier: str = ""
    scores: dict[str, HeadScores] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {"sensitivity": {name: one._asdict() for name, one in self.sensitivity.items()}}


@dataclass(frozen=True)
class PhotoSets:
    """Folders of photographs that a classifier is measured on; None for those that are not there.

    Args:
        images: labelled photographs, a sub-folder per class, for top-1 and top-5.
        cue_conflict: cue-conflict images, as ``airplane/airplane1-bear2.png``, for shape bias.
        in9: ImageNet-9, as ``mixed_rand/val/00_dog/x.JPEG``, or a folder that skdcgn challenge wrote, for BG-gap.
        in9_map: JSON of which of the nine classes each class is; None: ``in_to_in9.json`` in or beside ``in9``.
    """

    images: Path | None = None
    cue_conflict: Path | None = None
    in9: Path | None = None
    in9_map: Path | None = None

    @property
    def any(self) -> bool:
        """Whether there is a folder."""
        return bool(self.images or self.cue_conflict or self.in9)


def evaluate_classifier(
    model: str | Path | nn.Module | AnyClassifier | Callable[[Tensor], Any],
    *,
    images: Path | None = None,
    cgn: str | Path | Teacher | None = None,
    spec: str | Path | None = None,
    cue_conflict: Path | None = None,
    in9: Path | None = None,
    in9_map: Path | None = None,
    preset: str = DEFAULT,
    textures: Path | None = None,
    data_root: Path | None = None,
    preprocess: str | None = None,
    size: int | None = None,
    names: str | Path | Sequence[str] | None = None,
    bgr: bool = False,
    device: str = "auto",
) -> ClassifierEvaluation:
    """Test a classifier out of domain: on decorrelated images of a preset, or on folders of your own.

    Classes are matched by name: a folder may have some of the classifier's classes, in any order.

    Args:
        model: any classifier (:func:`skdcgn.classifiers.any.open_classifier`).
        images: your own test pictures, a sub-folder per class, instead of the preset's. Of a classifier that classify
            wrote, accuracy and confusion are measured on them; of any other, top-1 and top-5.
        cgn: a CGN whose counterfactuals show which mechanism's label the classifier follows; None: not measured.
        spec: what the CGN does not state, see :func:`skdcgn.load_teacher`.
        cue_conflict, in9, in9_map: see :class:`PhotoSets`.
        preset: whose decorrelated test images, if there are no other images.
        textures: folder of texture pictures; None: the preset's.
        data_root: folder with MNIST's files.
        preprocess, size, names, bgr: of the classifier, see :func:`skdcgn.classifiers.any.open_classifier`.
        device: where a PyTorch module runs.

    Raises:
        UserError: no classifier there; images or a CGN with other classes, or another size than classify trained on.
    """
    place, side = str(make_accelerator(device).device), PHOTO_SIDE
    if isinstance(model, str | Path) and is_folder(Path(from_home(str(model)))):
        _must_classify(Path(from_home(str(model))))
    flags: dict[str, Any] = {"preprocess": preprocess, "size": size, "names": names, "bgr": bgr}
    classifier = open_classifier(model, device=place, side=side, **flags)
    logger.info(str(classifier))
    of_classify, own = classifier.kind == SMALL, classifier.classes
    trial = _sensitivity(classifier, *open_cgn(cgn, spec=spec)) if cgn is not None else {}
    photos = PhotoSets(None if of_classify else images, cue_conflict, in9, in9_map)
    scores = _photo_scores(classifier, photos) if photos.any else {}
    evaluation = ClassifierEvaluation("", None, (), own.words, trial, str(classifier), scores)
    if photos.any and not (of_classify and images):
        return evaluation
    if images:
        data, test = own_test_set(images, classifier.size or side, own, some=True), str(images)
    else:
        exact = classifier.size if of_classify else None
        data, test = preset_images(own, exact, preset, textures, data_root), preset
    counts = confusion(partial(_decide, classifier), data, own.count)
    right = 100 * int(counts.diag().sum()) / len(data)
    rows = tuple(tuple(row) for row in counts.tolist())
    return replace(evaluation, test=test, ood_accuracy=right, confusion=rows, names=data.classes(test).words)


def _must_classify(folder: Path) -> None:
    """Raise UserError unless a folder holds a classifier or an ensemble."""
    if artifact_kind(folder) is not ArtifactKind.ENSEMBLE:
        must_hold(folder, ArtifactKind.CLASSIFIER)


def _decide(classifier: AnyClassifier, images: Tensor) -> Tensor:
    """Return the most likely class (B,) of images."""
    return classifier.probabilities(as_unit(images)).argmax(1)


def _photo_scores(classifier: AnyClassifier, photos: PhotoSets) -> dict[str, HeadScores]:
    challenges = open_challenges(
        classifier.classes,
        images=photos.images,
        cue_conflict=photos.cue_conflict,
        in9_folder=photos.in9,
        in9_map=photos.in9_map,
    )
    check_pictures(challenges.files)
    return measure_logits(classifier.logits, classifier.classes.words, classifier.size or PHOTO_SIDE, challenges)


def _sensitivity(classifier: AnyClassifier, cgn: Teacher, owner: str) -> dict[str, Sensitivity]:
    """Return which mechanism's label the classifier follows on a CGN's counterfactuals.

    A classifier that classify wrote has the classes and the size of the CGN; any other decides among the CGN's classes.
    """
    if classifier.kind == SMALL:
        cgn = _cgn_for(classifier.classes, classifier.size or PHOTO_SIDE, cgn, owner)
    else:
        classifier = classifier.on_classes(Classes.of(owner, cgn.spec))
    return sensitivity(partial(_decide, classifier), run_trial(cgn))


def _cgn_for(own: Classes, image_size: int, cgn: Teacher, owner: str) -> Teacher:
    """Return the CGN with its classes in the classifier's order; raise UserError for other classes or another size."""
    ordered = in_order_of(own, cgn, owner, USE_CGN)
    same_size(own.owner, image_size, owner, cgn.spec.image_size, USE_CGN)
    return ordered


def preset_images(
    own: Classes, image_size: int | None, preset: str, textures: Path | None, data_root: Path | None
) -> LabelledImages:
    """Return the test images of a preset in the order of a classifier's or a CGN's classes; None: of any size."""
    data, owner = test_set(preset_data(preset, textures), data_root), f"the test set of {preset}"
    ordered = data.numbered_as(own, owner, USE_IMAGES)
    same_size(own.owner, image_size or data.image_size, owner, data.image_size, USE_IMAGES)
    return ordered


def same_size(own: str, own_size: int, other: str, other_size: int, mend: str) -> None:
    if own_size != other_size:
        raise UserError(f"{own} has images of {own_size} pixels, {other} of {other_size} pixels: {mend}")


def preset_data(preset: str, textures: Path | None) -> RunConfig:
    """Return the configuration of a preset, with another folder of texture pictures if there is one."""
    return override(run_preset(preset), {"textures": str(textures)} if textures else {})
