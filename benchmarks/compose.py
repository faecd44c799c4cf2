"""Counterfactuals per second where users call: compose and generate, beside the machine's own walls, in one process.

    python benchmarks/compose.py [--preset double-colored-digits] [--student DIR]

Without a student one of the preset's size is drawn from: speed does not depend on weights. For one thread and for two,
in turn, medians of a few rounds: products of matrices (the wall), decoding PNGs of the size with Pillow, the eager
teacher as published, the teacher's fast form, the student's networks (exact), its fast form and its ONNX file, and
`generate` to a file, with its peak memory at two sizes. Writes benchmarks/results/compose.json.
"""

import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import Parameter, run
from PIL import Image

from skdcgn import load_teacher
from skdcgn.base.presets import RUNS
from skdcgn.base.seeds import generator
from skdcgn.cgn.compose import compose
from skdcgn.cgn.inputs import sample_inputs
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.cgn.pictures import as_rgb, encode
from skdcgn.deploy.bench import forms
from skdcgn.deploy.generate import write_counterfactuals
from skdcgn.results.versions import versions
from skdcgn.students.generator import StudentCGN, student_size

ROUNDS = 5
BATCH = 256  # of the eager teacher and of the ONNX file
IMAGES, FEW = 8192, 512  # of a fast form and of a slow one in a round
SIDES = (256, 416, 208)  # of the product that shows the wall: a batch of activations times a layer
REPEATS = 200
FILE_SIZES = (8192, 32768)
MEGAFLOPS = 1.10  # of one counterfactual of the digits' student, in convolutions
RESULTS = Path(__file__).parent / "results" / "compose.json"


def student_of(preset: str, teacher: Teacher) -> StudentCGN:
    """Return a student of the preset's size with random weights."""
    sizes = {mechanism.value: student_size(RUNS[preset].distill, mechanism) for mechanism in Mechanism}
    return StudentCGN(teacher.spec.to_dict(), sizes)


def product() -> Callable[[], object]:
    rows, inner, columns = SIDES
    left, right, out = torch.randn(rows, inner), torch.randn(inner, columns), torch.empty(rows, columns)

    def repeat() -> None:
        for _ in range(REPEATS):
            torch.mm(left, right, out=out)

    return repeat


def decoder(images: torch.Tensor) -> Callable[[], object]:
    files = [encode(picture.permute(1, 2, 0)) for picture in as_rgb(images)]

    def decode() -> None:
        for file in files:
            Image.open(io.BytesIO(file)).convert("RGB").load()

    return decode


def calls(teacher: Teacher, student: StudentCGN, folder: Path) -> dict[str, tuple[int, Callable[[], object]]]:
    """Return what is timed: by name how many things a call makes, and the call."""
    inputs = tuple(sample_inputs(student.spec, BATCH, generator("benchmark")).tensors.values())
    eager = forms(teacher, ("eager",))["eager"]
    file = forms(student, ("onnx-fp32",))
    rows: dict[str, tuple[int, Callable[[], object]]] = {
        "GEMM, products": (REPEATS, product()),
        "PNG decoding, Pillow": (IMAGES, decoder(compose(student, IMAGES).images)),
        "teacher, eager": (BATCH, lambda: eager(*inputs)),
        "teacher, compose exact": (FEW, lambda: compose(teacher, FEW, exact=True)),
        "teacher, compose": (FEW, lambda: compose(teacher, FEW)),
        "student, compose exact": (IMAGES, lambda: compose(student, IMAGES, exact=True)),
        "student, compose": (IMAGES, lambda: compose(student, IMAGES)),
        "student, generate": (IMAGES, lambda: write_counterfactuals(student, folder, IMAGES)),
    }
    if file:
        rows["student, ONNX file"] = (BATCH, lambda: file["onnx-fp32"](*inputs))
    return rows


def rates(rows: dict[str, tuple[int, Callable[[], object]]]) -> dict[str, float]:
    """Return how many things a second each call makes, the median of rounds in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    with torch.inference_mode():
        for number in range(ROUNDS + 1):
            for name, (_, call) in rows.items():
                start = time.perf_counter()
                call()
                if number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - start)
    return {name: count / statistics.median(seconds[name]) for name, (count, _) in rows.items()}


def peak_mebibytes(preset: str, student: Path | None, count: int) -> float:
    """Return the peak memory of a process that generates ``count`` images into a file."""
    words = [sys.executable, __file__, "--preset", preset, "--only-generate", str(count)]
    words += ["--student", str(student)] if student else []
    return float(subprocess.run(words, capture_output=True, check=True, text=True).stdout)


def measured(preset: str, student: Path | None) -> dict[str, Any]:
    teacher = load_teacher(preset)
    cgn = StudentCGN.load(student) if student else student_of(preset, teacher)
    results: dict[str, Any] = {"preset": preset, "versions": versions(), "rounds": ROUNDS, "threads": {}}
    rows, inner, columns = SIDES
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with tempfile.TemporaryDirectory() as folder:
            own = rates(calls(teacher, cgn, Path(folder)))
        gigaflops = own.pop("GEMM, products") * 2 * rows * inner * columns / 1e9
        wall = 1e3 * gigaflops / MEGAFLOPS
        ratios = {name: rate / own["teacher, eager"] for name, rate in own.items()}
        results["threads"][threads] = {
            "GEMM GFLOP/s": gigaflops,
            "wall": wall,
            "per second": own,
            "times the eager teacher": ratios,
            "share of the wall": own["student, compose"] / wall,
        }
    results["generate, peak MiB"] = {count: peak_mebibytes(preset, student, count) for count in FILE_SIZES}
    return results


def table(results: dict[str, Any]) -> str:
    one, two = (results["threads"][threads] for threads in (1, 2))
    lines = ["| per second, times the eager teacher | one thread | two threads |", "| --- | ---: | ---: |"]
    for name in one["per second"]:
        cells = (f"{own['per second'][name]:,.0f}, {own['times the eager teacher'][name]:.1f} x" for own in (one, two))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    walls = (f"{own['GEMM GFLOP/s']:.0f}, {own['share of the wall']:.0%}" for own in (one, two))
    lines.append(f"| GEMM GFLOP/s, compose's share of it | {' | '.join(walls)} |")
    peaks = (f"{count:,} images {peak:.0f} MiB" for count, peak in results["generate, peak MiB"].items())
    return "\n".join([*lines, "", "generate, peak memory: " + ", ".join(peaks)])


def main(
    *,
    preset: str = "double-colored-digits",
    student: Path | None = None,
    only_generate: Annotated[int | None, Parameter(show=False)] = None,
) -> None:
    """Time compose and generate."""
    if only_generate is not None:
        cgn = StudentCGN.load(student) if student else student_of(preset, load_teacher(preset))
        with tempfile.TemporaryDirectory() as folder:
            write_counterfactuals(cgn, Path(folder), only_generate)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    results = measured(preset, student)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    run(main)
