"""The layers of a student: a memory of codes, conditional batch norms, bilinear doubling, residual blocks, a sigmoid.

See :mod:`skdcgn.students.generator` for the network and its sources.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAK = 0.1
SLOPE, AWAKE = 0.01, 0.1


class WakingSigmoid(torch.autograd.Function):
    """Sigmoid of images (B, C, H, W), whose slope inwards is ``SLOPE`` at least in an image all below ``AWAKE``.

    Most pixels of a mask are black in most samples, and an L1 is least at their median: at a high rate a class of thin
    strokes can turn all black, where the gradient of a plain sigmoid vanishes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        images = x.sigmoid()
        ctx.save_for_backward(images)
        return images

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (images,), (grad,) = ctx.saved_tensors, grads
        slope = images * (1 - images)
        asleep = slope.amax((1, 2, 3), keepdim=True) < AWAKE
        inwards = (grad < 0) == (images < 0.5)  # descent moves along -grad
        return grad * torch.where(asleep & inwards, slope.clamp(min=SLOPE), slope)


class Memory(nn.Module):
    """Codes of each class, among which the noise picks: sum_i w_i v_yi with w = softmax_i(<u, k_yi> + b_yi).

    It is attention over learned keys k and values v (Graves et al. 2014, Sec. 3.3.1), for teachers whose noise picks
    one of a number of pictures: argmax_i <u, c_i> + b_i is its limit for keys that grow.
    """

    def __init__(self, classes: int, codes: int, noise_dim: int, dim: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.zeros(classes, codes, noise_dim))
        self.bias = nn.Parameter(torch.zeros(classes, codes))
        self.values = nn.Parameter(torch.randn(classes, codes, dim))

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Return codes (B, D) for noise (B, Z) and labels (B,)."""
        logits = (self.keys[labels] @ noise[:, :, None])[:, :, 0] + self.bias[labels]  # (B, K)
        return (logits.softmax(1)[:, None] @ self.values[labels])[:, 0]


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose scale and offset are linear in the class embedding; at first they are 1 and 0."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm: nn.Module = nn.BatchNorm2d(channels, affine=False)
        self.affine = nn.Linear(embedding, 2 * channels)
        nn.init.zeros_(self.affine.weight)
        with torch.no_grad():
            self.affine.bias.copy_(torch.cat([torch.ones(channels), torch.zeros(channels)]))

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        scale, offset = self.affine(embedded)[..., None, None].chunk(2, dim=1)  # (B, C, 1, 1) each
        return cast(Tensor, scale * self.norm(x) + offset)

    @torch.no_grad()
    def fold(self) -> None:
        """Take the running mean and deviation into scale and offset, for inference: s (x - m) / d + o, linear still."""
        if isinstance(self.norm, nn.Identity):
            return
        norm = cast(nn.BatchNorm2d, self.norm)
        mean, deviation = cast(Tensor, norm.running_mean), (cast(Tensor, norm.running_var) + norm.eps).sqrt()
        for part in (self.affine.weight.T, self.affine.bias):  # (embedding, 2 C) and (2 C,), views
            scale, offset = part.chunk(2, dim=-1)
            scale /= deviation
            offset -= scale * mean
        self.norm = nn.Identity()


def conv3x3(inputs: int, outputs: int, separable: bool) -> nn.Module:
    """A 3 x 3 convolution, or a depthwise one followed by a pointwise one."""
    if not separable:
        return nn.Conv2d(inputs, outputs, 3, padding=1)
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(inputs, outputs, 1))


class Doubling(nn.Module):
    """Bilinear interpolation of images (B, C, S, S), of one ``side`` S, to twice the side.

    On CUDA it is two products with a matrix: PyTorch's kernel there has one thread per pixel for all images and
    channels, and its gradients differ from call to call.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        one_hot = torch.eye(side, device="cpu")  # a constant, with values on the meta device too
        columns = F.interpolate(one_hot[None], scale_factor=2, mode="linear", align_corners=False)[0]
        self.register_buffer("columns", columns, persistent=False)  # (S, 2 S)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda:
            return self.by_matrix(x)
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    def by_matrix(self, x: Tensor) -> Tensor:
        columns = cast(Tensor, self.columns).to(x.dtype)  # quarters: exact in half precision too
        return columns.T @ (x @ columns)


class UpBlock(nn.Module):
    """[CBN, LeakyReLU, bilinear x2, conv, CBN, LeakyReLU, conv] + 1 x 1 shortcut, from a grid of ``side``."""

    def __init__(self, inputs: int, outputs: int, embedding: int, separable: bool, side: int) -> None:
        super().__init__()
        self.up = Doubling(side)
        self.norm1 = ConditionalBatchNorm2d(inputs, embedding)
        self.conv1 = conv3x3(inputs, outputs, separable)
        self.norm2 = ConditionalBatchNorm2d(outputs, embedding)
        self.conv2 = conv3x3(outputs, outputs, separable)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        h = self.up(F.leaky_relu(self.norm1(x, embedded), LEAK))
        h = self.conv2(F.leaky_relu(self.norm2(self.conv1(h), embedded), LEAK))
        return cast(Tensor, h + self.up(self.shortcut(x)))
