"""Files: one process at a time holds a lock, and one that is killed lets go."""

import subprocess
import sys
import time

from skdcgn.base.files import exclusive

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
