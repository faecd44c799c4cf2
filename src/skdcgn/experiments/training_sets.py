"""Training sets and test sets of digits, and the accuracy of a classifier that was trained on one of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from skdcgn.base.bounds import Count, Percent
from skdcgn.base.config import ClassifyConfig, RunConfig
from skdcgn.base.contents import Reads
from skdcgn.base.door import read_record
from skdcgn.base.files import write_json
from skdcgn.base.progress import Watch, log_progress
from skdcgn.base.records import to_dict
from skdcgn.cgn.classes import Classes, in_order_of
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Teacher
from skdcgn.classifiers.mask_filter import train_mask_filter
from skdcgn.classifiers.small_cnn import accuracy, classify
from skdcgn.data.appearances import paint
from skdcgn.data.folders import as_unit, load_pictures
from skdcgn.data.glyphs import glyph_classes, load_glyphs
from skdcgn.data.images import LabelledImages, concatenate
from skdcgn.data.reads import glyph_reads, texture_reads
from skdcgn.training.loop import report_to

OTHER_CLASSES = "take a CGN of the glyphs' classes, or glyphs of the CGN's"
RENAME = "rename the sub-folders, or pass a folder of those classes by --images"
CLASSIFIERS = ("biased", "teacher", "student", "oracle")
MakeImages = Callable[[], LabelledImages]


class MnistData(NamedTuple):
    """Glyphs in an appearance: the source of all real images of an experiment.

    Args:
        glyphs: ``digits``, ``mnist`` or a folder of idx files.
        appearance: ``colored``, ``double-colored`` or ``wildlife``.
        textures: folder of texture pictures; None: the project's own.
        test_copies: colourings of each test glyph.
        data_root: folder of local data; None: download.
    """

    glyphs: str
    appearance: str
    textures: Path | None = None
    test_copies: int = 1
    data_root: Path | None = None

    @classmethod
    def of(cls, config: RunConfig, data_root: Path | None = None) -> "MnistData":
        """Return the data of a run."""
        textures = Path(config.textures) if config.textures else None
        return cls(config.glyphs, config.appearance, textures, config.test_copies, data_root)

    def load(self, split: str) -> LabelledImages:
        """Return the glyphs of ``train`` or ``test``."""
        return load_glyphs(self.glyphs, split, self.data_root)

    def reads(self) -> Reads:
        """Return the contents of the files of glyphs and textures."""
        return {**glyph_reads(self.glyphs, ("train", "test"), self.data_root), **texture_reads(self.textures)}

    def paint(self, glyphs: LabelledImages, *, correlated: bool, seed: int, copies: int = 1) -> LabelledImages:
        """Return ``copies`` images of each glyph, whose appearance follows the label if ``correlated``."""
        return paint(glyphs, self.appearance, correlated=correlated, seed=seed, copies=copies, textures=self.textures)

    def training_images(self, count: int, *, correlated: bool, seed: int) -> LabelledImages:
        """Return ``count`` training images."""
        glyphs = self.load("train")
        copies = -(-count // len(glyphs.labels))
        return self.paint(glyphs, correlated=correlated, seed=seed, copies=copies).rows(slice(count))

    def test_images(self) -> LabelledImages:
        """Return the decorrelated test images, which are the same for all seeds of an experiment."""
        return self.paint(self.load("test"), correlated=False, seed=0, copies=self.test_copies)


def training_sets(
    data: MnistData,
    cgns: Mapping[str, Teacher],
    budget: ClassifyConfig,
    filters: Path,
    *,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, MakeImages]:
    """Return a function for each training set, ``biased``, ``oracle`` and one per CGN, that makes it.

    Each has ``budget.images`` images. A CGN's mask filter, if ``budget.agreement`` asks for one, is trained in
    ``filters/NAME``.
    """
    biased, oracle = (
        partial(data.training_images, budget.images, correlated=correlated, seed=seed) for correlated in (True, False)
    )
    composed = {
        name: partial(counterfactual_set, cgn, data, budget, filters / name, seed=seed, device=device)
        for name, cgn in cgns.items()
    }
    return {"biased": biased, "oracle": oracle, **composed}


def counterfactual_set(
    cgn: Teacher, data: MnistData, budget: ClassifyConfig, filters: Path, *, seed: int = 0, device: str = "auto"
) -> LabelledImages:
    """Return ``budget.images`` images: counterfactuals of ``cgn``, then a share ``budget.real`` of biased real images.

    Labels are in the order of the data's classes.

    Args:
        filters: run folder of the mask filter, which is trained if ``budget.agreement`` is not 0.

    Raises:
        UserError: the CGN has other classes than the data.
    """
    count = round(budget.real * budget.images)
    if count == budget.images:
        return data.training_images(count, correlated=True, seed=seed)
    own = glyph_classes(data.glyphs)
    cgn = in_order_of(own, cgn, "the CGN", OTHER_CLASSES)
    accept = train_mask_filter(cgn, budget.agreement, filters, seed=seed, device=device) if budget.agreement else None
    counterfactuals = compose(
        cgn, budget.images - count, per_shape=budget.per_shape, policy=budget.policy, accept=accept, seed=seed
    )
    composed = LabelledImages(counterfactuals.images, counterfactuals.shape_labels, own.names, own.count)
    if not count:
        return composed
    return concatenate([composed, data.training_images(count, correlated=True, seed=seed)])


def test_set(config: RunConfig, data_root: Path | None) -> LabelledImages:
    """Return the decorrelated test images of a run's data."""
    return MnistData.of(config, data_root).test_images()


def own_test_set(folder: Path, image_size: int, classes: Classes, *, some: bool = False) -> LabelledImages:
    """Return a user's own test pictures, labelled in the order of ``classes``.

    Args:
        folder: a sub-folder per class.
        image_size: pixels of a side that pictures are resized to.
        classes: those of the classifier or the CGN that is measured.
        some: the folder may have only some of the classes.

    Raises:
        UserError: a sub-folder is none of the classes, or one is missing unless ``some``.
    """
    pictures = load_pictures(folder, image_size, least=1 if some else 2)
    pictures = pictures.numbered_as(classes, folder, RENAME, some=some)
    return replace(pictures, images=as_unit(pictures.images))


@dataclass(frozen=True)
class ClassifierScore:
    """``result.json`` of a classifier: its accuracy in percent, and on how many images."""

    ood_accuracy: Percent
    test_images: Count


def train_and_test(
    make: MakeImages,
    test: LabelledImages,
    budget: ClassifyConfig,
    out: Path,
    *,
    origin: dict[str, str],
    seed: int = 0,
    device: str = "auto",
    watch: Watch = log_progress,
) -> float:
    """Train a classifier on the images that ``make`` returns; return its accuracy on ``test`` in percent.

    ``out`` is its run folder and keeps the accuracy; a classifier that was tested before is not trained again.

    Args:
        origin: names the training set in the digest of the run folder.
    """
    result = out / "result.json"
    if result.exists():
        return read_record(result, ClassifierScore).ood_accuracy
    report = report_to(watch, f"classify {out.name}")
    classifier = classify(make(), budget, out, seed=seed, device=device, origin=origin, callbacks=(report,))
    percent = round(accuracy(classifier, test), 3)
    write_json(result, to_dict(ClassifierScore(percent, len(test.labels))))
    return percent
