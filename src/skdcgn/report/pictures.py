"""Pictures of a run's report: PNG files of the run folder, embedded in the page with their captions."""

import base64
from pathlib import Path
from typing import NamedTuple

from PIL.PngImagePlugin import PngImageFile

from skdcgn.base.errors import UserError
from skdcgn.cgn.captions import Caption, read_caption
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.cgn.pictures import frames_in
from skdcgn.data.decoding import opened

MECHANISMS = tuple(mechanism.value for mechanism in Mechanism)
INTERPOLATED = (*MECHANISMS, "all")
PICTURES = (
    *MECHANISMS,
    *("counterfactuals_teacher", "counterfactuals_student", "data"),
    *(f"interpolation_{name}" for name in INTERPOLATED),
)


class Picture(NamedTuple):
    """A PNG as a data URI, with its size in pixels and what its columns and rows are."""

    uri: str
    width: int
    height: int
    caption: Caption


def embedded_pictures(folder: Path) -> dict[str, Picture]:
    """Read those pictures of the report that are there."""
    paths = {name: folder / f"{name}.png" for name in PICTURES}
    return {name: embedded_picture(path) for name, path in paths.items() if path.is_file()}


def embedded_picture(path: Path) -> Picture:
    """Read a PNG; raise UserError if it is something else."""
    with opened(path) as image:
        if not isinstance(image, PngImageFile):
            raise UserError(f"{path} is not a PNG: restore it, or delete it and the report leaves it out")
        size, caption = image.size, read_caption(image)
    return Picture(f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}", *size, caption)


def strips(pictures: dict[str, Picture]) -> dict[str, int | None]:
    """Return how many frames each interpolation shows; None where the picture is no strip of ours."""
    images = {name: pictures.get(f"interpolation_{name}") for name in INTERPOLATED}
    return {name: frames_in(strip.width, strip.height) for name, strip in images.items() if strip}
