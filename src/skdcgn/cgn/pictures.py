"""Pictures of what mechanisms draw: grids, strips, contact sheets, an animation. Pillow writes them."""

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from skdcgn.base.files import write_bytes
from skdcgn.base.seeds import generator
from skdcgn.cgn.captions import Caption, as_metadata, class_labels, with_heading
from skdcgn.cgn.compose import blend, compose
from skdcgn.cgn.mechanism import Layers, Mechanism, Teacher

GAP = 2
COLUMNS, SMALL = 10, 64  # of a report's pictures; pixels of a side, above which they are fewer and not enlarged
STRIP_SCALE = 2


def as_rgb(images: Tensor) -> Tensor:
    """Masks (B, 1, H, W) in [0, 1] or pictures (B, 3, H, W) in [-1, 1] -> (B, 3, H, W) uint8."""
    unit = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images / 2 + 0.5
    return (unit * 255).round().clamp(0, 255).to(torch.uint8)


def grid(images: Tensor, columns: int) -> Tensor:
    """Lay (N, 3, H, W) uint8 out in rows of ``columns`` with a white gap: (H', W', 3) uint8."""
    padded = torch.nn.functional.pad(images, (0, GAP, 0, GAP), value=255)
    blank = torch.full_like(padded[:1], 255).expand(-len(padded) % columns, -1, -1, -1)
    cells = torch.cat([padded, blank]).unflatten(0, (-1, columns))  # (R, columns, 3, H, W)
    sheet = cells.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    return sheet[:-GAP, :-GAP]


def beside(grids: Sequence[Tensor], gap: int = 8) -> Tensor:
    """Put (H, W_i, 3) pictures of one height side by side."""
    spacer = torch.full((grids[0].shape[0], gap, 3), 255, dtype=torch.uint8)
    return torch.cat([part for picture in grids for part in (picture, spacer)][:-1], dim=1)


def above(grids: Sequence[Tensor], gap: int = 8) -> Tensor:
    """Put (H_i, W, 3) pictures of one width below each other."""
    return beside([picture.transpose(0, 1) for picture in grids], gap).transpose(0, 1)


def encode(picture: Tensor, scale: int = 1, caption: Caption | None = None) -> bytes:
    """Return (H, W, 3) uint8 as PNG bytes, enlarged by a whole factor, with its caption as metadata."""
    buffer = io.BytesIO()
    image = Image.fromarray(picture.contiguous().numpy())
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    image.save(buffer, "PNG", pnginfo=as_metadata(caption) if caption else None)
    return buffer.getvalue()


def save_picture(path: Path, picture: Tensor, scale: int = 1, caption: Caption | None = None) -> None:
    """Write (H, W, 3) uint8 as PNG, atomically."""
    write_bytes(path, encode(picture, scale, caption))


def save_strip(path: Path, images: Tensor, caption: Caption | None = None) -> None:
    """Write frames (F, 3, H, W) in [-1, 1] side by side, enlarged."""
    save_picture(path, grid(as_rgb(images), len(images)), STRIP_SCALE, caption)


def frames_in(width: int, height: int) -> int | None:
    """Return how many square frames a strip of this size, as ``save_strip`` writes it, holds; None if it is none."""
    gap = GAP * STRIP_SCALE
    count, rest = divmod(width + gap, height + gap)
    return count if count > 1 and not rest else None


def layers_grid(cgn: Teacher, rows: int, seed: int) -> Tensor:
    """Show mask, texture, background and their composition side by side, with headings: (H, W, 3) uint8.

    Each has a column per class, of the first ten, under its number, and ``rows`` rows of one noise each.
    """
    columns = min(COLUMNS, cgn.spec.classes)
    noise, labels = class_columns(cgn, rows, seed, columns)
    layers = Layers(*(cgn.query(mechanism, noise, labels) for mechanism in Mechanism))
    blocks = {
        "mask": layers.mask,
        "texture": layers.texture,
        "background": layers.background,
        "composed": blend(layers),
    }
    numbers = class_labels(columns)
    return beside([with_heading(grid(as_rgb(x), columns), f"{name}, by class", numbers) for name, x in blocks.items()])


def class_columns(cgn: Teacher, rows: int, seed: int, classes: int | None = None) -> tuple[Tensor, Tensor]:
    """Noise and labels for a grid with one column per class, or for each of the first ``classes``."""
    columns = classes or cgn.spec.classes
    return cgn.spec.sample_noise(rows * columns, generator(seed, "grid")), torch.arange(columns).repeat(rows)


def draw_cgns(teacher: Teacher, student: Teacher, out: Path, seed: int) -> None:
    """Write ``shape.png``, ``texture.png`` and ``background.png``, a column per class of the first ten, the teacher's
    drawings above the student's of the same noise; and ``counterfactuals_teacher.png`` and its sibling.
    """
    side, columns = teacher.spec.image_size, min(COLUMNS, teacher.spec.classes)
    rows, sheet, scale = (3, 8, 2) if side <= SMALL else (1, 2, 1)
    noise, labels = class_columns(teacher, rows, seed, columns)
    caption = Caption(class_labels(columns), ("teacher", "student"))
    for mechanism in Mechanism:
        drawn = torch.cat([as_rgb(cgn.query(mechanism, noise, labels)).cpu() for cgn in (teacher, student)])
        save_picture(out / f"{mechanism}.png", grid(drawn, columns), scale, caption)
    for name, cgn in (("teacher", teacher), ("student", student)):
        made = compose(cgn, sheet * COLUMNS, seed=seed)
        save_picture(out / f"counterfactuals_{name}.png", grid(as_rgb(made.images), COLUMNS), scale)


def interpolate(cgn: Teacher, what: str, first: int, second: int, *, frames: int = 12, seed: int = 0) -> Tensor:
    """Go from class ``first`` to class ``second`` in one mechanism, or in ``all``, the others held: (F, 3, H, W).

    The two ends are drawn by the mechanism; between them the drawn layers are mixed linearly.
    """
    spec = cgn.spec
    noise = spec.sample_noise(2, generator(seed, "interpolate"))
    ends = torch.tensor([first, second])
    weights = torch.linspace(0, 1, frames)[:, None, None, None]
    drawn = []
    for mechanism in Mechanism:
        moving = what in (mechanism, "all")
        start, stop = cgn.query(
            mechanism, noise if moving else noise[:1].repeat(2, 1), ends if moving else ends[[0, 0]]
        )
        drawn.append(torch.lerp(start[None], stop[None], weights))
    return blend(Layers(*drawn))


def save_gif(path: Path, images: Tensor, *, scale: int = 4, milliseconds: int = 80) -> None:
    """Write images (F, 3, H, W) in [-1, 1] as an endless animation that runs forth and back."""
    frames = [Image.fromarray(x.permute(1, 2, 0).contiguous().numpy()) for x in as_rgb(images)]
    frames = [f.resize((f.width * scale, f.height * scale), Image.Resampling.NEAREST) for f in frames]
    loop, buffer = frames + frames[-2:0:-1], io.BytesIO()
    loop[0].save(buffer, "GIF", save_all=True, append_images=loop[1:], duration=milliseconds, loop=0)
    write_bytes(path, buffer.getvalue())
