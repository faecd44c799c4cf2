"""A photo CGN: a teacher whose answers are cut out of segmented photographs, in one safetensors file.

Noise picks a photograph of the class, each equally often, and noise that is near picks photographs that look alike
(:mod:`skdcgn.teachers.photo_codes`, :mod:`skdcgn.teachers.transport`). Shape is the photograph's mask, texture its
object spread over the whole picture, background the picture without the object: the three of one photograph compose
to the photograph again.

=====================================  ===========  =================================================================
masks, textures, backgrounds           uint8        (N, C, S, S), the rows of a class side by side
labels                                 int64        (N,), ascending; every class occurs
codes, biases                          float32      (N, Z) and (N,): noise u picks argmax <u, c_i> + b_i of its class
=====================================  ===========  =================================================================

The metadata hold the Spec, and how texture and background were filled.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.base.door import regular_file
from skdcgn.base.errors import UserError
from skdcgn.base.files import file_version, sha256
from skdcgn.base.photo_layers import BackgroundFill, TextureFill
from skdcgn.base.progress import Watch, log_progress
from skdcgn.base.seeds import generator
from skdcgn.base.tensor_writer import Append, Layout, rows_to_tensors
from skdcgn.base.tensors import DTYPES, open_tensors, read_rows
from skdcgn.cgn.mechanism import Layers, Mechanism, Spec, as_mechanism, check_query, spec_from_metadata
from skdcgn.cgn.pictures import as_rgb
from skdcgn.data.folders import READERS, as_unit, read_picture
from skdcgn.data.masks import MaskedPhotos, list_usable, read_mask
from skdcgn.teachers.photo_codes import SIDE, principal_codes
from skdcgn.teachers.photo_layers import photo_layers
from skdcgn.teachers.transport import even_biases, evenness, pick, pick_counts

logger = logging.getLogger(__name__)
LAYERS = {Mechanism.SHAPE: "masks", Mechanism.TEXTURE: "textures", Mechanism.BACKGROUND: "backgrounds"}
LABELS, CODES, BIASES = "labels", "codes", "biases"
TENSORS = frozenset((*LAYERS.values(), LABELS, CODES, BIASES))
MEND = "write it again by skdcgn photos"
AT_ONCE, PIXELS = 64, 2**22  # photographs in memory, at most, and their pixels
TRIALS = 100  # draws of noise per photograph, to measure how even the picks are


@dataclass(frozen=True)
class PhotoCGN:
    """A teacher in a file: labels, codes and biases in memory, pictures read as they are queried.

    Args:
        path: the file.
        spec: of its metadata.
        starts: (K + 1,) the first row of each class, and the end of the last.
        codes: (N, Z) float32.
        biases: (N,) float32.
        version: of the file that was checked: its place, size and time.
    """

    path: Path
    spec: Spec
    starts: list[int]
    codes: Tensor = field(repr=False)
    biases: Tensor = field(repr=False)
    version: tuple[int, ...] = field(repr=False)
    size: int | None = None

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self.biases)

    @cached_property
    def digest(self) -> str:
        """sha256 of the file."""
        return sha256(self.path)

    def photographs(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Return the row (B,) int64 of the photograph that each noise (B, Z) picks of its class (B,)."""
        check_query(self.spec, noise, labels)
        noise, labels = noise.cpu(), labels.cpu()
        rows = torch.empty_like(labels)
        for label in labels.unique().tolist():
            own, of_class = labels == label, slice(self.starts[label], self.starts[label + 1])
            rows[own] = of_class.start + pick(noise[own], self.codes[of_class], self.biases[of_class])
        return rows

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        """Read (B, C, S, S) on the CPU for noise (B, Z) and labels (B,) int64."""
        layer = as_mechanism(mechanism)
        distinct, places = self.photographs(noise, labels).unique(return_inverse=True)
        with open_tensors(self.path) as file:  # closed again, so that its pages do not stay in memory
            if file_version(self.path) != self.version:
                raise UserError(f"{self.path} was replaced while it was read: run the same command again")
            images = read_rows(file, LAYERS[layer], distinct) if len(distinct) else self._no_images(layer)
        return (images / 255 if layer is Mechanism.SHAPE else as_unit(images))[places]

    def _no_images(self, layer: Mechanism) -> Tensor:
        return torch.empty(0, layer.channels, self.spec.image_size, self.spec.image_size, dtype=torch.uint8)


def is_photo_cgn(path: Path) -> bool:
    """Say whether a file is a photo CGN, by the names of its tensors; raise UserError if it is damaged."""
    if path.suffix.lower() != ".safetensors":
        return False
    with open_tensors(path) as file:
        return set(file.keys()) >= TENSORS


def load_photo_cgn(path: Path) -> PhotoCGN:
    """Open a file that :func:`build_photo_cgn` wrote; pictures stay on the disk.

    Raises:
        UserError: no such file, or one whose tensors are not those of a photo CGN.
    """
    version = file_version(regular_file(path))
    with open_tensors(path) as file:
        spec = spec_from_metadata(file.metadata() or {}, path)
        if spec is None or set(file.keys()) < TENSORS:
            raise UserError(f"{path} is no photo CGN: {MEND}")
        _check_layouts(path, file, spec)
        labels, codes, biases = (file.get_tensor(name) for name in (LABELS, CODES, BIASES))
    if spec.distribution != "normal" or not bool(codes.isfinite().all() & biases.isfinite().all()):
        raise UserError(f"{path}: its codes and biases must be finite, for normal noise: {MEND}")
    counts = labels.clamp(0, spec.classes).bincount(minlength=spec.classes)
    if not bool((labels[:-1] <= labels[1:]).all()) or len(counts) > spec.classes or not bool(counts.all()):
        raise UserError(f"{path}: its labels must ascend from 0 to {spec.classes - 1} without a gap: {MEND}")
    return PhotoCGN(path, spec, [0, *counts.cumsum(0).tolist()], codes, biases, version)


def _layouts(count: int, spec: Spec) -> dict[str, Layout]:
    size = spec.image_size
    return {
        **{name: Layout(torch.uint8, (count, m.channels, size, size)) for m, name in LAYERS.items()},
        LABELS: Layout(torch.int64, (count,)),
        CODES: Layout(torch.float32, (count, spec.noise_dim)),
        BIASES: Layout(torch.float32, (count,)),
    }


def _check_layouts(path: Path, file: Any, spec: Spec) -> None:
    shape = file.get_slice(LABELS).get_shape()
    for name, layout in _layouts(shape[0] if shape else 0, spec).items():
        part = file.get_slice(name)
        kind, shape = part.get_dtype(), tuple(part.get_shape())
        if (kind, shape) != (DTYPES[layout.dtype], layout.shape) or not shape[0]:
            raise UserError(f"{path}: {name} are {kind} of shape {shape}, not {layout.dtype} {layout.shape}: {MEND}")


def build_photo_cgn(
    photos: Path,
    masks: Path,
    out: Path,
    *,
    image_size: int = 64,
    texture: TextureFill | str = TextureFill.INPAINT,
    background: BackgroundFill | str = BackgroundFill.INPAINT,
    noise_dim: int = 8,
    seed: int = 0,
    watch: Watch = log_progress,
) -> PhotoCGN:
    """Write a photo CGN and return it; memory does not grow with its pictures, and the file appears when it is whole.

    Args:
        photos: folder with a sub-folder of photographs per class, whose names are the classes.
        masks: folder of their masks, as ``skdcgn segment`` writes it. Photographs without a usable mask are left out.
        out: the file, ``.safetensors``.
        image_size: side in pixels.
        texture: see :class:`TextureFill`.
        background: see :class:`BackgroundFill`.
        noise_dim: numbers of a code (Z).
        seed: of the biases, and of mosaics.
        watch: shows the progress.

    Raises:
        UserError: ``out`` has another ending, a class has no usable mask, or a file cannot be read or written.
    """
    surface, ground = TextureFill(texture), BackgroundFill(background)
    if out.suffix.lower() != ".safetensors":
        raise UserError(f"{out} is no name for a photo CGN: end it in .safetensors")
    if image_size < SIDE:
        raise UserError(f"images of {image_size} pixels: a photo CGN has {SIDE} at least")
    masked = list_usable(photos, masks)
    names, labels = masked.photos.names, masked.photos.labels
    spec = Spec(image_size, noise_dim, len(names), names=names, tiles=False)
    metadata = {**spec.to_metadata(), "texture": surface.value, "background": ground.value}
    small = torch.empty(len(masked), 3 * SIDE**2)
    tell = watch("photographs", len(masked))
    layouts = _layouts(len(masked), spec)
    with rows_to_tensors(out, layouts, metadata) as append:
        for rows, pictures, cut in _read_batches(masked, image_size):
            rng = generator(seed, "mosaics", rows.start)
            _append_layers(append, photo_layers(pictures, cut, surface, ground, rng))
            small[rows] = F.adaptive_avg_pool2d(pictures, SIDE).flatten(1)
            tell(rows.stop)
        codes = principal_codes(small, labels, noise_dim)
        append(LABELS, labels)
        append(CODES, codes)
        append(BIASES, _biases(codes, labels, seed, watch))
    return load_photo_cgn(out)


def _read_batches(masked: MaskedPhotos, size: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield rows, pictures (B, 3, size, size) in [-1, 1] and masks (B, 1, size, size) in [0, 1]."""
    step = max(1, min(AT_ONCE, PIXELS // size**2))
    files = list(zip(map(Path, masked.photos.files), map(Path, masked.masks), strict=True))

    def read(pair: tuple[Path, Path]) -> tuple[Tensor, Tensor]:
        return read_picture(pair[0], size), read_mask(pair[1], size)

    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(files), step):
            rows = slice(start, min(start + step, len(files)))
            pictures, masks = (torch.stack(part) for part in zip(*pool.map(read, files[rows]), strict=True))
            yield rows, as_unit(pictures), masks / 255


def _append_layers(append: Append, layers: Layers) -> None:
    append(LAYERS[Mechanism.SHAPE], (255 * layers.mask).round().to(torch.uint8))
    append(LAYERS[Mechanism.TEXTURE], as_rgb(layers.texture))
    append(LAYERS[Mechanism.BACKGROUND], as_rgb(layers.background))


def _biases(codes: Tensor, labels: Tensor, seed: int, watch: Watch) -> Tensor:
    """Solve for the biases of each class, and log how evenly its photographs are picked."""
    counts, parts, shares = labels.bincount().tolist(), list[Tensor](), list[float]()
    tell = watch("even picks", len(counts))
    for label, points in enumerate(codes.split(counts)):
        rng = generator(seed, "photographs", label)
        parts.append(even_biases(points, rng))
        noise = torch.randn(TRIALS * len(points), points.shape[1], generator=rng)
        shares.append(evenness(pick_counts(noise, points, parts[-1])))
        tell(label + 1)
    logger.info(f"photographs are picked evenly: perplexity {min(shares):.3f} of their number at least")
    return torch.cat(parts)
