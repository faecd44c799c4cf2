"""The documentation: the site builds strictly and offline, and the README stays a shop window."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest

import skdcgn
from skdcgn.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
KINDS = ("classifier", "cgn", "ensemble", "run")  # of evaluate


class Fetched(HTMLParser):
    """Collect the addresses that a browser fetches to show a page: scripts, styles, pictures, frames."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.addresses.append(values.get("src") or "")
        if tag == "link" and values.get("rel") != "canonical":
            self.addresses.append(values.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as ``make docs`` does."""
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(out)]
    built = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return out


@pytest.mark.slow
def test_no_page_of_the_site_fetches_anything_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text(encoding="utf-8"))
        foreign = [address for address in parser.addresses if re.match(r"(https?:)?//", address)]
        assert not foreign, f"{page.name} fetches {foreign}"


@pytest.mark.slow
def test_formulas_become_mathml_which_needs_no_script(site: Path) -> None:
    pages = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    assert any("<math" in text for text in pages.values())
    assert not [page.name for page, text in pages.items() if 'class="arithmatex"' in text]


def test_every_stored_figure_is_shown_on_a_page() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "results").glob("*.md"))
    for figure in (ROOT / "docs" / "results" / "figures").iterdir():
        assert f"figures/{figure.name}" in shown


def test_the_raw_files_that_the_results_name_exist() -> None:
    results = ROOT / "benchmarks" / "results"
    for page in (ROOT / "docs" / "results").glob("*.md"):
        for name in re.findall(r"`(?:benchmarks/results/)?([a-z0-9-]+\.json)`", page.read_text(encoding="utf-8")):
            assert (results / name).is_file(), f"{page.name} names {name}"


def test_the_readme_fits_on_two_screens_and_has_a_table_for_digits_and_one_for_photographs() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text) <= 8000
    assert len(re.findall(r"^\|[ :|-]+\|$", text, re.MULTILINE)) == 2


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_pages_outside_the_site_link_to_files_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name = target.partition("#")[0]
        assert re.match("https?:", name) or not name or (page.parent / name).exists(), f"{page.name} links to {target}"


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each skdcgn command on a page, from blocks and from inline code."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^ *(?:\S+=\S+ )?(?:torchrun .* -m |\$L |\$ )?(skdcgn .*)$", text, re.MULTILINE)
    for line in [*lines, *re.findall(r"`(skdcgn\s[^`]*)`", text)]:
        yield shlex.split(line, comments=True)[1:]


@cache
def options(verb: tuple[str, ...]) -> set[str]:
    """Return every option of a verb, as its help lists them."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as page:
        patch.setattr(sys, "argv", ["skdcgn", *verb, "--help-all"])
        with pytest.raises(SystemExit):
            main()
    return set(re.findall(r"--[a-z0-9-]+", page.getvalue()))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_on_a_page_exist(page: Path) -> None:
    for words in commands(page):
        typed = {word.partition("=")[0] for word in words if word.startswith("--")}
        verb = tuple(words[: 2 if words[0] == "evaluate" and words[1:] and words[1] in KINDS else 1])
        if verb[0].isupper() or verb[0].startswith("-"):
            continue
        verbs = [("evaluate", kind) for kind in KINDS] if verb == ("evaluate",) else [verb]
        missing = typed - set().union(*map(options, verbs))
        assert not missing, f"{page.name}: skdcgn {' '.join(words)}: no {missing}"


def test_the_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "reference" / "public.md").read_text(encoding="utf-8")
    described = {line.rpartition(".")[2] for line in page.splitlines() if line.startswith("::: ")}
    assert described == set(skdcgn.__all__) - {"__version__"}
