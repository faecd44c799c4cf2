"""The one reader of pictures: a file of any format and mode becomes RGB with 8 bits a channel, upright, on white.

=============================  ====================================================================================
grey, palette, CMYK, YCbCr,    as Pillow converts them; LAB by LittleCMS, from white D50 to sRGB
HSV, black and white
16 bits a channel              scaled to 8: grey by 255 / 65535, rounded; colours by their high byte
32-bit integers and floats     refused, because no range is declared; PNG and PPM declare 16 bits, which are scaled
transparent                    c a + 255 (1 - a): composited over white, as cut-outs expect, with alpha, a palette's
                               alphas or one transparent colour (PNG's tRNS)
turned                         as the orientation says, the only tag of the EXIF data that is read; damaged EXIF data
                               turn nothing
of several frames              the first
=============================  ====================================================================================
"""

import errno
import io
import logging
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile

from skdcgn.base.door import regular_file
from skdcgn.base.errors import UserError

MOST_PIXELS = 2**27  # of a picture, 512 MiB in Pillow's memory; a telephone's largest have 108 million
WHITE = (255, 255, 255)
NOT_DECODED = ("BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF")
"""Formats that Pillow identifies, and decodes not at all or by another program."""

DAMAGE = (
    *(OSError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError),
    *(EOFError, RuntimeError, BufferError, struct.error, zlib.error),
)
"""What Pillow's decoders raise for damaged files."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation
QUARTER_TURNS = range(5, 9)  # orientations that exchange width and height
PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
WITH_ALPHA, WITH_KEY = ("LA", "PA", "RGBA"), ("1", "L", "P", "RGB")
KEY_SCALES = {"L;2": 85.0, "L;4": 17.0, "RGB;16B": 1 / 256}  # from the transparent colour of a PNG to Pillow's levels
FROM_16_BITS = ((np.arange(2**16) + 128) // 257).astype(np.uint8)  # round(255 v / 65535)
PILLOW = re.compile(r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # of damage, which ends in our own line


@lru_cache(maxsize=1)
def picture_formats() -> dict[str, str]:
    """Return the formats that Pillow can decode, by the endings of files: ``.png``, ``.jpg``, ..."""
    formats = Image.registered_extensions()  # registers all of Pillow's plugins
    decoded = {*Image.OPEN, "MPO"}.difference(NOT_DECODED)
    return {ending: name for ending, name in formats.items() if name in decoded}


@lru_cache(maxsize=1)
def _decoders() -> tuple[str, ...]:
    """Return the formats in the order in which Pillow tries them, the usual ones first; JPEG's opens MPO too."""
    formats = set(picture_formats().values())
    return tuple(name for name in Image.ID if name in formats)


def open_picture(path: Path) -> Image.Image:
    """Return one picture in RGB, upright, on white.

    Raises:
        UserError: no regular file, too many pixels, 32-bit numbers without a range, or damaged.
    """
    with opened(path) as image:
        return _decoded(image, path)


def decode_picture(data: bytes, origin: object, size: tuple[int, int] | None = None) -> Image.Image:
    """Return one picture, in memory as the bytes of its file, in RGB, upright, on white.

    Args:
        data: the bytes of the file.
        origin: where they lie, as an error names it.
        size: width and height that its header must state; None: any.

    Raises:
        UserError: as :func:`open_picture`, or a picture of another size.
    """
    with _opened(io.BytesIO(data), origin) as image:
        if size is not None and image.size != size:
            raise UserError(f"{origin} is a picture of {image.size} pixels, not {size}: replace it")
        return _decoded(image, origin)


def _decoded(image: Image.Image, origin: object) -> Image.Image:
    must_have_range(image, origin)
    scale = _key_scale(image)
    image.load()
    return _upright(to_rgb(image, scale), _orientation(image))


def open_mask(path: Path) -> Image.Image:
    """Return one picture's alpha channel if it has one, its grey levels otherwise: upright, mode L, white the object.

    Raises:
        UserError: as :func:`open_picture`.
    """
    return open_alpha(path) or open_picture(path).convert("L")


def open_alpha(path: Path) -> Image.Image | None:
    """Return the alpha channel of one picture, upright, mode L; None if it has none.

    Raises:
        UserError: as :func:`open_picture`.
    """
    with opened(path) as image:
        must_have_range(image, path)
        scale = _key_scale(image)
        image.load()
        if image.mode in PREMULTIPLIED:
            image = image.convert(PREMULTIPLIED[image.mode])
        if not _is_transparent(image):
            return None
        _scale_key(image, scale)
        return _upright(_as_mode("RGBA", image).getchannel("A"), _orientation(image))


def picture_size(path: Path) -> tuple[int, int]:
    """Read width and height of one picture, upright, from its header; raise UserError as :func:`open_picture`."""
    with opened(path) as image:
        turned = _orientation(image) in QUARTER_TURNS
        return image.size[::-1] if turned else image.size


def check_picture(path: Path) -> None:
    """Read the header of one picture, none of its pixels; raise UserError as :func:`open_picture`."""
    with opened(path) as image:
        must_have_range(image, path)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture, whose size is bounded; whatever Pillow raises inside is a UserError with its path."""
    with _opened(regular_file(path), path) as image:
        yield image


@contextmanager
def _opened(file: Path | IO[bytes], origin: object) -> Iterator[Image.Image]:
    _silence_pillow()
    try:
        with Image.open(file, formats=_decoders()) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            if not image.width * image.height:
                raise ValueError("no pixels")
            yield image
    except (Image.DecompressionBombError, MemoryError):
        raise UserError(
            f"{origin} is too large: at most {MOST_PIXELS:,} pixels are read; make it smaller or remove it"
        ) from None
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise UserError(f"{origin} cannot be read ({error.strerror}): check its permissions") from None
        raise UserError(f"{origin} is not a picture that Pillow can read: replace it or remove it") from None


def must_have_range(image: Image.Image, origin: object) -> None:
    """Raise UserError if a picture holds 32-bit integers or floats, whose black and white nothing declares."""
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        numbers = "floats" if image.mode == "F" else "32-bit integers"
        raise UserError(f"{origin} holds {numbers}, which have no black and white: save it with 8 or 16 bits a channel")


def to_rgb(image: Image.Image, key_scale: float = 1) -> Image.Image:
    """Return a loaded picture of any of Pillow's modes in RGB, on white.

    Args:
        key_scale: factor from a single transparent colour in ``image.info`` to the levels of the pixels.
    """
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bits(image)
    if image.mode in PREMULTIPLIED:
        image = image.convert(PREMULTIPLIED[image.mode])
    if not _is_transparent(image):
        return _as_mode("RGB", image)
    _scale_key(image, key_scale)
    pixels, ground = _as_mode("RGBA", image), Image.new("RGB", image.size, WHITE)
    ground.paste(pixels, mask=pixels)
    return ground


def _as_mode(mode: str, image: Image.Image) -> Image.Image:
    """Return a picture in a mode, itself if it has it: a copy of the largest is 512 MiB."""
    return image if image.mode == mode else image.convert(mode)


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    levels = FROM_16_BITS[values.clip(0, 2**16 - 1)]
    levels[values == image.info.get("transparency", -1)] = 255
    return Image.fromarray(levels).convert("RGB")


def _is_transparent(image: Image.Image) -> bool:
    if image.mode == "P" and image.palette and image.palette.mode == "RGBA":
        return True
    return image.mode in WITH_ALPHA or (image.mode in WITH_KEY and "transparency" in image.info)


def _key_scale(image: Image.Image) -> float:
    """Return the scale of a PNG's transparent colour, which Pillow keeps as it is in the file; read before loading."""
    if not isinstance(image, PngImageFile) or not image.tile:
        return 1
    return KEY_SCALES.get(str(image.tile[0].args), 1)


def _scale_key(image: Image.Image, scale: float) -> None:
    key = image.info.get("transparency")
    if isinstance(key, int):
        image.info["transparency"] = int(key * scale)
    elif isinstance(key, tuple):
        image.info["transparency"] = tuple(int(value * scale) for value in key)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of a loaded picture, 1 if its EXIF data are damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except DAMAGE:
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def _silence_pillow() -> None:
    """Ignore Pillow's warnings of damaged metadata, in all threads: ``catch_warnings`` is for a program of one."""
    if ("ignore", None, Warning, PILLOW, 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=PILLOW.pattern)
