"""Recorded pairs as a black box: any folder of finished pairs with images.

Noise u and label y are answered with the recorded image of class y whose noise is nearest,

.. math:: i(u, y) = argmax_{i: y_i = y} <u, u_i> - |u_i|^2 / 2,

which is the recorded pair itself where u is recorded. The form is that of a photo CGN's pick with biases
-|u_i|^2 / 2 (:mod:`skdcgn.teachers.transport`).
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.config import Store
from skdcgn.base.door import is_file, is_folder
from skdcgn.base.errors import UserError
from skdcgn.base.records import digest, to_dict
from skdcgn.cgn.black_box import Access
from skdcgn.cgn.mechanism import Mechanism, Spec, as_mechanism, check_query
from skdcgn.pairs.manifest import HELD_OUT, TRAIN, Purpose, read_plans
from skdcgn.pairs.stored import StoredPairs

PREFIX = "recorded:"  # of the name of a teacher
MEMORY = 2**29  # bytes of images that are kept, of each mechanism
AT_ONCE = 256  # questions whose distances are in memory


@dataclass(frozen=True)
class RecordedTeacher:
    """A black box that answers with the nearest recorded image.

    Args:
        path: the folder of pairs.
        pairs: training pairs of each mechanism, then held-out ones, where there are any.
        access: not paid.
    """

    path: Path
    pairs: dict[Mechanism, tuple[StoredPairs, ...]] = field(repr=False)
    access: Access = Access()  # noqa: RUF009  # immutable
    size: int | None = None

    @property
    def spec(self) -> Spec:
        return self.pairs[Mechanism.SHAPE][0].spec

    @cached_property
    def digest(self) -> str:
        """Of the contents of all shards."""
        shards = {m: [to_dict(part.manifest.shards) for part in parts] for m, parts in self.pairs.items()}
        return f"{PREFIX}{digest(shards)}"

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        """Return (B, C, S, S) on the CPU for noise (B, Z) and labels (B,) int64."""
        check_query(self.spec, noise, labels)
        own = as_mechanism(mechanism)
        rows, parts = self.rows(own, noise.cpu(), labels.cpu()), self.pairs[own]
        images = torch.empty(len(rows), own.channels, self.spec.image_size, self.spec.image_size)
        start = 0
        for part in parts:
            inside = (rows >= start) & (rows < start + len(part))
            if bool(inside.any()):
                images[inside] = part.images(rows[inside] - start)
            start += len(part)
        return images

    def rows(self, mechanism: Mechanism, noise: Tensor, labels: Tensor) -> Tensor:
        """Return the pair (B,) that is nearest to noise (B, Z) of class (B,): its row in training and held-out ones."""
        recorded, classes = self._inputs[mechanism]
        rows = torch.empty_like(labels)
        for label in labels.unique().tolist():
            asked, own = (labels == label).nonzero()[:, 0], (classes == label).nonzero()[:, 0]
            if not len(own):
                raise UserError(f"{self.path} has no {mechanism} of class {label}: leave the class out, or record some")
            for part in asked.split(AT_ONCE):
                rows[part] = own[_nearest(noise[part].double(), recorded[own].double())]
        return rows

    def recorded(self, mechanism: Mechanism, purpose: Purpose) -> tuple[Tensor, Tensor]:
        """Return noise (N, Z) and labels (N,) of the recorded pairs, which may be none."""
        for part in self.pairs[mechanism]:
            if part.plan.purpose == purpose:
                return part.noise, part.labels
        return torch.empty(0, self.spec.noise_dim), torch.empty(0, dtype=torch.int64)

    @cached_property
    def _inputs(self) -> dict[Mechanism, tuple[Tensor, Tensor]]:
        return {
            m: (torch.cat([part.noise for part in parts]), torch.cat([part.labels for part in parts]))
            for m, parts in self.pairs.items()
        }


def _nearest(noise: Tensor, recorded: Tensor) -> Tensor:
    return (noise @ recorded.T - recorded.square().sum(1) / 2).argmax(1)


def open_recorded(folder: Path) -> RecordedTeacher:
    """Open a folder of finished pairs as a black box.

    Raises:
        UserError: no folder, pairs are missing or unfinished, or hold no images.
    """
    if not is_folder(folder):
        raise UserError(f"no folder of pairs {folder}: pass recorded:DIR, which skdcgn record or skdcgn query wrote")
    pairs = {}
    for mechanism, plan in read_plans(folder, TRAIN).items():
        if plan.store is Store.NONE:
            raise UserError(f"{folder} holds noise and labels alone: query again with --store uint8")
        purposes = [TRAIN, *([HELD_OUT] if is_file(folder / mechanism / HELD_OUT / "manifest.json") else [])]
        pairs[mechanism] = tuple(
            StoredPairs(folder / mechanism / purpose, mechanism=mechanism, purpose=purpose, memory=MEMORY)
            for purpose in purposes
        )
    return RecordedTeacher(folder, pairs)
