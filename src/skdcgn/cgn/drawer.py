"""Drawers: forms of a CGN that draw its images faster than its networks answer a query, up to rounding.

A CGN whose weights are at hand may offer one (:class:`Drawable`). A black box does not: it is asked by ``query`` alone.
"""

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from skdcgn.cgn.inputs import Query
from skdcgn.cgn.layers import tile_crop
from skdcgn.cgn.mechanism import Mechanism, Spec, Teacher, check_answer

BATCH = 256  # images per query, and at most in a batch
PIECE = 64  # images of a piece on a CPU
MOST_NUMBERS, MOST_IMAGES = 2**24, 4096  # pixels and images of a piece on a GPU, which waits for calls
TOLERANCE = 1e-4  # of [-1, 1]: how far a drawer may be from its networks, a 78th of a grey level of 255


def draw(cgn: Teacher, mechanism: Mechanism, noise: Tensor, labels: Tensor, *, batch_size: int = BATCH) -> Tensor:
    """Query in batches without gradients; return the checked answers (N, C, H, W).

    Raises:
        UserError: an answer has another shape, is not finite or out of range.
    """
    batches = zip(noise.split(batch_size), labels.split(batch_size), strict=True)
    with torch.inference_mode():
        answers = [check_answer(cgn.spec, mechanism, cgn.query(mechanism, u, y), len(y)) for u, y in batches]
    return torch.cat(answers)  # outside, so that the result may be changed in place


class Drawer(Protocol):
    """A form of a CGN that draws layers."""

    @property
    def device(self) -> torch.device:
        """Where it takes its queries and leaves its images."""
        ...

    @property
    def piece(self) -> int:
        """Images in a piece, at most."""
        ...

    def pieces(self, mechanism: Mechanism, query: Query, offsets: Tensor | None) -> Iterator[Tensor]:
        """Draw ``piece`` images (B, C, H, W) at a time, the last time what is left; crop them at ``offsets`` (B, 2).

        Pieces may be used until the next is drawn. Threads may draw at the same time.
        """
        ...


@runtime_checkable
class Drawable(Protocol):
    """A CGN that has a drawer."""

    def drawer(self) -> Drawer | None:
        """Return a drawer of the weights as they are now; None where the networks themselves must draw."""
        ...


class AtPresent:
    """A CGN with the drawer of its weights as they are now, which is not compared with them again."""

    def __init__(self, cgn: Teacher) -> None:
        self.cgn, self.spec = cgn, cgn.spec
        self._drawer = cgn.drawer() if isinstance(cgn, Drawable) else None

    @property
    def digest(self) -> str:
        return self.cgn.digest

    @property
    def size(self) -> int | None:
        return self.cgn.size

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw (B, C, H, W) for noise (B, Z) and labels (B,) int64."""
        return self.cgn.query(mechanism, noise, labels)

    def drawer(self) -> Drawer | None:
        """Return the drawer."""
        return self._drawer


class NetworkDrawer:
    """Draws with a network, in a form that is fast to run.

    Args:
        network: ``(mechanism, noise (B, Z), labels (B,)) -> (B, C, H, W)``.
        spec: of the CGN.
        device: where its weights are.
    """

    def __init__(
        self, network: Callable[[Mechanism, Tensor, Tensor], Tensor], spec: Spec, device: torch.device
    ) -> None:
        self.network, self.spec, self.device = network, spec, device
        self.piece = PIECE if device.type == "cpu" else max(BATCH, min(MOST_NUMBERS // spec.image_size**2, MOST_IMAGES))

    def pieces(self, mechanism: Mechanism, query: Query, offsets: Tensor | None) -> Iterator[Tensor]:
        """Draw ``piece`` images at a time (:class:`Drawer`)."""
        for start in range(0, len(query.labels), self.piece):
            rows = slice(start, start + self.piece)
            noise, labels = query.noise[rows], query.labels[rows]
            images = check_answer(self.spec, mechanism, self.network(mechanism, noise, labels), len(labels))
            images = images.contiguous()
            yield images if offsets is None else tile_crop(images, offsets[rows])
