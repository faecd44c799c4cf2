"""The drawer of a student: matrices where they are faster than convolutions, else its networks with folded norms.

A drawer is built once for the weights of a student, compared with the student's own networks, and built again when the
weights change.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from skdcgn.base.seeds import generator
from skdcgn.cgn.drawer import TOLERANCE, Drawer, NetworkDrawer
from skdcgn.cgn.inputs import Query
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.students.layers import UpBlock
from skdcgn.students.matrices import matrices
from skdcgn.students.matrix_form import MatrixForm
from skdcgn.students.tiles import TooLargeError

if TYPE_CHECKING:
    from skdcgn.students.generator import StudentCGN, StudentGenerator

WORTH = 8  # multiply-adds of a matrix that take as long as one of a convolution with few channels, in all
AT_ONCE = 64  # images in a pass of a network
CHECKED = 32  # images of each mechanism that are compared

log = logging.getLogger(__name__)


class StudentDrawer:
    """The drawers of the three mechanisms as one."""

    def __init__(self, forms: Mapping[Mechanism, Drawer]) -> None:
        self.forms = forms

    def pieces(self, mechanism: Mechanism, query: Query, offsets: Tensor | None) -> Iterator[Tensor]:
        """Draw with the form of ``mechanism`` (:class:`skdcgn.cgn.drawer.Drawer`)."""
        return self.forms[mechanism].pieces(mechanism, query, offsets)


_DRAWERS: "WeakKeyDictionary[nn.Module, tuple[Tensor, Drawer | None]]" = WeakKeyDictionary()


def student_drawer(student: "StudentCGN") -> Drawer | None:
    """Return the drawer of a student's present weights; None for one in training and where it would draw otherwise."""
    if student.training:
        return None
    state = _state(student)
    kept = _DRAWERS.get(student)
    if kept is None or not torch.equal(kept[0], state):
        kept = _DRAWERS[student] = state, _checked(student)
    return kept[1]


def _state(student: nn.Module) -> Tensor:
    """Return all weights and statistics in one tensor, on the CPU."""
    tensors = [value.detach() for value in (*student.parameters(), *student.buffers()) if value.is_floating_point()]
    return torch.cat([value.flatten() for value in tensors]).cpu()


def _checked(student: "StudentCGN") -> Drawer | None:
    with torch.inference_mode(False), torch.no_grad():
        drawer = _built(student)
    away = max(_away(student, drawer, mechanism) for mechanism in Mechanism)
    if away <= TOLERANCE:
        return drawer
    log.warning("the student's fast form draws %.2g away from its networks: they draw themselves, as exact does", away)
    return None


def _away(student: "StudentCGN", drawer: Drawer, mechanism: Mechanism) -> float:
    """Return how far the drawer is from the student at fixed inputs."""
    rng = generator("drawer", mechanism)
    noise = student.spec.sample_noise(CHECKED, rng)
    labels = torch.randint(student.spec.classes, (CHECKED,), generator=rng)
    with torch.inference_mode():
        images = torch.cat([piece.clone() for piece in drawer.pieces(mechanism, Query(noise, labels), None)])
        away = float((images - student.query(mechanism, noise, labels)).abs().max())
    return away if away == away else float("inf")


def _built(student: "StudentCGN") -> Drawer:
    folded = student.folded().requires_grad_(False)
    network = NetworkDrawer(folded, student.spec, AT_ONCE)
    if next(student.parameters()).device.type != "cpu":
        return network
    forms = {m: _form(m, cast("StudentGenerator", folded.mechanisms[m.value])) or network for m in Mechanism}
    return StudentDrawer(forms)


def _form(mechanism: Mechanism, network: "StudentGenerator") -> MatrixForm | None:
    """Return the matrix form of a mechanism with folded norms if it is worth it."""
    spec = network.spec
    try:
        form = matrices(network, whole_rows=spec.tiles and mechanism is not Mechanism.SHAPE)
    except TooLargeError:
        return None
    return MatrixForm(mechanism, form, spec.noise_dim) if form.cost <= WORTH * _multiplications(network) else None


def _multiplications(network: "StudentGenerator") -> int:
    """Return the multiply-adds of a generator's convolutions for one image."""
    side = network.grid
    total = network.input.weight.numel()
    for block in network.blocks:
        convolutions = cast(UpBlock, block)
        total += sum(w.numel() for w in convolutions.shortcut.parameters()) * side**2
        side *= 2
        total += (
            sum(w.numel() for part in (convolutions.conv1, convolutions.conv2) for w in part.parameters()) * side**2
        )
    return total + network.output.weight.numel() * side**2
