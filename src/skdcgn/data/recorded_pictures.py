"""Pictures of one mechanism that somebody recorded, read in their order, a batch at a time.

Pictures of 8 bits stay uint8, from 0 to 255; floats are float32 in the mechanism's range. A shape is its grey levels,
white where the object is.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from skdcgn.base.errors import UserError, naming
from skdcgn.cgn.mechanism import Mechanism, Spec, check_answer
from skdcgn.data.decoding import open_picture, picture_size
from skdcgn.data.folders import READERS, as_tensor

AT_ONCE, PIXELS = 64, 2**22  # pictures in memory, at most, and their pixels
RESIZE = "pass --size {size} to cut them to squares and resize them"


class Pictures(Protocol):
    """The pictures of one mechanism, in the order of their labels."""

    @property
    def mechanism(self) -> Mechanism: ...

    @property
    def side(self) -> int:
        """Pixels of a side."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Tensor]:
        """Yield batches (B, C, H, W): uint8, or float32 in the mechanism's range."""
        ...


@dataclass(frozen=True)
class PictureFiles:
    """Pictures in files; ``side`` is that of all files, or the one that they are resized to."""

    mechanism: Mechanism
    files: Sequence[str]
    side: int
    resize: bool = False

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Tensor]:
        with ThreadPoolExecutor(READERS) as pool:
            step = batch_size(self.side)
            for start in range(0, len(self), step):
                yield torch.stack(list(pool.map(self._read, self.files[start : start + step])))

    def _read(self, file: str) -> Tensor:
        return as_square(open_picture(Path(file)), self.mechanism, self.side, file, resize=self.resize)


def picture_files(files: dict[Mechanism, list[str]], size: int | None) -> dict[Mechanism, Pictures]:
    """Return the pictures of files.

    Args:
        files: of each mechanism.
        size: pixels of a side that they are resized to; None: as they are.

    Raises:
        UserError: without ``size``, pictures are not squares of one size; a header cannot be read.
    """
    side = size or _common_side([file for own in files.values() for file in own])
    return {m: PictureFiles(m, own, side, resize=size is not None) for m, own in files.items()}


def _common_side(files: list[str]) -> int:
    with ThreadPoolExecutor(READERS) as pool:
        sizes = list(pool.map(lambda file: picture_size(Path(file)), files))
    for file, (width, height) in zip(files, sizes, strict=True):
        must_be_square(width, height, sizes[0][0], file)
    return sizes[0][0]


def must_be_square(width: int, height: int, side: int, origin: object) -> None:
    """Raise UserError unless a picture has ``side`` by ``side`` pixels."""
    if (width, height) != (side, side):
        first = "pictures must be squares" if width != height else f"the first has {side} x {side}"
        raise UserError(f"{origin} has {width} x {height} pixels, {first}: {RESIZE.format(size=min(width, side))}")


def batch_size(side: int) -> int:
    """Return how many pictures are in memory at once."""
    return max(1, min(AT_ONCE, PIXELS // side**2))


def as_square(picture: Image.Image, mechanism: Mechanism, side: int, origin: object, *, resize: bool) -> Tensor:
    """Return an RGB picture as (C, side, side) uint8, a shape as its grey levels; raise UserError for another size."""
    if resize:
        picture = ImageOps.fit(picture, (side, side), Image.Resampling.BILINEAR)
    must_be_square(*picture.size, side, origin)
    pixels = as_tensor(picture.convert("L").convert("RGB") if mechanism is Mechanism.SHAPE else picture)
    return pixels[: mechanism.channels]


@dataclass(frozen=True)
class ArrayLayout:
    """Where the pictures of an array (N, ...) have their channels.

    Args:
        shape: of the array.
        mechanism: (N, H, W) is a mask; (N, C, H, W) and (N, H, W, C) have the mechanism's channels.
        origin: the array, as an error names it.

    Raises:
        UserError: the array is no pictures of this mechanism.
    """

    shape: tuple[int, ...]
    mechanism: Mechanism
    origin: str

    def __post_init__(self) -> None:
        channels, shape = self.mechanism.channels, self.shape
        flat, last = len(shape) == 3 and channels == 1, len(shape) == 4 and shape[3] == channels
        first = len(shape) == 4 and shape[1] == channels
        if not (flat or last or first) or not all(shape):
            kind = "a mask has one channel" if channels == 1 else "a picture has three channels"
            raise UserError(
                f"{self.origin} has shape {shape}: pass (N, {channels}, H, W) or (N, H, W, {channels}), {kind}"
            )

    def channels_first(self, batch: Tensor) -> Tensor:
        """Return a batch of the array as (B, C, H, W)."""
        if len(self.shape) == 3:
            return batch[:, None]
        return batch if self.shape[1] == self.mechanism.channels else batch.permute(0, 3, 1, 2)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        flat_or_last = len(self.shape) == 3 or self.shape[1] != self.mechanism.channels
        height, width = self.shape[1:3] if flat_or_last else self.shape[2:]
        return width, height


def array_side(layout: ArrayLayout, size: int | None) -> int:
    """Return ``size``, or the side of an array's pictures; raise UserError if these are no squares."""
    if size is None:
        must_be_square(*layout.size, layout.size[1], layout.origin)
    return size or layout.size[0]


def as_pictures(batch: Tensor, layout: ArrayLayout, side: int) -> Tensor:
    """Return a batch of an array as pictures: uint8, or float32 in range.

    Raises:
        UserError: it holds other numbers, NaN, or numbers out of range.
    """
    images = layout.channels_first(batch)
    if images.dtype == torch.bool:
        images = 255 * images.to(torch.uint8)
    if images.dtype == torch.uint8:
        return _resized(images.float(), side).round().clamp(0, 255).to(torch.uint8)
    if not images.is_floating_point():
        raise UserError(f"{layout.origin} holds {images.dtype}: save uint8 from 0 to 255, or floats")
    images = _resized(images.float(), side)
    with naming(layout.origin):
        check_answer(Spec(image_size=side), layout.mechanism, images, len(images))
    if layout.mechanism.low < 0 <= float(images.min()) and len(images) == AT_ONCE:
        raise UserError(f"{layout.origin} has no number below 0: scale pictures to [-1, 1], or save uint8")
    return images.clamp(layout.mechanism.low, 1)


def _resized(images: Tensor, side: int) -> Tensor:
    """Cut images to the largest square around the middle and resize them."""
    height, width = images.shape[-2:]
    if (height, width) == (side, side):
        return images
    square = min(height, width)
    top, left = (height - square) // 2, (width - square) // 2
    images = images[..., top : top + square, left : left + square]
    return F.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)
