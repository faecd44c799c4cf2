"""Captions of pictures: what columns and rows are, kept in a PNG's own metadata or printed above its columns."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngImageFile, PngInfo
from torch import Tensor

from skdcgn.base.door import parse_record
from skdcgn.base.errors import UserError

KEYWORD = "Description"  # one that the PNG specification names
LINE = 14  # pixels, of a line of Pillow's built-in font


@dataclass(frozen=True)
class Caption:
    """Labels of a picture: its columns from left to right, its rows from above, each of equal parts of it."""

    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()


def as_metadata(caption: Caption) -> PngInfo:
    """Return the caption as metadata of a PNG."""
    info = PngInfo()
    info.add_text(KEYWORD, json.dumps(asdict(caption)))
    return info


def read_caption(picture: PngImageFile) -> Caption:
    """Return the caption in a PNG's metadata; an empty one if it has none, or words of somebody else."""
    try:
        return parse_record(picture.text.get(KEYWORD, "{}"), Caption, KEYWORD)
    except UserError:
        return Caption()


def with_heading(picture: Tensor, title: str, columns: Sequence[str]) -> Tensor:
    """Print ``title``, and labels of equally wide columns, above a picture: (H, W, 3) uint8 -> (H + 28, W, 3).

    Columns are numbered instead if a label is wider than its column, or has letters that the font lacks.
    """
    width = picture.shape[1]
    strip = Image.new("RGB", (width, 2 * LINE), "white")
    pen = ImageDraw.Draw(strip)
    pen.text((0, 0), title, fill="black")
    if not all(label.isascii() and pen.textlength(label) < width / len(columns) for label in columns):
        columns = [str(number) for number in range(len(columns))]
    for index, label in enumerate(columns):
        centre = (index + 0.5) * width / len(columns)
        pen.text((centre - pen.textlength(label) / 2, LINE), label, fill="black")
    return torch.cat([torch.from_numpy(np.array(strip)), picture.cpu()])
