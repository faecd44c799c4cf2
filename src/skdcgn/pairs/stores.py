"""How the images of pairs are stored: exactly, as bytes, compressed, or not at all.

``float32`` is the teacher's answer; ``uint8`` and ``png`` round to 256 grey levels, an error of half a level
(1/510 of the range) at most, the latter losslessly compressed; ``none`` stores noise and labels alone, for a teacher
that is available and fast enough to be queried again. Sizes and times: ``benchmarks/stores.py``.
"""

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from skdcgn.base.config import Store
from skdcgn.base.tensors import open_tensors
from skdcgn.cgn.mechanism import Mechanism

LEVELS = 255
Stored = dict[str, Tensor]


def encode(images: Tensor, mechanism: Mechanism, store: Store) -> Stored:
    """Return the tensors by which a shard stores images (N, C, H, W), by name; none at all for ``none``."""
    match store:
        case Store.NONE:
            return {}
        case Store.FLOAT32:
            return {"images": images}
        case Store.UINT8:
            return {"images": as_levels(images, mechanism)}
        case Store.PNG:
            files = [_png(image) for image in as_levels(images, mechanism)]
            ends = torch.tensor([len(file) for file in files]).cumsum(0)
            return {"png": torch.frombuffer(bytearray(b"".join(files)), dtype=torch.uint8), "ends": ends}


def decode(stored: Stored, mechanism: Mechanism) -> Tensor:
    """Return the images (N, C, H, W) that :func:`encode` stored, in the mechanism's range."""
    if "png" not in stored:
        images = stored["images"]
        return from_levels(images, mechanism) if images.dtype == torch.uint8 else images
    files = [stored["png"][start:end] for start, end in pairwise([0, *stored["ends"].tolist()])]
    return from_levels(torch.stack([_from_png(file) for file in files]), mechanism)


def read_rows(path: Path, mechanism: Mechanism, rows: Tensor) -> Tensor:
    """Return the images (B, C, H, W) of some ``rows`` (B,) of a shard that stores images; reads no others."""
    with open_tensors(path) as file:
        if "png" not in file.keys():  # noqa: SIM118  # not a dict
            images = file.get_slice("images")
            return decode({"images": torch.cat([images[row : row + 1] for row in rows.tolist()])}, mechanism)
        bounds, data = [0, *file.get_tensor("ends").tolist()], file.get_slice("png")
        files = [data[bounds[row] : bounds[row + 1]] for row in rows.tolist()]
    return from_levels(torch.stack([_from_png(file) for file in files]), mechanism)


def as_levels(images: Tensor, mechanism: Mechanism) -> Tensor:
    """Round images to 256 grey levels: uint8."""
    low = mechanism.low
    return ((images - low) / (1 - low) * LEVELS).round().clamp(0, LEVELS).to(torch.uint8)


def from_levels(levels: Tensor, mechanism: Mechanism) -> Tensor:
    """Return the images of grey levels, in the mechanism's range."""
    return levels.float() / LEVELS * (1 - mechanism.low) + mechanism.low


def _png(image: Tensor) -> bytes:
    file = io.BytesIO()
    pixels = image[0] if len(image) == 1 else image.permute(1, 2, 0)
    Image.fromarray(pixels.numpy()).save(file, "PNG")
    return file.getvalue()


def _from_png(file: Tensor) -> Tensor:
    pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(file.numpy().tobytes()))))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)  # (C, H, W)
