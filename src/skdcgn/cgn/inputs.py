"""The inputs of counterfactuals: noise and a label of each mechanism and, for pictures that tile, crop offsets."""

from typing import NamedTuple

import torch
from torch import Tensor

from skdcgn.cgn.mechanism import Mechanism, Spec


class Query(NamedTuple):
    """The input of one mechanism: noise (B, Z) and labels (B,) int64."""

    noise: Tensor
    labels: Tensor


class Inputs(NamedTuple):
    """The inputs of counterfactuals: noise (B, Z), labels (B,) int64 and crop offsets (B, 2) int64.

    There are no offsets for pictures that do not tile (:class:`~skdcgn.cgn.mechanism.Spec`).
    """

    shape_noise: Tensor
    texture_noise: Tensor
    background_noise: Tensor
    shape_labels: Tensor
    texture_labels: Tensor
    background_labels: Tensor
    texture_offsets: Tensor | None = None
    background_offsets: Tensor | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name: eight, or six for pictures that do not tile."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    @property
    def offsets(self) -> tuple[Tensor, ...]:
        """The offsets of texture and background, or none."""
        return tuple(value for value in self[6:] if value is not None)

    def query(self, mechanism: Mechanism) -> Query:
        """Return the input of one mechanism."""
        place = list(Mechanism).index(mechanism)
        return Query(*(self.tensors[Inputs._fields[i]] for i in (place, place + 3)))

    def with_query(self, mechanism: Mechanism, query: Query) -> "Inputs":
        """Return the inputs with another one of ``mechanism``."""
        return self._replace(**{f"{mechanism}_noise": query.noise, f"{mechanism}_labels": query.labels})

    def to(self, device: torch.device) -> "Inputs":
        """Return the inputs on a device."""
        return Inputs(**{name: value.to(device) for name, value in self.tensors.items()})

    def rows(self, rows: slice) -> "Inputs":
        """Return some of the rows."""
        return Inputs(**{name: value[rows] for name, value in self.tensors.items()})


def sample_inputs(spec: Spec, count: int, rng: torch.Generator) -> Inputs:
    """Draw the inputs of ``count`` counterfactuals: noise, independent labels and, where pictures tile, crops."""
    return Inputs(
        *(spec.sample_noise(count, rng) for _ in Mechanism),
        *(torch.randint(spec.classes, (count,), generator=rng) for _ in Mechanism),
        *sample_crops(spec, count, rng),
    )


def sample_crops(spec: Spec, count: int, rng: torch.Generator) -> tuple[Tensor, ...]:
    """Draw the offsets (count, 2) of texture and background; none, and no random number, if pictures do not tile."""
    return tuple(sample_offsets(count, spec.image_size, rng) for _ in range(2)) if spec.tiles else ()


def sample_offsets(count: int, size: int, rng: torch.Generator) -> Tensor:
    """Draw crop offsets (count, 2), uniform over the tile."""
    return torch.randint(size, (count, 2), generator=rng)
