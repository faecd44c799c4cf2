"""The drawer of a student: matrices where they are faster than convolutions, else its networks with folded norms.

The matrices of a mechanism grow with the squares of its grids' sides; convolutions do not.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from skdcgn.cgn.drawer import PIECE, Drawer, NetworkDrawer
from skdcgn.cgn.inputs import Query
from skdcgn.cgn.kept_drawers import kept_drawer
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.students.layers import UpBlock
from skdcgn.students.matrices import matrices
from skdcgn.students.matrix_form import MatrixForm
from skdcgn.students.tiles import TooLargeError

if TYPE_CHECKING:
    from skdcgn.students.generator import StudentCGN, StudentGenerator

WORTH = 8  # multiply-adds of a matrix that take as long as one of a convolution with few channels, in all


class StudentDrawer:
    """The drawers of the three mechanisms, on a CPU, as one."""

    device, piece = torch.device("cpu"), PIECE

    def __init__(self, forms: Mapping[Mechanism, Drawer]) -> None:
        self.forms = forms

    def pieces(self, mechanism: Mechanism, query: Query, offsets: Tensor | None) -> Iterator[Tensor]:
        """Draw with the form of ``mechanism`` (:class:`skdcgn.cgn.drawer.Drawer`)."""
        return self.forms[mechanism].pieces(mechanism, query, offsets)


def student_drawer(student: "StudentCGN") -> Drawer | None:
    """Return the drawer of a student's present weights; None for one in training and where it would draw otherwise."""
    return None if student.training else kept_drawer(student, student, partial(_built, student))


def _built(student: "StudentCGN") -> Drawer:
    folded = student.folded().requires_grad_(False)
    device = next(student.parameters()).device
    network = NetworkDrawer(folded, student.spec, device)
    if device.type != "cpu":
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
