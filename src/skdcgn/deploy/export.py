"""Export: a CGN and its composer as one ONNX file that draws counterfactuals from noise, labels and crop offsets.

Its inputs are the tensors of :class:`skdcgn.cgn.inputs.Inputs`: a CGN whose pictures do not tile has no offsets. Its
outputs are ``images`` (B, 3, H, W) in [-1, 1] and the layers as the mechanisms draw them, before crops: ``mask``
(B, 1, H, W) in [0, 1], ``texture`` and ``background`` (B, 3, H, W); :mod:`skdcgn.teachers.onnx_teacher` makes a teacher
of them. The batch is free. Needs ``pip install skdcgn[onnx]``.
"""

import contextlib
import copy
import io
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from skdcgn.base.config import Precision
from skdcgn.base.errors import UserError
from skdcgn.base.files import write_bytes, writing
from skdcgn.base.onnx_models import only_output
from skdcgn.base.seeds import generator
from skdcgn.cgn.inputs import Inputs, sample_inputs
from skdcgn.cgn.layers import Composition, blend, crop
from skdcgn.cgn.mechanism import Layers, Spec, Teacher
from skdcgn.students.generator import StudentCGN
from skdcgn.teachers.cgn import CGNTeacher

OPSET = 20
IMAGES = "images"  # the output of counterfactuals
TOLERANCE = 1e-5  # or twice what PyTorch itself rounds in single precision, which steep students make more
CALIBRATION = 512
CHECKED = 256
WORTH_HALVING = 128  # numbers in a weight: a cast is some hundred bytes itself


class Exported(NamedTuple):
    """A written file: its size in bytes; in grey levels of 256, how far it draws from PyTorch in double precision."""

    size: int
    greatest: float
    mean: float


def export_cgn(cgn: Teacher, out: Path, precision: str = Precision.FP32) -> Exported:
    """Write ``cgn`` to the ONNX file ``out`` and compare it with PyTorch in double precision on random inputs.

    In single precision PyTorch itself is some 1e-5 away from that, and a file mostly less.

    Raises:
        UserError: the CGN is a black box or draws NaN, the precision is unknown or cannot hold its weights, or the
            packages of ``skdcgn[onnx]`` are missing.
    """
    module = as_module(cgn)
    inputs = sample_inputs(cgn.spec, CHECKED, generator("export", "check")).tensors.values()
    with torch.inference_mode():
        single = _finite(module(*inputs), "the CGN", "check its weights")
        exact = module.double()(*(value.double() if value.is_floating_point() else value for value in inputs))
        data = exported(cgn, precision)
        images = _finite(onnx_session(data)(*inputs), f"the {precision} file", f"export it in {Precision.FP32}")
        away, rounded = (images - exact).abs(), (single - exact).abs()
    if precision == Precision.FP32 and not away.max() <= max(TOLERANCE, 2 * rounded.max()):
        raise RuntimeError(f"ONNX Runtime draws {float(away.max()):.2g} away from PyTorch")
    write_bytes(out, data)
    return Exported(len(data), 127.5 * float(away.max()), 127.5 * float(away.mean()))


def _finite(images: Tensor, origin: str, mend: str) -> Tensor:
    if not bool(images.isfinite().all()):
        raise UserError(f"{origin} draws NaN or infinity: {mend}")
    return images


def exported(cgn: Teacher, precision: str = Precision.FP32) -> bytes:
    """Return ``cgn`` as the bytes of an ONNX file, which keeps the Spec in its metadata (:meth:`Spec.to_metadata`)."""
    if precision not in list(Precision):
        raise UserError(f"unknown precision {precision!r}: use {', '.join(Precision)}")
    return with_spec(STORED[Precision(precision)](to_onnx(as_module(cgn), cgn.spec), cgn.spec), cgn.spec)


def with_spec(data: bytes, spec: Spec) -> bytes:
    """Return an ONNX file with the Spec in its metadata."""
    import onnx

    model = onnx.load_from_string(data)
    onnx.helper.set_model_props(model, spec.to_metadata())
    return bytes(model.SerializeToString())


def as_module(cgn: Teacher) -> Composition:
    """Return a copy of a CGN as one module from inputs to images, a student's batch norms folded."""
    if isinstance(cgn, StudentCGN):
        return Composition(cgn.folded()).eval()
    if isinstance(cgn, CGNTeacher):
        return Composition(copy.deepcopy(cgn.cgn)).eval()
    raise UserError("a black box has no weights to export: distill it and export the student")


class ImagesAndLayers(nn.Module):
    """A composition that returns the layers too: images, mask, texture, background."""

    def __init__(self, composition: Composition) -> None:
        super().__init__()
        self.composition = composition

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        layers = self.composition.layers(*inputs[:6])
        return blend(crop(layers, *inputs[6:])), *layers


def to_onnx(composition: Composition, spec: Spec) -> bytes:
    """Return a composition as an ONNX file with a free batch, without notes of the exporter."""
    _need("onnx", "onnxscript")
    inputs = sample_inputs(spec, 3, generator("export")).tensors
    batch = torch.export.Dim("batch", min=1)
    with _quiet():
        program = torch.onnx.export(
            ImagesAndLayers(composition),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=[IMAGES, *Layers._fields],
            dynamic_shapes=(tuple({0: batch} for _ in inputs),),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for noted in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.functions):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    return bytes(model.SerializeToString())


def onnx_session(data: bytes, threads: int = 0) -> Callable[..., Tensor]:
    """Return an ONNX file as a function from the tensors of :class:`Inputs` to images; 0 threads: one per core.

    The session has no other output: layers that nobody asks for would be kept for each batch all the same.
    """
    _need("onnx", "onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        only_output(data, IMAGES, "the ONNX file"), options, providers=["CPUExecutionProvider"]
    )

    def draw(*inputs: Tensor) -> Tensor:
        named = {name: value.numpy() for name, value in Inputs(*inputs).tensors.items()}
        return torch.from_numpy(session.run([IMAGES], named)[0])

    return draw


def _in_full(data: bytes, spec: Spec) -> bytes:
    return data


def _in_half(data: bytes, spec: Spec) -> bytes:
    """Store weights in half precision, with a cast to single before their first use."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(data)
    casts, stored = [], []
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and math.prod(weight.dims) >= WORTH_HALVING:
            half = numpy_helper.from_array(numpy_helper.to_array(weight).astype("float16"), f"{weight.name}.half")
            casts.append(helper.make_node("Cast", [half.name], [weight.name], to=TensorProto.FLOAT))
            stored.append(half)
        else:
            stored.append(weight)
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(stored)
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _in_int8(data: bytes, spec: Spec) -> bytes:
    """Quantise convolutions and matrices, activations by the ranges that random inputs show."""
    _need("onnxruntime")
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Random(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            inputs = sample_inputs(spec, CALIBRATION, generator("export", "calibrate"))
            self.rest = iter([{name: value.numpy() for name, value in inputs.tensors.items()}])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.rest, None)

    with writing(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as folder, _quiet():
        single, ready, eighth = (Path(folder) / name for name in ("single.onnx", "ready.onnx", "eighth.onnx"))
        single.write_bytes(data)
        quant_pre_process(single, ready, skip_symbolic_shape=True)
        quantize_static(
            ready,
            eighth,
            Random(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return eighth.read_bytes()


STORED: dict[Precision, Callable[[bytes, Spec], bytes]] = {
    Precision.FP32: _in_full,
    Precision.FP16: _in_half,
    Precision.INT8: _in_int8,
}


def _need(*packages: str) -> None:
    import importlib.util

    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} not installed: pip install 'skdcgn[onnx]'")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and warnings to itself; errors still come as exceptions."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
