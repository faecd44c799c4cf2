"""``report.html``: one page that can be mailed, opened offline and read on a phone.

Only the folder of the run or study is read, so a report can be written again at any time, and the same folder gives
the same bytes.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skdcgn.base.door import read_object
from skdcgn.base.files import write_bytes
from skdcgn.base.templates import templates
from skdcgn.report.pictures import embedded_pictures, strips
from skdcgn.report.tables import changed_settings, fidelities, settings
from skdcgn.report.words import count
from skdcgn.results.records import RunResults


def write_page(folder: Path, template: str, **values: Any) -> Path:
    """Write ``folder/report.html`` from a template and its values; return its path."""
    page = templates().get_template(template).render(values)
    write_bytes(folder / "report.html", page.encode())
    return folder / "report.html"


def run_values(run: Path, results: RunResults, kind: Any, presets: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page of any run shows.

    Args:
        kind: a configuration such as the run's, whose fields say what the settings mean.
        presets: those the run may have started from.
    """
    pictures, config = embedded_pictures(run / "pictures"), read_object(run / "config.json")
    return {
        "results": results,
        "fidelities": fidelities(results),
        "pictures": pictures,
        "strips": strips(pictures),
        "settings": settings(config, kind),
        "changed": changed_settings(results.preset, config, presets),
        "command": f"skdcgn run {shlex.quote(results.preset)} --seed {results.seed}",
        "count": count,
    }
