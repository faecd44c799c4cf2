"""Verbs about skdcgn itself: doctor, config."""

import json
from enum import StrEnum
from typing import Annotated

from cyclopts import Parameter

from skdcgn.base.presets import (
    DEFAULT,
    IMAGENET_RUNS,
    IMAGENET_TEACHERS,
    PHOTO_RUNS,
    RUNS,
    TEACHERS,
    find_run,
    find_stage,
    find_teaching,
)
from skdcgn.base.records import to_dict
from skdcgn.cli.options import DataRoot
from skdcgn.cli.terminal import show_finding


class ConfiguredVerb(StrEnum):
    """Verbs that take ``--config``."""

    RUN = "run"
    TEACH = "teach"
    QUERY = "query"
    DISTILL = "distill"
    CLASSIFY = "classify"
    ENSEMBLE = "ensemble"


def doctor(*, data_root: DataRoot = None) -> int:
    """Show what is installed and available; the exit status is 1 if something is broken."""
    from skdcgn.experiments.doctor import State, examine

    findings = list(examine(data_root))
    for finding in findings:
        show_finding(finding)
    return int(any(finding.state is State.BROKEN for finding in findings))


def config(
    preset: Annotated[
        str,
        Parameter(
            help=f"One of {', '.join((*RUNS, *IMAGENET_RUNS, *PHOTO_RUNS))}; "
            f"of teach: {', '.join((*TEACHERS, *IMAGENET_TEACHERS))}."
        ),
    ] = DEFAULT,
    /,
    *,
    verb: Annotated[ConfiguredVerb, Parameter(help="Verb whose --config takes the file.")] = ConfiguredVerb.RUN,
) -> None:
    """Print the whole configuration of a preset as JSON."""
    match verb:
        case ConfiguredVerb.RUN:
            settings = to_dict(find_run(preset))
        case ConfiguredVerb.TEACH:
            settings = to_dict(find_teaching(preset))
        case _:
            settings = to_dict(find_stage(verb, preset))
    print(json.dumps(settings, indent=2))
