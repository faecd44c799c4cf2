"""Any classifier, ours or a user's, as one record: images in [-1, 1] in, class probabilities out.

    p(x) = softmax f(prepare(resize(x)))

with f the network, ``prepare`` its :class:`~skdcgn.classifiers.preprocess.Preprocess`; a network that answers
probabilities has no softmax. Classes that share a name are one class: its probability is the sum of theirs. To decide
among some classes is to condition on them,

    p(k | own) = q_k / sum_j q_j,

the restriction of the softmax to them; q_k is p_k, or the mean of p over the WordNet ids of k where k is one of the
sixteen categories (:mod:`skdcgn.data.categories`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdcgn.base.bounds import MOST_SIDE
from skdcgn.base.door import is_file, is_folder
from skdcgn.base.errors import UserError, shown
from skdcgn.base.home import from_home
from skdcgn.base.seeds import generator
from skdcgn.cgn.classes import Classes, listed, match_classes
from skdcgn.classifiers.answers import Run, answer, are_probabilities
from skdcgn.classifiers.class_names import checked_names, grouping, read_names
from skdcgn.classifiers.onnx_source import is_onnx, is_onnx_cgn, of_onnx
from skdcgn.classifiers.preprocess import Preprocess, parse_preprocess
from skdcgn.classifiers.sources import (
    MODULE_NAME,
    Source,
    callable_name,
    of_callable,
    of_efficientnet,
    of_folder,
    of_module,
    of_name,
)
from skdcgn.classifiers.torchscript import is_torchscript, of_torchscript
from skdcgn.data.categories import CATEGORIES, averages
from skdcgn.data.imagenet_classes import WORDNET_IDS
from skdcgn.zoo.efficientnet import EFFICIENTNET

NUMBERS_AT_ONCE = 2**21  # of the images of a batch: they and their first features stay in a processor's cache
TRIED = (32, 64, 128, 224, 256, 299, 384, 28)  # sides of pictures that say which size a network takes
NAME_CLASSES = "name the classifier's classes by --names FILE, as the CGN names its own"
SHARED = ("name", "digest", "kind", "module", "run", "batch")  # fields of a Source and of a classifier
ANY = (
    "pass a run folder, an .onnx or TorchScript file, efficientnet-lite0, module:function or, in Python, a module or a "
    "callable"
)


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
        outputs = self.classes.count if self.matrix is None else self.matrix.shape[1]
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


def resized(images: Tensor, size: int | None) -> Tensor:
    """Return images resized to ``size`` pixels of a side, bilinear with antialiasing; as they are for None."""
    if size is None or images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True).clamp(-1, 1)


def open_classifier(
    source: str | Path | nn.Module | Callable[[Tensor], Any] | AnyClassifier,
    *,
    preprocess: str | None = None,
    size: int | None = None,
    names: str | Path | Sequence[str] | None = None,
    bgr: bool = False,
    device: str = "cpu",
    side: int | None = None,
) -> AnyClassifier:
    """Return a classifier.

    Args:
        source: a run folder that classify or ensemble wrote, an ``.onnx`` file
            (:mod:`skdcgn.classifiers.onnx_source`), TorchScript, ``efficientnet-lite0``, ``module:name`` (it stands
            for a module, for a function or class without required arguments that returns a module or a callable, or for
            a callable; the working directory is on the path), a PyTorch module, or a callable: images (B, 3, S, S) ->
            logits or probabilities (B, K).
        preprocess: ``imagenet``, ``unit``, ``signed`` or numbers (:func:`parse_preprocess`). Default: what the source
            states; else ``imagenet``, and for a callable ``signed``.
        size: pixels of a side of its input. Default: what the source states; else pictures are not resized.
        names: of its classes in order, or a file of them: a name per line, or a JSON list or object {number: name}.
            Classes with one name are one class, whose probability is the sum of theirs. Default: what the source
            states; for 1,000 outputs, ImageNet's WordNet ids.
        bgr: whether it takes blue first.
        device: where a PyTorch module runs.
        side: pixels of a side of the pictures to come, which a classifier that states no size is tried with.

    Raises:
        UserError: no such classifier, a damaged one, one that takes no images (B, 3, S, S) or answers something other
            than finite numbers (B, K), or names of another number of classes.
    """
    if isinstance(source, AnyClassifier):
        return source
    if size is not None and not 1 <= size <= MOST_SIDE:
        raise UserError(f"--size {shown(size)}: a side has 1 to {MOST_SIDE} pixels")
    opened = _opened(source, device)
    way, pixels = _way(opened, preprocess, bgr), size or opened.size
    values = _first_answer(opened, way, pixels, side)
    words, origin = _class_names(opened, names, values.shape[1])
    distinct, matrix = grouping(words)
    classes = Classes(opened.name, len(distinct) or values.shape[1], distinct)
    return AnyClassifier(
        **{name: value for name, value in vars(opened).items() if name in SHARED},
        classes=classes,
        size=pixels,
        preprocess=way,
        soft=are_probabilities(values),
        matrix=matrix,
        notes=Notes(_size_words(size, opened.size), f"{classes.count:,} classes {origin}"),
    )


def _opened(source: str | Path | nn.Module | Callable[[Tensor], Any], device: str) -> Source:
    if isinstance(source, nn.Module):
        return of_module(source, type(source).__qualname__, "a PyTorch module", device)
    if not isinstance(source, str | Path):
        if not callable(source):
            raise UserError(f"{ANY}, but got {shown(source)}")
        return of_callable(source, callable_name(source))
    if str(source) == EFFICIENTNET:
        return of_efficientnet(device)
    path = Path(from_home(str(source)))
    if is_folder(path):
        return of_folder(path, device)
    if is_file(path):
        return _of_file(path, device)
    if MODULE_NAME.fullmatch(str(source)):
        return of_name(str(source), device)
    raise UserError(f"no classifier {shown(str(source))}: {ANY}")


def _of_file(path: Path, device: str) -> Source:
    if is_onnx(path):
        return of_onnx(path)
    if is_torchscript(path):
        return of_torchscript(path, device)
    raise UserError(f"{path} is no classifier: {ANY}")


def names_classifier(words: str) -> bool:
    """Say whether words that name no folder name a classifier, not a CGN: a bundled name, a file, ``module:name``.

    Raises:
        UserError: an ONNX file that is damaged, or is a CGN.
    """
    path = Path(from_home(words))
    if not is_file(path):
        return words == EFFICIENTNET or bool(MODULE_NAME.fullmatch(words))
    if is_onnx(path) and is_onnx_cgn(path):
        raise UserError(f"{path} is a CGN as one file: pass the student or the teacher that it was exported from")
    return is_onnx(path) or is_torchscript(path)


def _way(opened: Source, preprocess: str | None, bgr: bool) -> Preprocess:
    """Return the preprocess that a flag names, else the source's, else the usual one of its kind."""
    if preprocess is not None:
        return parse_preprocess(preprocess, bgr=bgr)
    stated = opened.preprocess or opened.usual
    return replace(stated, bgr=stated.bgr or bgr)


def _first_answer(opened: Source, way: Preprocess, size: int | None, side: int | None) -> Tensor:
    """Return the answer to pictures of noise; where no size is stated, to those of ``side`` pixels."""

    def at(pixels: int, mend: str) -> Tensor:
        shape = (opened.batch or 2, 3, pixels, pixels)
        images = 2 * torch.rand(shape, generator=generator("classifier", "first answer")) - 1
        return answer(opened.run, way(images), opened.name, mend)

    if size or side:
        try:
            return at(size or side or 0, "pass another --size")
        except UserError as error:
            fitting = next((pixels for pixels in TRIED if _fits(at, pixels)), None)
            if fitting is None:
                raise
            raise UserError(f"{error}; it takes {fitting}: --size {fitting}") from error
    fitting = next((pixels for pixels in TRIED if _fits(at, pixels)), TRIED[0])
    return at(fitting, "state its size by --size")


def _fits(at: Callable[[int, str], Tensor], pixels: int) -> bool:
    try:
        at(pixels, "")
    except UserError:
        return False
    return True


def _class_names(opened: Source, names: str | Path | Sequence[str] | None, outputs: int) -> tuple[tuple[str, ...], str]:
    """Return the names of the outputs, and in words where they come from."""
    if isinstance(names, str | Path):
        words, origin = read_names(Path(from_home(str(names)))), f"as {names} names them"
    elif names is not None:
        words, origin = checked_names(names, "names"), "as --names says"
    elif opened.names:
        words, origin = opened.names, "as it names them"
    elif outputs == len(WORDNET_IDS):
        return WORDNET_IDS, "without names, taken for ImageNet's in their order"
    else:
        return (), "without names"
    if len(words) != outputs:
        raise UserError(
            f"{opened.name} answers {outputs:,} numbers to an image, and there are {len(words):,} names "
            f"({origin}): name every output, in order"
        )
    return words, f"{origin} ({listed(words)})"


def _size_words(flag: int | None, stated: int | None) -> str:
    if flag or stated:
        return f"pictures of {flag or stated} pixels ({'as --size says' if flag else 'as it states'})"
    return "pictures of any size"
