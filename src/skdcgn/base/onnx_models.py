"""ONNX files: models that ONNX Runtime runs on the CPU, and the constants of a graph."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skdcgn.base.door import read_bytes
from skdcgn.base.errors import UserError, shortened
from skdcgn.base.pytorch_files import MOST_WEIGHTS

GRAPH, INITIALIZER = 7, 5  # fields of onnx.proto: of ModelProto, of GraphProto
DIMS, NAME, RAW_DATA = 1, 8, 9  # of TensorProto
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5  # wire types of a protobuf message


def is_onnx(path: Path) -> bool:
    """Say whether a file has the ending of an ONNX file."""
    return path.suffix.lower() == ".onnx"


def open_onnx(path: Path, output: str | None = None) -> Any:
    """Return an ONNX Runtime session of a model file.

    Args:
        path: the file.
        output: the one output that is computed, from no more inputs and nodes than it needs; None: all outputs.

    Raises:
        UserError: onnxruntime is not installed, or the file is not a model that it runs.
    """
    try:
        from onnxruntime import InferenceSession
    except ImportError:
        raise UserError("onnxruntime is not installed: pip install 'skdcgn[onnx]'") from None
    data = read_bytes(path, MOST_WEIGHTS)
    with onnx_errors(path):
        return InferenceSession(
            data if output is None else only_output(data, output, path), providers=["CPUExecutionProvider"]
        )


def only_output(data: bytes, output: str, origin: object) -> bytes:
    """Return a model with one of its outputs and what that one depends on.

    ONNX Runtime computes all nodes and keeps all outputs, whichever of them are asked for.

    Raises:
        UserError: onnx is not installed, or the model is damaged; the line names ``origin``.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError:
        raise UserError(
            f"{origin} has several outputs, and onnx is not installed: pip install 'skdcgn[onnx]'"
        ) from None
    try:
        model = onnx.load_from_string(data)
    except DecodeError:
        raise UserError(f"{origin} is damaged: export it again") from None
    graph, needed, nodes = model.graph, {output}, []
    for node in reversed(graph.node):  # they are sorted: what a node takes comes before it
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input, *(_captured(one) for one in node.attribute))
    parts = {"node": nodes[::-1], "output": [one for one in graph.output if one.name == output]}
    parts |= {field: [one for one in getattr(graph, field) if one.name in needed] for field in ("input", "initializer")}
    for field, kept in {**parts, "value_info": []}.items():
        del getattr(graph, field)[:]
        getattr(graph, field).extend(kept)
    return bytes(model.SerializeToString())


def _captured(attribute: Any) -> set[str]:
    """Return the names that the graphs in an attribute, as of a loop, may take from the graph around them."""
    names = set[str]()
    for graph in (*attribute.graphs, attribute.g):
        for node in graph.node:
            names.update(node.input, *(_captured(one) for one in node.attribute))
        names.update(one.name for one in graph.output)
    return names


@contextmanager
def onnx_errors(path: Path) -> Iterator[None]:
    """Raise UserError for an error of ONNX Runtime in the block."""
    try:
        yield
    except runtime_errors() as error:
        reason = shortened(next(iter(str(error).splitlines()), type(error).__name__))
        raise UserError(f"{path} is not an ONNX model that runs here ({reason}): export it again") from None


def runtime_errors() -> tuple[type[Exception], ...]:
    """Return the kinds of errors that ONNX Runtime raises."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.RuntimeException)
    return (*kinds, state.NotImplemented, state.NoModel, state.EPFail, RuntimeError, ValueError)


def initializers(model: bytes) -> dict[str, Tensor]:
    """Return the float32 constants of a model's graph by name, in the order of the file.

    Args:
        model: a sound file, whose checksum the caller has compared, with its constants as raw bytes.
    """
    graph = next(value for field, value in _fields(memoryview(model)) if field == GRAPH)
    return dict(_constant(value) for field, value in _fields(graph) if field == INITIALIZER)


def _constant(message: memoryview) -> tuple[str, Tensor]:
    """Return name and values of a TensorProto."""
    fields = list(_fields(message))
    values = {field: value for field, value in fields if field in (NAME, RAW_DATA)}
    shape = [size for field, value in fields if field == DIMS for size in _numbers(value)]
    numbers = torch.frombuffer(bytearray(values[RAW_DATA]), dtype=torch.float32)
    return bytes(values[NAME]).decode(), numbers.reshape(shape)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and bytes of each field of a protobuf message; those of a varint are its own."""
    place = 0
    while place < len(message):
        key, start = _varint(message, place)
        kind, size = key & 7, 0
        if kind == LENGTH:
            size, start = _varint(message, start)
        place = (
            _varint(message, start)[1] if kind == VARINT else start + {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(kind, size)
        )
        yield key >> 3, message[start:place]


def _numbers(packed: memoryview) -> Iterator[int]:
    place = 0
    while place < len(packed):
        number, place = _varint(packed, place)
        yield number


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Return the number that begins at a place, seven bits a byte, and the place behind it."""
    number = shift = 0
    while True:
        byte = message[place]
        number, place = number | (byte & 0x7F) << shift, place + 1
        if byte < 0x80:
            return number, place
        shift += 7
