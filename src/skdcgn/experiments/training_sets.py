"""Training sets and test sets of the digits, and the score of a classifier trained on one."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from skdcgn.base.config import RunConfig
from skdcgn.base.errors import UserError
from skdcgn.base.files import read_json, write_json
from skdcgn.base.progress import Watch
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Teacher
from skdcgn.classifiers.mask_filter import train_mask_filter
from skdcgn.classifiers.small_cnn import accuracy, classify
from skdcgn.data.appearances import paint
from skdcgn.data.folders import as_unit, load_pictures
from skdcgn.data.glyphs import load_glyphs
from skdcgn.data.images import LabelledImages, concatenate
from skdcgn.training.loop import report_to

CLASSIFIERS = ("biased", "teacher", "student", "oracle")


def training_sets(
    config: RunConfig, cgns: dict[str, Teacher], data_root: Path | None, judges: Path, device: str = "auto"
) -> dict[str, Callable[[], LabelledImages]]:
    """Return how to make each training set, all of ``config.classify.images`` images.

    Of a CGN's, a share ``config.classify.real`` are real images with the shortcut; the rest are counterfactuals.
    ``judges`` gets the run folder of each CGN's judge of shapes, where the configuration asks for one.
    """

    def counterfactuals(name: str, cgn: Teacher) -> LabelledImages:
        told, accept = config.classify, None
        among = round(told.real * told.images)
        if among == told.images:
            return real(among, correlated=True)
        if told.agreement:
            accept = train_mask_filter(cgn, told.agreement, judges / name, seed=config.seed, device=device)
        wanted = told.images - among
        made = compose(cgn, wanted, per_shape=told.per_shape, policy=told.policy, accept=accept, seed=config.seed)
        data = LabelledImages(made.images, made.shape_labels)
        return concatenate([data, real(among, correlated=True)]) if among else data

    def real(wanted: int, *, correlated: bool) -> LabelledImages:
        glyphs = load_glyphs(config.glyphs, "train", data_root)
        copies = -(-wanted // len(glyphs.labels))
        painted = paint(
            glyphs, config.appearance, correlated=correlated, seed=config.seed, copies=copies, textures=textures(config)
        )
        return painted.rows(slice(wanted))

    return {
        "biased": lambda: real(config.classify.images, correlated=True),
        "oracle": lambda: real(config.classify.images, correlated=False),
        **{name: partial(counterfactuals, name, cgn) for name, cgn in cgns.items()},
    }


def test_set(config: RunConfig, data_root: Path | None) -> LabelledImages:
    """Return the decorrelated test images; their colours are drawn from seed 0 whatever the run's seed."""
    glyphs = load_glyphs(config.glyphs, "test", data_root)
    return paint(
        glyphs, config.appearance, correlated=False, seed=0, copies=config.test_copies, textures=textures(config)
    )


def own_test_set(folder: Path, image_size: int, classes: int) -> LabelledImages:
    """Return a user's own test pictures; raise UserError if their sub-folders are not the classifier's classes."""
    pictures = load_pictures(folder, image_size)
    if len(pictures.names) != classes:
        raise UserError(f"{folder} has {len(pictures.names)} sub-folders: the classifier knows {classes} classes")
    return replace(pictures, images=as_unit(pictures.images))


def textures(config: RunConfig) -> Path | None:
    return Path(config.textures) if config.textures else None


def score(
    make: Callable[[], LabelledImages],
    test: LabelledImages,
    config: RunConfig,
    out: Path,
    origin: dict[str, str],
    device: str,
    watch: Watch,
) -> float:
    """Train a classifier on what ``make`` returns and measure it on ``test``, unless that was done before."""
    result = out / "result.json"
    if result.exists():
        return float(read_json(result)["ood_accuracy"])
    budget = config.classify
    report = report_to(watch, f"classify {out.name}")
    classifier = classify(make(), budget, out, seed=config.seed, device=device, origin=origin, callbacks=(report,))
    reached = round(accuracy(classifier, test), 3)
    write_json(result, {"ood_accuracy": reached, "test_images": len(test.labels)})
    return reached
