"""What a classifier of any origin answers: one tensor of logits or probabilities (B, K), or one line that says why not.

Networks return what their authors liked: a tensor, an array, a tuple whose first part is the prediction, a mapping with
``logits``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.foreign_code import code_errors

Run = Callable[[Tensor], Any]  # input (B, 3, S, S), float32 on the CPU -> the answer
UNIT_SUM = 1e-3  # how far the sum of class probabilities may lie from 1
LOGITS = "logits"


def answer(run: Run, images: Tensor, origin: str, mend: str) -> Tensor:
    """Return what ``run`` answers to images as float32 (B, K) on the CPU.

    Raises:
        UserError: it refuses the images, or answers something other than finite numbers (B, K), K at least 2.
    """
    side = images.shape[-1]
    with torch.inference_mode(), code_errors(f"{origin} does not take pictures of {side} pixels", mend):
        result = run(images)
    values = _as_tensor(result, origin)
    if values.ndim == 4 and values.shape[2:] == (1, 1):
        values = values.flatten(1)
    if values.ndim != 2 or len(values) != len(images) or values.shape[1] < 2:
        raise UserError(
            f"{origin} answers {tuple(values.shape)} to {len(images)} images: a classifier answers one number for each "
            "image and class, (B, K) with two classes or more"
        )
    if not bool(values.isfinite().all()):
        raise UserError(f"{origin}: its outputs are NaN or infinity: check its weights, --preprocess and --size")
    return values


def prediction(result: Any) -> Any:
    """Return the numbers by class in an answer: under ``logits`` of a mapping, first of several, or the answer."""
    if isinstance(result, Mapping) and LOGITS in result:
        return result[LOGITS]
    return result[0] if isinstance(result, tuple | list) and result else result


def _as_tensor(result: Any, origin: str) -> Tensor:
    """Return the prediction in an answer, float32 on the CPU."""
    result = prediction(result)
    if isinstance(result, np.ndarray) and result.dtype.kind in "fiu":
        result = torch.from_numpy(result)
    if not isinstance(result, Tensor) or result.is_complex():
        raise UserError(f"{origin} answers a {type(result).__name__}: a classifier answers a tensor of numbers (B, K)")
    return result.detach().float().cpu()


def are_probabilities(values: Tensor) -> bool:
    """Say whether every row of (B, K) is non-negative and has the sum 1."""
    return bool((values >= 0).all()) and bool(((values.sum(1) - 1).abs() < UNIT_SUM).all())
