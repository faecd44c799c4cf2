"""The three mechanisms of a CGN, their layers, and the one check of shapes and ranges.

A CGN draws ``x = m * t + (1 - m) * b`` from a shape mask m, a texture t and a background b, each a function of noise u
and a class label y (Sauer & Geiger, ICLR 2021, Eq. 2; the composition itself is in :mod:`skdcgn.cgn.compose`). A
teacher or a student is any object whose ``query(mechanism, noise, labels)`` is deterministic.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from skdcgn.base.bounds import MOST_CHANNELS, MOST_CLASSES, MOST_SIDE
from skdcgn.base.door import parse_record
from skdcgn.base.errors import UserError, shown
from skdcgn.cgn.answer_hints import range_hint, shape_hint, type_hint

MARGIN = 1e-3  # that an answer may lie beyond its range
SPEC_KEY = "spec"  # in the metadata of safetensors and ONNX files: a Spec as JSON


class Mechanism(StrEnum):
    """``shape``, ``texture`` or ``background``."""

    SHAPE = "shape"
    TEXTURE = "texture"
    BACKGROUND = "background"

    @property
    def channels(self) -> int:
        """1 for a mask, 3 for a picture."""
        return 1 if self is Mechanism.SHAPE else 3

    @property
    def low(self) -> float:
        """Smallest value drawn: 0 for a mask, -1 for a picture. The largest is 1."""
        return 0.0 if self is Mechanism.SHAPE else -1.0


class Layers(NamedTuple):
    """The layers of images: mask (B, 1, H, W) in [0, 1], texture and background (B, 3, H, W) in [-1, 1]."""

    mask: Tensor
    texture: Tensor
    background: Tensor


def _truncated_normal(uniform: Tensor) -> Tensor:
    """N(0, 1) truncated to [-2, 2]."""
    low = torch.special.ndtr(torch.tensor(-2.0, device=uniform.device))
    return torch.special.ndtri(torch.lerp(low, 1 - low, uniform)).clamp(-2, 2)


EDGE = 2.0**-24  # the inverse of a distribution function is infinite at 0 and 1

# From numbers uniform in [0, 1) to noise of each distribution, through the inverse of its distribution function.
INVERSES: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda uniform: torch.special.ndtri(uniform.clamp(EDGE, 1 - EDGE)),
    "truncated-normal": _truncated_normal,
    "uniform": lambda uniform: 2 * uniform - 1,
}


@dataclass(frozen=True)
class Spec:
    """How to query a black box that draws square images.

    Args:
        image_size: side of an image in pixels.
        noise_dim: numbers in the noise (Z).
        classes: labels run from 0 to classes - 1.
        distribution: of each number of the noise: ``normal`` (mean 0, variance 1), ``truncated-normal`` (the same,
            within [-2, 2]) or ``uniform`` (within [-1, 1]).
        names: of the classes, in order; empty if they have none.
        tiles: whether its pictures may be tiled and cropped; photographs may not.
        truncation: factor in (0, 1] by which the black box multiplies the noise of a query.

    Raises:
        UserError: a size below 1 or too large, an unknown distribution, names that are not one for each class, or a
            truncation out of range.
    """

    image_size: int = 32
    noise_dim: int = 32
    classes: int = 10
    distribution: str = "normal"
    names: tuple[str, ...] = ()
    tiles: bool = True
    truncation: float = 1.0

    def __post_init__(self) -> None:
        if self.distribution not in INVERSES:
            raise UserError(f"unknown noise distribution {shown(self.distribution)}: use one of {', '.join(INVERSES)}")
        sizes = (self.image_size, MOST_SIDE), (self.noise_dim, MOST_CHANNELS), (self.classes, MOST_CLASSES)
        if not all(1 <= size <= most for size, most in sizes):
            raise UserError(
                f"images of {shown(self.image_size)} pixels, noise of {shown(self.noise_dim)} numbers, "
                f"{shown(self.classes)} classes: each must be at least 1, and at most {MOST_SIDE}, {MOST_CHANNELS} "
                f"and {MOST_CLASSES}"
            )
        if self.names and len(self.names) != self.classes:
            raise UserError(f"{len(self.names)} names for {self.classes} classes: pass one for each, or none")
        if len(set(self.names)) != len(self.names):
            raise UserError(f"two classes have one name ({', '.join(sorted(self.names)[:5])}): give each its own")
        if not 0 < self.truncation <= 1:
            raise UserError(f"a truncation of {shown(self.truncation)}: it must be above 0 and up to 1")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; where they have none, their numbers."""
        return self.names or tuple(map(str, range(self.classes)))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata by which a file keeps this Spec: its fields as JSON, under ``spec``."""
        return {SPEC_KEY: json.dumps(self.to_dict())}

    def sample_noise(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw noise (count, Z) on the generator's device, the same for the same generator state."""
        draw = torch.randn if self.distribution == "normal" else torch.rand
        noise = draw(count, self.noise_dim, generator=generator, device=generator.device)
        return noise if self.distribution == "normal" else INVERSES[self.distribution](noise)

    def sobol_noise(self, start: int, count: int, seed: int) -> Tensor:
        """Return points ``start`` to ``start + count`` of a scrambled Sobol sequence as noise (count, Z).

        The first n points fill the distribution more evenly than n random ones (Owen 1998).
        """
        engine = torch.quasirandom.SobolEngine(self.noise_dim, scramble=True, seed=seed).fast_forward(start)
        return INVERSES[self.distribution](engine.draw(count))


def spec_from_metadata(metadata: Mapping[str, str], origin: object) -> Spec | None:
    """Return the Spec in a file's metadata (:meth:`Spec.to_metadata`); None if there is none.

    Args:
        metadata: strings by name.
        origin: the file that an error names.

    Raises:
        UserError: the entry ``spec`` is no Spec.
    """
    if SPEC_KEY not in metadata:
        return None
    return parse_record(metadata[SPEC_KEY], Spec, f"{origin}: the spec in its metadata", "write the file again")


@runtime_checkable
class Teacher(Protocol):
    """A black-box CGN.

    ``digest`` names its weights or its origin: equal digests, equal answers. ``size`` is the number of its parameters,
    None if it is unknown.
    """

    @property
    def spec(self) -> Spec: ...

    @property
    def digest(self) -> str: ...

    @property
    def size(self) -> int | None: ...

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw one image per row: noise (B, Z), labels (B,) int64 -> (B, C, H, W), a pure function."""
        ...


def as_mechanism(name: str) -> Mechanism:
    """Return the mechanism called ``name``; raise UserError for any other word."""
    try:
        return Mechanism(name)
    except ValueError:
        raise UserError(f"unknown mechanism {shown(name)}: use shape, texture or background") from None


def check_query(spec: Spec, noise: Tensor, labels: Tensor) -> None:
    """Raise UserError unless noise is (B, Z) floating point and labels are (B,) int64 below the class count."""
    if noise.ndim != 2 or noise.shape[1] != spec.noise_dim or not noise.is_floating_point():
        raise UserError(
            f"noise has shape {tuple(noise.shape)} and type {noise.dtype}: "
            f"pass floating point numbers of shape (B, {spec.noise_dim})"
        )
    if labels.shape != noise.shape[:1] or labels.dtype != torch.int64:
        raise UserError(
            f"labels have shape {tuple(labels.shape)} and type {labels.dtype}: pass int64 of shape ({len(noise)},)"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < spec.classes:
        raise UserError(
            f"labels run from {int(labels.min())} to {int(labels.max())}: use classes 0 to {spec.classes - 1}"
        )


def check_answer(spec: Spec, mechanism: Mechanism, images: Tensor, count: int) -> Tensor:
    """Return ``images`` if they are (count, C, H, W), floating point, finite, in range; raise UserError otherwise."""
    expected = (count, mechanism.channels, spec.image_size, spec.image_size)
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = str(images.dtype) if isinstance(images, Tensor) else type(images).__name__
        raise UserError(
            f"the teacher's {mechanism} is of type {kind}: it should draw a tensor of floating point numbers"
            f"{type_hint(kind, mechanism.low)}"
        )
    shape = tuple(images.shape)
    if shape != expected:
        raise UserError(
            f"the teacher's {mechanism} has shape {shape}: it should draw {expected}{shape_hint(shape, expected)}"
        )
    least, greatest = map(float, images.aminmax()) if count else (mechanism.low, 1.0)  # NaN reaches both
    if not (isfinite(least) and isfinite(greatest)):
        raise UserError(f"the teacher's {mechanism} holds NaN or infinity: check its weights and its precision")
    if least < mechanism.low - MARGIN or greatest > 1 + MARGIN:
        raise UserError(
            f"the teacher's {mechanism} runs from {least:.3g} to {greatest:.3g}: scale it to [{mechanism.low:.0f}, 1]"
            f"{range_hint(least, greatest, mechanism.low)}"
        )
    return images
