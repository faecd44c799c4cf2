"""Pictures of a run on photographs: the photo CGN's layers, counterfactuals, and the background challenge."""

from pathlib import Path

import torch
from torch import Tensor

from skdcgn.cgn.captions import Caption
from skdcgn.cgn.compose import compose
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.drawings import COLUMNS, class_columns
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers, Mechanism, Teacher
from skdcgn.cgn.pictures import as_rgb, grid, save_picture
from skdcgn.data.folders import list_photos, read_picture
from skdcgn.evaluation.challenge import VARIANTS

ROWS = 4  # counterfactuals of each class
DRAWS = 16  # counterfactuals per class, of which the first ROWS of a shape's class are shown
LAYER_ROWS = ("photograph", "mask", "texture", "background")
WHOLE = ("texture.whole:1",)


def draw_photo_run(cgn: Teacher, student: Teacher | None, challenge: Path, out: Path, *, seed: int) -> None:
    """Write ``layers.png``, ``counterfactuals.png``, ``independent.png``, ``student.png`` and ``challenge.png``.

    All have a column for each of the first ten classes; of counterfactuals it is the class of the shape.
    """
    names = cgn.spec.class_names[:COLUMNS]
    caption, size = Caption(names), cgn.spec.image_size
    save_picture(out / "layers.png", layer_rows(cgn, seed), _scale(size), Caption(names, LAYER_ROWS))
    sheets = {"counterfactuals": (cgn, WHOLE), "independent": (cgn, ()), "student": (student, WHOLE)}
    for name, (source, policy) in sheets.items():
        if source is not None:
            save_picture(out / f"{name}.png", counterfactual_rows(source, policy, seed), _scale(size), caption)
    save_picture(out / "challenge.png", challenge_rows(challenge, size), _scale(size), Caption(names, VARIANTS))


def layer_rows(cgn: Teacher, seed: int) -> Tensor:
    """Show one photograph of each class and its three layers below it: (H, W, 3) uint8."""
    columns = min(COLUMNS, cgn.spec.classes)
    noise, labels = class_columns(cgn, 1, seed, columns)
    layers = Layers(*(draw(cgn, mechanism, noise, labels) for mechanism in Mechanism))
    return grid(torch.cat([as_rgb(part) for part in (blend(layers), *layers)]), columns)


def counterfactual_rows(cgn: Teacher, policy: tuple[str, ...], seed: int) -> Tensor:
    """Show the first counterfactuals whose shape is of each class: (H, W, 3) uint8; blank where there are too few."""
    columns = min(COLUMNS, cgn.spec.classes)
    images = compose(cgn, DRAWS * cgn.spec.classes, policy=policy, seed=seed)
    shown = torch.full((ROWS, columns, *images.images.shape[1:]), 1.0)
    for label in range(columns):
        of_class = images.images[images.shape_labels == label][:ROWS]
        shown[: len(of_class), label] = of_class
    return grid(as_rgb(shown.flatten(0, 1)), columns)


def challenge_rows(challenge: Path, size: int) -> Tensor:
    """Show each variant of the first picture of each class: (H, W, 3) uint8."""
    rows, columns = list[Tensor](), 0
    for variant in VARIANTS:
        photos = list_photos(challenge / variant / "val")
        columns = min(COLUMNS, len(photos.names))
        first = [int((photos.labels == label).nonzero()[0, 0]) for label in range(columns)]
        rows.append(torch.stack([read_picture(Path(photos.files[row]), size) for row in first]))
    return grid(torch.cat(rows), columns)


def _scale(size: int) -> int:
    return 4 if size <= 32 else 2 if size <= 64 else 1
