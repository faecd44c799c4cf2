"""Presets: whole experiments by name. No torch here: the command line lists them in its help."""

import difflib
from dataclasses import replace
from typing import TypeVar

from skdcgn.config import ClassifyConfig, DistillConfig, QueryConfig, RunConfig, StudentConfig, TeachConfig
from skdcgn.errors import UserError

T = TypeVar("T")

DEFAULT = "double-colored-digits"

TINY = StudentConfig(channels=(8, 8), grid=8, embedding=4)
SMOKE_DISTILL = DistillConfig(steps=40, batch_size=32, shape=TINY, texture=TINY, background=TINY)
MNIST_QUERY = QueryConfig(shape=10_000, texture=5_000, background=5_000)
MNIST_DISTILL = DistillConfig(steps=3000)
MNIST_CLASSIFY = ClassifyConfig(images=50_000, epochs=3)
FULL_CLASSIFY = ClassifyConfig(images=100_000, epochs=10)

# fmt: off
RUNS = {run.preset: run for run in (
    RunConfig("double-colored-digits", "digits", "double-colored", teacher="double-colored-digits"),
    RunConfig("colored-mnist",         "mnist",  "colored",        query=MNIST_QUERY, distill=MNIST_DISTILL, classify=MNIST_CLASSIFY, test_copies=1),
    RunConfig("double-colored-mnist",  "mnist",  "double-colored", query=MNIST_QUERY, distill=MNIST_DISTILL, classify=MNIST_CLASSIFY, test_copies=1),
    RunConfig("wildlife-mnist",        "mnist",  "wildlife",       query=MNIST_QUERY, distill=MNIST_DISTILL, classify=MNIST_CLASSIFY, test_copies=1),
    RunConfig("smoke",                 "digits", "double-colored", teacher="double-colored-digits", test_copies=1,
              query=QueryConfig(200, 100, 100, 100, 100), distill=SMOKE_DISTILL, classify=ClassifyConfig(640, 10, 1)),
)}
# fmt: on

TEACHERS = {
    "double-colored-digits": TeachConfig("digits", "double-colored"),
    "colored-mnist": TeachConfig("mnist", "colored"),
    "double-colored-mnist": TeachConfig("mnist", "double-colored"),
    "wildlife-mnist": TeachConfig("mnist", "wildlife"),
    "smoke": TeachConfig("digits", "double-colored", steps=6, batch_size=8),
}


def run_preset(name: str, *, full: bool = False) -> RunConfig:
    """Return the run preset ``name``, with the published classifier budget if ``full``."""
    config = _find(name, RUNS)
    return replace(config, classify=FULL_CLASSIFY) if full else config


def teach_preset(name: str) -> TeachConfig:
    """Return the teaching preset ``name``."""
    return _find(name, TEACHERS)


def _find(name: str, table: dict[str, T]) -> T:
    if name not in table:
        close = difflib.get_close_matches(name, table, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(table)}"
        raise UserError(f"unknown preset {name!r}: {hint}")
    return table[name]
