"""The examples: each is short, runs on a tiny budget, and leaves what it promises."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PICTURES = {
    "distill_in_ten_lines.py": "runs/ten-lines/counterfactuals.png",
    "bring_your_own_teacher.py": "runs/own-teacher/counterfactuals.png",
}
TRAINING = "train_with_counterfactuals.py"
EXTENDING = {  # arguments, and how the last line of what is printed begins
    "loss.py": (["3"], "3 {'pixel': "),
    "teacher.py": ([], "120 queries for 40 counterfactuals"),
    "appearance.py": ([], "test ["),
    "intervention.py": ([], "48 of 100 images"),
    "study.py": (["smoke"], "report: "),
    "metric.py": ([], "blurred masks: "),
}


def run(path: Path, *arguments: str, folder: Path) -> str:
    command = [sys.executable, "-W", "error", str(path), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_by_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*PICTURES, TRAINING}
    assert {path.name for path in (EXAMPLES / "extending").glob("*.py")} == set(EXTENDING)


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 40


@pytest.mark.slow
@pytest.mark.parametrize("name", EXTENDING)
def test_an_extension_works(name: str, tmp_path: Path) -> None:
    arguments, beginning = EXTENDING[name]
    lines = run(EXAMPLES / "extending" / name, *arguments, folder=tmp_path).splitlines()
    assert lines[-1].startswith(beginning)


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_an_example_draws_counterfactuals(name: str, tmp_path: Path) -> None:
    run(EXAMPLES / name, "40", folder=tmp_path)
    assert (tmp_path / PICTURES[name]).is_file()


@pytest.mark.slow
def test_the_training_example_reports_both_accuracies(tmp_path: Path) -> None:
    lines = run(EXAMPLES / TRAINING, "5", folder=tmp_path).splitlines()
    assert [line.split(":")[0] for line in lines] == ["biased", "counterfactual"]
    assert all(0 <= float(line.split()[1]) <= 100 for line in lines)


def test_the_notebook_is_stored_without_outputs_and_is_short() -> None:
    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert sum(len(cell.source.splitlines()) for cell in code) < 40
