"""Linear maps of images as tiles: few small matrices instead of one that is mostly zeros.

A convolution is local: the rows and columns of a tile of its output depend on few rows and columns of its input. An
activation (B, n) holds its images in blocks of columns, each in the order row, column, channel, so that the input of a
tile is a contiguous range of it, and its output is another.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

CALL = 3000  # multiply-adds that take as long as the call of a product, for one image of a batch
NUMBER = 60  # multiply-adds that take as long as the norm of one number of an activation
NARROW = 24  # columns below which a product takes as long as with them
MOST_ENTRIES = 8_000_000  # of a map as one matrix
Map = Callable[[Tensor], Tensor]  # images (B, C, S, S) -> (B, C', S', S')


class TooLargeError(Exception):
    """A map has too many entries to be cut into tiles."""


class Grid(NamedTuple):
    """How an activation (B, n) holds images (B, C, S, S): blocks of columns, which may overlap."""

    channels: int
    side: int
    blocks: tuple[range, ...]

    @property
    def sizes(self) -> list[int]:
        """Numbers in each block."""
        return [self.side * len(block) * self.channels for block in self.blocks]

    def arrange(self, images: Tensor) -> Tensor:
        """Return images (..., C, S, S) as activations (..., n)."""
        parts = [images[..., block.start : block.stop].movedim(-3, -1).flatten(-3) for block in self.blocks]
        return torch.cat(parts, -1)

    def views(self, activation: Tensor) -> list[Tensor]:
        """Return the blocks of an activation (B, n), each (B, S, columns, C)."""
        shapes = [(self.side, len(block), self.channels) for block in self.blocks]
        return [part.unflatten(1, s) for part, s in zip(activation.split(self.sizes, 1), shapes, strict=True)]


def overlaps(source: Grid, values: Tensor, target: Grid, out: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the views (to, from) by which an activation of one grid becomes ``out``, one of another grid."""
    for to, block in zip(target.views(out), target.blocks, strict=True):
        for part, own in zip(source.views(values), source.blocks, strict=True):
            first, last = max(block.start, own.start), min(block.stop, own.stop)
            if first < last:
                yield (
                    to[:, :, first - block.start : last - block.start],
                    part[:, :, first - own.start : last - own.start],
                )


class Tile(NamedTuple):
    """A range of a map's input, a range of its output, and the matrix (K, N) between them."""

    source: slice
    target: slice
    matrix: Tensor


@dataclass(frozen=True)
class Tiles:
    """A linear map from activations of ``source``; its output is blocks of ``width`` columns.

    Tiles of the output follow each other block by block, and in a block band by band of ``height`` rows. In a tile of
    an activation numbers come in the order row, column, channel; in one of a picture in the order channel, row, column.
    """

    source: Grid
    channels: int
    side: int
    height: int
    width: int
    tiles: tuple[Tile, ...]

    @property
    def target(self) -> Grid:
        """The grid of an output that is an activation."""
        blocks = (range(first, first + self.width) for first in range(0, self.side, self.width))
        return Grid(self.channels, self.side, tuple(blocks))

    def picture(self, images: Tensor) -> Tensor:
        """Return pictures (..., C, S, S) as an output that is a picture has them, (..., n)."""
        tiles = images.unfold(-2, self.height, self.height).unfold(-2, self.width, self.width)  # (..., C, r, k, h, w)
        return tiles.movedim((-3, -4), (-5, -4)).flatten(-5)

    @property
    def size(self) -> int:
        """Numbers in the output for one image."""
        return self.channels * self.side**2

    @property
    def cost(self) -> int:
        """Multiply-adds for one image, with what else takes time."""
        return sum(_cost(*tile.matrix.shape) for tile in self.tiles) + NUMBER * sum(self.source.sizes)


def _cost(inputs: int, outputs: int) -> int:
    return inputs * max(outputs, NARROW) + CALL


def without_constant(affine: Map, channels: int, side: int) -> tuple[Tensor, Tensor]:
    """Return the matrix (C, S, S, C', S', S') of an affine map of images, and its constant (C', S', S').

    Raises:
        TooLargeError: the matrix has more than ``MOST_ENTRIES`` entries.
    """
    constant = affine(torch.zeros(1, channels, side, side))
    count = channels * side * side
    if count * constant.numel() > MOST_ENTRIES:
        raise TooLargeError
    basis = torch.eye(count).view(count, channels, side, side)
    return (affine(basis) - constant).unflatten(0, (channels, side, side)), constant[0]


@dataclass(frozen=True)
class Cutter:
    """Cuts the matrix (C, S, S, C', S', S') of a map; tiles are multiples of ``unit`` pixels of the output.

    Args:
        matrix: of the map.
        unit: rows and columns of the output that are not separated.
        width: of the tiles; None: what costs least.
        picture: the output is a picture (:class:`Tiles`).
    """

    matrix: Tensor
    unit: int = 1
    width: int | None = None
    picture: bool = False

    def cut(self) -> Tiles:
        """Return the tiles that cost least."""
        lengths = [n for n in range(self.unit, self.side + 1, self.unit) if self.side % n == 0]
        widths = lengths if self.width is None else [self.width]
        height, width = min(product(lengths, widths), key=lambda shape: self._cost(*shape))
        blocks = [range(first, first + width) for first in range(0, self.side, width)]
        columns = tuple(self._reach(self._columns, block) for block in blocks)
        source = Grid(self.matrix.shape[0], self.matrix.shape[1], columns)
        tiles = tuple(self._tiles(height, blocks, source))
        return Tiles(source, self.matrix.shape[3], self.side, height, width, tiles)

    @property
    def side(self) -> int:
        """Of the output."""
        return self.matrix.shape[-1]

    @cached_property
    def _rows(self) -> list[list[int]]:
        return self._touched(0, 2)

    @cached_property
    def _columns(self) -> list[list[int]]:
        return self._touched(1, 3)

    @cached_property
    def _places(self) -> Tensor:
        """The greatest entry between each pixel of the input and of the output (S, S, S', S'), 0 where none depends."""
        return self.matrix.abs().amax(0).amax(2)

    def _touched(self, source: int, target: int) -> list[list[int]]:
        """For each place of an axis of the output: the first and last place of the input that it depends on."""
        others = tuple(axis for axis in range(4) if axis not in (source, target))
        touched = self._places.amax(others).T > 0  # (S', S)
        places = [row.nonzero().flatten().tolist() or [0] for row in touched]
        return [[row[0], row[-1] + 1] for row in places]

    def _reach(self, touched: list[list[int]], block: range) -> range:
        own = touched[block.start : block.stop]
        return range(min(first for first, _ in own), max(last for _, last in own))

    def _cost(self, height: int, width: int) -> int:
        channels, outputs = self.matrix.shape[0], self.matrix.shape[3] * height * width
        rows, columns = (
            [len(self._reach(touched, range(first, first + length))) for first in range(0, self.side, length)]
            for touched, length in ((self._rows, height), (self._columns, width))
        )
        numbers = self.matrix.shape[1] * sum(columns) * channels
        return sum(_cost(channels * high * wide, outputs) for high in rows for wide in columns) + NUMBER * numbers

    def _tiles(self, height: int, blocks: list[range], source: Grid) -> Iterator[Tile]:
        same: dict[bytes, Tensor] = {}  # inner bands have equal matrices: one of them stays in the cache
        begin, end = 0, 0
        for block, columns, size in zip(blocks, source.blocks, source.sizes, strict=True):
            for first in range(0, self.side, height):
                rows = self._reach(self._rows, range(first, first + height))
                part = self.matrix[:, rows.start : rows.stop, columns.start : columns.stop]
                part = part[..., first : first + height, block.start : block.stop]
                part = part.permute(1, 2, 0, *((3, 4, 5) if self.picture else (4, 5, 3)))
                matrix = part.flatten(0, 2).flatten(1).contiguous()
                matrix = same.setdefault(matrix.numpy().tobytes() + bytes(str(matrix.shape), "ascii"), matrix)
                row = len(columns) * source.channels
                yield Tile(
                    slice(begin + rows.start * row, begin + rows.stop * row), slice(end, end + matrix.shape[1]), matrix
                )
                end += matrix.shape[1]
            begin += size
