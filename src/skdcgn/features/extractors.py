"""Extractors: frozen networks from images to features and class probabilities, with a name and a digest.

A Frechet distance depends on its extractor, its resizer and its sample counts (Parmar et al. 2022), so numbers carry
all three. Images are resized with antialiasing and pass the network in batches of ``BATCH``, however they arrive:
float32 convolutions may differ in the last digit between batch sizes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdcgn.base.bounds import MOST_SIDE, ClassCount, Side
from skdcgn.base.door import is_file, is_folder, read_record
from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256
from skdcgn.base.home import from_home
from skdcgn.base.onnx_models import onnx_errors, open_onnx
from skdcgn.base.tensors import read_tensors
from skdcgn.zoo.efficientnet import EFFICIENTNET, load_efficientnet, normalise

BATCH = 250
DIGITS = "digits"
EFFICIENTNET_SIZE = 224
UNIT_SUM = 1e-3  # how far the sum of class probabilities may lie from 1

Network = Callable[[Tensor], tuple[Tensor, Tensor | None]]
Images = Tensor | Iterable[Tensor]


class Features(NamedTuple):
    """Features (N, D) and, where the network is a classifier, class probabilities (N, K); float64, on the CPU."""

    features: Tensor
    probabilities: Tensor | None


@dataclass(frozen=True)
class Extractor:
    """A frozen network and what identifies it.

    Args:
        name: the network's name.
        digest: sha256 of the file of its weights.
        size: side in pixels of its square inputs.
        dim: number of features (D).
        network: images (B, 3, size, size) in [-1, 1] -> features (B, D) and class probabilities (B, K) or None.
    """

    name: str
    digest: str
    size: int
    dim: int
    network: Network

    @property
    def resizer(self) -> str:
        """How images of another size are resized to ``size``."""
        return f"bilinear-antialias-{self.size}"

    def __call__(self, images: Tensor) -> Features:
        """Extract one batch of images (B, 3, H, W) in [-1, 1]; raise UserError for other shapes, types and NaN."""
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise UserError(
                f"images have shape {tuple(images.shape)} and type {images.dtype}: "
                "pass floating point numbers in [-1, 1] of shape (B, 3, H, W)"
            )
        with torch.inference_mode():
            features, probabilities = self.network(_resize(images, self.size))
        if features.shape != (len(images), self.dim) or not bool(torch.isfinite(features).all()):
            raise UserError(
                f"the features of {self.name} are not ({len(images)}, {self.dim}) finite numbers: check images"
            )
        if probabilities is None:
            return Features(features.double().cpu(), None)
        if not bool(((probabilities.sum(1) - 1).abs() < UNIT_SUM).all()):
            raise UserError(f"the second output of {self.name} does not hold class probabilities: end it in a softmax")
        return Features(features.double().cpu(), probabilities.double().cpu())

    def stream(self, images: Images) -> Iterator[Features]:
        """Yield the features of images, a tensor or batches, ``BATCH`` at a time; raise UserError if there are none."""
        batches = regroup(images, BATCH)
        first = next(batches, None)
        if first is None:
            raise UserError("there are no images to measure: pass at least two")
        yield self(first)
        yield from map(self, batches)

    def gather(self, images: Images) -> Features:
        """Return the features of all images, a tensor or batches: N x D numbers of eight bytes."""
        features, probabilities = zip(*self.stream(images), strict=True)
        return Features(torch.cat(features), None if probabilities[0] is None else torch.cat(probabilities))


def _resize(images: Tensor, size: int) -> Tensor:
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)


def regroup(images: Images, size: int) -> Iterator[Tensor]:
    """Yield the rows of a tensor or of successive batches in batches of ``size``, the last one smaller."""
    partial = None
    for batch in (images,) if isinstance(images, Tensor) else images:
        *full, partial = (batch if partial is None else torch.cat([partial, batch])).split(size)
        yield from full
    if partial is not None and len(partial):
        yield partial


def load_extractor(source: str | Path = DIGITS, *, device: str = "cpu") -> Extractor:
    """Return an extractor.

    Args:
        source: ``digits``, the project's classifier for 32 px; ``efficientnet-lite0``, trained on ImageNet; the run
            folder of a classifier; or an ``.onnx`` file, such as an Inception network, with one input
            (B, 3, S, S) in [-1, 1] and one or two outputs, features (B, D) and class probabilities (B, K).
        device: where the network runs; an ONNX file runs on the CPU.

    Raises:
        UserError: no such extractor, a damaged one, or one whose packages are missing.
    """
    path = Path(from_home(str(source)))
    if source == DIGITS:
        return _bundled_extractor(device)
    if source == EFFICIENTNET:
        return _efficientnet_extractor(device)
    if is_folder(path):
        return _run_extractor(path, device)
    if path.suffix.lower() == ".onnx" and is_file(path):
        return _onnx_extractor(path)
    raise UserError(
        f"no extractor {str(source)!r}: use {DIGITS}, {EFFICIENTNET}, a classifier's run folder or an .onnx file"
    )


@dataclass(frozen=True)
class Card:
    """The card of the bundled classifier: the sha256 of its weights, its classes, pixels of a side of its images."""

    sha256: str
    classes: ClassCount
    image_size: Side


def _bundled_extractor(device: str) -> Extractor:
    from skdcgn.classifiers.small_cnn import Classifier

    home = resources.files("skdcgn.zoo") / "extractors"
    with resources.as_file(home) as folder:
        card, digest = read_record(folder / f"{DIGITS}.json", Card), sha256(folder / f"{DIGITS}.safetensors")
        state, _ = read_tensors(folder / f"{DIGITS}.safetensors")
    if digest != card.sha256:
        raise UserError(f"the extractor {DIGITS} is damaged (checksum differs): reinstall skdcgn")
    classifier = Classifier(card.classes)
    classifier.load_state_dict(state)  # sound: the checksum is the card's
    return _classifier_extractor(classifier, DIGITS, digest, card.image_size, device)


def _run_extractor(folder: Path, device: str) -> Extractor:
    from skdcgn.classifiers.small_cnn import load_classifier, read_form

    classifier, size = load_classifier(folder), read_form(folder).image_size
    digest = sha256(folder / "checkpoint.safetensors")
    return _classifier_extractor(classifier, f"classifier:{folder.resolve().name}", digest, size, device)


def _classifier_extractor(classifier: Any, name: str, digest: str, size: int, device: str) -> Extractor:
    """Features log(1 + f) of the pooled activations f of a small CNN, before its last layer.

    The norm of f grows with the contrast of the colours; the logarithm keeps single images from dominating a kernel
    distance.
    """
    frozen = classifier.to(device).eval().requires_grad_(False)

    def network(images: Tensor) -> tuple[Tensor, Tensor]:
        activations = frozen.body(images.to(device).contiguous(memory_format=torch.channels_last))
        return activations.log1p(), frozen.head(activations).softmax(1)

    return Extractor(name, digest, size, frozen.head.in_features, network)


def _efficientnet_extractor(device: str) -> Extractor:
    model, weights = load_efficientnet()
    model.to(device).eval().requires_grad_(False)
    head = cast(nn.Linear, model._fc)

    def network(images: Tensor) -> tuple[Tensor, Tensor]:
        features = model.extract_features(normalise(images.to(device))).mean((2, 3))
        return features, head(features).softmax(1)

    return Extractor(EFFICIENTNET, sha256(weights), EFFICIENTNET_SIZE, head.in_features, network)


def _onnx_extractor(path: Path) -> Extractor:
    session = open_onnx(path)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) > 2 or not _is_square(inputs[0].shape) or len(outputs[0].shape) != 2:
        raise UserError(
            f"{path} is not an extractor: export it with one input (B, 3, S, S), S a number, and one or two outputs, "
            "features (B, D) and class probabilities (B, K)"
        )

    def network(images: Tensor) -> tuple[Tensor, Tensor | None]:
        arrays = session.run(None, {inputs[0].name: images.float().cpu().numpy()})
        features, *probabilities = (torch.from_numpy(array) for array in arrays)
        return features, probabilities[0] if probabilities else None

    size = int(inputs[0].shape[2])
    with onnx_errors(path):
        dim = network(torch.zeros(1, 3, size, size))[0].shape[1]
    return Extractor(path.stem, sha256(path), size, dim, network)


def _is_square(shape: list[Any]) -> bool:
    square = len(shape) == 4 and shape[1] == 3 and shape[2] == shape[3] and isinstance(shape[2], int)
    return square and 1 <= shape[2] <= MOST_SIDE
