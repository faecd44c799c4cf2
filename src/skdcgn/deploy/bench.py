"""Bench: counterfactuals per second of a student and its teacher, in turn in one process, in every available form.

A form is a function from the tensors of :class:`skdcgn.cgn.inputs.Inputs` to images. All are warmed up, then timed in
turn, round after round, so that a machine that slows down slows all of them; medians are compared, and ratios are to
the first form.
"""

import importlib.util
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from skdcgn.base.config import Precision
from skdcgn.base.errors import UserError, shown
from skdcgn.base.seeds import generator
from skdcgn.cgn.classes import Classes, match_classes
from skdcgn.cgn.drawer import Drawable
from skdcgn.cgn.fast_layers import FastLayers
from skdcgn.cgn.inputs import Inputs, sample_inputs
from skdcgn.cgn.layers import Composition
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.deploy.export import STORED, as_module, exported, onnx_session
from skdcgn.evaluation.timing import median_seconds
from skdcgn.results.versions import versions
from skdcgn.students.generator import StudentCGN

Form = Callable[..., Tensor]
Name = TypeVar("Name")
WARM_UP = 3  # the first of them is checked
OWN_TEACHER = "pass the student's own teacher"
EAGER, FAST, COMPILED, ONNX = ("eager", "channels-last"), "fast", "compiled", ("onnx-fp32", "onnx-fp16", "onnx-int8")
FORMS = (*EAGER, FAST, COMPILED, *ONNX)


class Queried(nn.Module):
    """A black box as the CGN of a :class:`Composition`."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, mechanism: Mechanism, noise: Tensor, labels: Tensor) -> Tensor:
        return self.teacher.query(mechanism, noise, labels)


def forms(cgn: Teacher, names: tuple[str, ...], device: str = "cpu") -> dict[str, Form]:
    """Return the forms of a CGN by name, as far as this machine and this CGN allow them.

    Raises:
        UserError: a form that does not exist.
    """
    for name in names:
        if name not in FORMS:
            raise UserError(f"unknown form {name!r}: use {', '.join(FORMS)}")
    try:
        as_module(cgn)
    except UserError:
        return {"eager": Composition(Queried(cgn))}
    drawer = cgn.drawer() if isinstance(cgn, Drawable) else None
    traced = cache(partial(exported, cgn))  # once for all precisions
    mode = "default" if device == "cpu" else "reduce-overhead"  # a GPU waits for launches: one graph has them all
    make: dict[str, Callable[[], Form]] = {
        **({FAST: lambda: _fast(FastLayers(cgn, drawer, 1))} if drawer and drawer.device.type == device else {}),
        "eager": lambda: _laid_out(cgn, device, torch.contiguous_format),
        "channels-last": lambda: _laid_out(cgn, device, torch.channels_last),
        COMPILED: lambda: torch.compile(as_module(cgn).to(device), mode=mode),
        **{f"onnx-{precision}": partial(_in_onnx, cgn, traced, precision) for precision in Precision},
    }
    on_cpu = device == "cpu" and importlib.util.find_spec("onnxruntime") is not None
    possible = [name for name in FORMS if name in make and (on_cpu or name not in ONNX)]
    return {name: make[name]() for name in possible if name in names}


def _fast(layers: FastLayers) -> Form:
    """Return the form in which :func:`skdcgn.compose` draws."""
    return lambda *inputs: layers.compose(Inputs(*inputs))


def _laid_out(cgn: Teacher, device: str, layout: torch.memory_format) -> nn.Module:
    return as_module(cgn).to(device).to(memory_format=layout)  # type: ignore[call-overload]


def _in_onnx(cgn: Teacher, traced: Callable[[], bytes], precision: Precision) -> Form:
    return onnx_session(STORED[precision](traced(), cgn.spec), torch.get_num_threads())


def medians(drawers: Mapping[Name, Form], inputs: Inputs, rounds: int) -> dict[Name, float]:
    """Time each drawer in turn, ``rounds`` times after a warm-up; return its median seconds for these inputs.

    Raises:
        UserError: the images of a drawer are not finite.
    """
    with torch.inference_mode():
        for name, draw in drawers.items():
            if not bool(draw(*inputs.tensors.values()).isfinite().all()):
                raise UserError(f"{shown(name)} draws NaN or infinity: check its weights")
        calls = {name: partial(_finished, draw, inputs) for name, draw in drawers.items()}
        return median_seconds(calls, rounds, warm_up=WARM_UP - 1)


def _finished(draw: Form, inputs: Inputs) -> None:
    draw(*inputs.tensors.values())
    if inputs.shape_noise.is_cuda:
        torch.cuda.synchronize()


@dataclass(frozen=True)
class FormTiming:
    """Counterfactuals per second of one form at one batch size, and its ratio to the eager teacher's at that size."""

    batch: int
    form: str
    counterfactuals_per_second: float
    ratio: float


@dataclass(frozen=True)
class BenchResults:
    """Timings of a teacher's and a student's forms, and what they depend on."""

    parameters: dict[str, int | None]
    threads: int
    device: str
    rounds: int
    rows: tuple[FormTiming, ...]
    versions: dict[str, str]


def time_forms(
    teacher: Teacher,
    student: Teacher,
    *,
    batches: tuple[int, ...] = (64, 256),
    rounds: int = 9,
    names: tuple[str, ...] = FORMS,
    teacher_names: tuple[str, ...] = (*EAGER, FAST),
    device: str = "cpu",
) -> BenchResults:
    """Time the forms of teacher and student in turn.

    Args:
        teacher: the student's own teacher.
        student: usually a student CGN.
        batches: batch sizes.
        rounds: how often each form is timed; the median counts.
        names: forms of the student.
        teacher_names: forms of the teacher.
        device: where networks run.

    Raises:
        UserError: an unknown form; a teacher and a student of different specs.
    """
    if replace(teacher.spec, names=()) != replace(student.spec, names=()):
        other = f", at its truncation {student.spec.truncation:g}" if not student.spec.tiles else ""
        raise UserError(f"teacher and student take other noise or draw other images: {OWN_TEACHER}{other}")
    match_classes(Classes.of("the student", student.spec), Classes.of("the teacher", teacher.spec), OWN_TEACHER)
    drawers = {f"teacher, {name}": form for name, form in forms(teacher, teacher_names, device).items()}
    drawers |= {f"student, {name}": form for name, form in forms(student, names, device).items()}
    base = "teacher, eager"
    rows: list[FormTiming] = []
    for batch in batches:
        inputs = _on(device, sample_inputs(student.spec, batch, generator("bench", batch)))
        seconds = medians(drawers, inputs, rounds)
        rows += [FormTiming(batch, name, batch / own, seconds[base] / own) for name, own in seconds.items()]
    return BenchResults(
        parameters={"teacher": teacher.size, "student": student.size},
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        rounds=rounds,
        rows=tuple(rows),
        versions=versions(),
    )


def rates(cgns: Mapping[str, Teacher], *, batch: int = 256, rounds: int = 9) -> dict[str, dict[str, float]]:
    """Return counterfactuals per second on the CPU, timed in turn: of each CGN by name, and of each of its forms."""
    drawers = {(name, form): draw for name, cgn in cgns.items() for form, draw in forms(cgn, (*EAGER, FAST)).items()}
    students = {name: cgn for name, cgn in cgns.items() if isinstance(cgn, StudentCGN)}
    drawers |= {(name, form): draw for name, cgn in students.items() for form, draw in forms(cgn, ONNX[:1]).items()}
    spec = next(iter(cgns.values())).spec
    speeds: dict[str, dict[str, float]] = {}
    for (name, form), seconds in medians(
        drawers, sample_inputs(spec, batch, generator("bench", batch)), rounds
    ).items():
        speeds.setdefault(name, {})[form] = batch / seconds
    return speeds


def _on(device: str, inputs: Inputs) -> Inputs:
    return Inputs(*(value.to(device) for value in inputs.tensors.values()))
