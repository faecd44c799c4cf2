"""Counterfactuals in a file: checked once from end to end when it is opened, images read when they are needed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skdcgn.base.bounds import MOST_CLASSES, MOST_SIDE
from skdcgn.base.door import regular_file
from skdcgn.base.errors import UserError
from skdcgn.base.files import file_version, sha256
from skdcgn.base.tensors import open_tensors, read_rows
from skdcgn.cgn.classes import Classes
from skdcgn.cgn.counterfactuals import Counterfactuals
from skdcgn.cgn.mechanism import Spec, spec_from_metadata
from skdcgn.data.images import LabelledImages

COUNTERFACTUALS_FILE = "counterfactuals.safetensors"
IMAGES, LABELS = "images", ("shape_labels", "texture_labels", "background_labels")
LEAST_SIDE = 8  # pixels
LIMIT = 1.01  # of values: a mask and pictures, each a thousandth out of its range, compose to less
BLOCK = 2**24  # bytes of images that are checked at once
MEND = "write the file again with skdcgn generate"


@dataclass(frozen=True)
class CounterfactualFile:
    """N counterfactuals in a file: labels in memory, images read as they are needed, so that memory does not grow.

    Args:
        path: the file.
        image_size: pixels of a side.
        spec: of the CGN that drew them; None if the file has none.
        three_labels: (3, N) int64, of shape, texture and background.
        version: of the file that was checked: its place, size and time.
    """

    path: Path
    image_size: int
    spec: Spec | None
    three_labels: Tensor
    version: tuple[int, ...]

    def __len__(self) -> int:
        return self.three_labels.shape[1]

    @property
    def labels(self) -> Tensor:
        """The classes to predict (N,), those of the shapes."""
        return self.three_labels[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes; empty if they have none."""
        return self.spec.names if self.spec else ()

    @property
    def digest(self) -> str:
        """sha256 of the file."""
        return sha256(self.path)

    def classes(self, owner: object) -> Classes:
        """Return the classes, which ``owner`` has; of a file without a Spec, as many as labels occur."""
        return Classes.of(owner, self.spec) if self.spec else Classes(str(owner), 1 + int(self.three_labels.max()))

    def rows(self, rows: Tensor) -> LabelledImages:
        """Read the images of some rows (B,), with their classes to predict."""
        return LabelledImages(self._images(rows), self.labels[rows], self.names)

    def counterfactuals(self, rows: Tensor) -> Counterfactuals:
        """Read the counterfactuals of some rows (B,)."""
        return Counterfactuals(self._images(rows), *self.three_labels[:, rows])

    def _images(self, rows: Tensor) -> Tensor:
        with open_tensors(self.path) as file:  # closed again, so that its pages do not stay in memory
            if file_version(self.path) != self.version:
                raise UserError(f"{self.path} was replaced while it was read: run the same command again")
            return read_rows(file, IMAGES, rows)


def read_counterfactuals(path: Path) -> CounterfactualFile:
    """Open a file that ``skdcgn generate`` wrote; check all of it, a block at a time.

    Raises:
        UserError: no such file, a damaged one, or one that does not hold images (N, 3, S, S) float32 in [-1, 1], S from
            ``LEAST_SIDE`` to ``MOST_SIDE``, and three labels (N,) int64 of each, below the number of classes.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, not counterfactuals: {_right_file(path)}")
    version = file_version(regular_file(path))
    with open_tensors(path) as file:
        spec, size = spec_from_metadata(file.metadata() or {}, path), _check_layout(path, file)
        labels = torch.stack([file.get_tensor(name) for name in LABELS])
    if spec and spec.image_size != size:
        raise UserError(f"{path}: images have {size} pixels a side, its CGN drew {spec.image_size}: {MEND}")
    _check_labels(path, labels, spec.classes if spec else MOST_CLASSES)
    _check_images(path, len(labels[0]), size)
    return CounterfactualFile(path, size, spec, labels, version)


def _check_layout(path: Path, file: Any) -> int:
    """Raise UserError unless types and shapes are those of counterfactuals; return the pixels of a side."""
    if missing := {IMAGES, *LABELS} - set(file.keys()):
        raise UserError(
            f"{path} holds no counterfactuals ({', '.join(sorted(missing))} is missing): pass the file that skdcgn "
            "generate wrote"
        )
    count, *shape = file.get_slice(IMAGES).get_shape() or [0]
    size = shape[-1] if shape else 0
    if not count or shape != [3, size, size] or not LEAST_SIDE <= size <= MOST_SIDE:
        limits = f"(N, 3, S, S) with S from {LEAST_SIDE} to {MOST_SIDE}"
        raise UserError(f"{path}: images have the shape {(count, *shape)}, not {limits}: {MEND}")
    for name, dtype in ((IMAGES, "F32"), *((name, "I64") for name in LABELS)):
        part = file.get_slice(name)
        if part.get_dtype() != dtype:
            raise UserError(f"{path}: {name} are of type {part.get_dtype()}, not {dtype}: {MEND}")
        if name != IMAGES and part.get_shape() != [count]:
            raise UserError(f"{path}: {name} have the shape {tuple(part.get_shape())}, not ({count},): {MEND}")
    return int(size)


def _check_labels(path: Path, labels: Tensor, classes: int) -> None:
    for name, part in zip(LABELS, labels, strict=True):
        if int(part.min()) < 0 or int(part.max()) >= classes:
            raise UserError(
                f"{path}: {name} run from {int(part.min())} to {int(part.max())}, beyond the classes 0 to "
                f"{classes - 1}: {MEND}"
            )


def _check_images(path: Path, count: int, size: int) -> None:
    step = max(1, BLOCK // (3 * size * size * 4))
    for start in range(0, count, step):
        with open_tensors(path) as file:
            low, high = map(float, file.get_slice(IMAGES)[start : start + step].aminmax())  # NaN reaches both
        if not -LIMIT <= low <= high <= LIMIT:
            place = f"images {start} to {min(start + step, count) - 1} run from {low:.3g} to {high:.3g}"
            raise UserError(f"{path}: {place}, not from -1 to 1: {MEND}")


def _right_file(folder: Path) -> str:
    if (folder / COUNTERFACTUALS_FILE).is_file():
        return f"pass {folder / COUNTERFACTUALS_FILE}"
    return f"pass the file {COUNTERFACTUALS_FILE} that skdcgn generate CGN --out FOLDER writes"
