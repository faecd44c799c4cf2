"""Progress: a line a minute with step, losses and remaining time in a pipe, bars in a terminal and in a notebook."""

import io
import logging

import pytest
from rich.console import Console

from skdcgn.base.progress import log_progress, notebook_bar, progress_bars
from skdcgn.training.loop import Record, report_to


class Time:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def log(caplog):
    with caplog.at_level(logging.INFO, "skdcgn"):
        yield caplog


def test_at_most_a_line_a_minute_and_one_at_the_end(log):
    time = Time()
    tell = log_progress("distill shape", 400, clock=time)
    for step in range(1, 401):
        time.now += 0.5
        tell(step, {"pixel": 1 / step, "kl": 2.0})
    assert log.messages == [
        "distill shape: 120 of 400, pixel 0.00833, kl 2, 2:20 left",
        "distill shape: 240 of 400, pixel 0.00417, kl 2, 1:20 left",
        "distill shape: 360 of 400, pixel 0.00278, kl 2, 0:20 left",
        "distill shape: 400 done",
    ]


def test_a_resumed_task_is_as_fast_as_its_new_steps(log):
    time = Time()
    tell = log_progress("teach", 10_000, every=10, clock=time)
    tell(9001)
    time.now = 10
    tell(9011)
    assert log.messages == ["teach: 9011 of 10000, 16:29 left"]


def test_a_speed_that_is_not_known_yet_is_not_shown(log):
    time = Time()
    tell = log_progress("teach", 9, every=10, clock=time)
    time.now = 20
    tell(1)
    assert log.messages == ["teach: 1 of 9"]


def test_steps_of_a_training_are_reported_with_their_losses():
    tasks, reports = [], []

    def watch(name, total):
        tasks.append((name, total))
        return lambda done, losses: reports.append((done, losses))

    report = report_to(watch, "classify")
    for step in (3, 4):
        report(Record(step, 4, {"loss": 0.5}))
    assert tasks == [("classify", 4)]
    assert reports == [(3, {"loss": 0.5}), (4, {"loss": 0.5})]


def test_a_pipe_gets_lines_and_a_terminal_bars(log):
    pipe, terminal = io.StringIO(), io.StringIO()
    for console in (Console(file=pipe), Console(file=terminal, force_terminal=True, width=80)):
        with progress_bars(console) as watch:
            watch("distill background", 12_000)(12_000, {"pixel": 0.01234})
    assert log.messages == ["distill background: 12000 done"]
    assert pipe.getvalue() == ""
    screen = terminal.getvalue()
    assert all(word in screen for word in ("distill background", "12000/12000", "pixel 0.0123"))


def test_a_notebooks_bar_is_html_that_stays_in_the_saved_notebook(monkeypatch):
    display = pytest.importorskip("IPython.display")
    bundles = []

    class Handle:
        def update(self, bundle, raw):
            bundles.append(bundle)

    def show(bundle, raw, display_id):
        bundles.append(bundle)
        return Handle()

    monkeypatch.setattr(display, "display", show)
    tell = notebook_bar("teach", 2)
    tell(2, {"kl": 0.25})
    assert [bundle["text/plain"] for bundle in bundles] == ["teach: 0 of 2", "teach: 2 of 2, kl 0.25"]
    assert '<progress value="2" max="2">' in bundles[-1]["text/html"]
