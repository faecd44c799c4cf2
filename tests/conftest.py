"""Shared fixtures: a teacher that is a formula, a random CGN whose batch norms matter, and the command line."""

import multiprocessing
import sys

import pytest
import torch

from skdcgn.base import presets
from skdcgn.base.records import override
from skdcgn.base.tensors import write_tensors
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.cli import main
from skdcgn.features.perceptual import VGG16
from skdcgn.teachers.cgn import CGN, CGNTeacher

SHORT_RUN = {
    **{f"query.{mechanism}": 40 for mechanism in Mechanism},
    "query.held_out": 20,
    "query.shard_size": 40,
    "distill.steps": 4,
    "classify.images": 128,
}
LINE = torch.linspace(-1, 1, 32)


class AnalyticTeacher:
    """No parameters at all: soft discs whose place, size and colour are smooth functions of noise and label."""

    spec, digest, size = Spec(), "analytic", None

    def query(self, mechanism, noise, labels):
        phase = labels[:, None] * 0.6
        x, y, radius = (0.4 * torch.tanh(noise[:, :3]) + 0.3 * torch.sin(phase + torch.arange(3))).unbind(1)
        distance = torch.hypot(LINE[None, None] - x[:, None, None], LINE[None, :, None] - y[:, None, None])
        disc = torch.sigmoid(8 * (0.6 + 0.5 * radius[:, None, None] - distance))[:, None]  # (B, 1, 32, 32)
        if mechanism == Mechanism.SHAPE:
            return disc
        tone = torch.tanh(torch.sin(phase + torch.tensor([0.0, 2.0, 4.0])) + 0.3 * noise[:, 3:6])[..., None, None]
        return (0.7 * tone + 0.3 * (2 * disc - 1)) * (1 if mechanism == Mechanism.TEXTURE else -1)


@pytest.fixture(scope="session")
def analytic_teacher():
    return AnalyticTeacher()


@pytest.fixture(scope="session")
def vgg16_file(tmp_path_factory):
    """A file of random weights under VGG16's names, as torchvision's has them."""
    rng, state, channels, index = torch.Generator().manual_seed(0), {}, 3, 0
    for width in VGG16:
        if width != "pool":
            state[f"features.{index}.weight"] = torch.randn(width, channels, 3, 3, generator=rng) / (3 * channels**0.5)
            state[f"features.{index}.bias"] = torch.zeros(width)
            channels = width
        index += 1 if width == "pool" else 2
    file = tmp_path_factory.mktemp("vgg16") / "vgg16.pth"
    torch.save({**state, "classifier.0.bias": torch.zeros(3)}, file)
    return file


@pytest.fixture(scope="session")
def random_cgn():
    torch.manual_seed(0)
    cgn = CGN()
    for module in cgn.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return CGNTeacher(cgn, digest="random")


@pytest.fixture(scope="session")
def save_weights():
    """Save a state dict as safetensors or, by torch, flat, ``nested`` in a dict, or with a ``module prefix``."""

    def save(path, state, layout):
        if layout == "safetensors":
            write_tensors(path, state)
            return
        prefixed = {f"module.{name}": value for name, value in state.items()} if layout == "module prefix" else state
        torch.save({"state_dict": prefixed} if layout == "nested" else prefixed, path)

    return save


@pytest.fixture(scope="session")
def fork_server():
    """Start processes as forks of one that has imported all: to start Python and torch for each would take longest."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["skdcgn.students.distill", "skdcgn.classifiers.ensemble", "accelerate", "cyclopts", "skdcgn.teachers.remote"]
    )
    return context


@pytest.fixture
def short_smoke(monkeypatch):
    """The preset smoke, a few steps long: for tests of what a study says and writes."""
    monkeypatch.setitem(presets.RUNS, "smoke", override(presets.RUNS["smoke"], SHORT_RUN, "smoke"))


@pytest.fixture
def skdcgn(monkeypatch, capsys):
    """Call main() in this process, without the seconds of a new one: (exit status, standard output and error)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["skdcgn", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run


def pytest_collection_modifyitems(config, items):
    """Leave the long fuzzing out, unless it is asked for by ``-m fuzz``."""
    if "fuzz" not in config.getoption("-m"):
        long = [item for item in items if item.get_closest_marker("fuzz")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in set(long)]
