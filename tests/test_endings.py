"""How the command line ends: interrupted, with a full disk, or in a terminal and an environment that are odd."""

import errno
import os
import re
import signal
import subprocess
import sys

import pytest

from skdcgn.base import files
from skdcgn.base.ending import SIGNALS
from skdcgn.base.errors import UserError
from skdcgn.cli.streams import Sink, limit_width, text_stream
from skdcgn.experiments import doctor
from skdcgn.training.trackers import open_tracker

COMMAND = [sys.executable, "-m", "skdcgn"]
GENERATE = ["generate", "double-colored-digits", "-n", "4", "--format", "png"]
INTERRUPTED = "interrupted: run the same command again to continue\n"
UNWRITTEN = "the standard output cannot be written (No space left on device)"


@pytest.fixture(autouse=True)
def usual_handlers():
    """The handlers of a program in the foreground: one in the background ignores SIGINT, one under nohup SIGHUP."""
    before = handlers()
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


def handlers():
    return [signal.getsignal(number) for number in SIGNALS]


def remains(folder):
    return list(folder.rglob(f"{files.PREFIX}*"))


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_a_write_ends_in_one_line_and_leaves_no_temporary_file(number, tmp_path, monkeypatch, skdcgn):
    before = handlers()

    def interrupt(descriptor):
        assert remains(tmp_path)
        os.kill(os.getpid(), number)

    monkeypatch.setattr("skdcgn.base.files.os.fsync", interrupt)
    assert skdcgn(*GENERATE, "--out", tmp_path) == (128 + number, "", INTERRUPTED)
    assert not remains(tmp_path)
    assert handlers() == before


def test_a_program_that_ends_in_order_is_not_interrupted_again(monkeypatch, skdcgn):
    def interrupt_twice(data_root):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)

    monkeypatch.setattr(doctor, "examine", interrupt_twice)
    assert skdcgn("doctor") == (143, "", INTERRUPTED)


def test_a_signal_that_nohup_ignores_interrupts_nothing(monkeypatch, skdcgn):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(doctor, "examine", lambda data_root: os.kill(os.getpid(), signal.SIGHUP) or [])
    try:
        assert skdcgn("doctor") == (0, "", "")
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_that_is_ignored_stays_so_when_another_interrupts(monkeypatch, skdcgn):
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def interrupt_twice(data_root):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(doctor, "examine", interrupt_twice)
    assert skdcgn("doctor") == (143, "", INTERRUPTED)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def shell(line, *, cwd=None, **environment):
    """Run a shell line in which SKDCGN is the command line."""
    line = line.replace("SKDCGN", f"{sys.executable} -m skdcgn")
    variables = {**os.environ, **environment}
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, env=variables, cwd=cwd)


@pytest.mark.parametrize(
    ("line", "status", "error"),
    [
        ("SKDCGN config smoke >/dev/full", 1, f"error: {UNWRITTEN}\n"),
        ("SKDCGN config smoke >&-", 0, ""),
        ("SKDCGN config smoke 2>&-", 0, ""),
        ("SKDCGN config smok 2>&-", 2, ""),
        ("SKDCGN config smoke 2>/dev/full", 0, ""),
        ("SKDCGN --version >&- 2>&- <&-", 0, ""),
        ("mkdir gone; cd gone; rmdir ../gone; SKDCGN --version", 0, ""),
        ("mkdir gone; cd gone; rmdir ../gone; SKDCGN run --help", 0, ""),
        ("mkdir gone; cd gone; rmdir ../gone; SKDCGN doctor", 2,
         "error: the current folder was removed: go to another one and run the command again\n"),
    ],
)  # fmt: skip
def test_the_status_tells_whether_the_result_is_somewhere(line, status, error, tmp_path):
    ended = shell(line, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (status, error)
    if "2>&-" in line and status == 2:
        assert ended.stdout == ""  # the error does not become the result


def test_a_finished_job_succeeds_whatever_the_terminal_and_the_environment_say(tmp_path):
    odd = {
        "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "COLUMNS": "0", "TERM": "unknown", "HOME": "/proc/nowhere",
        "TMPDIR": "/proc/nowhere", "XDG_CACHE_HOME": "/proc/nowhere", "HF_HOME": "/proc/nowhere", "RANK": "x",
        "WORLD_SIZE": "2", "OMPI_COMM_WORLD_SIZE": "2", "ACCELERATE_MIXED_PRECISION": "fp16",
        "ACCELERATE_USE_DEEPSPEED": "true", "MPLBACKEND": "nonsense", "OMP_NUM_THREADS": "0", "PYTHONWARNINGS": "error",
        "CUDA_VISIBLE_DEVICES": "nonsense",
    }  # fmt: skip
    ended = shell(f"umask 077; SKDCGN {' '.join(GENERATE)} --out größe >/dev/full", cwd=tmp_path, **odd)
    assert ended.returncode == 0, ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert line == f"warning: the results are written, but {UNWRITTEN}"
    assert len(list((tmp_path / "größe").glob("*.png"))) == 5


def test_a_reader_that_ends_early_does_not_make_a_finished_job_fail(tmp_path):
    command = [*COMMAND, *GENERATE, "--out", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_words_that_an_encoding_does_not_have_are_escaped():
    reading, writing = os.pipe()
    print("größe ✓", file=text_stream(Sink(writing), "ascii", by_line=True))
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b"gr\\xf6\\xdfe \\u2713\n"


@pytest.mark.parametrize(("columns", "width"), [("0", 40), ("5", 40), ("120", 120), ("99999999", 1000)])
def test_tables_are_laid_out_for_a_sensible_width(columns, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    limit_width()
    assert int(os.environ["COLUMNS"]) >= width
    assert int(os.environ["COLUMNS"]) <= 1000


@pytest.mark.parametrize("columns", ["abc", "³", "-3", ""])
def test_a_width_that_is_no_number_is_the_terminals(columns, monkeypatch, skdcgn):
    monkeypatch.setenv("COLUMNS", columns)
    status, page, _ = skdcgn("run", "--help")
    assert status == 0
    assert re.fullmatch("[0-9]+", os.environ["COLUMNS"])
    assert "--teacher" in page


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=256k", "tmpfs"]
    try:
        mounted = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount on this machine")
    if mounted.returncode != 0:
        pytest.skip(f"this machine mounts no tmpfs: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


FULL = {
    "generate": ["generate", "double-colored-digits", "-n", "500"],
    "generate png": ["generate", "double-colored-digits", "-n", "500", "--format", "png"],
    "interpolate": ["generate", "double-colored-digits", "--interpolate", "all", "--frames", "300"],
    "query": ["query", "double-colored-digits", "--shape", "200", "--shard-size", "20"],
}


@pytest.mark.parametrize("verb", FULL)
def test_a_full_disk_is_told_by_its_path_and_leaves_no_temporary_file(verb, small_disk, skdcgn):
    status, _, said = skdcgn(*FULL[verb], "--out", small_disk / "out", "-q")
    assert status == 2
    assert re.fullmatch(rf"error: {small_disk}/out/\S+ .*: free some space or choose another --out.*\n", said)
    assert not remains(small_disk)


def test_a_full_disk_is_told_of_a_tracker_and_of_a_log(small_disk):
    with pytest.raises(UserError, match=f"{small_disk}/tensorboard cannot be written .*: free some space"):
        log_without_end(small_disk)
    with pytest.raises(UserError, match=f"{small_disk}/metrics.jsonl cannot be written .*: free some space"):
        files.append_text(small_disk / "metrics.jsonl", "x" * 2**20)


def log_without_end(folder):
    with open_tracker("tensorboard", folder) as send:
        for step in range(100_000):
            send({f"loss {number}": 1.0 for number in range(100)}, step)


def test_an_error_of_another_package_is_one_line(monkeypatch, skdcgn):
    def fail(data_root):
        raise OSError(errno.ECONNREFUSED, "Connection refused")

    monkeypatch.setattr(doctor, "examine", fail)
    expected = "error: Connection refused: check the path, its permissions and the connection\n"
    assert skdcgn("doctor") == (2, "", expected)
