"""Draws the images of a student's mechanism by its matrices (:mod:`skdcgn.students.matrices`).

Images are drawn in groups of ``LARGE`` or ``PIECE``, in buffers that stay, and pictures ``PIECE`` at a time: calls in
a large group cost less, and threads wait less for each other. A group that is smaller is filled with rows whose images
nobody takes.
"""

from collections.abc import Callable, Iterator
from functools import partial
from threading import local

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.cgn.drawer import PIECE
from skdcgn.cgn.inputs import Query
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.students.layers import LEAK
from skdcgn.students.matrices import Block, Network, Norm
from skdcgn.students.tiles import Grid, Tiles, overlaps

LARGE = 8 * PIECE  # images of a group, where there are so many
Step = Callable[[], object]


class Shared(local):
    """Buffers that the mechanisms of a thread share, one at a time."""

    def __init__(self) -> None:
        self.buffers: dict[str, Tensor] = {}

    def get(self, name: str, *shape: int) -> Tensor:
        """Return a buffer of float32."""
        buffer = self.buffers.get(name)
        if buffer is None or buffer.shape != shape:
            buffer = self.buffers[name] = torch.zeros(shape)
        return buffer


SHARED = Shared()


class Pen:
    """The buffers in which a thread draws a mechanism for a ``group`` of images, and the steps that fill them."""

    def __init__(self, network: Network, inputs: int, group: int) -> None:
        self.group = group
        self.noise, self.labels = torch.zeros(group, inputs), torch.zeros(group, dtype=torch.int64)
        self.code = torch.zeros(group, len(network.start)) if network.memory else self.noise
        self.memory, self.steps = network.memory, list[Step]()
        grid = network.blocks[0].norm1.grid if network.blocks else network.picture.norm.grid
        x = self._product(network.start)
        for number, block in enumerate(network.blocks):
            grid, x = self._block(block, grid, x, keep=number > 0)
        self.last = self._norm(network.picture.norm, grid, x)

    def draw(self, noise: Tensor, labels: Tensor) -> None:
        """Draw the last activations of a group of images at most."""
        whole = len(labels) == self.group
        (self.noise if whole else self.noise[: len(labels)]).copy_(noise)
        (self.labels if whole else self.labels[: len(labels)]).copy_(labels)
        if self.memory is not None:
            self.code.copy_(self.memory(self.noise, self.labels))
        for step in self.steps:
            step()

    def _product(self, matrix: Tensor) -> Tensor:
        out = torch.zeros(self.group, matrix.shape[1])
        self.steps.append(partial(torch.mm, self.code, matrix, out=out))
        return out

    def _block(self, block: Block, grid: Grid, x: Tensor, *, keep: bool) -> tuple[Grid, Tensor]:
        h = self._norm(block.norm1, grid, x, keep=keep)
        out = torch.zeros(self.group, block.conv1.size)
        self.steps += products(block.conv1, h, out)
        h = self._norm(block.norm2, block.conv1.target, out)
        if isinstance(block.shortcut, Tensor):
            out = self._product(block.shortcut)
        else:
            out = torch.zeros(self.group, block.conv2.size)
            self.steps += products(block.shortcut, self._laid_out(grid, x, block.shortcut.source, keep=True), out)
        self.steps += products(block.conv2, h, out, add=True)
        return block.conv2.target, out

    def _norm(self, norm: Norm, grid: Grid, x: Tensor, *, keep: bool = False) -> Tensor:
        """Add the steps of a norm and its leaky ReLU, in place unless ``keep``."""
        x = self._laid_out(grid, x, norm.grid, keep=keep)
        scale, offset = torch.zeros_like(x), torch.zeros_like(x)
        self.steps += [
            partial(torch.index_select, norm.scale, 0, self.labels, out=scale),
            partial(torch.index_select, norm.offset, 0, self.labels, out=offset),
            partial(torch.addcmul, offset, x, scale, out=x),
            partial(F.leaky_relu, x, LEAK, inplace=True),
        ]
        return x

    def _laid_out(self, grid: Grid, x: Tensor, target: Grid, *, keep: bool) -> Tensor:
        if grid == target and not keep:
            return x
        out = torch.zeros(self.group, sum(target.sizes))
        self.steps += [partial(to.copy_, part) for to, part in overlaps(grid, x, target, out)]
        return out


def products(tiles: Tiles, x: Tensor, out: Tensor, *, add: bool = False) -> list[Step]:
    """Return the steps by which a map of activations fills ``out``, or adds to it."""
    views = [(out[:, tile.target], x[:, tile.source], tile.matrix) for tile in tiles.tiles]
    if add:
        return [partial(torch.addmm, to, part, matrix, out=to) for to, part, matrix in views]
    return [partial(torch.mm, part, matrix, out=to) for to, part, matrix in views]


class Desk:
    """A pen and the buffers of ``PIECE`` pictures of what it draws.

    Args:
        form: what is drawn.
        group: images whose activations are drawn at once, a multiple of ``PIECE``.
    """

    def __init__(self, form: "MatrixForm", group: int) -> None:
        output, self.run = form.network.picture.output, form.network.picture.output.width
        self.pen = Pen(form.network, form.inputs, group)
        self.images = torch.zeros(PIECE, output.channels, output.side, output.side)
        self.part = self.images.view(-1, self.run)
        flat = SHARED.get("flat", PIECE, output.size)
        self.runs, self.twice = flat.view(-1, self.run), SHARED.get("twice", PIECE * form.places.shape[1], 2 * self.run)
        self.windows = self.twice.as_strided((self.twice.numel() - self.run + 1, self.run), (1, 1))
        starts = torch.arange(PIECE)[:, None] * form.places.shape[1]
        self.ordered = (starts + form.places[0]).flatten()
        self.rows = 2 * self.run * form.places
        self.starts = 2 * self.run * starts.expand(-1, form.places.shape[1])
        self.steps = [self._steps(form, first, flat) for first in range(0, group, PIECE)]

    def _steps(self, form: "MatrixForm", first: int, flat: Tensor) -> list[Step]:
        """Return the steps that draw pictures from activations ``first`` on."""
        labels, x = self.pen.labels[first : first + PIECE], self.pen.last[first : first + PIECE]
        picture, squash = form.network.picture, torch.sigmoid if form.mechanism is Mechanism.SHAPE else torch.tanh
        select: Step = partial(torch.index_select, picture.colours, 0, labels, out=flat)
        return [select, *products(picture.output, x, flat, add=True), partial(squash, flat, out=flat)]

    def places(self, offsets: Tensor) -> Tensor:
        """Return where the rows of crops at ``offsets`` (B, 2) begin among the windows: (pieces, rows)."""
        rest = -len(offsets) % PIECE
        filled = F.pad(offsets, (0, 0, 0, rest)) if rest else offsets
        places = torch.index_select(self.rows, 0, filled[:, 0]).add_(filled[:, 1, None])
        return places.unflatten(0, (-1, PIECE)).add_(self.starts).flatten(1)

    def draw(self, query: Query, places: Iterator[Tensor] | None) -> Iterator[Tensor]:
        """Draw a group of images at most, ``PIECE`` at a time, cropped at the next of ``places``."""
        self.pen.draw(*query)
        for steps, start in zip(self.steps, range(0, len(query.labels), PIECE), strict=False):
            for step in steps:
                step()
            if places is None:
                torch.index_select(self.runs, 0, self.ordered, out=self.part)
            else:
                torch.cat([self.runs, self.runs], 1, out=self.twice)
                torch.index_select(self.windows, 0, next(places), out=self.part)
            yield self.images[: len(query.labels) - start]


class Desks(local):
    """The desks of a thread that nobody uses, by the size of their groups."""

    def __init__(self) -> None:
        self.free: dict[int, list[Desk]] = {PIECE: [], LARGE: []}


class MatrixForm:
    """A drawer of one mechanism by matrices, on a CPU.

    Args:
        mechanism: which.
        network: its matrices, with pictures of whole rows if they are cropped.
        inputs: numbers in the noise.
    """

    device, piece = torch.device("cpu"), PIECE

    def __init__(self, mechanism: Mechanism, network: Network, inputs: int) -> None:
        self.mechanism, self.network, self.inputs = mechanism, network, inputs
        self.places = _places(network.picture.output)
        self.desks = Desks()

    def pieces(self, mechanism: Mechanism, query: Query, offsets: Tensor | None) -> Iterator[Tensor]:
        """Draw ``piece`` images at a time (:class:`skdcgn.cgn.drawer.Drawer`)."""
        group = LARGE if len(query.labels) > LARGE // 2 else PIECE
        free = self.desks.free[group]
        with torch.inference_mode(False):  # buffers that may be written in any mode
            desk = free.pop() if free else Desk(self, group)
        try:
            places = None if offsets is None else iter(desk.places(offsets).unbind())
            for noise, labels in zip(query.noise.split(group), query.labels.split(group), strict=True):
                yield from desk.draw(Query(noise, labels), places)
        finally:  # also when nobody takes the rest
            free.append(desk)


def _places(output: Tiles) -> Tensor:
    """Return, for each row at which a crop begins, the numbers of the runs of a picture in their order (S, runs)."""
    columns = output.side // output.width
    numbers = torch.arange(output.size // output.width).view(columns, output.side // output.height, -1, output.height)
    numbers = numbers.permute(2, 1, 3, 0).reshape(output.channels, output.side, columns)
    rows = (torch.arange(output.side)[:, None] + torch.arange(output.side)) % output.side
    return numbers[:, rows].permute(1, 0, 2, 3).flatten(1)
