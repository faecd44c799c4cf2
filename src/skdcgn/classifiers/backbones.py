"""Backbones by name: networks from images to features, without their classification layer.

``small`` is bundled and has no trained weights. ``torchvision:NAME`` and ``timm:NAME`` come from those packages, which
are imported when a name needs them.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from skdcgn.base.errors import UserError
from skdcgn.base.weights import check_fit, read_state_dict

SMALL, NO_WEIGHTS = "small", "none"
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

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.stages(self.stem(images)).mean((2, 3))
        return features


def load_backbone(name: str, *, width: int = 32, weights: str | None = None) -> nn.Module:
    """Return a network: images (B, 3, S, S), normalised as ImageNet's are -> features (B, D) or (B, D, h, w).

    Args:
        name: ``small``, ``torchvision:NAME`` or ``timm:NAME``.
        width: channels of the first stage of ``small``.
        weights: a state-dict file, or ``none``. Default: the package's own ImageNet weights, a download; ``small`` has
            none.

    Raises:
        UserError: no such backbone, a package that is missing, weights that do not fit or cannot be fetched.
    """
    source, _, model = name.partition(":")
    if name != SMALL and (source not in SOURCES or not model):
        raise UserError(
            f"unknown backbone {name!r}: use small, torchvision:NAME (as torchvision:resnet50) or timm:NAME"
        )
    backbone = SmallResNet(width) if name == SMALL else _of_package(source, model, pretrained=weights is None)
    if weights not in (None, NO_WEIGHTS):
        fill_backbone(backbone, Path(str(weights)))
    return backbone


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
    expected = backbone.state_dict()
    state = {name: value for name, value in read_state_dict(path).items() if name in expected}
    backbone.load_state_dict(check_fit(backbone, state, path, "the network that --backbone names"))
