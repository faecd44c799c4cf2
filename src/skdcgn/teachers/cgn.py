"""The MNIST CGN of Sauer & Geiger (ICLR 2021, App. B), with the state-dict names of the published files.

Mechanism input is concat(u, emb(y)), 42 numbers, on an initial grid of 8 x 8 that is doubled to 32 x 32; one
doubling more makes 64 x 64. The random crop of tiled textures that the published code does inside the network is
the composer's: here each mechanism is a function of (u, y).
"""

import copy
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from skdcgn.base.errors import UserError
from skdcgn.cgn.drawer import Drawer, NetworkDrawer
from skdcgn.cgn.kept_drawers import kept_drawer
from skdcgn.cgn.mechanism import Mechanism, Spec, as_mechanism, check_query

SIZES = (32, 64)
WIDTH = 32
GRID = 8
EMBEDDING = 10
LEAK = 0.2
AT_ONCE = 10_000  # images in one pass, which bounds the memory
AT_ONCE_CPU = 64  # fits a processor's cache
MASK_LOW, MASK_HIGH = 1e-4, 0.9999


class InwardClamp(torch.autograd.Function):
    """Clamp to [low, high]; its gradient vanishes outside only where it would push further outside.

    A plain clamp has no gradient at a saturated pixel, and a good mask is saturated almost everywhere.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,), (grad,) = ctx.saved_tensors, grads
        outward = ((x < ctx.low) & (grad > 0)) | ((x > ctx.high) & (grad < 0))  # descent moves along -grad
        return grad.masked_fill(outward, 0), None, None


class Reshape(nn.Module):
    """(B, C * G * G) -> (B, C, G, G)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, GRID, GRID))


def up_block(inputs: int, outputs: int) -> list[nn.Module]:
    """Nearest x2, Conv3x3 without bias, BatchNorm, LeakyReLU 0.2."""
    return [
        nn.Upsample(scale_factor=2),
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(LEAK),
    ]


def shape_network(inputs: int, doublings: int) -> nn.Sequential:
    """The shape mechanism up to the clamp; instance norms are not affine and keep no statistics."""
    layers: list[nn.Module] = [nn.Linear(inputs, 2 * WIDTH * GRID * GRID), Reshape(), nn.InstanceNorm2d(2 * WIDTH)]
    for before, after in pairwise([*[2 * WIDTH] * (doublings - 1), WIDTH, 1]):
        layers += [*up_block(before, after), nn.InstanceNorm2d(after)]
    return nn.Sequential(*layers)


def texture_network(inputs: int, doublings: int) -> nn.Sequential:
    """The texture and the background mechanism."""
    layers: list[nn.Module] = [nn.Linear(inputs, 2 * WIDTH * GRID * GRID), Reshape()]
    for before, after in pairwise([*[2 * WIDTH] * doublings, WIDTH]):
        layers += up_block(before, after)
    return nn.Sequential(*layers, nn.Conv2d(WIDTH, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh())


class NeuralCGN(nn.Module):
    """A CGN with weights; ``forward(mechanism, noise (B, Z), labels (B,))`` draws (B, C, H, W).

    Args:
        spec: of its noise, labels and images.
        at_once: how many images are drawn in one pass, which bounds the memory.
    """

    def __init__(self, spec: Spec, at_once: int) -> None:
        super().__init__()
        self.spec, self.at_once = spec, at_once


class CGN(NeuralCGN):
    """The CGN, 659,992 parameters at its published size (32 x 32, noise 32, ten classes).

    Raises:
        UserError: the images of ``spec`` are not 32 or 64 pixels wide.
    """

    def __init__(self, spec: Spec | None = None) -> None:
        super().__init__(spec or Spec(), AT_ONCE)
        if self.spec.image_size not in SIZES:
            raise UserError(f"a CGN draws images of {' or '.join(map(str, SIZES))} pixels, not {self.spec.image_size}")
        inputs, doublings = self.spec.noise_dim + EMBEDDING, (self.spec.image_size // GRID).bit_length() - 1
        self.label_emb = nn.Embedding(self.spec.classes, EMBEDDING)
        self.f_shape = shape_network(inputs, doublings)
        self.f_text1 = texture_network(inputs, doublings)
        self.f_text2 = texture_network(inputs, doublings)

    def forward(self, mechanism: Mechanism, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw images (B, C, H, W) of ``mechanism`` for noise (B, Z) and labels (B,)."""
        inputs = torch.cat([noise, self.label_emb(labels)], dim=1)  # (B, 42)
        if mechanism is Mechanism.SHAPE:
            return cast(Tensor, InwardClamp.apply(self.f_shape(inputs), MASK_LOW, MASK_HIGH))  # (B, 1, H, W)
        network = self.f_text1 if mechanism is Mechanism.TEXTURE else self.f_text2
        return cast(Tensor, network(inputs))  # (B, 3, H, W)


class CGNTeacher:
    """A frozen CGN behind ``query``: evaluation mode, no gradients."""

    def __init__(self, cgn: NeuralCGN, digest: str, device: str = "cpu") -> None:
        self.cgn = cgn.eval().requires_grad_(False).to(device)
        self.cgn.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.spec, self.digest = cgn.spec, digest
        self.at_once = min(cgn.at_once, AT_ONCE_CPU) if torch.device(device).type == "cpu" else cgn.at_once

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw (B, C, H, W) on the CPU for noise (B, Z) and labels (B,) int64."""
        check_query(self.spec, noise, labels)
        network, device = as_mechanism(mechanism), next(self.cgn.parameters()).device
        parts = zip(noise.split(self.at_once), labels.split(self.at_once), strict=True)
        with torch.inference_mode():
            return torch.cat([self.cgn(network, u.to(device), y.to(device)).cpu() for u, y in parts])

    def drawer(self) -> Drawer | None:
        """Return the CGN with its batch norms in its convolutions; None for other networks than :class:`CGN`."""
        return kept_drawer(self, self.cgn, self._folded) if isinstance(self.cgn, CGN) else None

    def _folded(self) -> Drawer:
        return NetworkDrawer(fold(self.cgn), self.spec, next(self.cgn.parameters()).device)

    @property
    def size(self) -> int:
        """How many numbers the three mechanisms hold."""
        return sum(p.numel() for p in self.cgn.parameters())


def fold(cgn: NeuralCGN) -> NeuralCGN:
    """Return a copy for inference that draws the same images, each batch norm taken into the convolution before it."""
    folded = copy.deepcopy(cgn).eval().requires_grad_(False)
    for sequence in folded.modules():
        if isinstance(sequence, nn.Sequential):
            for number, (layer, norm) in enumerate(pairwise(sequence)):
                if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    sequence[number], sequence[number + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()
    return folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def snapshot(cgn: NeuralCGN) -> CGNTeacher:
    """Return a frozen copy, on the CPU, of a CGN in training."""
    return CGNTeacher(copy.deepcopy(cgn).cpu(), digest="in training")
