"""U2-Net (Qin et al., Pattern Recognition 106, 2020, Fig. 2 and 5), with the state-dict names of the published files.

A U of U's: eleven residual U-blocks, six down and five up; each returns x_0 + U(x_0) with x_0 = conv(x) and U a U-Net
of its own height. The fused saliency is sigmoid(conv1x1 of six side outputs, all at the size of the first).

The published U2-Net takes pictures of ImageNet's mean and deviation, and enlarges features as PyTorch does by default.
The published ImageNet CGN gives it BigGAN's pictures as they are, in [-1, 1], and enlarges with corners aligned
(``aligned``). The same weights give other maps: on photographs of 320 x 320 the mean difference is 0.05.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from skdcgn.base.weights import fill, on_meta, shape_of

DESCENT = ("stage1", "stage2", "stage3", "stage4", "stage5", "stage6")
ASCENT = ("stage5d", "stage4d", "stage3d", "stage2d", "stage1d")
HEIGHTS = {1: 7, 2: 6, 3: 5, 4: 4}  # of the block at each depth; those below do not shrink
DILATED = 4


class Width(NamedTuple):
    """Channels inside a residual U-block, and those that it returns."""

    middle: int
    outputs: int


Widths = tuple[Width, ...]  # of DESCENT, then of ASCENT

FULL: Widths = (
    *(Width(32, 64), Width(32, 128), Width(64, 256), Width(128, 512), Width(256, 512), Width(256, 512)),
    *(Width(256, 512), Width(128, 256), Width(64, 128), Width(32, 64), Width(16, 64)),
)
SMALL: Widths = (Width(16, 64),) * 11


def resized(x: Tensor, like: Tensor, aligned: bool) -> Tensor:
    """Return ``x`` at the height and width of ``like``, whose corners may be aligned with its own."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=aligned)


def halved(x: Tensor) -> Tensor:
    """Return the largest of each 2 x 2 pixels; an odd row or column makes one of its own."""
    return F.max_pool2d(x, 2, ceil_mode=True)


class Convolution(nn.Module):
    """3 x 3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
        self.bn_s1: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn_s1(self.conv_s1(x)).relu()


class ResidualU(nn.Module):
    """x_0 + U(x_0): ``height`` convolutions down, the last of them dilated instead of shrunk, and back up.

    Args:
        inputs: channels of x.
        width: channels inside and of x_0.
        height: how many convolutions lie on the way down.
        shrinks: whether each level has half the pixels of the one above; otherwise dilations 1, 2, 4, ... widen
            the field of a pixel.
        aligned: whether features are enlarged with corners aligned.
    """

    def __init__(self, inputs: int, width: Width, height: int, *, shrinks: bool, aligned: bool = True) -> None:
        super().__init__()
        middle, outputs = width
        self.height, self.shrinks, self.aligned = height, shrinks, aligned
        self.rebnconvin = Convolution(inputs, outputs)
        for level in range(1, height + 1):
            dilation = (2 if level == height else 1) if shrinks else 2 ** (level - 1)
            self.add_module(f"rebnconv{level}", Convolution(outputs if level == 1 else middle, middle, dilation))
        for level in range(height - 1, 0, -1):
            dilation = 1 if shrinks else 2 ** (level - 1)
            self.add_module(f"rebnconv{level}d", Convolution(2 * middle, outputs if level == 1 else middle, dilation))

    def forward(self, x: Tensor) -> Tensor:
        start = x = self.rebnconvin(x)
        skips: list[Tensor] = []
        for level in range(1, self.height):
            x = self.get_submodule(f"rebnconv{level}")(x)
            skips.append(x)
            x = halved(x) if self.shrinks and level < self.height - 1 else x
        x = self.get_submodule(f"rebnconv{self.height}")(x)
        for level in range(self.height - 1, 0, -1):
            skip = skips.pop()
            x = self.get_submodule(f"rebnconv{level}d")(torch.cat([resized(x, skip, self.aligned), skip], dim=1))
        return x + start


def blocks(widths: Widths, aligned: bool) -> Iterator[tuple[str, ResidualU]]:
    """Make the eleven blocks, by name."""

    def block(inputs: int, width: Width, depth: int) -> ResidualU:
        return ResidualU(inputs, width, HEIGHTS.get(depth, DILATED), shrinks=depth in HEIGHTS, aligned=aligned)

    down, up = widths[: len(DESCENT)], widths[len(DESCENT) :]
    inputs = 3
    for depth, (name, width) in enumerate(zip(DESCENT, down, strict=True), 1):
        yield name, block(inputs, width, depth)
        inputs = width.outputs
    for depth, name, width in zip(range(len(ASCENT), 0, -1), ASCENT, up, strict=True):
        yield name, block(inputs + down[depth - 1].outputs, width, depth)
        inputs = width.outputs


class U2Net(nn.Module):
    """Pictures (B, 3, H, W) to saliency maps (B, 1, H, W) in [0, 1]; 44,009,869 parameters at full width.

    Args:
        widths: of the eleven blocks; ``FULL`` is ``u2net.pth``, ``SMALL`` is ``u2netp.pth``.
        aligned: whether features are enlarged with corners aligned, as in the published CGN; U2-Net itself: False.
    """

    def __init__(self, widths: Widths = FULL, aligned: bool = True) -> None:
        super().__init__()
        self.aligned = aligned
        for name, block in blocks(widths, aligned):
            self.add_module(name, block)
        sides = [width.outputs for width in (*reversed(widths[len(DESCENT) :]), widths[len(DESCENT) - 1])]
        for number, channels in enumerate(sides, 1):
            self.add_module(f"side{number}", nn.Conv2d(channels, 1, 3, padding=1))
        self.outconv = nn.Conv2d(len(sides), 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x).sigmoid()

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of the saliency, (B, 1, H, W)."""
        skips: list[Tensor] = []
        for name in DESCENT:
            x = self.get_submodule(name)(halved(x) if skips else x)
            skips.append(x)
        features = [skips.pop()]
        for name in ASCENT:
            skip = skips.pop()
            features.append(self.get_submodule(name)(torch.cat([self.enlarged(features[-1], skip), skip], dim=1)))
        sides = [self.get_submodule(f"side{number}")(x) for number, x in enumerate(reversed(features), 1)]
        return self.outconv(torch.cat([self.enlarged(side, sides[0]) for side in sides], dim=1))

    def enlarged(self, x: Tensor, like: Tensor) -> Tensor:
        """Return ``x`` at the height and width of ``like``."""
        return resized(x, like, self.aligned)


@torch.no_grad()
def calm(u2net: U2Net, share: float) -> None:
    """Let each U add only ``share`` to its block: a hundred random layers in a row would magnify rounding errors."""
    for name in DESCENT + ASCENT:
        nn.init.constant_(u2net.get_submodule(f"{name}.rebnconv1d.bn_s1").get_parameter("weight"), share)


@torch.no_grad()
def standardise(u2net: U2Net, pictures: Tensor, mean: float, deviation: float) -> None:
    """Set the batch norms' statistics to those of ``pictures`` (B, 3, H, W), then mean and deviation of the logits."""
    norms = [module for module in u2net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    u2net.train()(pictures)
    for norm in norms:
        norm.momentum = 0.1
    logits = u2net.eval().logits(pictures)
    scale = deviation / logits.std()
    for part in u2net.outconv.parameters():
        part.mul_(scale)
    cast(Tensor, u2net.outconv.bias).add_(mean - scale * logits.mean())


def u2net_from(state: dict[str, Tensor], origin: object, *, aligned: bool = True) -> U2Net:
    """Build the U2-Net whose tensors ``state`` holds; its widths are read off them.

    Args:
        state: with batch norms, or with convolutions that have taken them up.
        origin: the file that an error names.
        aligned: whether features are enlarged with corners aligned.

    Raises:
        UserError: a tensor is missing, of another shape or one too many; the line names it and ``origin``.
    """
    widths: list[Width] = []
    for name in DESCENT + ASCENT:
        sizes = [f"{name}.{part}.conv_s1.weight" for part in ("rebnconv1", "rebnconvin")]
        widths.append(Width(*(shape_of(state, origin, size, 4)[0] for size in sizes)))
    if not any(".bn_s1." in name for name in state):
        state = state | _identity_norms(state, origin)
    return fill(on_meta(U2Net, tuple(widths), aligned), state, origin, "a U2-Net")


def _identity_norms(state: dict[str, Tensor], origin: object) -> dict[str, Tensor]:
    """Return batch norms that change nothing, for each of the convolutions that have one."""
    norms: dict[str, Tensor] = {}
    for name in [name for name in state if name.endswith(".conv_s1.weight")]:
        norm = nn.BatchNorm2d(shape_of(state, origin, name, 4)[0])
        nn.init.constant_(norm.weight, math.sqrt(1 + norm.eps))
        place = name.removesuffix("conv_s1.weight") + "bn_s1."
        norms |= {place + key: value for key, value in norm.state_dict().items()}
    return norms


def folded(u2net: U2Net) -> U2Net:
    """Let each convolution take up its batch norm, which becomes the identity; return the network, to evaluate."""
    for part in list(u2net.eval().modules()):
        if isinstance(part, Convolution):
            part.conv_s1 = fuse_conv_bn_eval(part.conv_s1, cast(nn.BatchNorm2d, part.bn_s1))
            part.bn_s1 = nn.Identity()
    return u2net
