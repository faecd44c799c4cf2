"""Feature extractors for the Gram (perceptual) loss: a name or a file becomes a frozen ``images -> [features]``.

The published CGN uses VGG16, whose weights are a download. ``random`` needs none: fixed random filters at two
scales, whose Gram matrices tell colours and local texture apart (Ustyuzhaninov et al. 2017). ``efficientnet-lite0`` was
trained on ImageNet, and its weights come with a package.
"""

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.classifiers.backbones import EFFICIENTNET, as_efficientnet_sees, load_efficientnet
from skdcgn.data.photos import IMAGENET_DEVIATION, IMAGENET_MEAN

VGG16 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512)
FEATURES = f"random, {EFFICIENTNET}, a VGG16 state-dict file or a classifier's run folder"


class RandomFeatures(nn.Module):
    """|random 5 x 5 filters * image| at full and half resolution: (B, 32, H, W), (B, 32, H/2, W/2)."""

    def __init__(self, filters: int = 32) -> None:
        super().__init__()
        weights = torch.randn(2, filters, 3, 5, 5, generator=generator("random features"))
        self.register_buffer("filters", weights / weights[0, 0].numel() ** 0.5)

    def forward(self, images: Tensor) -> list[Tensor]:
        filters = cast(Tensor, self.filters)
        return [F.conv2d(F.avg_pool2d(images, 2**i), filters[i], padding=2).abs() for i in range(2)]


class TextureEnergy(nn.Module):
    """|random 5 x 5 filters * each octave of the image's Laplacian pyramid|: contrast by fineness, whatever its phase.

    (B, 3, H, W) -> ``octaves`` of (B, filters, H / 2^i, W / 2^i), finest first (Burt & Adelson 1983).
    """

    def __init__(self, filters: int = 16, octaves: int = 3) -> None:
        super().__init__()
        weights = torch.randn(octaves, filters, 3, 5, 5, generator=generator("texture energy"))
        self.register_buffer("filters", weights / weights[0, 0].numel() ** 0.5)

    def forward(self, images: Tensor) -> list[Tensor]:
        responses = []
        for filters in cast(Tensor, self.filters):
            coarser = F.avg_pool2d(images, 2)
            octave = images - F.interpolate(coarser, scale_factor=2, mode="bilinear", align_corners=False)
            responses.append(F.conv2d(octave, filters, padding=2).abs())
            images = coarser
        return responses


class VGG16Features(nn.Module):
    """VGG16's activations before its first four max-pools, for images (B, 3, H, W) in [-1, 1]."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in VGG16:
            if width == "pool":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, cast(int, width), 3, padding=1), nn.ReLU()]
                channels = cast(int, width)
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION)[:, None, None])
        load_vgg16(self.features, weights)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = (images / 2 + 0.5 - cast(Tensor, self.mean)) / cast(Tensor, self.deviation)
        taken = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                taken.append(x)
            x = layer(x)
        return [*taken, x]


def load_vgg16(features: nn.Sequential, weights: Path) -> None:
    """Load the convolutions of a VGG16 state dict (``features.0.weight``, ...); raise UserError if they do not fit."""
    from skdcgn.base.weights import read_state_dict

    state = read_state_dict(weights)
    wanted = {key: state.get(f"features.{key}") for key in features.state_dict()}
    missing = [key for key, value in wanted.items() if value is None]
    if missing:
        raise UserError(f"{weights} is not a VGG16 state dict: features.{missing[0]} is missing")
    try:
        features.load_state_dict(cast(dict[str, Tensor], wanted))
    except RuntimeError:
        raise UserError(f"{weights} is not a VGG16 state dict: its convolutions have other sizes") from None


class EfficientNetFeatures(nn.Module):
    """EfficientNet-Lite0's activations before each halving but the first, for images (B, 3, H, W) in [-1, 1].

    16, 24, 40 and 112 channels at a half, a quarter, an eighth and a sixteenth of the side, fine to coarse.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = load_efficientnet()[0]

    def forward(self, images: Tensor) -> list[Tensor]:
        model, taken = self.model, []
        x = F.relu6(model._bn0(model._conv_stem(as_efficientnet_sees(images))))
        for block in model._blocks:
            if block._depthwise_conv.stride[0] == 2:
                taken.append(x)
            x = block(x)
        return taken


class ActivationFeatures(nn.Module):
    """Activations after each ReLU of a stack of layers, fine to coarse."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> list[Tensor]:
        taken = []
        for layer in self.layers:
            images = layer(images)
            if isinstance(layer, nn.ReLU):
                taken.append(images)
        return taken


def load_features(name: str) -> nn.Module:
    """Return features, frozen: ``random``, ``efficientnet-lite0``, of a VGG16 state-dict file or of a classifier's run.

    Raises:
        UserError: none of these, or one that is damaged or not installed.
    """
    return _features(name).eval().requires_grad_(False)


def _features(name: str) -> nn.Module:
    path = Path(name)
    if name == "random":
        return RandomFeatures()
    if name == EFFICIENTNET:
        return EfficientNetFeatures()
    if path.is_dir():
        from skdcgn.classifiers.small_cnn import load_classifier

        return ActivationFeatures(load_classifier(path).body)
    if path.is_file():
        return VGG16Features(path)
    raise UserError(f"no features called {name!r}: use {FEATURES}")
