"""How any classifier is opened, ours or a user's: by path, by name, as a module or a callable."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skdcgn.base.bounds import MOST_SIDE
from skdcgn.base.door import is_file, is_folder
from skdcgn.base.errors import UserError, shown
from skdcgn.base.foreign_code import MODULE_NAME, callable_name
from skdcgn.base.home import from_home
from skdcgn.base.onnx_models import is_onnx
from skdcgn.base.seeds import generator
from skdcgn.cgn.classes import Classes, listed
from skdcgn.classifiers.answers import answer, are_probabilities
from skdcgn.classifiers.any_classifier import AnyClassifier, Notes
from skdcgn.classifiers.class_names import checked_names, grouping, read_names
from skdcgn.classifiers.onnx_source import is_onnx_cgn, of_onnx
from skdcgn.classifiers.preprocess import Preprocess, parse_preprocess
from skdcgn.classifiers.sources import (
    Source,
    of_callable,
    of_efficientnet,
    of_folder,
    of_module,
    of_name,
)
from skdcgn.classifiers.torchscript import is_torchscript, of_torchscript
from skdcgn.data.imagenet_classes import WORDNET_IDS
from skdcgn.zoo.efficientnet import EFFICIENTNET

TRIED = (32, 64, 128, 224, 256, 299, 384, 28)  # sides of pictures that say which size a network takes
SHARED = ("name", "digest", "kind", "module", "run", "batch")  # fields of a Source and of a classifier
ANY = (
    "pass a run folder, an .onnx or TorchScript file, efficientnet-lite0, module:function or, in Python, a module or a "
    "callable"
)


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
            than finite numbers (B, K), names of another number of classes, or one that is open already and is to read
            pictures otherwise.
    """
    if isinstance(source, AnyClassifier):
        if preprocess is not None or size is not None or names is not None or bgr:
            raise UserError(f"{source.name} is open already: pass preprocess, size, names and bgr when you open it")
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
        UserError: an ONNX file that is damaged.
    """
    path = Path(from_home(words))
    if not is_file(path):
        return words == EFFICIENTNET or bool(MODULE_NAME.fullmatch(words))
    return not is_onnx_cgn(path) if is_onnx(path) else is_torchscript(path)


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
