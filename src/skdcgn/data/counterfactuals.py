"""Streams of counterfactuals for training: composed by a CGN at every step, or drawn from a file of composed ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256
from skdcgn.base.seeds import derive_seed, generator
from skdcgn.base.tensors import open_tensors
from skdcgn.cgn.compose import Counterfactuals, compose
from skdcgn.cgn.mechanism import Teacher
from skdcgn.data.images import LabelledImages

COUNTERFACTUALS_FILE = "counterfactuals.safetensors"
LABELS = ("shape_labels", "texture_labels", "background_labels")


class CounterfactualStream(NamedTuple):
    """Counterfactuals of each training step.

    Args:
        origin: names the stream in a run's digest.
        classes: how many the labels count.
        at: ``step -> counterfactuals``, a function of the step alone.
        at_least: ``classes`` is a lower bound: a file shows only the labels that occur in it.
    """

    origin: str
    classes: int
    at: Callable[[int], Counterfactuals]
    at_least: bool = False

    def fits(self, classes: int) -> bool:
        """Tell whether the labels can be those of ``classes`` classes."""
        return self.classes <= classes if self.at_least else self.classes == classes


def stream_from_cgn(cgn: Teacher, count: int, *, seed: int = 0) -> CounterfactualStream:
    """Compose ``count`` new counterfactuals at every step."""

    def at(step: int) -> Counterfactuals:
        return compose(cgn, count, seed=derive_seed(seed, "counterfactuals", step))

    return CounterfactualStream(cgn.digest, cgn.spec.classes, at)


def stream_from_file(path: Path, count: int, *, seed: int = 0) -> CounterfactualStream:
    """Draw ``count`` counterfactuals at every step from a file that ``skdcgn generate`` wrote; only they are read.

    Raises:
        UserError: no such file, a damaged one, or one without images and three labels of each.
    """
    with open_counterfactuals(path) as file:
        labels = [file.get_tensor(name) for name in LABELS]

    def at(step: int) -> Counterfactuals:
        rows = torch.randint(len(labels[0]), (count,), generator=generator(seed, "counterfactuals", step))
        with open_tensors(path) as file:
            images = file.get_slice("images")
            parts = [images[row : row + 1] for row in rows.tolist()]
        return Counterfactuals(torch.cat(parts), *(part[rows] for part in labels))

    classes = 1 + max(int(part.max()) for part in labels)
    return CounterfactualStream(sha256(path), classes, at, at_least=True)


def read_counterfactuals(path: Path) -> LabelledImages:
    """Read all images of a file that ``skdcgn generate`` wrote, with the labels of their shapes.

    Raises:
        UserError: no such file, a damaged one, or one without images and three labels of each.
    """
    with open_counterfactuals(path) as file:
        return LabelledImages(file.get_tensor("images"), file.get_tensor(LABELS[0]))


@contextmanager
def open_counterfactuals(path: Path) -> Iterator[Any]:
    """Open a file of counterfactuals to read some of it; raise UserError if it holds none."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, not counterfactuals: {_right_file(path)}")
    with open_tensors(path) as file:
        if not {"images", *LABELS} <= set(file.keys()):
            raise UserError(f"{path} holds no counterfactuals: pass the file that skdcgn generate wrote")
        yield file


def _right_file(folder: Path) -> str:
    if (folder / COUNTERFACTUALS_FILE).is_file():
        return f"pass {folder / COUNTERFACTUALS_FILE}"
    return f"pass the file {COUNTERFACTUALS_FILE} that skdcgn generate CGN --out FOLDER writes"
