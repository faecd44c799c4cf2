"""Drawings of CGNs: their layers by class, teacher above student, interpolations between classes."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn.captions import Caption, with_heading
from skdcgn.cgn.compose import compose
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers, Mechanism, Teacher
from skdcgn.cgn.pictures import as_rgb, grid, join_horizontally, join_vertically, save_picture

COLUMNS = 10  # of a grid
SMALL = 64  # pixels of a side; larger images are fewer and not enlarged


def layers_grid(cgn: Teacher, rows: int, seed: int) -> Tensor:
    """Show mask, texture, background and their composition side by side, with headings: (H, W, 3) uint8.

    Each has a column per class, of the first ten, under its name, and ``rows`` rows of one noise each.
    """
    columns = min(COLUMNS, cgn.spec.classes)
    noise, labels = class_columns(cgn, rows, seed, columns)
    layers = Layers(*(draw(cgn, mechanism, noise, labels) for mechanism in Mechanism))
    blocks = {
        "mask": layers.mask,
        "texture": layers.texture,
        "background": layers.background,
        "composed": blend(layers),
    }
    names = cgn.spec.class_names[:columns]
    return join_horizontally(
        [with_heading(grid(as_rgb(x), columns), f"{name}, by class", names) for name, x in blocks.items()]
    )


def draw_two(cgns: Mapping[str, Teacher], file: Path, seed: int, *, rows: int = 2) -> None:
    """Write the layers of CGNs into a PNG, each under its name and one below the other, of the same noise."""
    blocks = [with_heading(layers_grid(cgn, rows, seed), name, ()) for name, cgn in cgns.items()]
    save_picture(file, join_vertically(blocks))


def class_columns(cgn: Teacher, rows: int, seed: int, classes: int | None = None) -> tuple[Tensor, Tensor]:
    """Noise and labels for a grid with one column per class, or for each of the first ``classes``."""
    columns = classes or cgn.spec.classes
    return cgn.spec.sample_noise(rows * columns, generator(seed, "grid")), torch.arange(columns).repeat(rows)


def draw_cgns(
    teacher: Teacher,
    student: Teacher,
    out: Path,
    seed: int,
    *,
    classes: int = COLUMNS,
    counterfactuals: int | None = None,
) -> None:
    """Write a picture of each mechanism and of the counterfactuals of teacher and student into ``out``.

    ``shape.png``, ``texture.png`` and ``background.png`` have a column for each of the first ``classes`` classes, and
    the teacher's rows above the student's rows of the same noise. ``counterfactuals_teacher.png`` and
    ``counterfactuals_student.png`` show ``counterfactuals`` images each, composed from the same seed; None: 80, and 20
    if they have more than ``SMALL`` pixels a side.
    """
    side, columns = teacher.spec.image_size, min(classes, teacher.spec.classes)
    rows, sheet, scale = (3, 8 * COLUMNS, 2) if side <= SMALL else (1, 2 * COLUMNS, 1)
    noise, labels = class_columns(teacher, rows, seed, columns)
    caption = Caption(teacher.spec.class_names[:columns], ("teacher", "student"))
    for mechanism in Mechanism:
        images = torch.cat([as_rgb(draw(cgn, mechanism, noise, labels)).cpu() for cgn in (teacher, student)])
        save_picture(out / f"{mechanism}.png", grid(images, columns), scale, caption)
    for name, cgn in (("teacher", teacher), ("student", student)):
        images = as_rgb(compose(cgn, counterfactuals or sheet, seed=seed).images)
        save_picture(out / f"counterfactuals_{name}.png", grid(images, min(COLUMNS, len(images))), scale)


def interpolate(cgn: Teacher, mechanisms: str, first: int, second: int, *, frames: int = 12, seed: int = 0) -> Tensor:
    """Go from class ``first`` to class ``second`` in one mechanism or ``all``, and keep the others: (F, 3, H, W).

    The mechanism draws the two ends; the layers between them are linear mixtures of these.

    Raises:
        UserError: an unknown mechanism, or a class that the CGN does not have.
    """
    spec, last = cgn.spec, cgn.spec.classes - 1
    if mechanisms not in (*Mechanism, "all"):
        raise UserError(f"cannot interpolate {mechanisms!r}: use shape, texture, background or all")
    if not (0 <= first <= last and 0 <= second <= last):
        raise UserError(f"cannot interpolate between classes {first} and {second}: use classes 0 to {last}")
    noise = spec.sample_noise(2, generator(seed, "interpolate"))
    ends = torch.tensor([first, second])
    weights = torch.linspace(0, 1, frames)[:, None, None, None]
    layers = []
    for mechanism in Mechanism:
        moving = mechanisms in (mechanism, "all")
        start, stop = draw(
            cgn, mechanism, noise if moving else noise[:1].repeat(2, 1), ends if moving else ends[[0, 0]]
        )
        layers.append(torch.lerp(start[None], stop[None], weights))
    return blend(Layers(*layers))
