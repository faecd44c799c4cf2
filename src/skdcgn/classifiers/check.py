"""The check of a classifier that was loaded: weights may be finite, and its logits are not."""

import torch
from torch import Tensor, nn

from skdcgn.base.errors import UserError


@torch.inference_mode()
def check_logits(classifier: nn.Module, image_size: int, origin: object) -> None:
    """Raise UserError that names ``origin`` unless the logits of a grey image are finite."""
    logits: Tensor = classifier.eval()(torch.zeros(1, 3, image_size, image_size))
    if not bool(logits.isfinite().all()):
        raise UserError(f"{origin}: its logits are NaN or infinity: take a checkpoint of before training diverged")
