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
from skdcgn.base.errors import UserError, naming, shown
from skdcgn.base.tensors import open_tensors, read_rows
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.data.decoding import DAMAGE

LEVELS = 255
REDRAW = "delete it and run the query again to redraw it"
Stored = dict[str, Tensor]
Layout = tuple[str, list[int]]  # type, as safetensors names it, and shape


def encode(images: Tensor, mechanism: Mechanism, store: Store) -> Stored:
    """Return the tensors by which a shard stores images (N, C, H, W), by name; none at all for ``none``."""
    match store:
        case Store.NONE:
            return {}
        case Store.FLOAT32:
            return {"images": images.float()}
        case Store.UINT8:
            return {"images": as_levels(images, mechanism)}
        case Store.PNG:
            files = [_png(image) for image in as_levels(images, mechanism)]
            ends = torch.tensor([len(file) for file in files]).cumsum(0)
            return {"png": torch.frombuffer(bytearray(b"".join(files)), dtype=torch.uint8), "ends": ends}


def layout(store: Store, mechanism: Mechanism, spec: Spec, count: int) -> dict[str, Layout]:
    """Return the type and the shape of each tensor of a shard of ``count`` pairs, by name; -1: any length."""
    images = [count, mechanism.channels, spec.image_size, spec.image_size]
    stored: dict[Store, dict[str, Layout]] = {
        Store.NONE: {},
        Store.FLOAT32: {"images": ("F32", images)},
        Store.UINT8: {"images": ("U8", images)},
        Store.PNG: {"png": ("U8", [-1]), "ends": ("I64", [count])},
    }
    return {"noise": ("F32", [count, spec.noise_dim]), "labels": ("I64", [count]), **stored[store]}


def decode(stored: Stored, mechanism: Mechanism, side: int) -> Tensor:
    """Return the images (N, C, side, side) that :func:`encode` stored, in the mechanism's range."""
    if "png" not in stored:
        images = stored["images"]
        return from_levels(images, mechanism) if images.dtype == torch.uint8 else images
    bounds = _bounds(stored["ends"], len(stored["png"]))
    return _from_pngs([stored["png"][start:end] for start, end in pairwise(bounds)], mechanism, side)


def read_images(path: Path, mechanism: Mechanism, side: int, rows: Tensor) -> Tensor:
    """Return the images (B, C, side, side) of some ``rows`` (B,) of a shard that stores images; reads no others."""
    with open_tensors(path) as file, naming(path):
        if "png" not in file.keys():  # noqa: SIM118  # not a dict
            return decode({"images": read_rows(file, "images", rows)}, mechanism, side)
        data = file.get_slice("png")
        bounds = _bounds(file.get_tensor("ends"), data.get_shape()[0])
        files = [data[bounds[row] : bounds[row + 1]] for row in rows.tolist()]
        return _from_pngs(files, mechanism, side)


def _bounds(ends: Tensor, length: int) -> list[int]:
    """Return where each of the PNG files begins in their ``length`` bytes, and where the last one ends."""
    bounds = [0, *ends.tolist()]
    if bounds[-1] != length or any(end <= start for start, end in pairwise(bounds)):
        raise UserError(f"its PNG files do not end where it says: {REDRAW}")
    return bounds


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


def _from_pngs(files: list[Tensor], mechanism: Mechanism, side: int) -> Tensor:
    return from_levels(torch.stack([_from_png(file.numpy().tobytes(), mechanism, side) for file in files]), mechanism)


def _from_png(file: bytes, mechanism: Mechanism, side: int) -> Tensor:
    size = file[16:24]  # of the header, before any pixel is decoded
    try:
        if size != 2 * side.to_bytes(4, "big"):
            raise ValueError(f"its header says {shown(size)}")
        with Image.open(io.BytesIO(file), formats=["PNG"]) as picture:
            pixels = torch.from_numpy(np.array(picture))
    except DAMAGE as error:
        raise UserError(f"one of its images is no PNG of {side} pixels a side ({error}): {REDRAW}") from None
    if pixels.dtype != torch.uint8 or pixels.shape[2:] != {1: (), 3: (3,)}[mechanism.channels]:
        raise UserError(f"one of its images is no picture of {mechanism.channels} channels: {REDRAW}")
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)  # (C, H, W)
