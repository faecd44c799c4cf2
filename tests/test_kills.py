"""A stage that is killed at any of its writes and run again ends with the same files and the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLING = Path(__file__).parent / "killing.py"
WRITES = {  # at least
    "query": 5,
    "distill": 3,
    "save a student": 2,
    "generate": 2,
    "generate png": 6,
    "interpolate": 2,
    "classify": 3,
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # forks have one thread
    command = [sys.executable, KILLING, tmp_path_factory.mktemp("kills")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("stage", WRITES)
def test_a_stage_killed_at_any_write_ends_with_the_same_bytes(stage, results):
    assert results[stage]["kills"] >= 2 * WRITES[stage]
    assert results[stage]["unclean"] == {}
