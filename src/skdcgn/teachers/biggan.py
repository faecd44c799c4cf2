"""BigGAN-deep's generator (Brock et al., ICLR 2019, App. B), with the state-dict names of the published files.

    c = (u, e(y)),   h_0 = W c on a grid of 4 x 4,   two blocks per doubling,   x = tanh(conv(relu(bn(h_n))))
    block(h) = skip(h) + conv1x1(a(conv3x3(a(conv3x3(up(a(conv1x1(a(h)))))))),   a = relu of a conditional batch norm

A conditional batch norm scales by 1 + W_s c and shifts by W_o c. Its mean and variance depend on the truncation of
the noise: 51 of each were stored for the truncations 0, 0.02, ..., 1, and lie on a straight line in between. (The
public port swaps the two weights there, and takes row 15 for 0.28 / 0.02 = 14.000000000000002.) The skip connection
drops the channels that the block does not return. Attention is that of Zhang et al. (ICML 2019), Eq. 1-3.

The files store spectrally normalised weights in parts (Miyato et al., ICLR 2018): W, and the singular vectors u, v
at the end of training. Here the weight is W / sigma with sigma = u^T W v, folded when the file is read.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdcgn.base.errors import UserError, naming
from skdcgn.base.weights import fill, on_meta, shape_of, widened

GRID = 4
STATISTICS = 51
EPSILON = 1e-4
BOTTLENECK = 4
RAW, LEFT, RIGHT = "weight_orig", "weight_u", "weight_v"
SIZED = ("embeddings.weight", 2), ("generator.bn.weight", 1)  # tensors that sizes are read off, their dimensions


class Layout(NamedTuple):
    """Channels at 4 pixels and after each doubling, in units of the width, and the block that attention precedes."""

    channels: tuple[int, ...]
    attention: int

    @property
    def layers(self) -> int:
        """Two blocks per doubling, and the attention."""
        return 2 * (len(self.channels) - 1) + 1


LAYOUTS = {
    64: Layout((16, 8, 4, 2, 1), attention=6),  # ours, for tests; the others are published
    128: Layout((16, 16, 8, 4, 2, 1), attention=8),
    256: Layout((16, 16, 8, 8, 4, 2, 1), attention=8),
    512: Layout((16, 16, 8, 8, 4, 2, 1, 1), attention=8),
}


def check_truncation(truncation: float) -> float:
    """Return ``truncation`` if it lies in (0, 1]; raise UserError otherwise."""
    if not 0 < truncation <= 1:
        raise UserError(f"truncation {truncation} is out of range: use a number above 0 and up to 1")
    return truncation


def at_truncation(table: Tensor, truncation: float) -> Tensor:
    """Return row truncation / 0.02 of ``table`` (51, C), interpolated linearly between two rows: (C,)."""
    place = truncation * (STATISTICS - 1)
    row = round(place)
    if math.isclose(place, row, abs_tol=1e-6):
        return table[row]
    row = math.floor(place)
    return torch.lerp(table[row], table[row + 1], place - row)


class Norm(nn.Module):
    """Batch norm by stored statistics of the truncation: x (B, C, H, W) -> (x - mean) / sqrt(variance + 1e-4)."""

    running_means: Tensor
    running_vars: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("running_means", torch.zeros(STATISTICS, channels))
        self.register_buffer("running_vars", torch.ones(STATISTICS, channels))

    def normalised(self, x: Tensor, truncation: float) -> Tensor:
        mean, variance = (at_truncation(t, truncation)[:, None, None] for t in (self.running_means, self.running_vars))
        return (x - mean) / (variance + EPSILON).sqrt()


class ConditionalNorm(Norm):
    """A norm whose scale and offset are linear in the condition (B, D)."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__(channels)
        self.scale = nn.Linear(condition, channels, bias=False)
        self.offset = nn.Linear(condition, channels, bias=False)

    def forward(self, x: Tensor, truncation: float, condition: Tensor) -> Tensor:
        scale, offset = (part(condition)[..., None, None] for part in (self.scale, self.offset))  # (B, C, 1, 1)
        return (1 + scale) * self.normalised(x, truncation) + offset


class OutputNorm(Norm):
    """The last norm, whose scale and offset are numbers of their own."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, truncation: float) -> Tensor:
        return self.weight[:, None, None] * self.normalised(x, truncation) + self.bias[:, None, None]


class Attention(nn.Module):
    """x + gamma o(g softmax(theta^T phi)): every pixel attends to pooled ones (Zhang et al. 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.snconv1x1_theta = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.snconv1x1_phi = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.snconv1x1_g = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.snconv1x1_o_conv = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        theta = self.snconv1x1_theta(x).flatten(2)  # (B, C / 8, N)
        phi = F.max_pool2d(self.snconv1x1_phi(x), 2).flatten(2)  # (B, C / 8, N / 4)
        g = F.max_pool2d(self.snconv1x1_g(x), 2).flatten(2)  # (B, C / 2, N / 4)
        weights = (theta.mT @ phi).softmax(-1)  # (B, N, N / 4)
        attended = (g @ weights.mT).unflatten(2, x.shape[2:])  # (B, C / 2, H, W)
        return x + self.gamma * self.snconv1x1_o_conv(attended)


class Block(nn.Module):
    """Four convolutions, the middle two on a quarter of the channels, around a skip that keeps the first channels."""

    def __init__(self, inputs: int, outputs: int, condition: int, doubles: bool) -> None:
        super().__init__()
        middle = inputs // BOTTLENECK
        self.outputs, self.doubles = outputs, doubles
        self.bn_0 = ConditionalNorm(inputs, condition)
        self.conv_0 = nn.Conv2d(inputs, middle, 1)
        self.bn_1 = ConditionalNorm(middle, condition)
        self.conv_1 = nn.Conv2d(middle, middle, 3, padding=1)
        self.bn_2 = ConditionalNorm(middle, condition)
        self.conv_2 = nn.Conv2d(middle, middle, 3, padding=1)
        self.bn_3 = ConditionalNorm(middle, condition)
        self.conv_3 = nn.Conv2d(middle, outputs, 1)

    def forward(self, x: Tensor, truncation: float, condition: Tensor) -> Tensor:
        h = self.conv_0(self.bn_0(x, truncation, condition).relu())
        h = self.conv_1(self._resized(self.bn_1(h, truncation, condition).relu()))
        h = self.conv_2(self.bn_2(h, truncation, condition).relu())
        h = self.conv_3(self.bn_3(h, truncation, condition).relu())
        return h + self._resized(x[:, : self.outputs])

    def _resized(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0) if self.doubles else x


class Generator(nn.Module):
    """From the condition (B, D) to pictures (B, 3, H, W) in [-1, 1]."""

    def __init__(self, layout: Layout, condition: int, width: int) -> None:
        super().__init__()
        channels = [width * count for count in layout.channels]
        self.gen_z = nn.Linear(condition, GRID * GRID * channels[0])
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [Block(before, before, condition, doubles=False), Block(before, after, condition, doubles=True)]
        layers.insert(layout.attention, Attention(channels[layout.attention // 2]))
        self.layers = nn.ModuleList(layers)
        self.bn = OutputNorm(width)
        self.conv_to_rgb = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, condition: Tensor, truncation: float) -> Tensor:
        x = self.gen_z(condition).unflatten(1, (GRID, GRID, -1)).permute(0, 3, 1, 2)  # channels last, as TensorFlow
        for layer in self.layers:
            x = layer(x) if isinstance(layer, Attention) else layer(x, truncation, condition)
        x = self.bn(x, truncation).relu()
        weight, bias = self.conv_to_rgb.weight[:3], self.conv_to_rgb.bias
        assert bias is not None
        return F.conv2d(x, weight, bias[:3], padding=1).tanh()  # the published layer has more filters than colours


class BigGAN(nn.Module):
    """BigGAN-deep, 55.9 million parameters at 256 pixels and its published width.

    Args:
        image_size: pixels of a side, a key of ``LAYOUTS``.
        noise_dim: how many numbers the noise has, and the class embedding.
        classes: how many classes the embedding knows.
        width: channels before the last convolution, a multiple of 4.

    Raises:
        UserError: there is no layout for that size, or the width is no multiple of 4.
    """

    def __init__(self, image_size: int = 256, noise_dim: int = 128, classes: int = 1000, width: int = 128) -> None:
        super().__init__()
        if image_size not in LAYOUTS:
            raise UserError(f"BigGAN draws images of {', '.join(map(str, LAYOUTS))} pixels, not {image_size}")
        if width < 4 or width % 4:
            raise UserError(f"BigGAN's width {width} does not divide into heads: use a multiple of 4")
        self.image_size, self.noise_dim, self.classes = image_size, noise_dim, classes
        self.embeddings = nn.Linear(classes, noise_dim, bias=False)
        self.generator = Generator(LAYOUTS[image_size], 2 * noise_dim, width)

    def forward(self, noise: Tensor, labels: Tensor, truncation: float) -> Tensor:
        """Draw (B, 3, H, W) in [-1, 1].

        Args:
            noise: (B, Z), truncated normal times ``truncation``.
            labels: (B,) int64.
            truncation: in (0, 1]; chooses the statistics of the batch norms.
        """
        embedded = F.embedding(labels, self.embeddings.weight.T)
        return self.generator(torch.cat([noise, embedded], dim=1), check_truncation(truncation))


@torch.no_grad()
def set_standing_statistics(biggan: BigGAN, noise: Tensor, labels: Tensor, truncation: float) -> None:
    """Give every norm, at every truncation, the statistics of these images (Brock et al. 2019, Sec. 3.1).

    Args:
        noise: (B, Z), truncated normal times ``truncation``.
        labels: (B,) int64.
        truncation: in (0, 1].
    """

    def copy_moments(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, Norm)
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        norm.running_means.copy_(mean)
        norm.running_vars.copy_(variance)

    hooks = [norm.register_forward_pre_hook(copy_moments) for norm in biggan.modules() if isinstance(norm, Norm)]
    biggan(noise, labels, truncation)
    for hook in hooks:
        hook.remove()


def fold_spectral_norm(state: dict[str, Tensor], origin: object) -> dict[str, Tensor]:
    """Replace W, u, v by the weight W / (u^T W v); tensors without a norm stay as they are.

    Raises:
        UserError: a u or v is missing or of another length; the line names it and ``origin``.
    """
    folded = {name: value for name, value in state.items() if not name.endswith((RAW, LEFT, RIGHT))}
    for name, weight in state.items():
        if name.endswith(RAW):
            start = name.removesuffix(RAW)
            matrix = weight.flatten(1)
            vectors = [shape_of(state, origin, start + part, 1)[0] for part in (LEFT, RIGHT)]
            if tuple(matrix.shape) != tuple(vectors) or not weight.is_floating_point():
                raise UserError(
                    f"{origin}: {name} has shape {tuple(weight.shape)}, its vectors {vectors}: fetch it again"
                )
            folded[start + "weight"] = weight / (state[start + LEFT] @ matrix @ state[start + RIGHT])
    return folded


def biggan_from(state: dict[str, Tensor], origin: object) -> BigGAN:
    """Build the BigGAN whose tensors ``state`` holds, as published or folded; its sizes are read off them.

    Raises:
        UserError: a tensor is missing, of another shape or one too many; the line names it and ``origin``.
    """
    (noise_dim, classes), (width,) = (shape_of(state, origin, *size) for size in SIZED)
    state = fold_spectral_norm(widened(state), origin)
    layers = len({name.split(".")[2] for name in state if name.startswith("generator.layers.")})
    sizes = [size for size, layout in LAYOUTS.items() if layout.layers == layers]
    if not sizes:
        possible = ", ".join(str(layout.layers) for layout in LAYOUTS.values())
        raise UserError(f"{origin} has {layers} layers where a BigGAN-deep has {possible}: fetch or write it again")
    with naming(origin):
        biggan = on_meta(BigGAN, sizes[0], noise_dim, classes, width)
    return fill(biggan, state, origin, f"a BigGAN-deep-{sizes[0]}")
