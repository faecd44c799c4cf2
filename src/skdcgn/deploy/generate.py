"""Counterfactual sets and interpolations as files."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from skdcgn.base.files import write_bytes
from skdcgn.base.tensors import write_tensors
from skdcgn.cgn.compose import Counterfactuals, compose
from skdcgn.cgn.drawings import interpolate
from skdcgn.cgn.mechanism import Teacher
from skdcgn.cgn.pictures import as_rgb, encode, grid, save_gif, save_picture, save_strip
from skdcgn.data.counterfactuals import COUNTERFACTUALS_FILE

SHEET = 100


def write_counterfactuals(
    cgn: Teacher,
    out: Path,
    n: int,
    *,
    per_shape: int = 1,
    policy: Sequence[str] = (),
    seed: int = 0,
    form: str = "safetensors",
) -> list[Path]:
    """Compose ``n`` counterfactuals into ``out``; return the files that matter.

    ``safetensors``: images and three label vectors in one file. ``png``: one picture each, named by its number,
    and ``labels.csv``. Both come with ``sheet.png``, the first hundred at a glance.
    """
    counterfactuals = compose(cgn, n, per_shape=per_shape, policy=policy, seed=seed)
    save_picture(out / "sheet.png", grid(as_rgb(counterfactuals.images[:SHEET]), 10), scale=2)
    main = _write_pngs(counterfactuals, out) if form == "png" else _write_tensors(counterfactuals, out)
    return [main, out / "sheet.png"]


def _write_tensors(counterfactuals: Counterfactuals, out: Path) -> Path:
    write_tensors(out / COUNTERFACTUALS_FILE, counterfactuals.to_dict())
    return out / COUNTERFACTUALS_FILE


def _write_pngs(counterfactuals: Counterfactuals, out: Path) -> Path:
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["file", "shape", "texture", "background"])
    labels = zip(
        counterfactuals.shape_labels.tolist(),
        counterfactuals.texture_labels.tolist(),
        counterfactuals.background_labels.tolist(),
        strict=True,
    )
    for index, (picture, three) in enumerate(zip(as_rgb(counterfactuals.images), labels, strict=True)):
        name = f"{index:06d}.png"
        write_bytes(out / name, encode(picture.permute(1, 2, 0)))
        rows.writerow([name, *three])
    write_bytes(out / "labels.csv", table.getvalue().encode())
    return out / "labels.csv"


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
