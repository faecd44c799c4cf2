"""Streams of counterfactuals for training: composed by a CGN at every step, or drawn from a file of composed ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256
from skdcgn.base.seeds import derive_seed, generator
from skdcgn.base.tensors import open_tensors
from skdcgn.cgn.classes import Classes, match_classes
from skdcgn.cgn.compose import Counterfactuals, compose
from skdcgn.cgn.mechanism import Spec, Teacher, spec_from_metadata
from skdcgn.data.images import LabelledImages

COUNTERFACTUALS_FILE = "counterfactuals.safetensors"
LABELS = ("shape_labels", "texture_labels", "background_labels")


class CounterfactualStream(NamedTuple):
    """Counterfactuals of each training step.

    Args:
        origin: names the stream in a run's digest.
        classes: whose numbers the labels are.
        at: ``step -> counterfactuals``, a function of the step alone.
        at_least: the number of classes is a lower bound: a file without a Spec shows only the labels that occur in it.
    """

    origin: str
    classes: Classes
    at: Callable[[int], Counterfactuals]
    at_least: bool = False

    def numbered_as(self, own: Classes, mend: str) -> "CounterfactualStream":
        """Return the stream with labels in the order of other classes; see :func:`skdcgn.cgn.classes.match_classes`.

        Args:
            own: whose order.
            mend: what a user can do about classes that do not fit.
        """
        few = self.at_least and self.classes.count < own.count
        numbers = match_classes(own, replace(self.classes, count=own.count) if few else self.classes, mend)

        def at(step: int) -> Counterfactuals:
            drawn = self.at(step)
            labels = (drawn.shape_labels, drawn.texture_labels, drawn.background_labels)
            return Counterfactuals(drawn.images, *(numbers[part] for part in labels))

        return self._replace(classes=own, at=at, at_least=False)


def stream_from_cgn(cgn: Teacher, count: int, *, seed: int = 0) -> CounterfactualStream:
    """Compose ``count`` new counterfactuals at every step."""

    def at(step: int) -> Counterfactuals:
        return compose(cgn, count, seed=derive_seed(seed, "counterfactuals", step))

    return CounterfactualStream(cgn.digest, Classes.of("the CGN", cgn.spec), at)


def stream_from_file(path: Path, count: int, *, seed: int = 0) -> CounterfactualStream:
    """Draw ``count`` counterfactuals at every step from a file that ``skdcgn generate`` wrote; only they are read.

    Raises:
        UserError: no such file, a damaged one, or one without images and three labels of each.
    """
    with open_counterfactuals(path) as file:
        labels = [file.get_tensor(name) for name in LABELS]
        spec = spec_from_metadata(file.metadata() or {}, path)

    def at(step: int) -> Counterfactuals:
        rows = torch.randint(len(labels[0]), (count,), generator=generator(seed, "counterfactuals", step))
        with open_tensors(path) as file:
            images = file.get_slice("images")
            parts = [images[row : row + 1] for row in rows.tolist()]
        return Counterfactuals(torch.cat(parts), *(part[rows] for part in labels))

    return CounterfactualStream(sha256(path), _classes(spec, path, labels), at, at_least=spec is None)


def read_counterfactuals(path: Path) -> LabelledImages:
    """Read all images of a file that ``skdcgn generate`` wrote, with the labels of their shapes.

    Raises:
        UserError: no such file, a damaged one, or one without images and three labels of each.
    """
    with open_counterfactuals(path) as file:
        labels = [file.get_tensor(name) for name in LABELS]
        classes = _classes(spec_from_metadata(file.metadata() or {}, path), path, labels)
        return LabelledImages(file.get_tensor("images"), labels[0], classes.names, classes.count)


def _classes(spec: Spec | None, path: Path, labels: list[Tensor]) -> Classes:
    """Return the classes of the Spec in a file; without one, as many as labels occur."""
    return Classes.of(path, spec) if spec else Classes(str(path), 1 + max(int(part.max()) for part in labels))


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
