"""Cure: a planted shortcut is cured, what it may cost is bounded, nothing changes where there is none."""

import pytest
import torch
from PIL import Image
from torch import nn

from skdcgn.base.config import CureConfig
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.cgn.pictures import as_rgb
from skdcgn.experiments.cure import cure
from skdcgn.experiments.cure_record import cure_rows, read_cure

CLASSES = ("a", "b", "c")
SHORT = CureConfig(steps=60, batch_size=12, counterfactuals=24, save_every=20)


class Stripes:
    """Pictures of 8 x 8 pixels whose columns show texture (0-3), background (4, 5) and shape (6, 7) as a bright row.

    Each is readable by a linear layer alone: texture and background in red, the shape in green.
    """

    spec, digest, size = Spec(image_size=8, noise_dim=2, classes=3, names=CLASSES, tiles=False), "stripes", None

    def query(self, mechanism, noise, labels):
        rows = (torch.arange(8)[None] // 2 == labels[:, None]).float()  # (B, 8): two rows of a class
        if mechanism == Mechanism.SHAPE:
            mask = torch.zeros(len(labels), 1, 8, 8)
            mask[..., :4] = 1
            mask[..., 6:] = rows[:, None, :, None]
            return mask
        red = (2 * rows - 1)[:, :, None].expand(-1, 8, 8)
        green = torch.full_like(red, 1.0 if mechanism == Mechanism.TEXTURE else -1.0)
        blue = torch.tanh(noise[:, :1, None]).expand(-1, 8, 8)
        return torch.stack([red, green, blue], 1)


COLUMNS = {"shape": (1, slice(6, 8)), "texture": (0, slice(0, 4)), "background": (0, slice(4, 6))}


def linear(**weights):
    """A classifier that adds up evidence of mechanisms for each class, each with its planted weight."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 3, bias=False))
    planted = torch.zeros(3, 3, 8, 8)
    for mechanism, weight in weights.items():
        channel, columns = COLUMNS[mechanism]
        for label in range(3):
            planted[label, channel, 2 * label : 2 * label + 2, columns] = weight
    network[1].weight.data = planted.flatten(1)
    return network


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Twenty pictures of each class, whose texture and background are those of the class."""
    folder = tmp_path_factory.mktemp("real")
    data = compose(Stripes(), 60, policy=["texture.correlate:1", "background.correlate:1"], seed=1)
    for number, (image, label) in enumerate(zip(as_rgb(data.images), data.shape_labels.tolist(), strict=True)):
        place = folder / CLASSES[label]
        place.mkdir(exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{number}.png")
    return folder


def cured(module, real, **options):
    options = {"config": SHORT, "n": 200, "crops": False, "preprocess": "signed", "device": "cpu", **options}
    return cure(module, Stripes(), real, **options)


@pytest.mark.parametrize(
    ("weights", "varied"),
    [
        ({"background": 1.0, "shape": 0.2}, ("background",)),
        ({"texture": 0.5, "shape": 0.2}, ("texture",)),
        ({"texture": 0.5, "background": 1.0, "shape": 0.1}, ("texture", "background")),
    ],
)
def test_a_planted_shortcut_is_cured(weights, varied, real):
    module = linear(**weights)
    record, network = cured(module, real)
    assert record.varied == varied
    for name in varied:
        assert record.before.mechanisms[name].follow.value > 20
        assert record.after.mechanisms[name].follow.value < record.before.mechanisms[name].follow.value / 4
    assert record.kept
    assert record.accuracy_after == 100
    assert torch.equal(module[1].weight, linear(**weights)[1].weight)
    assert not torch.equal(network[1].weight, module[1].weight)
    assert len(cure_rows(record)) == 17


def test_without_a_shortcut_nothing_changes(real, tmp_path):
    record, network = cured(linear(shape=1.0), real, out=tmp_path / "cure")
    assert (record.after, record.kept, network, record.varied) == (None, False, None, ())
    assert record.verdict.startswith("nothing to cure: follows the shape")
    assert read_cure(tmp_path / "cure") == record
    assert not (tmp_path / "cure" / "checkpoint.safetensors").exists()
    assert not (tmp_path / "cure" / "cured.safetensors").exists()


def test_too_much_accuracy_lost_keeps_nothing(real, tmp_path):
    module, out = linear(background=1.0), tmp_path / "cure"
    spoiling = CureConfig(steps=5, learning_rate=100.0, batch_size=1, counterfactuals=6)
    record, network = cured(module, real, out=out, config=spoiling, most_lost=100)
    assert record.kept
    assert (out / "cured.safetensors").exists()
    lost = record.accuracy_before - record.accuracy_after
    assert lost > 0
    record, network = cured(module, real, out=out, config=spoiling, most_lost=lost / 2)
    assert (record.kept, network) == (False, None)
    assert f"not kept: {lost:.1f} points are lost" in record.verdict
    assert not (out / "cured.safetensors").exists()


def test_a_killed_cure_ends_with_the_same_bytes(real, tmp_path, monkeypatch):
    def run(out, watch=None):
        cured(linear(background=1.0), real, out=out, **({"watch": watch} if watch else {}))

    def killing(name, total):
        def tell(done, losses=None):
            if name == "cure" and done == 30:
                raise KeyboardInterrupt

        return tell

    run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", killing)
    assert not (tmp_path / "killed" / "cure.json").exists()
    run(tmp_path / "killed")
    files = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(tmp_path / "killed") for p in (tmp_path / "killed").rglob("*") if p.is_file())
    for file in files:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "killed" / file).read_bytes(), file


def test_the_last_layer_alone_learns_and_norms_keep_their_statistics(real):
    body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    module = nn.Sequential(body, nn.Linear(4 * 64, 3))
    for layers, learns in (("last", {"1.weight", "1.bias"}), ("all", set(dict(module.named_parameters())))):
        options = {"layers": layers, "config": CureConfig(steps=3), "most_lost": 100}
        torch.manual_seed(0)
        module[1].weight.data = torch.randn(3, 256)
        network = cured(module, real, **options).module
        if network is None:
            pytest.fail("a random network follows colours")
        state = module.state_dict()
        assert {name for name, value in network.state_dict().items() if not torch.equal(value, state[name])} == learns
    assert all(p.grad is None for p in module.parameters())
