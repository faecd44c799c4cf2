"""The files around the package agree with one another: what is pinned, shipped, versioned and run elsewhere."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
PINNED = ["constraints.txt", "requirements/run.txt", "requirements/dev.txt"]


def pins(name: str) -> list[Requirement]:
    """Return the pins of a file, of every platform and Python."""
    lines = (line.rstrip(" \\") for line in (ROOT / name).read_text().splitlines() if not line.startswith(" "))
    return [Requirement(line) for line in lines]


def requirements() -> list[Requirement]:
    lists = [
        PROJECT["dependencies"],
        *PROJECT["optional-dependencies"].values(),
        *PYPROJECT["dependency-groups"].values(),
    ]
    parsed = (Requirement(line) for lines in lists for line in lines)
    return [requirement for requirement in parsed if requirement.name != PROJECT["name"]]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_requirement_is_pinned_within_its_range(requirement):
    name = canonicalize_name(requirement.name)
    versions = [pin.specifier for pin in pins("constraints.txt") if pin.name == name]
    assert versions, "run make lock"
    assert all(requirement.specifier.contains(str(version).removeprefix("==")) for version in versions), "run make lock"


@pytest.mark.parametrize("name", PINNED)
def test_pins_name_one_version_and_no_address(name):
    assert all(re.fullmatch(r"==[^*,]+", str(pin.specifier)) and pin.url is None for pin in pins(name))
    assert "://" not in (ROOT / name).read_text()


@pytest.mark.parametrize("name", PINNED[1:])
def test_requirements_are_constraints_with_a_hash_for_every_file(name):
    entries = re.findall(r"^\S.*(?:\n .*)*", (ROOT / name).read_text(), re.MULTILINE)
    assert len(entries) == len(pins(name))
    assert all("--hash=sha256:" in entry for entry in entries)
    versions = {(pin.name, str(pin.specifier)) for pin in pins(name)}
    assert versions <= {(pin.name, str(pin.specifier)) for pin in pins("constraints.txt")}


def test_torch_has_no_hash_for_its_file_differs_with_platform_and_build():
    assert not {pin.name for name in PINNED[1:] for pin in pins(name)} & {"torch", "triton"}


def test_the_wheel_carries_every_file_of_the_package():
    package = ROOT / "src" / "skdcgn"
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["skdcgn"]
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert files
    assert files <= shipped


def test_every_folder_of_the_package_is_one_that_setuptools_finds():
    folders = {path.parent for path in (ROOT / "src" / "skdcgn").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_changelog_begins_with_unreleased_changes_and_the_version_of_the_package():
    sections = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == ("Unreleased", "")
    assert sections[1][0] == PROJECT["version"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for _, day in sections[1:])


def test_the_citation_is_of_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert f"## [{citation['version']}] - {citation['date-released']}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_pythons_that_are_tested_are_those_that_the_wheel_names():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    prefix = "Programming Language :: Python :: "
    pythons = {line.removeprefix(prefix) for line in PROJECT["classifiers"] if re.fullmatch(rf"{prefix}3\.\d+", line)}
    assert set(workflow["jobs"]["test"]["strategy"]["matrix"]["python"]) == pythons
    assert f">={min(pythons)}" == PROJECT["requires-python"]


@pytest.mark.parametrize("form", ["bug", "question", "feature"])
def test_issue_forms_ask_for_the_command_and_the_output_of_doctor(form):
    fields = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{form}.yml").read_text())["body"]
    assert {"command", "doctor"} <= {field["id"] for field in fields}


def test_pre_commit_fetches_nothing():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {repo["repo"] for repo in hooks} == {"local"}
    assert {hook["language"] for repo in hooks for hook in repo["hooks"]} <= {"system", "pygrep"}


@pytest.mark.parametrize("target", ["run", "test", "docs"])
def test_ci_runs_the_targets_that_make_lists(target):
    assert re.search(rf"^{target}:.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"make {target}\n" in (ROOT / ".ci" / "run").read_text()
