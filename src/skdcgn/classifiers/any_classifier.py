"""Any classifier, ours or a user's, as one record: images in [-1, 1] in, class probabilities out.

    p(x) = softmax f(prepare(resize(x)))

with f the network, ``prepare`` its :class:`~skdcgn.classifiers.preprocess.Preprocess`; a network that answers
probabilities has no softmax. Classes that share a name are one class: its probability is the sum of theirs. To decide
among some classes is to condition on them,

    p(k | own) = q_k / sum_j q_j,

the restriction of the softmax to them; q_k is p_k, or the mean of p over the WordNet ids of k where k is one of the
sixteen categories (:mod:`skdcgn.data.categories`).
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skdcgn.base.errors import UserError
from skdcgn.cgn.classes import Classes, match_classes
from skdcgn.classifiers.answers import Run, answer, are_probabilities
from skdcgn.classifiers.preprocess import Preprocess
from skdcgn.data.categories import CATEGORIES, averages
from skdcgn.data.photos import resized

NUMBERS_AT_ONCE = 2**21  # of the images of a batch: they and their first features stay in a processor's cache
NAME_CLASSES = "name the classifier's classes by --names FILE, as the CGN names its own"


class Notes(NamedTuple):
    """How the size and the classes came about, and among how many of whose classes it decides, in words."""

    size: str
    classes: str
    among: str = ""


@dataclass(frozen=True)
class AnyClassifier:
    """A classifier that is ready to decide.

    Args:
        name: a path, ``module:function``, a bundled name, or a callable's name.
        digest: sha256 of its file or weights; ``callable:module.name`` of a callable.
        kind: what it is, in words: ``an ONNX file``, ``an ensemble of skdcgn``, ...
        classes: those among which it decides.
        size: pixels of a side of its input; None: it takes any size, and pictures are not resized.
        preprocess: of its input.
        module: the PyTorch module, from prepared input (:meth:`inputs`) to the answer; None for ONNX and callables.
        run: prepared input on the CPU -> the answer.
        notes: what its line says of size and classes.
        soft: whether the answers are probabilities already.
        matrix: (classes, outputs), the weights of the outputs in each class; None: they are the classes.
        batch: images that it takes at once, no more and no fewer; None: any number.
    """

    name: str
    digest: str
    kind: str
    classes: Classes
    size: int | None
    preprocess: Preprocess
    module: nn.Module | None = field(repr=False, compare=False)
    run: Run = field(repr=False, compare=False)
    notes: Notes
    soft: bool = False
    matrix: Tensor | None = field(default=None, repr=False, compare=False)
    batch: int | None = None

    @property
    def outputs(self) -> int:
        """How many numbers the network answers to an image."""
        return self.classes.count if self.matrix is None else self.matrix.shape[1]

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the probabilities (B, K) of the classes, float32 on the CPU, of images (B, 3, H, W) in [-1, 1].

        Images are resized to ``size`` (bilinear with antialiasing) and prepared.

        Raises:
            UserError: a network that does not take them, or answers something other than finite numbers (B, K).
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise UserError(
                f"images have shape {tuple(images.shape)} and type {images.dtype}: "
                "pass floating point numbers in [-1, 1] of shape (B, 3, H, W)"
            )
        side = self.size or images.shape[-1]
        rows = self.batch or max(1, NUMBERS_AT_ONCE // (3 * side**2))
        return torch.cat([self._probabilities(part) for part in images.split(rows)])

    def logits(self, images: Tensor) -> dict[str, Tensor]:
        """Return log probabilities (B, K) under ``ensemble``, as :mod:`skdcgn.evaluation.heads` takes them."""
        return {"ensemble": self.probabilities(images).clamp(min=torch.finfo(torch.float32).tiny).log()}

    def inputs(self, images: Tensor) -> Tensor:
        """Return images (B, 3, H, W) in [-1, 1] as the network's input (B, 3, S, S), resized and prepared."""
        return self.preprocess(resized(images, self.size))

    def _probabilities(self, images: Tensor) -> Tensor:
        count, rows = len(images), self.batch or len(images)
        if count < rows:
            images = torch.cat([images, images[-1:].expand(rows - count, -1, -1, -1)])
        values = answer(self.run, self.inputs(images.float().cpu()), self.name, "pass --size")[:count]
        outputs = self.outputs
        if values.shape[1] != outputs or (self.soft and not are_probabilities(values)):
            raise UserError(
                f"{self.name} answered {outputs} {'probabilities' if self.soft else 'numbers'} at first: "
                "it must answer the same kind of numbers to all images"
            )
        shares = values.double() if self.soft else values.double().softmax(1)
        if self.matrix is not None:
            shares = shares @ self.matrix.T
            total = shares.sum(1, keepdim=True)
            shares = torch.where(total > 0, shares / total, 1 / self.classes.count)
        return shares.float()

    def on_classes(self, own: Classes) -> "AnyClassifier":
        """Return the classifier that decides among the classes of ``own``, in their order.

        Classes are matched by name. One that is called as one of the sixteen categories, where the classifier has
        WordNet ids of it instead, is the mean of these.

        Raises:
            UserError: a class that the classifier lacks; the line names the nearest one.
        """
        categories, means = _categories(self.classes, own)
        names = self.classes.names and (*self.classes.names, *categories)
        every = Classes(self.name, self.classes.count + len(categories), names)
        numbers = match_classes(every, own, NAME_CLASSES, some=True)
        matrix = torch.cat([torch.eye(self.classes.count, dtype=torch.float64), means])[numbers]
        whole = matrix if self.matrix is None else matrix @ self.matrix
        means_of = f", {len(categories)} of them the mean of their WordNet ids" if categories else ""
        among = f"decides among the {own.count:,} of {own.owner}{means_of}"
        classes = Classes(self.name, own.count, own.words)
        return replace(self, classes=classes, matrix=whole, notes=self.notes._replace(among=among))

    def __str__(self) -> str:
        size, names, among = self.notes
        words = f"{self.name} is {self.kind}: {size}, preprocess {self.preprocess} ({self.preprocess.origin}), {names}"
        return f"{words}; {among}" if among else words


def _categories(classes: Classes, own: Classes) -> tuple[list[str], Tensor]:
    """Return the categories among ``own`` of which ``classes`` has WordNet ids alone, and the rows of their means."""
    groups = averages(classes.words)
    rows = [
        row
        for row, name in enumerate(CATEGORIES)
        if name in own.names and name not in classes.names and bool(groups[row].any())
    ]
    return [list(CATEGORIES)[row] for row in rows], groups[rows].double()
