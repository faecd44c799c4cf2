"""Two processes do what one does with the whole batch, are killed and go on; a single process notices nothing."""

import json
import os
import signal
import socket
import sys
import time
from contextlib import redirect_stderr, redirect_stdout

import pytest
import torch
from PIL import Image
from torch import nn

from skdcgn.base.config import QueryConfig
from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.cli import main
from skdcgn.deploy.generate import write_counterfactuals
from skdcgn.pairs.query import query_all
from skdcgn.training.processes import (
    SharedBatchNorm2d,
    average_losses,
    launcher_environment,
    own_share,
    share_of,
    synchronise,
)

NARROW = [word for name in Mechanism for word in (f"--{name}-channels", "4") * 2]
COMMANDS = {
    "distill": ["distill", "PAIRS", "--out", "OUT", "--steps", "15", "--batch-size", "8", "--save-every", "5",
                "--learning-rate", "1e-3", "--discriminator-rate", "1e-5", "--feature", "0.5", "--kl", "1",
                "--adversarial", "0.01", *NARROW],
    "ensemble": ["ensemble", "--real", "REAL", "--images", "IMAGES", "--out", "OUT", "--epochs", "3", "--width", "4",
                 "--image-size", "16", "--batch-size", "8", "--counterfactuals", "8", "--save-every", "5",
                 "--no-freeze-norms"],
}  # fmt: skip
CURVES = {"distill": "students/shape/metrics.jsonl", "ensemble": "metrics.jsonl"}
TOLERANCE = 2e-3  # of a loss: float32 sums in another order, over fifteen steps


@pytest.fixture(scope="module")
def places(analytic_teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    query_all(analytic_teacher, folder / "pairs", QueryConfig(shape=100, texture=16, background=16, held_out=4))
    images = write_counterfactuals(analytic_teacher, folder / "images", 64)[0]
    for label in range(10):
        (folder / "real" / str(label)).mkdir(parents=True)
        for index in range(4):
            pixels = torch.randint(256, (20, 20, 3), generator=generator(label, index)).to(torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / "real" / str(label) / f"{index}.png")
    return {"PAIRS": folder / "pairs", "IMAGES": images, "REAL": folder / "real"}


def command(verb, places, out):
    return [*(str({**places, "OUT": out}.get(word, word)) for word in COMMANDS[verb]), "--device", "cpu"]


def launched(words, rank, port, errors):
    """Be a process that a launcher starts."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in place.items()})
    torch.set_num_threads(1)
    sys.argv = ["skdcgn", *words]
    with errors.open("a") as stream, redirect_stdout(stream), redirect_stderr(stream):
        main()


def start_two(server, words, errors):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [server.Process(target=launched, args=(words, rank, port, errors)) for rank in (0, 1)]
    for process in processes:
        process.start()
    return processes


def exit_codes(processes):
    for process in processes:
        process.join(timeout=120)
    return [process.exitcode for process in processes]


@pytest.mark.slow
@pytest.mark.parametrize("verb", COMMANDS)
def test_two_processes_killed_once_follow_the_curve_of_one(verb, places, tmp_path, skdcgn, fork_server):
    assert skdcgn(*command(verb, places, tmp_path / "one"))[0] == 0
    shared, errors = command(verb, places, tmp_path / "two"), tmp_path / "errors.txt"
    killed, deadline = start_two(fork_server, shared, errors), time.monotonic() + 60
    while not list((tmp_path / "two").rglob("checkpoint.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in killed:
        process.kill()
    assert exit_codes(killed) == [-signal.SIGKILL] * 2, errors.read_text()
    assert exit_codes(start_two(fork_server, shared, errors)) == [0, 0], errors.read_text()
    one, two = (
        [json.loads(line) for line in (tmp_path / n / CURVES[verb]).read_text().splitlines()] for n in ("one", "two")
    )
    assert [line["step"] for line in one] == [15]
    for left, right in zip(one, two, strict=True):
        assert left == pytest.approx(right, abs=TOLERANCE)


def test_a_shared_batch_norm_is_the_usual_one_in_a_single_process():
    usual, images = nn.BatchNorm2d(3), torch.randn(8, 3, 5, 5, generator=generator("norm"))
    shared = SharedBatchNorm2d(3)
    shared.load_state_dict(usual.state_dict())
    for _ in range(3):
        assert torch.allclose(usual(images), shared(images), atol=1e-6)
    for left, right in zip(usual.state_dict().values(), shared.state_dict().values(), strict=True):
        assert torch.allclose(left, right, atol=1e-6)
    assert torch.allclose(usual.eval()(images), shared.eval()(images), atol=1e-6)


def test_a_single_process_takes_all_and_changes_nothing():
    rows, module = torch.arange(5), nn.Sequential(nn.BatchNorm2d(2))
    assert torch.equal(own_share(rows), rows)
    assert average_losses({"loss": 2.0}) == {"loss": 2.0}
    assert type(synchronise(module)[0]) is nn.BatchNorm2d


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shares_are_equally_large_and_hold_every_row(count):
    shares = [share_of(torch.arange(5), index, count) for index in range(count)]
    assert len({len(share) for share in shares}) == 1
    assert torch.cat(shares).unique().tolist() == [0, 1, 2, 3, 4]


LEFT = {"RANK": "3", "WORLD_SIZE": "4", "OMPI_COMM_WORLD_SIZE": "4", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}


def test_what_another_tool_left_in_the_environment_starts_no_processes(monkeypatch):
    for name, value in LEFT.items():
        monkeypatch.setenv(name, value)
    with launcher_environment():
        assert not LEFT.keys() & os.environ.keys()
    assert os.environ.items() >= LEFT.items()


def test_a_launcher_sets_the_place_of_a_process_but_not_the_arithmetic(monkeypatch):
    for name, value in {**LEFT, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    with launcher_environment():
        assert LEFT.keys() & os.environ.keys() == {"RANK", "WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"}


def test_a_place_that_is_no_number_is_named(monkeypatch):
    for name, value in {"RANK": "x", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="RANK is 'x', no number"), launcher_environment():
        pass
