"""Images with their labels, in memory or as files: the two records that all loaders return."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from skdcgn.cgn.classes import Classes, match_classes


class TrainingImages(Protocol):
    """Images to train with, in memory or in a file, from which rows are read as they are needed."""

    @property
    def image_size(self) -> int: ...

    @property
    def labels(self) -> Tensor: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def digest(self) -> str: ...

    def classes(self, owner: object) -> Classes: ...

    def rows(self, rows: Tensor) -> "LabelledImages": ...


@dataclass(frozen=True)
class LabelledImages:
    """Images (N, C, H, W), their labels (N,) int64 and the name of each class, if classes have names.

    ``class_count`` is the number of classes; None: as many as there are names or, without names, as labels occur.
    Pictures have 3 channels: floats in [-1, 1], or uint8 as they were read. Glyphs have 1 channel of zeros and ones.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...] = ()
    class_count: int | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_size(self) -> int:
        """Pixels of a side."""
        return self.images.shape[-1]

    @property
    def digest(self) -> str:
        """sha256 of the bytes of images and labels."""
        state = hashlib.sha256()
        for tensor in (self.images, self.labels):
            state.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
            state.update(tensor.cpu().contiguous().numpy().data)
        return state.hexdigest()

    def rows(self, rows: slice | Tensor) -> "LabelledImages":
        """Return some of the images with their labels."""
        return replace(self, images=self.images[rows], labels=self.labels[rows])

    def classes(self, owner: object) -> Classes:
        """Return the classes of these images, which ``owner`` has."""
        return Classes(str(owner), self.class_count or len(self.names) or int(self.labels.max()) + 1, self.names)

    def numbered_as(self, own: Classes, owner: object, mend: str, *, some: bool = False) -> "LabelledImages":
        """Return the images with labels in the order of other classes; see :func:`skdcgn.cgn.classes.match_classes`.

        Args:
            own: whose order.
            owner: of these images, as a message names it.
            mend: what a user can do about classes that do not fit.
            some: these images may show only some of the classes.
        """
        numbers = match_classes(own, self.classes(owner), mend, some=some)
        in_order = numbers.tolist() == list(range(own.count))
        names = own.names or (self.names if in_order else ())
        return replace(self, labels=numbers[self.labels], names=names, class_count=own.count)


def concatenate(parts: Sequence[LabelledImages]) -> LabelledImages:
    """Return the images of all parts, which have the same classes in the same order."""
    images, labels = torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])
    return replace(parts[0], images=images, labels=labels)


@dataclass(frozen=True)
class PhotoFiles:
    """Files of pictures (N), which stay on the disk, their labels (N,) int64 and the name of each class."""

    files: list[str]
    labels: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def classes(self, owner: object) -> Classes:
        """Return the classes of these pictures, which ``owner`` has."""
        return Classes(str(owner), len(self.names), self.names)
