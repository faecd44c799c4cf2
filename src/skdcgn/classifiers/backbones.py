"""Backbones by name: networks from images to features, without their classification layer.

``small`` and ``plain`` are bundled and have no trained weights. ``efficientnet-lite0`` comes from packages with its
ImageNet weights too (the extra ``efficientnet``), ``torchvision:NAME`` and ``timm:NAME`` from those packages; each is
imported when a name needs it.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdcgn.base.errors import UserError
from skdcgn.base.weights import check_fit, read_state_dict
from skdcgn.data.photos import IMAGENET_DEVIATION, IMAGENET_MEAN
from skdcgn.zoo.efficientnet import EFFICIENTNET, efficientnet_weights, new_efficientnet, normalise

SMALL, PLAIN, NO_WEIGHTS = "small", "plain", "none"
SOURCES = ("torchvision", "timm")


class Block(nn.Module):
    """y = relu(x' + f(x)), where x' is x itself or, where the size changes, its projection (He et al. 2016, Eq. 1-2).

    The last norm of f starts at zero, and so does f: activations keep their size even if the norms' statistics are
    frozen at 0 and 1.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        last = nn.BatchNorm2d(outputs)
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            last,
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.body(x))


class SmallResNet(nn.Module):
    """A ResNet of three blocks: images (B, 3, S, S) -> features (B, 4 width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.stages = nn.Sequential(Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a CPU

    def forward(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.stages(self.stem(images)).mean((2, 3))
        return features


class PlainCNN(nn.Module):
    """Six convolutions, four of them of stride 2: images (B, 3, S, S) -> features (B, 8 width).

    For photographs of 64 pixels a side: twice as fast as :class:`SmallResNet`.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *normed_convolution(3, width, kernel=5, stride=2),
            *normed_convolution(width, 2 * width, stride=2),
            *normed_convolution(2 * width, 2 * width),
            *normed_convolution(2 * width, 4 * width, stride=2),
            *normed_convolution(4 * width, 4 * width),
            *normed_convolution(4 * width, 8 * width, stride=2),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images.contiguous(memory_format=torch.channels_last)).mean((2, 3))
        return features


def normed_convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """Return a convolution, its batch norm and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


class EfficientNetBackbone(nn.Module):
    """EfficientNet-Lite0 without its head: images (B, 3, S, S), normalised as ImageNet's are -> (B, 1280, S/32, S/32).

    Its own inputs are (grey level - 127) / 128.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = new_efficientnet()
        self.network._fc = nn.Identity()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        unit = images * cast(Tensor, self.deviation) + cast(Tensor, self.mean)  # in [0, 1]
        features: Tensor = self.network.extract_features(normalise(2 * unit - 1))
        return features


BUNDLED: dict[str, type[SmallResNet] | type[PlainCNN]] = {SMALL: SmallResNet, PLAIN: PlainCNN}


def load_backbone(name: str, *, width: int = 32, weights: str | None = None) -> nn.Module:
    """Return a network: images (B, 3, S, S), normalised as ImageNet's are -> features (B, D) or (B, D, h, w).

    Args:
        name: ``small``, ``plain``, ``efficientnet-lite0``, ``torchvision:NAME`` or ``timm:NAME``.
        width: channels of the first stage of ``small`` or ``plain``.
        weights: a state-dict file, or ``none``. Default: the package's own ImageNet weights, for torchvision and timm a
            download; ``small`` and ``plain`` have none.

    Raises:
        UserError: no such backbone, a package that is missing, weights that do not fit or cannot be fetched.
    """
    backbone, file = _new_backbone(name, width, pretrained=weights is None), weights_file(name, weights)
    if file:
        fill_backbone(backbone, file)
    return backbone


def weights_file(name: str, weights: str | None) -> Path | None:
    """Return the file of a backbone's initial weights; None: random ones, or a package's download.

    Args:
        name, weights: as :func:`load_backbone` takes them.
    """
    if weights is None:
        return efficientnet_weights() if name == EFFICIENTNET else None
    return None if weights == NO_WEIGHTS else Path(weights)


def _new_backbone(name: str, width: int, *, pretrained: bool) -> nn.Module:
    if name in BUNDLED:
        return BUNDLED[name](width)
    if name == EFFICIENTNET:
        return EfficientNetBackbone()
    source, _, model = name.partition(":")
    if source not in SOURCES or not model:
        raise UserError(
            f"unknown backbone {name!r}: use small, plain, {EFFICIENTNET}, torchvision:NAME (as "
            "torchvision:resnet50) or timm:NAME"
        )
    return _of_package(source, model, pretrained=pretrained)


def _of_package(source: str, model: str, *, pretrained: bool) -> nn.Module:
    package = _package(source)
    try:
        return _of_timm(package, model, pretrained) if source == "timm" else _of_torchvision(package, model, pretrained)
    except OSError as error:
        raise UserError(
            f"the weights of {source}:{model} cannot be downloaded ({error}): "
            "pass a state-dict file by --weights, or none"
        ) from None
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{source} has no model {model!r} ({error}): choose a name that it lists") from None


def _package(source: str) -> Any:
    try:
        return import_module(source)
    except (ImportError, RuntimeError):  # a build of torchvision for another torch ends in a RuntimeError
        raise UserError(
            f"{source} is not installed or does not fit this torch: pip install {source}, or use --backbone small"
        ) from None


def _of_timm(timm: Any, model: str, pretrained: bool) -> nn.Module:
    network: nn.Module = timm.create_model(model, pretrained=pretrained, num_classes=0)
    return network


def _of_torchvision(torchvision: Any, model: str, pretrained: bool) -> nn.Module:
    """Return torchvision's model without its last child, which is the head of every classifier there."""
    network: nn.Module = torchvision.models.get_model(model, weights="DEFAULT" if pretrained else None)
    setattr(network, [name for name, _ in network.named_children()][-1], nn.Identity())
    return network


def fill_backbone(backbone: nn.Module, path: Path) -> None:
    """Load a state dict, except for tensors that the backbone does not have, such as a head's.

    Raises:
        UserError: the file is damaged, or a tensor is missing or does not fit.
    """
    network = cast(nn.Module, backbone.network) if isinstance(backbone, EfficientNetBackbone) else backbone
    expected = network.state_dict()
    state = {name: value for name, value in read_state_dict(path).items() if name in expected}
    network.load_state_dict(check_fit(network, state, path, "the network that --backbone names"))
