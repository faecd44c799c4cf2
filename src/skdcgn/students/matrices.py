"""The matrix form of a student mechanism, which draws at the speed of matrix products.

Between two nonlinearities everything in :class:`~skdcgn.students.generator.StudentGenerator` is linear in the noise's
code: the input layer; doubling and convolution; convolution and shortcut; convolution and pixel shuffle. Each map is
cut into tiles (:mod:`skdcgn.students.tiles`). What depends on the label alone (its embedding in
the input layer, scales and offsets of norms, colours) becomes a table with a row for each class.
"""

import copy
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdcgn.students.layers import ConditionalBatchNorm2d, Memory, UpBlock
from skdcgn.students.tiles import Cutter, Grid, Map, Tiles, without_constant

if TYPE_CHECKING:
    from skdcgn.students.generator import StudentGenerator


class Norm(NamedTuple):
    """A conditional norm of activations of ``grid``: scales and offsets (K, n), a row for each class."""

    grid: Grid
    scale: Tensor
    offset: Tensor


class Block(NamedTuple):
    """A residual block; its shortcut is a map of the code (D, n) or, in later blocks, of the input."""

    norm1: Norm
    conv1: Tiles
    norm2: Norm
    conv2: Tiles
    shortcut: Tensor | Tiles


class Picture(NamedTuple):
    """The last norm, the map to a picture and what it adds for each class, (K, n)."""

    norm: Norm
    output: Tiles
    colours: Tensor


class Network(NamedTuple):
    """A mechanism of a student: a map of the code (D, n) to the first activation, blocks and the picture."""

    start: Tensor
    blocks: tuple[Block, ...]
    picture: Picture
    memory: Memory | None

    @property
    def cost(self) -> int:
        """Multiply-adds for an image, with what calls take."""
        convolutions = [map_ for block in self.blocks for map_ in (block.conv1, block.conv2, block.shortcut)]
        maps = [self.start, *convolutions, self.picture.output]
        return sum(map_.numel() if isinstance(map_, Tensor) else map_.cost for map_ in maps)


def matrices(generator: "StudentGenerator", *, whole_rows: bool) -> Network:
    """Return a student's mechanism, whose norms are folded, as matrices.

    Args:
        generator: the mechanism.
        whole_rows: each row of its picture stays in one piece, for crops.

    Raises:
        TooLargeError: its maps are too large to be matrices.
    """
    with torch.no_grad():
        return _Builder(copy.deepcopy(generator).cpu().float().eval()).network(whole_rows)


class _Builder:
    """Builds the matrices of a generator."""

    def __init__(self, generator: "StudentGenerator") -> None:
        self.generator, self.embedded = generator, generator.embed.weight

    def network(self, whole_rows: bool) -> Network:
        """Return the whole generator."""
        code, table = self._input()
        start, blocks = code, list[Block]()
        for block in self.generator.blocks:
            built, table = self._block(cast(UpBlock, block), None if blocks else code, table)
            blocks.append(built)
        picture = self._picture(table, whole_rows)
        grid = blocks[0].norm1.grid if blocks else picture.norm.grid
        return Network(grid.arrange(start), tuple(blocks), picture, self.generator.memory)

    def _input(self) -> tuple[Tensor, Tensor]:
        """Return the first images as a map of the noise or the code, (D, C, S, S), and their table (K, C, S, S)."""
        linear, classes = self.generator.input, self.embedded.shape[1] * self.generator.class_input
        own, labels = linear.weight.split([linear.weight.shape[1] - classes, classes], dim=1)
        if isinstance(self.generator.project, nn.Linear):
            own = own @ self.generator.project.weight
        size = (-1, self.generator.grid, self.generator.grid)
        table = self.embedded[:, :classes] @ labels.T + linear.bias
        return own.T.unflatten(1, size), table.unflatten(1, size)

    def _block(self, block: UpBlock, code: Tensor | None, table: Tensor) -> tuple[Block, Tensor]:
        """Return a block of images with ``table``, and the table of its output; ``code`` is the map to its input."""
        channels, side = table.shape[1:3]
        conv1, constant = _cut(lambda images: block.conv1(block.up(images)), channels, side)
        norm1, norm2 = self._norm(block.norm1, conv1.source, table), block.norm2
        conv2, constant2 = _cut(block.conv2, conv1.channels, conv1.side)

        def shortcut(images: Tensor) -> Tensor:
            return cast(Tensor, block.up(block.shortcut(images)))

        if code is None:
            around: Tensor | Tiles = _cut(shortcut, channels, side, width=conv2.width)[0]
        else:
            around = conv2.target.arrange(shortcut(code) - shortcut(torch.zeros_like(code[:1])))
        norm = self._norm(norm2, conv2.source, constant[None])
        return Block(norm1, conv1, norm, conv2, around), shortcut(table) + constant2

    def _picture(self, table: Tensor, whole_rows: bool) -> Picture:
        shuffle = self.generator.shuffle
        output, constant = _cut(
            lambda images: F.pixel_shuffle(self.generator.output(images), shuffle),
            *table.shape[1:3],
            unit=shuffle,
            width=self.generator.spec.image_size if whole_rows else None,
            picture=True,
        )
        colours = output.picture(self.generator.colour.weight[..., None, None] + constant)
        return Picture(self._norm(self.generator.norm, output.source, table), output, colours.contiguous())

    def _norm(self, norm: nn.Module, grid: Grid, table: Tensor) -> Norm:
        """Return s x + o as a norm of images whose class adds ``table`` (K or 1, C, S, S)."""
        affine = cast(ConditionalBatchNorm2d, norm).affine(self.embedded)
        scale, offset = affine[..., None, None].chunk(2, dim=1)
        scale = scale.expand(-1, -1, *table.shape[2:])
        return Norm(grid, grid.arrange(scale), grid.arrange(scale * table + offset))


def _cut(
    affine: Map, channels: int, side: int, *, unit: int = 1, width: int | None = None, picture: bool = False
) -> tuple[Tiles, Tensor]:
    matrix, constant = without_constant(affine, channels, side)
    return Cutter(matrix, unit, width, picture).cut(), constant
