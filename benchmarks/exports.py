"""Export students in every precision: KB of each file, and by how many of 256 grey levels it draws from PyTorch.

    python benchmarks/exports.py double-colored-mnist runs/table-double-colored-mnist-?/student

The students are those of some seeds of one preset. Lands in ``results/exports-PRESET.json``.
"""

import argparse
import tempfile
from pathlib import Path

from skdcgn.base.config import Precision
from skdcgn.base.files import write_json
from skdcgn.base.presets import RUNS
from skdcgn.base.records import to_dict
from skdcgn.deploy.export import export_cgn
from skdcgn.results.statistics import mean_and_deviation
from skdcgn.results.versions import versions
from skdcgn.students.generator import StudentCGN

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=list(RUNS))
    parser.add_argument("students", type=Path, nargs="+")
    arguments = parser.parse_args()
    students = [StudentCGN.load(folder) for folder in arguments.students]
    precisions = {}
    for precision in Precision:
        with tempfile.TemporaryDirectory() as folder:
            files = [export_cgn(student, Path(folder) / "cgn.onnx", precision) for student in students]
        precisions[precision.value] = {
            "kilobytes": to_dict(mean_and_deviation([file.size / 1024 for file in files])),
            "mean_grey_levels": to_dict(mean_and_deviation([file.mean for file in files])),
            "greatest_grey_levels": to_dict(mean_and_deviation([file.greatest for file in files])),
        }
        print(precision, *(f"{name} {measure['mean']:.3g}" for name, measure in precisions[precision.value].items()))
    record = {
        "command": f"python benchmarks/exports.py {arguments.preset} STUDENT...",
        "students": len(students),
        "parameters": students[0].size,
        "versions": versions(),
        "precisions": precisions,
    }
    write_json(RESULTS / f"exports-{arguments.preset}.json", record)


if __name__ == "__main__":
    main()
