"""Blocks of images that are composed at once, and batches cut out of them: no image is handled on its own.

A data set yields rows, pairs of a block and a number in it, and :func:`collate_rows` copies a run of rows at once. The
batches are those that PyTorch's ``default_collate`` makes of the images and labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from skdcgn.cgn.mechanism import Mechanism

Item = tuple[Tensor, Any]  # an image and its label, an int or a dict of three


@dataclass(frozen=True, eq=False)
class Block:
    """Images (N, 3, S, S) and their labels (K, N): that of the shape, or those of the three mechanisms."""

    images: Tensor
    labels: Tensor

    @cached_property
    def _values(self) -> list[list[int]]:
        return self.labels.T.tolist()

    def item(self, row: int) -> Item:
        """Return a copy of an image, and its label."""
        return self.images[row].clone(), _by_mechanism(self._values[row])


Row = tuple[Block, int]


def collate_rows(items: Sequence[Row | Item]) -> Item:
    """Return the images (B, 3, S, S) and labels (B,) of a batch: rows of blocks, each run in order, or single items."""
    runs = [(block, [row for _, row in run]) for block, run in groupby(map(_as_row, items), itemgetter(0))]
    images = [block.images[rows[0] : rows[-1] + 1] for block, rows in runs]
    labels = torch.cat([block.labels[:, rows[0] : rows[-1] + 1] for block, rows in runs], 1)
    whole = len(runs) == 1 and len(images[0]) == len(runs[0][0].images)  # which no other batch shares
    return images[0] if whole else torch.cat(images), _by_mechanism([part.clone() for part in labels])


def _as_row(item: Row | Item) -> Row:
    part, label = item
    return (part, label) if isinstance(part, Block) else (Block(part[None], torch.tensor([[label]])), 0)


def _by_mechanism(labels: Sequence[Any]) -> Any:
    return labels[0] if len(labels) == 1 else dict(zip(map(str, Mechanism), labels, strict=True))
