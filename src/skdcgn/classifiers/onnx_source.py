"""Classifiers in ONNX files: what a file states of its input and its classes, and how it is run.

Shape and type of the input come from the graph: (B, 3, S, S) or, of TensorFlow, (B, S, S, 3); floating point numbers,
or grey levels of 8 bits. The rest may stand in the metadata, under these keys, as text, JSON or a Python literal:

- ``names``, ``class_names``, ``classes``, ``labels``, ``id2label``: a list of names, an object {number: name}, or names
  separated by lines or commas. ``names`` is ours and Ultralytics'.
- ``mean`` and ``std`` (or ``deviation``, ``standardization_mean``, ``standardization_std``), on the scale from 0 to 1.
- ``task``: ``classify`` of Ultralytics, whose classifiers take [0, 1]; ``imgsz``: pixels of a side.
- ``Image.BitmapPixelFormat`` (``Bgr8``) and ``Image.NominalPixelRange`` (``NominalRange_0_255``, ``Normalized_0_1``,
  ``Normalized_1_1``) of the ONNX standard (docs/MetadataProps.md there).
"""

from ast import literal_eval
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skdcgn.base.bounds import MOST_SIDE
from skdcgn.base.errors import UserError, shortened, shown
from skdcgn.base.files import sha256
from skdcgn.base.onnx_models import onnx_errors, open_onnx, runtime_errors
from skdcgn.cgn.mechanism import SPEC_KEY
from skdcgn.classifiers.answers import Run
from skdcgn.classifiers.class_names import checked_names, numbered_names
from skdcgn.classifiers.preprocess import FILE, PREPROCESSES, Preprocess, as_triple
from skdcgn.classifiers.sources import Source

NAMES = ("names", "class_names", "classes", "labels", "id2label")
MEANS, DEVIATIONS = ("mean", "standardization_mean"), ("std", "deviation", "standardization_std")
TYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
    "tensor(uint8)": torch.uint8,
}
RANGES = {
    "NominalRange_0_255": Preprocess(as_triple([0.0]), as_triple([1 / 255]), origin=FILE),
    "Normalized_0_1": replace(PREPROCESSES["unit"], origin=FILE),
    "Normalized_1_1": replace(PREPROCESSES["signed"], origin=FILE),
}
MOST_METADATA = 8 * 2**20  # characters of a value that is read
WRONG_INPUT = "a classifier has one input of pictures, (B, 3, S, S) or (B, S, S, 3)"


class Header(NamedTuple):
    """What a file states: name, shape and type of each input, the name of the first output, and the metadata."""

    inputs: list[tuple[str, list[Any], str]]
    output: str
    metadata: Mapping[str, str]

    @property
    def draws(self) -> bool:
        """Whether the file is a CGN that skdcgn export wrote: it has a Spec, or inputs of noise and labels."""
        return SPEC_KEY in self.metadata or {"shape_noise", "shape_labels"} <= {name for name, _, _ in self.inputs}


def is_onnx_cgn(path: Path) -> bool:
    """Say whether an ONNX file is a CGN; raise UserError if it is damaged."""
    return _header(open_onnx(path), path).draws


def _header(session: Any, path: Path) -> Header:
    with onnx_errors(path):  # of names and metadata that are no text
        inputs = [(one.name, list(one.shape), str(one.type)) for one in session.get_inputs()]
        return Header(inputs, session.get_outputs()[0].name, dict(session.get_modelmeta().custom_metadata_map))


def of_onnx(path: Path) -> Source:
    """Open the classifier in an ONNX file; it runs on the CPU.

    Raises:
        UserError: the file is damaged or a CGN, has several inputs, or one that takes no pictures.
    """
    session = open_onnx(path)
    header = _header(session, path)
    if header.draws:
        raise UserError(f"{path} is a CGN, not a classifier: pass a classifier, and the CGN by --cgn")
    if len(header.inputs) != 1:
        names = shortened(", ".join(name for name, _, _ in header.inputs))
        raise UserError(f"{path} has {len(header.inputs)} inputs ({names}): {WRONG_INPUT}")
    _, shape, kind = header.inputs[0]
    if kind not in TYPES:
        raise UserError(f"{path}: its input is a {kind}: export it with an input of floating point numbers")
    size, last, batch = _shape(path, shape)
    stated, grey = header.metadata, TYPES[kind] is torch.uint8
    return Source(
        str(path),
        sha256(path),
        "an ONNX file",
        _runner(session, header, TYPES[kind], last),
        size=size or _size(stated),
        preprocess=RANGES["Normalized_0_1"] if grey else _preprocess(stated, path),
        names=_names(stated, path),
        batch=batch,
    )


def _runner(session: Any, header: Header, kind: torch.dtype, last: bool) -> Run:
    """Return the file as a function of prepared images (B, 3, S, S)."""

    def run(images: Tensor) -> Any:
        values = (255 * images).round().clamp(0, 255) if kind is torch.uint8 else images
        array = (values.permute(0, 2, 3, 1).contiguous() if last else values).to(kind).numpy()
        try:
            return session.run([header.output], {header.inputs[0][0]: array})[0]
        except runtime_errors() as error:
            raise RuntimeError(str(error)) from None

    return run


def _shape(path: Path, shape: list[Any]) -> tuple[int | None, bool, int | None]:
    """Return the side in pixels, whether channels come last, and the batch, of the shape of an input; None for free."""
    numbers = [size if isinstance(size, int) and size > 0 else None for size in shape]
    if len(numbers) == 4:
        last = numbers[1] != 3 and numbers[3] == 3
        batch, channels, *sides = (numbers[0], numbers[3], *numbers[1:3]) if last else numbers
        fixed = {side for side in sides if side}
        if channels in (3, None) and len(fixed) < 2 and max(fixed, default=1) <= MOST_SIDE >= (batch or 1):
            return next(iter(fixed), None), last, batch
    raise UserError(f"{path}: its input has shape {shown(tuple(shape))}: {WRONG_INPUT}")


def _size(stated: Mapping[str, str]) -> int | None:
    """Return the side that metadata state under ``imgsz``, as ``[224, 224]``."""
    value = _value(stated, "imgsz")
    sides = {value} if isinstance(value, int) else set(value) if isinstance(value, list | tuple) else set()
    side = sides.pop() if len(sides) == 1 else None
    return side if isinstance(side, int) and 1 <= side <= MOST_SIDE else None


def _preprocess(stated: Mapping[str, str], path: Path) -> Preprocess | None:
    """Return the preprocess that metadata state; None if they state none."""
    bgr = stated.get("Image.BitmapPixelFormat", "").lower().startswith("bgr")
    base = RANGES.get(stated.get("Image.NominalPixelRange", ""))
    if stated.get("task") == "classify":
        base = RANGES["Normalized_0_1"]
    mean, deviation = _triple(stated, MEANS), _triple(stated, DEVIATIONS)
    if mean and deviation:
        if min(deviation) <= 0:
            raise UserError(f"{path}: the std in its metadata is {shown(deviation)}: state it by --preprocess")
        base = Preprocess(mean, deviation, origin=FILE)
    return replace(base, bgr=bgr) if base else replace(PREPROCESSES["imagenet"], bgr=True) if bgr else None


def _triple(stated: Mapping[str, str], keys: tuple[str, ...]) -> tuple[float, float, float] | None:
    """Return one or three numbers from 0 to 1 under one of the keys; None if there are none."""
    value = next((_value(stated, key) for key in keys if key in stated), None)
    numbers = [value] if isinstance(value, int | float) else value
    if not isinstance(numbers, list | tuple) or len(numbers) not in (1, 3):
        return None
    floats = [float(number) for number in numbers if isinstance(number, int | float) and 0 <= number <= 1]
    return as_triple(floats) if len(floats) == len(numbers) else None


def _names(stated: Mapping[str, str], path: Path) -> tuple[str, ...]:
    """Return the names of the classes that metadata state; () if they state none."""
    key = next((key for key in NAMES if key in stated), None)
    if key is None:
        return ()
    value, origin = _value(stated, key), f"{path}: {key} in its metadata"
    if isinstance(value, dict):
        value = numbered_names({str(number): str(name) for number, name in value.items()}, origin)
    if isinstance(value, list | tuple):
        return checked_names([str(name) for name in value], origin)
    text = stated[key].strip()
    return checked_names([name.strip() for name in text.split("\n" if "\n" in text else ",")], origin)


def _value(stated: Mapping[str, str], key: str) -> Any:
    """Return the value of a JSON text or a Python literal; None for another text."""
    text = stated.get(key, "")
    try:
        return literal_eval(text) if len(text) <= MOST_METADATA else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
