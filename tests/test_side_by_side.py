"""Jobs side by side: results, reports, logs and errors come back to the caller, whom no process outlives."""

import logging
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from skdcgn.base.config import DistillConfig, QueryConfig, StudentConfig
from skdcgn.base.errors import TrainingStoppedError, UserError
from skdcgn.base.progress import silent
from skdcgn.pairs.query import query_all
from skdcgn.students.distill import Preview, distill
from skdcgn.training.side_by_side import Job, Processes, run_jobs, spare_processes
from skdcgn.training.worker import threads

TINY = StudentConfig(channels=(4, 4), grid=8, embedding=4)
FEW = DistillConfig(steps=6, batch_size=8, save_every=2, shape=TINY, texture=TINY, background=TINY)
WORK = """
import logging, os, signal, time
import torch
from skdcgn.base.errors import TrainingStoppedError

def count(first, steps, watch):
    tell = watch(f"count from {first}", steps)
    for step in range(1, steps + 1):
        time.sleep(0.001)
        tell(step, {"loss": first / step})
    logging.getLogger("skdcgn.work").warning(f"counted from {first}")
    return first, os.getpid(), torch.get_num_threads()

def stop(words, watch):
    raise TrainingStoppedError(words)

def fail(watch):
    return [][1]

def die(watch):
    os.kill(os.getpid(), signal.SIGKILL)

def go_on(file, watch):
    while True:
        with open(file, "a") as out:
            out.write(".")
        time.sleep(0.02)
"""
SCRIPT = """
import sys
from functools import partial
import work
from skdcgn.base.progress import silent
from skdcgn.training.side_by_side import Job, Processes

with Processes(2, "torch") as processes:
    processes.run([Job("go on", partial(work.go_on, file)) for file in sys.argv[1:]], silent)
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A module of jobs that workers can import too."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "work.py").write_text(WORK)
    sys.path.insert(0, str(folder))
    import work

    yield work
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def processes(work):
    with Processes(2, "skdcgn.students.distill") as processes:
        yield processes


@pytest.fixture
def two_threads():
    with threads(2):
        yield


def test_results_come_in_order_and_reports_logs_and_threads_are_the_callers(work, processes, two_threads, caplog):
    reports = {}

    def watch(name, total):
        reports[name] = []
        return lambda done, losses: reports[name].append((done, losses))

    jobs = [Job(f"count from {first}", partial(work.count, first, steps)) for first, steps in ((7, 60), (8, 2), (9, 2))]
    with caplog.at_level(logging.WARNING, "skdcgn"):
        results = run_jobs(jobs, watch, processes)
    assert [first for first, _, _ in results] == [7, 8, 9]
    workers = {worker for _, worker, _ in results}
    assert len(workers - {os.getpid()}) == 2
    assert {threads for _, _, threads in results} == {2}
    assert sorted(caplog.messages) == [f"counted from {first}" for first in (7, 8, 9)]
    assert reports["count from 7"][0] == (1, {"loss": 7.0})
    assert reports["count from 7"][-1] == (60, {"loss": 7 / 60})
    assert [done for done, _ in reports["count from 9"]][-1] == 2


def test_jobs_here_give_the_same(work, caplog):
    (first, worker, _), *_ = run_jobs([Job("count", partial(work.count, 3, 2))], silent)
    assert (first, worker) == (3, os.getpid())


def test_a_student_distilled_side_by_side_has_the_same_bytes(analytic_teacher, processes, two_threads, tmp_path):
    query_all(analytic_teacher, tmp_path / "pairs", QueryConfig(shape=40, texture=40, background=40, held_out=10))
    looks = []
    preview = Preview(3, lambda student: looks.append(student.digest))
    alone = distill(tmp_path / "pairs", tmp_path / "alone", FEW, device="cpu")
    beside = distill(tmp_path / "pairs", tmp_path / "beside", FEW, device="cpu", processes=processes, preview=preview)
    assert beside.digest == alone.digest
    again = distill(tmp_path / "pairs", tmp_path / "beside", FEW, device="cpu", preview=preview)
    assert again.digest == alone.digest
    assert len(looks) == 1
    assert looks[0] != alone.digest
    for name in ("metrics.jsonl", "checkpoint.safetensors"):
        one, other = (tmp_path / run / "students" / "texture" / name for run in ("alone", "beside"))
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("kind", ["stop", "fail", "die"])
def test_an_error_of_a_job_is_the_callers_and_ends_the_other_jobs(kind, work, tmp_path):
    file = tmp_path / "file"
    job, error, words = {
        "stop": (partial(work.stop, "loss became nan"), TrainingStoppedError, "^loss became nan$"),
        "fail": (work.fail, IndexError, "list index"),
        "die": (work.die, UserError, "^die: its process was killed"),
    }[kind]
    with Processes(2, "torch") as processes, pytest.raises(error, match=words) as raised:
        processes.run([Job("go on", partial(work.go_on, file)), Job(kind, job)], silent)
    if kind == "fail":
        assert "in fail" in raised.value.__notes__[0]
    assert processes.child.returncode is not None
    assert_still(file)


def assert_still(*files):
    sizes = [file.stat().st_size for file in files if file.exists()]
    time.sleep(0.2)
    assert [file.stat().st_size for file in files if file.exists()] == sizes


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_a_caller_that_is_killed_or_interrupted(number, work, tmp_path):
    """The caller is a script without a main guard; the signal of a terminal goes to its workers too."""
    files = [tmp_path / "a", tmp_path / "b"]
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(work.__file__).parent)])}
    caller = subprocess.Popen(
        [sys.executable, tmp_path / "script.py", *files],
        env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while not all(file.exists() for file in files):
        assert caller.poll() is None
        time.sleep(0.02)
    if number is signal.SIGKILL:
        caller.kill()
    else:
        os.killpg(caller.pid, number)
    errors = caller.communicate(timeout=60)[1]
    assert errors.count("Traceback") == (number is signal.SIGINT)  # of the caller alone
    time.sleep(0.1)
    assert_still(*files)


@pytest.mark.parametrize(("count", "expected"), [(1, False), (2, True)])
def test_processes_are_for_more_than_one_thread(count, expected):
    with threads(count), spare_processes(1, "cpu") as processes:
        assert (processes is not None) is expected
