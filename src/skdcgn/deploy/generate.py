"""Counterfactual sets and interpolations as files."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import torch

from skdcgn.base.errors import UserError
from skdcgn.base.files import write_bytes
from skdcgn.base.tensor_writer import Layout, rows_to_tensors
from skdcgn.cgn.compose import compose_batches
from skdcgn.cgn.counterfactuals import Counterfactuals
from skdcgn.cgn.drawings import interpolate
from skdcgn.cgn.mechanism import Mechanism, Spec, Teacher
from skdcgn.cgn.pictures import as_rgb, encode, grid, save_gif, save_picture, save_strip
from skdcgn.data.counterfactual_file import COUNTERFACTUALS_FILE, LABELS
from skdcgn.deploy.picture_folder import TABLE, PictureFolder, picture_name, remove

SHEET, SHEET_FILE = 100, "sheet.png"
FORMS = ("safetensors", "png")


def write_counterfactuals(
    cgn: Teacher,
    out: Path,
    n: int,
    *,
    per_shape: int = 1,
    policy: Sequence[str] = (),
    shared_noise: bool = False,
    exact: bool = False,
    device_noise: bool = False,
    seed: int = 0,
    form: str = "safetensors",
) -> list[Path]:
    """Compose ``n`` counterfactuals into ``out``; return the files that matter.

    ``safetensors``: images and three label vectors in one file, with the Spec of the CGN in its metadata. ``png``: one
    picture each, named by its number, and ``labels.csv``, with the names of the classes if they have any. Both come
    with ``sheet.png``, the first hundred at a glance.

    Images are written as they are composed, so that memory does not grow with ``n``. The file that lists or holds them
    all, ``labels.csv`` or ``counterfactuals.safetensors``, is written last: a killed run leaves nothing that looks
    finished and, run again, ends with the same bytes. The set that an earlier run wrote into ``out``, in either format,
    is replaced.

    Raises:
        UserError: an unknown format, a numbered picture in ``out`` that ``labels.csv`` does not list, a full disk, or
            whatever :func:`skdcgn.cgn.compose.compose` raises.
    """
    if form not in FORMS:
        raise UserError(f"unknown format {form!r}: use {' or '.join(FORMS)}")
    batches = compose_batches(
        cgn,
        n,
        per_shape=per_shape,
        policy=policy,
        shared_noise=shared_noise,
        exact=exact,
        device_noise=device_noise,
        seed=seed,
    )
    batches = chain([next(batches)], batches)  # a CGN that cannot draw changes no file
    batches, pictures = _sheet_at_end(batches, out / SHEET_FILE), PictureFolder(out)
    write = _write_pictures if form == "png" else _write_tensors
    main = write(batches, pictures, n, cgn.spec)
    return [main, out / SHEET_FILE]


def _sheet_at_end(batches: Iterable[Counterfactuals], file: Path) -> Iterator[Counterfactuals]:
    """Yield the batches; after the last, write the first images of the first, ``SHEET`` at most, as a sheet."""
    sheet = None
    for batch in batches:
        sheet = grid(as_rgb(batch.images[:SHEET]), 10) if sheet is None else sheet
        yield batch
    if sheet is not None:
        save_picture(file, sheet, scale=2)


def _write_tensors(batches: Iterator[Counterfactuals], pictures: PictureFolder, n: int, spec: Spec) -> Path:
    layouts = {"images": Layout(torch.float32, (n, 3, spec.image_size, spec.image_size))}
    layouts |= {name: Layout(torch.int64, (n,)) for name in LABELS}
    file = pictures.path / COUNTERFACTUALS_FILE
    with rows_to_tensors(file, layouts, spec.to_metadata()) as append:
        for batch in batches:
            for name, rows in batch.to_dict().items():
                append(name, rows.to(layouts[name].dtype))
        pictures.begin(0)
    pictures.end(0)
    return file


def _write_pictures(batches: Iterator[Counterfactuals], pictures: PictureFolder, n: int, spec: Spec) -> Path:
    pictures.refuse_strangers()
    pictures.begin(n)
    table, names = io.StringIO(), map(picture_name, range(n))
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["file", *Mechanism, *(f"{mechanism}_name" for mechanism in Mechanism if spec.names)])
    for batch in batches:
        labels = torch.stack([batch.shape_labels, batch.texture_labels, batch.background_labels], 1)
        for picture, row in zip(as_rgb(batch.images), labels.tolist(), strict=True):
            name = next(names)
            write_bytes(pictures.path / name, encode(picture.permute(1, 2, 0)))
            rows.writerow([name, *row, *(spec.names[label] for label in row if spec.names)])
    remove(pictures.path / COUNTERFACTUALS_FILE)
    pictures.end(n, table.getvalue().encode())
    return pictures.path / TABLE


def write_interpolation(
    cgn: Teacher,
    out: Path,
    mechanisms: str,
    classes: tuple[int, int] | None = None,
    *,
    frames: int = 12,
    seed: int = 0,
) -> list[Path]:
    """Write a strip and an endless animation between two classes; return both files.

    Args:
        cgn: a teacher or a student.
        out: the folder.
        mechanisms: the mechanism to interpolate, or ``all``.
        classes: the two classes; None takes the first and the last.
        frames: from one class to the other.
        seed: of the noise.

    Raises:
        UserError: an unknown mechanism, or a class that the CGN does not have.
    """
    first, second = classes or (0, cgn.spec.classes - 1)
    images = interpolate(cgn, mechanisms, first, second, frames=frames, seed=seed)
    strip, animation = out / f"interpolation_{mechanisms}.png", out / f"interpolation_{mechanisms}.gif"
    save_strip(strip, images)
    save_gif(animation, images)
    return [strip, animation]
