"""Keep the record, the figure and the expected accuracies of a study in the repository.

    skdcgn study shape double-colored-mnist --out runs/dc
    python benchmarks/keep_study.py runs/dc/shape

The record goes to ``benchmarks/results/STUDY-PRESET.json``, the figure to ``docs/results/figures/STUDY-PRESET.png``,
the expected accuracy of each point to the package, ``src/skdcgn/zoo/expected/STUDY-PRESET.json``. A study with another
teacher than the preset's has the teacher's name in the first two, and no expected accuracies. A miniature is refused.
"""

import argparse
from pathlib import Path

from skdcgn.base.errors import UserError
from skdcgn.base.files import write_json
from skdcgn.base.presets import run_preset
from skdcgn.base.records import to_dict
from skdcgn.report.study_png import save_study_figure
from skdcgn.results.expected import expected_study
from skdcgn.results.records import read_study

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs" / "results" / "figures"
EXPECTED = ROOT / "src" / "skdcgn" / "zoo" / "expected"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="its folder, which holds study.json")
    record = read_study(parser.parse_args().study)
    if record.quick:
        raise UserError("a miniature is not comparable: run the study without --quick")
    usual_teacher = record.base.teacher == run_preset(record.preset).teacher
    name = "-".join([record.study, record.preset, *([] if usual_teacher else [Path(record.base.teacher).stem])])
    write_json(RESULTS / f"{name}.json", to_dict(record))
    save_study_figure(record, FIGURES / f"{name}.png")
    if usual_teacher:
        write_json(EXPECTED / f"{name}.json", to_dict(expected_study(record)))


if __name__ == "__main__":
    main()
