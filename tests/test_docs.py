"""The documentation: the site builds strictly and offline, and the README stays a shop window."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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
