"""Damaged input is refused in one line, in bounded time and memory, or accepted where it may be: never a traceback."""

import random
import resource
import shutil
import signal
import warnings
from contextlib import contextmanager
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fuzz_mutations import mutate
from fuzz_readers import READERS
from skdcgn.base.errors import UserError

SECONDS, MEMORY = 10, 2 * 2**30
EXAMPLES = 30  # of each reader


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Folders of sound files by reader, each written once."""
    folders = {}

    def build(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("sound")
            READERS[name].build(folders[name])
        return folders[name]

    return build


@contextmanager
def bounds():
    """Let a block that takes too long or too much memory fail."""

    def stop(signum, frame):
        raise TimeoutError(f"more than {SECONDS} s")

    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    limits, before = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, limits[1]))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", READERS)
def test_what_is_sound_is_read(name, sound, tmp_path):
    shutil.copytree(sound(name), tmp_path / "copy")
    READERS[name].read(tmp_path / "copy")


@pytest.mark.parametrize("name", READERS)
def test_what_is_damaged_is_refused_in_one_line(name, sound, tmp_path_factory):
    damage(READERS[name], sound(name), tmp_path_factory.mktemp("damaged"), EXAMPLES)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", READERS)
def test_what_is_damaged_in_many_ways_is_refused_in_one_line(name, sound, tmp_path_factory):
    damage(READERS[name], sound(name), tmp_path_factory.mktemp("damaged"), 100 * EXAMPLES)


def damage(reader, source, place, examples):
    """Damage copies of the sound files; fail unless each is refused in a line or read, in bounded time and memory."""
    lengths, numbers = [], count()

    @settings(
        max_examples=max(3, round(reader.share * examples)),
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**64 - 1))
    def damaged(seed):
        folder = place / str(next(numbers))
        shutil.copytree(source, folder)
        with warnings.catch_warnings(action="ignore"):
            change = mutate(random.Random(seed), folder, reader.targets)
        try:
            with bounds():
                reader.read(folder)
        except UserError as refusal:
            lengths.append(len(str(refusal)))
        except BaseException as error:
            error.add_note(f"seed {seed}, {change}")
            raise
        shutil.rmtree(folder)

    damaged()
    assert all(0 < length < 2000 for length in lengths)
