"""Count and time the ImageNet sizes: one 256-pixel counterfactual of the published CGN against one of a student's.

    python benchmarks/imagenet.py

Weights are random on both sides: neither numbers of parameters nor seconds depend on them. Teacher and student draw in
turn, in one process, eager and in fp32, one counterfactual at a time; medians. The published
student is counted. Lands in ``results/imagenet.json``.
"""

import argparse
from functools import partial
from pathlib import Path

import torch

from skdcgn.base.files import write_json
from skdcgn.base.presets import IMAGENET_STUDENT
from skdcgn.base.records import to_dict
from skdcgn.base.weights import on_meta, parameter_count
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.evaluation.timing import median_seconds
from skdcgn.features.u2net import FULL, U2Net
from skdcgn.results.versions import versions
from skdcgn.students.generator import StudentCGN
from skdcgn.teachers.biggan import BigGAN
from skdcgn.teachers.cgn import CGNTeacher
from skdcgn.teachers.cgn_imagenet import assembled
from skdcgn.teachers.tinygan import TinyGAN

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    teacher = CGNTeacher(assembled(BigGAN(), U2Net(FULL)).eval(), "random", "cpu")
    sizes = {m.value: to_dict(IMAGENET_STUDENT) for m in Mechanism}
    student = StudentCGN(teacher.spec.to_dict(), sizes)
    cgns: dict[str, Teacher] = {"teacher": teacher, "student": student, "student, folded": student.folded()}
    seconds = median_seconds({name: partial(compose, cgn, 1) for name, cgn in cgns.items()}, arguments.rounds)
    parameters: dict[str, int | None] = {name: cgn.size for name, cgn in cgns.items()}
    parameters["published student"] = 3 * parameter_count(on_meta(TinyGAN))
    times_as_fast = {name: seconds["teacher"] / value for name, value in seconds.items()}
    record = {
        "command": f"python benchmarks/imagenet.py --rounds {arguments.rounds}",
        "versions": versions(),
        "student": to_dict(IMAGENET_STUDENT),
        "parameters": parameters,
        "seconds_per_counterfactual": seconds,
        "times_as_fast": times_as_fast,
    }
    write_json(RESULTS / "imagenet.json", record)
    for name, count in parameters.items():
        fast = f", {seconds[name]:.3f} s, {times_as_fast[name]:.0f} x" if name in seconds else ""
        print(f"{name}: {count:,} parameters{fast}")


if __name__ == "__main__":
    main()
