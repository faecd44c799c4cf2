"""Where a user's classifier comes from: each origin is opened as a :class:`Source`, which has all that it states.

A run folder of ours, the bundled EfficientNet-Lite0, a PyTorch module, a callable, and ``module:name``.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skdcgn.base.door import is_file, read_object
from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256
from skdcgn.base.foreign_code import callable_name, code_errors, imported
from skdcgn.classifiers.answers import Run
from skdcgn.classifiers.ensemble import Ensemble, load_ensemble, read_ensemble_form
from skdcgn.classifiers.preprocess import FILE, PREPROCESSES, Preprocess, as_triple
from skdcgn.classifiers.small_cnn import load_classifier, read_form
from skdcgn.data.imagenet_classes import WORDNET_IDS
from skdcgn.zoo.efficientnet import EFFICIENTNET, folded_efficientnet

SIGNED, IMAGENET = PREPROCESSES["signed"], PREPROCESSES["imagenet"]
ENSEMBLE_KEY, CLASSIFIER_KEY = "backbone", "cooldown"  # of the configurations of run folders, of theirs alone
SMALL = "a classifier of skdcgn"  # the kind of one that classify wrote
TAKES = "give it a name for a module, a function without required arguments that returns one, or a function of images"


@dataclass(frozen=True)
class Source:
    """A classifier as its origin states it; None and () for what it does not state.

    Args:
        name, digest, kind: see :class:`skdcgn.classifiers.any.AnyClassifier`.
        run: input (B, 3, S, S) on the CPU -> the answer.
        module: the PyTorch module that answers.
        size: pixels of a side of its input.
        preprocess: of its input, as it states it.
        usual: the preprocess where neither it nor a flag states one.
        names: of its classes.
        batch: images that it takes at once, no more and no fewer; None: any number.
    """

    name: str
    digest: str
    kind: str
    run: Run
    module: nn.Module | None = None
    size: int | None = None
    preprocess: Preprocess | None = None
    usual: Preprocess = IMAGENET
    names: tuple[str, ...] = ()
    batch: int | None = None


def run_folder_kind(folder: Path) -> str | None:
    """Return which classifier of ours a run folder holds, ``ENSEMBLE_KEY`` or ``CLASSIFIER_KEY``; None for neither."""
    file = folder / "config.json"
    config = read_object(file) if is_file(file) else {}
    return next((key for key in (ENSEMBLE_KEY, CLASSIFIER_KEY) if key in config), None)


def of_folder(folder: Path, device: str) -> Source:
    """Open the classifier of a run folder; raise UserError if it holds none."""
    kind = run_folder_kind(folder)
    if kind is None:
        raise UserError(f"{folder} holds no classifier: pass a folder that skdcgn classify or skdcgn ensemble wrote")
    name, signed = str(folder), replace(SIGNED, origin=FILE)
    if kind == ENSEMBLE_KEY:
        ensemble, names = load_ensemble(folder)
        source = of_module(MeanOfHeads(ensemble), name, "an ensemble of skdcgn", device)
        source = replace(source, names=names, size=read_ensemble_form(folder).image_size)
    else:
        form = read_form(folder)
        source = of_module(load_classifier(folder), name, SMALL, device)
        source = replace(source, names=form.names, size=form.image_size)
    return replace(source, digest=sha256(folder / "checkpoint.safetensors"), preprocess=signed)


class MeanOfHeads(nn.Module):
    """The decision of an ensemble: images (B, 3, S, S) in [-1, 1] -> the mean of the logits of its heads (B, K)."""

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.ensemble = ensemble

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.ensemble(images).mean(0)
        return logits


def of_efficientnet(device: str) -> Source:
    """Open EfficientNet-Lite0, whose classes are ImageNet's WordNet ids and whose input is (grey level - 127) / 128."""
    network, weights = folded_efficientnet()
    source = of_module(network, EFFICIENTNET, "the bundled classifier of ImageNet", device)
    grey = Preprocess(as_triple([127 / 255]), as_triple([128 / 255]), origin=FILE)
    return replace(source, digest=sha256(weights), size=224, preprocess=grey, names=WORDNET_IDS)


def of_module(module: nn.Module, name: str, kind: str, device: str) -> Source:
    """Open a PyTorch module, which is moved to the device and answers in evaluation mode."""
    module.to(device)

    def run(images: Tensor) -> Any:
        with suppress(NotImplementedError):  # of a program of torch.export, which has one mode
            module.eval()
        return module(images.to(device))

    return Source(name, module_digest(module), kind, run, module)


def module_digest(module: nn.Module) -> str:
    """Return the sha256 of the names, types, shapes and bytes of a module's tensors."""
    state = hashlib.sha256()
    for name, value in module.state_dict().items():
        if isinstance(value, Tensor) and value.layout is torch.strided:
            state.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            state.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def of_callable(function: Callable[[Tensor], Any], name: str, kind: str = "a callable") -> Source:
    """Open a function of images (B, 3, S, S); as it is passed in a program, it takes them in [-1, 1] as they are."""
    digest = f"callable:{function.__module__}.{callable_name(function)}"
    return Source(name, digest, kind, function, usual=SIGNED)


def of_name(words: str, device: str) -> Source:
    """Open ``package.module:name``, looked up with the working directory on the path.

    The name stands for a module, a function or class without required arguments that returns a module or a callable, or
    a callable that takes images.

    Raises:
        UserError: the module cannot be imported, has no such name, or the name stands for something else.
    """
    value = _called(imported(words), words)
    if isinstance(value, nn.Module):
        return of_module(value, words, "a PyTorch module", device)
    if not callable(value):
        raise UserError(f"{words} is of type {type(value).__name__}, no classifier: {TAKES}")
    return replace(of_callable(value, words), usual=IMAGENET)


def _called(value: Any, words: str) -> Any:
    """Return what a function or class without required arguments returns; anything else as it is."""
    if isinstance(value, nn.Module) or not callable(value):
        return value
    required = _required(value)
    if required > 1:
        raise UserError(f"{words} takes {required} arguments: {TAKES}")
    if required:
        return value
    with code_errors(f"{words}() fails", "mend it, or give its arguments defaults"):
        return value()


def _required(function: Callable[..., Any]) -> int:
    """Return how many arguments a call must pass; 1, the images, where the signature is not to be had."""
    try:
        parameters = signature(function).parameters.values()
    except ValueError:  # of some functions written in C
        return 1
    several = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return sum(one.default is Parameter.empty and one.kind not in several for one in parameters)
