"""Files: one process at a time holds a lock; a killed writer leaves nothing for long; a disk that refuses is named."""

import errno
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from skdcgn.base.errors import UserError
from skdcgn.base.files import append_text, exclusive, replacing, write_bytes

HOLD = """
import sys, time
from pathlib import Path
from skdcgn.base.files import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_by_one_process_until_it_is_killed(tmp_path, caplog):
    lock = tmp_path / "new" / ".lock"
    other = subprocess.Popen([sys.executable, "-c", HOLD, lock], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with exclusive(lock, wait=False) as acquired:
            assert not acquired
        assert not caplog.messages
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with exclusive(lock, wait=False) as acquired:
        assert acquired


def test_a_process_that_waits_says_where_and_goes_on_when_the_other_ends(tmp_path, caplog):
    lock = tmp_path / ".lock"
    brief = HOLD.replace("60", "0.5")
    other = subprocess.Popen([sys.executable, "-c", brief, lock], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    start = time.monotonic()
    with exclusive(lock) as acquired:
        assert acquired
        assert time.monotonic() - start > 0.3
    other.wait()
    other.stdout.close()
    assert caplog.messages == [f"{tmp_path}: waiting for another process that works there"]


KILL_IN_WRITE = """
import os, signal, sys
from pathlib import Path
from skdcgn.base.files import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    {ending}
"""


def run_python(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_first_write_in_a_folder_removes_what_killed_writers_left(tmp_path):
    file, neighbour = tmp_path / "a", tmp_path / ".skdcgn-notes"
    neighbour.write_text("of the user")
    killed = run_python(KILL_IN_WRITE.format(ending="os.kill(os.getpid(), signal.SIGKILL)"), file)
    assert killed.returncode == -signal.SIGKILL
    assert len(contents(tmp_path)) == 2
    write_bytes(tmp_path / "b", b"whole")
    assert contents(tmp_path) == {"b": b"whole", neighbour.name: b"of the user"}


def test_who_gets_a_folder_to_itself_removes_what_the_holder_before_left(tmp_path):
    write_bytes(tmp_path / "b", b"whole")  # before the other one is killed
    run_python(KILL_IN_WRITE.format(ending="os.kill(os.getpid(), signal.SIGKILL)"), tmp_path / "a")
    assert len(contents(tmp_path)) == 2
    with exclusive(tmp_path / ".lock"):
        assert contents(tmp_path) == {"b": b"whole", ".lock": b""}


def test_a_living_writer_keeps_its_temporary_file(tmp_path):
    code = KILL_IN_WRITE.format(ending="print('writing', flush=True); sys.stdin.readline()")
    command = [sys.executable, "-c", code, tmp_path / "a"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "writing\n"
        write_bytes(tmp_path / "b", b"whole")
        assert sorted(contents(tmp_path).values()) == [b"half", b"whole"]
        other.communicate("\n")
    assert contents(tmp_path) == {"a": b"half", "b": b"whole"}


def write_half(file, error):
    with replacing(file) as temporary:
        temporary.write(b"half")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError(errno.ENOSPC, "No space left on device")])
def test_a_write_that_fails_leaves_the_old_bytes_and_nothing_else(error, tmp_path):
    file = tmp_path / "a"
    write_bytes(file, b"old")
    with pytest.raises((KeyboardInterrupt, ValueError, UserError)):
        write_half(file, error)
    assert contents(tmp_path) == {"a": b"old"}


def test_files_have_the_permissions_that_the_user_chose(tmp_path):
    before = os.umask(0o077)
    try:
        write_bytes(tmp_path / "private", b"")
        os.umask(0o022)
        write_bytes(tmp_path / "public", b"")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("private", "public")]
    assert modes == [0o600, 0o644]


WRITES = {"whole": lambda path: write_bytes(path, b"x" * 4096), "appended": lambda path: append_text(path, "x" * 4096)}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("place", "mend"),
    [
        ("file/below", "a file or a broken link is where a folder should be"),
        ("folder", "a folder is where a file should be"),
        ("n" * 300, "choose a shorter --out"),
        ("circle/below", "a file or a broken link"),
    ],
)
def test_a_place_that_takes_no_file_is_named_with_its_mend(write, place, mend, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(UserError, match=mend) as refused:
        WRITES[write](tmp_path / place)
    assert str(refused.value).startswith(f"{tmp_path / place} cannot be written (")
    assert "\n" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["circle", "file", "folder"]


def test_a_pipe_or_a_device_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is a pipe or a device, which a file would replace: choose another --out"):
        write_bytes(tmp_path / "pipe", b"")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("write", ["write_bytes(Path(sys.argv[1]), bytes(2**20))",
                                   "append_text(Path(sys.argv[1]), 'x' * 2**20)"])  # fmt: skip
def test_a_full_disk_is_a_users_error_that_names_the_file(write, tmp_path):
    """A limit on the size of files stands in for a full disk: the write fails half-way."""
    code = (
        "import resource, sys; from pathlib import Path; from skdcgn.base.files import append_text, write_bytes\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n{write}"
    )
    ended = run_python(code, tmp_path / "a")
    assert f"UserError: {tmp_path / 'a'} cannot be written (File too large): free some space" in ended.stderr


def test_what_the_block_reads_elsewhere_is_not_blamed_on_the_file(tmp_path):
    with pytest.raises(PermissionError), replacing(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/picture.png")
