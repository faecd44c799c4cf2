"""Draws the images of a student's mechanism by its matrices (:mod:`skdcgn.students.matrices`).

Activations are drawn ``SIZE`` images at a time, and pictures ``PIECE`` at a time, in buffers that stay: what is in work
fits into a core's cache. A batch that is smaller is filled with rows whose images nobody takes, so that an image does
not depend on how many are drawn.
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

SIZE = 2 * PIECE  # images whose activations are drawn together
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
    """The buffers in which a thread draws a mechanism, and the steps that fill them."""

    def __init__(self, network: Network, inputs: int) -> None:
        self.noise, self.labels = torch.zeros(SIZE, inputs), torch.zeros(SIZE, dtype=torch.int64)
        self.code = torch.zeros(SIZE, len(network.start)) if network.memory else self.noise
        self.memory, self.steps = network.memory, list[Step]()
        grid = network.blocks[0].norm1.grid if network.blocks else network.picture.norm.grid
        x = self._product(network.start)
        for number, block in enumerate(network.blocks):
            grid, x = self._block(block, grid, x, keep=number > 0)
        self.last = self._norm(network.picture.norm, grid, x)

    def draw(self, noise: Tensor, labels: Tensor) -> None:
        """Draw the last activations of at most ``SIZE`` images."""
        self.noise[: len(labels)], self.labels[: len(labels)] = noise, labels
        if self.memory is not None:
            self.code.copy_(self.memory(self.noise, self.labels))
        for step in self.steps:
            step()

    def _product(self, matrix: Tensor) -> Tensor:
        out = torch.zeros(SIZE, matrix.shape[1])
        self.steps.append(partial(torch.mm, self.code, matrix, out=out))
        return out

    def _block(self, block: Block, grid: Grid, x: Tensor, *, keep: bool) -> tuple[Grid, Tensor]:
        h = self._norm(block.norm1, grid, x, keep=keep)
        out = torch.zeros(SIZE, block.conv1.size)
        self.steps += products(block.conv1, h, out)
        h = self._norm(block.norm2, block.conv1.target, out)
        if isinstance(block.shortcut, Tensor):
            out = self._product(block.shortcut)
        else:
            out = torch.zeros(SIZE, block.conv2.size)
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
        out = torch.zeros(SIZE, sum(target.sizes))
        self.steps += [partial(to.copy_, part) for to, part in overlaps(grid, x, target, out)]
        return out


def products(tiles: Tiles, x: Tensor, out: Tensor, *, add: bool = False) -> list[Step]:
    """Return the steps by which a map of activations fills ``out``, or adds to it."""
    views = [(out[:, tile.target], x[:, tile.source], tile.matrix) for tile in tiles.tiles]
    if add:
        return [partial(torch.addmm, to, part, matrix, out=to) for to, part, matrix in views]
    return [partial(torch.mm, part, matrix, out=to) for to, part, matrix in views]


class Picture:
    """The pictures of ``PIECE`` rows of a pen's last activations, and the steps that draw them."""

    def __init__(self, network: Network, pen: Pen, first: int, flat: Tensor, squash: Callable[..., Tensor]) -> None:
        labels, x = pen.labels[first : first + PIECE], pen.last[first : first + PIECE]
        self.steps: list[Step] = [partial(torch.index_select, network.picture.colours, 0, labels, out=flat)]
        self.steps += products(network.picture.output, x, flat, add=True)
        self.steps.append(partial(squash, flat, out=flat))

    def draw(self) -> None:
        """Draw them as runs, which are not in order yet."""
        for step in self.steps:
            step()


class Desk:
    """A pen and the buffers of its pictures.

    Args:
        form: what is drawn.
        shared: buffers of the thread.
    """

    def __init__(self, form: "MatrixForm", shared: Shared) -> None:
        network, output = form.network, form.network.picture.output
        squash = torch.sigmoid if form.mechanism is Mechanism.SHAPE else torch.tanh
        self.pen, self.run = Pen(network, form.inputs), output.width
        flat = shared.get("picture", PIECE, output.size)
        self.pictures = [Picture(network, self.pen, first, flat, squash) for first in range(0, SIZE, PIECE)]
        self.runs = flat.view(-1, self.run)
        starts = torch.arange(PIECE)[:, None] * form.places.shape[1]
        self.ordered = (starts + form.places[0]).flatten()
        self.rows, self.starts = 2 * self.run * form.places, 2 * self.run * starts.expand(-1, form.places.shape[1])
        self.twice = shared.get("twice", len(self.runs), 2 * self.run)
        self.windows = self.twice.as_strided((self.twice.numel() - self.run + 1, self.run), (1, 1))
        self.images = torch.zeros(PIECE, output.channels, output.side, output.side)

    def draw(self, number: int, places: Tensor | None) -> Tensor:
        """Draw piece ``number`` of the pen's activations; ``places`` are those of its windows (:meth:`windows_at`)."""
        self.pictures[number].draw()
        if places is None:
            torch.index_select(self.runs, 0, self.ordered, out=self.images.view(-1, self.run))
            return self.images
        torch.cat([self.runs, self.runs], 1, out=self.twice)
        torch.index_select(self.windows, 0, places, out=self.images.view(-1, self.run)[: len(places)])
        return self.images

    def windows_at(self, offsets: Tensor) -> tuple[Tensor, ...]:
        """Return, for each piece of crops at ``offsets`` (B, 2), where the rows of its windows begin."""
        starts = self.starts.repeat(-(-len(offsets) // PIECE), 1)[: len(offsets)]
        places = self.rows[offsets[:, 0]].add_(offsets[:, 1, None]).add_(starts)
        return places.view(-1).split(PIECE * places.shape[1])


class Desks(local):
    """The desks of a thread that nobody uses."""

    def __init__(self) -> None:
        self.free: list[Desk] = []


class MatrixForm:
    """A drawer of one mechanism by matrices.

    Args:
        mechanism: which.
        network: its matrices, with pictures of whole rows if they are cropped.
        inputs: numbers in the noise.
    """

    def __init__(self, mechanism: Mechanism, network: Network, inputs: int) -> None:
        self.mechanism, self.network, self.inputs = mechanism, network, inputs
        self.places = _places(network.picture.output)
        self.desks = Desks()

    def pieces(self, mechanism: Mechanism, query: Query, offsets: Tensor | None) -> Iterator[Tensor]:
        """Draw ``PIECE`` images at a time (:class:`skdcgn.cgn.drawer.Drawer`)."""
        with torch.inference_mode(False):  # buffers that may be written in any mode
            desk = self.desks.free.pop() if self.desks.free else Desk(self, SHARED)
        places = None if offsets is None else desk.windows_at(offsets)
        try:
            for first in range(0, len(query.labels), PIECE):
                if first % SIZE == 0:
                    desk.pen.draw(query.noise[first : first + SIZE], query.labels[first : first + SIZE])
                images = desk.draw(first % SIZE // PIECE, None if places is None else places[first // PIECE])
                yield images[: len(query.labels) - first]
        finally:  # also when nobody takes the rest
            self.desks.free.append(desk)


def _places(output: Tiles) -> Tensor:
    """Return, for each row at which a crop begins, the numbers of the runs of a picture in their order (S, runs)."""
    columns = output.side // output.width
    numbers = torch.arange(output.size // output.width).view(columns, output.side // output.height, -1, output.height)
    numbers = numbers.permute(2, 1, 3, 0).reshape(output.channels, output.side, columns)
    rows = (torch.arange(output.side)[:, None] + torch.arange(output.side)) % output.side
    return numbers[:, rows].permute(1, 0, 2, 3).flatten(1)
