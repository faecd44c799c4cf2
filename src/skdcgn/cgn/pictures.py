"""Pictures as files: grids, strips, an animation; Pillow writes them. Captioned images for notebooks."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from skdcgn.base.files import write_bytes
from skdcgn.cgn.captions import Caption, as_metadata

SPACING = 2  # pixels between the cells of a grid
STRIP_SCALE = 2


def as_rgb(images: Tensor) -> Tensor:
    """Masks (B, 1, H, W) in [0, 1] or pictures (B, 3, H, W) in [-1, 1] -> (B, 3, H, W) uint8."""
    unit = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images / 2 + 0.5
    return (unit * 255).round().clamp(0, 255).to(torch.uint8)


def grid(images: Tensor, columns: int) -> Tensor:
    """Lay (N, 3, H, W) uint8 out in rows of ``columns``, white between them: (H', W', 3) uint8."""
    padded = torch.nn.functional.pad(images, (0, SPACING, 0, SPACING), value=255)
    blank = torch.full_like(padded[:1], 255).expand(-len(padded) % columns, -1, -1, -1)
    cells = torch.cat([padded, blank]).unflatten(0, (-1, columns))  # (R, columns, 3, H, W)
    sheet = cells.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    return sheet[:-SPACING, :-SPACING]


def join_horizontally(pictures: Sequence[Tensor], spacing: int = 8) -> Tensor:
    """Put (H, W_i, 3) pictures of one height side by side."""
    spacer = torch.full((pictures[0].shape[0], spacing, 3), 255, dtype=torch.uint8)
    return torch.cat([part for picture in pictures for part in (picture, spacer)][:-1], dim=1)


def join_vertically(pictures: Sequence[Tensor], spacing: int = 8) -> Tensor:
    """Put (H_i, W, 3) pictures of one width below each other."""
    return join_horizontally([picture.transpose(0, 1) for picture in pictures], spacing).transpose(0, 1)


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
    """Return how many square frames a strip of this size, as ``save_strip`` writes it, holds; None if it holds none."""
    spacing = SPACING * STRIP_SCALE
    count, rest = divmod(width + spacing, height + spacing)
    return count if count > 1 and not rest else None


def save_gif(path: Path, images: Tensor, *, scale: int = 4, milliseconds: int = 80) -> None:
    """Write images (F, 3, H, W) in [-1, 1] as an endless animation, forwards and backwards in turn."""
    frames = [Image.fromarray(x.permute(1, 2, 0).contiguous().numpy()) for x in as_rgb(images)]
    frames = [f.resize((f.width * scale, f.height * scale), Image.Resampling.NEAREST) for f in frames]
    loop, buffer = frames + frames[-2:0:-1], io.BytesIO()
    loop[0].save(buffer, "GIF", save_all=True, append_images=loop[1:], duration=milliseconds, loop=0)
    write_bytes(path, buffer.getvalue())


def as_html(images: Tensor, captions: Sequence[str], title: str, scale: int = 1) -> str:
    """Return images (N, 3, H, W) uint8, each over its caption, as HTML that needs no other file."""
    figures = "".join(
        '<figure style="margin:0;text-align:center">'
        f'<img alt="{caption}" src="data:image/png;base64,{_base64(image, scale)}">'
        f'<figcaption style="font:small sans-serif">{caption}</figcaption></figure>'
        for image, caption in zip(images, captions, strict=True)
    )
    return f'<div>{title}<div style="display:flex;flex-wrap:wrap;gap:8px;margin-top:4px">{figures}</div></div>'


def _base64(image: Tensor, scale: int) -> str:
    return base64.b64encode(encode(image.permute(1, 2, 0), scale)).decode()
