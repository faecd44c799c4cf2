"""The layout: a folder imports only from folders below it; metrics import no CGN, distillation no classifier."""

import ast
from functools import cache
from pathlib import Path

import pytest

import skdcgn

ROOT = Path(skdcgn.__file__).parent
ORDER = (
    *("base", "cgn", "training", "metrics", "zoo", "data", "pairs", "classifiers", "features", "students", "teachers"),
    *("evaluation", "results", "deploy", "report", "experiments", "cli"),
)
BELOW = {name: ORDER[: index + 1] for index, name in enumerate(ORDER)}
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.rglob("*.py")}


@cache
def imports(module, top_level=False):
    """The package's own modules that a module imports, anywhere or at its top level."""
    tree = ast.parse(MODULES[module].read_text())
    nodes = tree.body if top_level else ast.walk(tree)
    names = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.removeprefix("skdcgn.") for name in names if name.startswith("skdcgn.")} & MODULES.keys()


def folder(module):
    return module.split(".")[0]


@pytest.mark.parametrize("name", ORDER)
def test_a_folder_imports_only_from_itself_and_folders_below(name):
    own = [module for module in MODULES if folder(module) == name]
    assert own
    above = {f"{module} -> {other}" for module in own for other in imports(module) if folder(other) not in BELOW[name]}
    assert above == set()


def test_every_folder_has_its_place():
    assert {folder(module) for module in MODULES if "." in module} == set(ORDER)
    assert len([path for path in ROOT.iterdir() if path.suffix == ".py"]) <= 4


def test_statistics_import_nothing_but_the_ground():
    others = {other for module in MODULES if folder(module) == "metrics" for other in imports(module)}
    assert {folder(other) for other in others} == {"base", "metrics"}


def loaded_with(module):
    """The modules that are loaded when one is imported."""
    modules, queue = set(), [module]
    while queue:
        modules.add(current := queue.pop())
        queue += imports(current, top_level=True) - modules
    return modules


def test_distillation_loads_no_classifier_and_no_evaluation():
    assert not {folder(module) for module in loaded_with("students.distill")} & {"classifiers", "evaluation"}
