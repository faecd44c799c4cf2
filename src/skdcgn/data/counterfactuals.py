"""Where the counterfactuals of each training step come from: a CGN that composes them, or a file of composed ones."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from skdcgn.base.errors import UserError
from skdcgn.base.files import open_tensors, sha256
from skdcgn.base.seeds import derive_seed, generator
from skdcgn.cgn.compose import Counterfactuals, compose
from skdcgn.cgn.mechanism import Teacher

LABELS = ("shape_labels", "texture_labels", "background_labels")


class Source(NamedTuple):
    """A name for the run's digest, how many classes the labels count, and ``step -> counterfactuals``.

    Of a file one knows the labels that occur in it, so ``classes`` is then the least number there can be.
    """

    origin: str
    classes: int
    at: Callable[[int], Counterfactuals]
    all_known: bool = True

    def fits(self, classes: int) -> bool:
        """Tell whether the labels can be those of ``classes`` classes."""
        return self.classes == classes if self.all_known else self.classes <= classes


def from_cgn(cgn: Teacher, count: int, *, seed: int = 0) -> Source:
    """Compose ``count`` new counterfactuals at every step."""

    def at(step: int) -> Counterfactuals:
        return compose(cgn, count, seed=derive_seed(seed, "counterfactuals", step))

    return Source(cgn.digest, cgn.spec.classes, at)


def from_file(path: Path, count: int, *, seed: int = 0) -> Source:
    """Draw ``count`` counterfactuals at every step from a file that ``skdcgn generate`` wrote; only they are read.

    Raises:
        UserError: no such file, a damaged one, or one without images and three labels of each.
    """
    with open_tensors(path) as file:
        if not {"images", *LABELS} <= set(file.keys()):
            raise UserError(f"{path} holds no counterfactuals: pass the file that skdcgn generate wrote")
        labels = [file.get_tensor(name) for name in LABELS]

    def at(step: int) -> Counterfactuals:
        rows = torch.randint(len(labels[0]), (count,), generator=generator(seed, "counterfactuals", step))
        with open_tensors(path) as file:
            images = file.get_slice("images")
            drawn = torch.cat([images[row : row + 1] for row in rows.tolist()])
        return Counterfactuals(drawn, *(part[rows] for part in labels))

    return Source(sha256(path), 1 + max(int(part.max()) for part in labels), at, all_known=False)
