"""Images with their labels, in memory or as files: the two records that all loaders return."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LabelledImages:
    """Images (N, C, H, W), their labels (N,) int64 and the name of each class, if classes have names.

    Pictures have 3 channels: floats in [-1, 1], or uint8 as they were read. Glyphs have 1 channel of zeros and ones.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, rows: slice | Tensor) -> "LabelledImages":
        """Return some of the images with their labels."""
        return LabelledImages(self.images[rows], self.labels[rows], self.names)


def concatenate(parts: Sequence[LabelledImages]) -> LabelledImages:
    """Return the images of all parts, which have the same classes."""
    images, labels = torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])
    return LabelledImages(images, labels, parts[0].names)


@dataclass(frozen=True)
class PhotoFiles:
    """Files of pictures (N), which stay on the disk, their labels (N,) int64 and the name of each class."""

    files: list[str]
    labels: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)
