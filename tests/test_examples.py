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
SERVICE = "http_service.py"  # test_remote.py asks it
EXTENDING = {  # arguments, and how the last line of what is printed begins
    "loss.py": (["3"], "3 {'pixel': "),
    "teacher.py": ([], "120 queries for 40 counterfactuals"),
    "appearance.py": ([], "test ["),
    "intervention.py": ([], "48 of 100 images"),
    "study.py": (["smoke"], "report: "),
    "metric.py": ([], "blurred masks: "),
}


# One process for all examples: starting Python and torch for each would take most of the time.
RUN_ALL = """
import os, runpy, sys
for place, script, *arguments in map(str.split, sys.argv[1:]):
    os.makedirs(place)
    os.chdir(place)
    sys.argv, sys.stdout = [script, *arguments], open("said.txt", "w")
    runpy.run_path(script, run_name="__main__")
    sys.stdout.close()
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run every example in a folder of its own, where ``said.txt`` keeps what it printed."""
    arguments = {TRAINING: ["5"], **{name: ["40"] for name in PICTURES}}
    arguments |= {name: words for name, (words, _) in EXTENDING.items()}
    home = tmp_path_factory.mktemp("examples")
    paths = {path.name: path for path in EXAMPLES.rglob("*.py")}
    jobs = [" ".join([str(home / name), str(paths[name]), *words]) for name, words in arguments.items()]
    done = subprocess.run([sys.executable, "-W", "error", "-c", RUN_ALL, *jobs], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    return {name: home / name for name in arguments}


def said(folder: Path) -> list[str]:
    return (folder / "said.txt").read_text(encoding="utf-8").splitlines()


def test_every_example_is_run_by_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*PICTURES, TRAINING, SERVICE}
    assert {path.name for path in (EXAMPLES / "extending").glob("*.py")} == set(EXTENDING)


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 40


@pytest.mark.slow
def test_every_example_leaves_what_it_promises(folders: dict[str, Path]) -> None:
    for name, (_, beginning) in EXTENDING.items():
        assert said(folders[name])[-1].startswith(beginning), name
    for name, picture in PICTURES.items():
        assert (folders[name] / picture).is_file(), name
    lines = said(folders[TRAINING])
    assert [line.split(":")[0] for line in lines] == ["biased", "counterfactual"]
    assert all(0 <= float(line.split()[1]) <= 100 for line in lines)


def test_the_notebook_is_stored_without_outputs_and_is_short() -> None:
    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert sum(len(cell.source.splitlines()) for cell in code) < 40
