"""Features of the Gram (perceptual) loss: frozen networks ``images -> [features]``, by name or file.

The published CGN uses VGG16, whose weights are a download. ``random`` has fixed random filters at two scales, whose
Gram matrices distinguish colours and local texture (Ustyuzhaninov et al. 2017). ``efficientnet-lite0`` was trained on
ImageNet; its weights come with a package.
"""

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdcgn.base.door import is_file, is_folder
from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.base.weights import fill, read_state_dict
from skdcgn.data.photos import IMAGENET_DEVIATION, IMAGENET_MEAN
from skdcgn.zoo.efficientnet import EFFICIENTNET, load_efficientnet, normalise

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
    """|random 5 x 5 filters * each octave of the image's Laplacian pyramid|: contrast by scale, independent of phase.

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
    """VGG16's activations before its first four max-pools, for images (B, 3, H, W) in [-1, 1].

    Args:
        weights: the file of its weights.
        normalised: normalise images as for ImageNet, on which VGG16 was trained; False: it reads [-1, 1].
    """

    def __init__(self, weights: Path, *, normalised: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in VGG16:
            if width == "pool":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, cast(int, width), 3, padding=1), nn.ReLU()]
                channels = cast(int, width)
        self.features, self.normalised = nn.Sequential(*layers), normalised
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION)[:, None, None])
        load_vgg16(self.features, weights)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, activations = self._normal(images) if self.normalised else images, []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                activations.append(x)
            x = layer(x)
        return [*activations, x]

    def _normal(self, images: Tensor) -> Tensor:
        return (images / 2 + 0.5 - cast(Tensor, self.mean)) / cast(Tensor, self.deviation)


def load_vgg16(features: nn.Sequential, weights: Path) -> None:
    """Load the convolutions of a VGG16 state dict (``features.0.weight``, ...); raise UserError if they do not fit."""
    network = nn.ModuleDict({"features": features})
    state = {name: value for name, value in read_state_dict(weights).items() if name in network.state_dict()}
    fill(network, state, weights, "VGG16")


class EfficientNetFeatures(nn.Module):
    """EfficientNet-Lite0's activations before each halving but the first, for images (B, 3, H, W) in [-1, 1].

    16, 24, 40 and 112 channels at a half, a quarter, an eighth and a sixteenth of the side, fine to coarse.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = load_efficientnet()[0]

    def forward(self, images: Tensor) -> list[Tensor]:
        model, activations = self.model, []
        x = F.relu6(model._bn0(model._conv_stem(normalise(images))))
        for block in model._blocks:
            if block._depthwise_conv.stride[0] == 2:
                activations.append(x)
            x = block(x)
        return activations


class ActivationFeatures(nn.Module):
    """Activations after each ReLU of a stack of layers, fine to coarse."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> list[Tensor]:
        activations = []
        for layer in self.layers:
            images = layer(images)
            if isinstance(layer, nn.ReLU):
                activations.append(images)
        return activations


def load_features(name: str, *, normalised: bool = True) -> nn.Module:
    """Return frozen features: ``random``, ``efficientnet-lite0``, a VGG16 state-dict file or a classifier's run folder.

    Args:
        name: of the features, or their path.
        normalised: of VGG16 alone, see :class:`VGG16Features`.

    Raises:
        UserError: no such features, a damaged file or a missing package.
    """
    return _features(name, normalised).eval().requires_grad_(False)


def _features(name: str, normalised: bool) -> nn.Module:
    path = Path(name)
    if name == "random":
        return RandomFeatures()
    if name == EFFICIENTNET:
        return EfficientNetFeatures()
    if is_folder(path):
        from skdcgn.classifiers.small_cnn import load_classifier

        return ActivationFeatures(load_classifier(path).body)
    if is_file(path):
        return VGG16Features(path, normalised=normalised)
    raise UserError(f"no features called {name!r}: use {FEATURES}")
