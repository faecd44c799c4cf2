"""Hooks of the documentation's build.

Formulas become MathML, which every current browser draws without a script: ``pymdownx.arithmatex`` marks them by
``\\(...\\)`` or ``\\[...\\]``. The notebook is executed, and becomes a page: a cell that fails stops the build.
"""

import html
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient

NOTEBOOK, PAGE = Path(__file__).parents[1] / "examples" / "tour.ipynb", "tour.md"
ROLE = re.compile(r":(?:mod|class|func|meth|attr|data|math):<code>(?:~[\w.]*\.)?")
SOURCE_FORMULA = re.compile(r"<p>\.\. math::\s*(.*?)</p>(?:\s*<pre><code>(.*?)</code></pre>)?", re.DOTALL)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the notebook's page."""
    files.append(File.generated(config, PAGE, content=execute(NOTEBOOK)))
    return files


def on_page_content(content: str, **_: Any) -> str:
    """Replace the formulas of a page; docstrings write theirs, and their references, for any reader of the source."""
    content = SOURCE_FORMULA.sub(_as_written, ROLE.sub("<code>", content))
    return FORMULA.sub(_mathml, content)


def _as_written(formula: re.Match[str]) -> str:
    lines = (line.strip() for part in formula.groups("") for line in part.splitlines())
    return "<pre><code>" + "\n  ".join(filter(None, lines)) + "</code></pre>"


def _mathml(formula: re.Match[str]) -> str:
    display = "block" if formula[2] == "[" else "inline"
    return convert(html.unescape(formula[3]), display=display)


def execute(path: Path) -> str:
    """Run a notebook in an empty folder and return it, with its outputs, as Markdown."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        place, quiet = {"metadata": {"path": folder}}, ["--log-level=ERROR"]
        NotebookClient(notebook, timeout=300, resources=place, extra_arguments=quiet).execute()
    return "\n\n".join(_cell(cell) for cell in notebook.cells)


def _cell(cell: Any) -> str:
    if cell.cell_type == "markdown":
        return str(cell.source)
    outputs = (_output(output) for output in cell.outputs)
    return "\n\n".join([f"```python\n{cell.source}\n```", *filter(None, outputs)])


def _output(output: Any) -> str:
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```" if output.name == "stdout" else ""
    data = output.get("data", {})
    if "image/png" in data:
        return f"![The cell's output](data:image/png;base64,{data['image/png'].strip()})"
    if "text/html" in data:
        return f'<div class="output">\n{data["text/html"]}\n</div>'
    return f"```text\n{data['text/plain']}\n```" if "text/plain" in data else ""
