"""Glyphs: shapes with labels, the raw material of every biased data set.

A glyph is a binary mask on a 32 x 32 grid. ``digits`` are the 1,797 real handwritten digits that
scikit-learn carries; ``mnist`` or a folder are four files in MNIST's idx format.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn.classes import Classes
from skdcgn.data.appearances import CLASSES
from skdcgn.data.idx import load_idx_folder, mnist_folder
from skdcgn.data.images import LabelledImages

SIZE = 32
DIGITS = tuple("0123456789")  # the names of the classes of digits and mnist
DIGITS_TEST_SHARE = 500
MNIST_TRAIN_COUNT = 50_000
ROTATION, SCALE, SHIFT = 0.17, 0.08, 0.08  # radians, share of the size, share of half the side


def glyph_classes(source: str) -> Classes:
    """Return the classes of ``digits``, ``mnist`` or a folder of idx files, whose classes have no names."""
    return Classes(source, CLASSES, DIGITS if source in ("digits", "mnist") else ())


def load_glyphs(source: str, split: str, data_root: Path | None = None) -> LabelledImages:
    """Return the ``train`` or ``test`` glyphs of ``digits``, ``mnist`` or a folder of idx files.

    As in Sauer & Geiger (2021), both splits of MNIST are in its training file: the first 50,000 train, the last 10,000
    test. A folder's test split is its own test files.

    Raises:
        UserError: no such source or split, or files that cannot be read.
    """
    if split not in ("train", "test"):
        raise UserError(f"unknown split {split!r}: use train or test")
    if source == "digits":
        return _digits()[split]
    if source == "mnist":
        images, labels = load_idx_folder(mnist_folder(data_root), "train")
        part = slice(None, MNIST_TRAIN_COUNT) if split == "train" else slice(MNIST_TRAIN_COUNT, None)
        if len(labels) <= MNIST_TRAIN_COUNT:
            raise UserError(f"the MNIST training file holds {len(labels)} images: the official one has 60,000")
        return LabelledImages(binarise(images[part]), labels[part], DIGITS)
    if not Path(source).is_dir():
        raise UserError(f"no glyphs called {source!r}: use digits, mnist or a folder with four idx files")
    images, labels = load_idx_folder(Path(source), split)
    return LabelledImages(binarise(images), labels, class_count=CLASSES)


def binarise(images: Tensor) -> Tensor:
    """Resize pictures (N, H, W) uint8 to 32 x 32 by nearest neighbour and threshold them at 0.1, as published."""
    resized = F.interpolate(images[:, None], size=(SIZE, SIZE), mode="nearest")
    return (resized.float() / 255 > 0.1).float()  # (N, 1, 32, 32)


def vary(glyphs: LabelledImages, copies: int, seed: int) -> LabelledImages:
    """Return the glyphs and ``copies - 1`` variants of each, turned, scaled and shifted at random."""
    masks, labels = glyphs.images.repeat(copies - 1, 1, 1, 1), glyphs.labels.repeat(copies)
    if not len(masks):
        return glyphs
    draws = 2 * torch.rand(4, len(masks), generator=generator(seed, "vary")) - 1  # (4, N) in [-1, 1]
    angle, zoom = ROTATION * draws[0], 1 + SCALE * draws[1]
    cosine, sine = zoom * angle.cos(), zoom * angle.sin()
    rows = [cosine, -sine, SHIFT * draws[2], sine, cosine, SHIFT * draws[3]]
    places = F.affine_grid(torch.stack(rows, 1).unflatten(1, (2, 3)), list(masks.shape), align_corners=False)
    moved = (F.grid_sample(masks, places, align_corners=False) > 0.5).float()  # (N, 1, 32, 32)
    return replace(glyphs, images=torch.cat([glyphs.images, moved]), labels=labels)


@lru_cache(maxsize=1)
def _digits() -> dict[str, LabelledImages]:
    """Smooth the 8 x 8 digits to 28 x 28, binarise, pad to 32; 1,297 train and 500 test, split by class."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16  # (N, 1, 8, 8) in [0, 1]
    smooth = F.interpolate(images, size=(28, 28), mode="bicubic", align_corners=False)
    masks = F.pad((smooth > 0.5).float(), (2, 2, 2, 2))  # (N, 1, 32, 32)
    labels = torch.tensor(digits.target, dtype=torch.int64)
    train, test = train_test_split(range(len(labels)), test_size=DIGITS_TEST_SHARE, stratify=labels, random_state=0)
    return {
        name: LabelledImages(masks[rows], labels[rows], DIGITS) for name, rows in (("train", train), ("test", test))
    }
