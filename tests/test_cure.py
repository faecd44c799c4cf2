"""Cure: a planted shortcut is cured, what it may cost is bounded, nothing changes where there is none."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn

from helpers_audit import small_record
from skdcgn.base.config import ClassifyConfig
from skdcgn.base.cure_config import CureConfig
from skdcgn.base.errors import UserError
from skdcgn.base.tensors import read_tensors
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.cgn.pictures import as_rgb
from skdcgn.classifiers.any import open_classifier
from skdcgn.classifiers.small_cnn import classify
from skdcgn.data.images import LabelledImages
from skdcgn.experiments.cure import cure
from skdcgn.experiments.cure_record import cure_policy, cure_rows, read_cure, varied_mechanisms
from skdcgn.teachers.load import load_teacher

CLASSES = ("a", "b", "c")
SHORT = CureConfig(steps=60, batch_size=12, counterfactuals=24, save_every=20)


class Stripes:
    """Pictures of 8 x 8 pixels whose columns show texture (0-3), background (4, 5) and shape (6, 7) as a bright row.

    Each is readable by a linear layer alone: texture and background in red, the shape in green.
    """

    size = None

    def __init__(self, scale=1):
        self.spec = Spec(image_size=8 * scale, noise_dim=2, classes=3, names=CLASSES, tiles=False)
        self.scale, self.digest = scale, f"stripes, {scale}"

    def query(self, mechanism, noise, labels):
        return nn.functional.interpolate(self.draw(mechanism, noise, labels), scale_factor=self.scale)

    def draw(self, mechanism, noise, labels):
        rows = (torch.arange(8)[None] // 2 == labels[:, None]).float()  # (B, 8): two rows of a class
        if mechanism == Mechanism.SHAPE:
            mask = torch.zeros(len(labels), 1, 8, 8)
            mask[..., :4] = 1
            mask[..., 6:] = rows[:, None, :, None]
            return mask
        red = (2 * rows - 1)[:, :, None].expand(-1, 8, 8)
        green = torch.full_like(red, 1.0 if mechanism == Mechanism.TEXTURE else -1.0)
        blue = (0.8 * (labels[:, None, None] - 1) + 0.2 * torch.tanh(noise[:, :1, None])).expand(-1, 8, 8)
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


def write_folder(folder, data, names):
    for number, (image, label) in enumerate(zip(as_rgb(data.images), data.shape_labels.tolist(), strict=True)):
        place = folder / names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{number}.png")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Twenty pictures of each class, whose texture and background are those of the class."""
    folder = tmp_path_factory.mktemp("real")
    data = compose(Stripes(), 60, policy=["texture.correlate:1", "background.correlate:1"], seed=1)
    write_folder(folder, data, CLASSES)
    return folder


def cured(module, real, **options):
    options = {"config": SHORT, "n": 100, "crops": False, "preprocess": "signed", "device": "cpu", **options}
    return cure(module, Stripes(), real, **options)


@pytest.mark.parametrize("weights", [{"background": 1.0, "shape": 0.2}, {"texture": 0.5, "shape": 0.2}])
def test_a_planted_shortcut_is_cured_and_no_other_takes_its_place(weights, real):
    module, shortcut = linear(**weights), next(iter(weights))
    record, network = cured(module, real)
    assert record.varied == ("texture", "background")
    assert record.before.mechanisms[shortcut].follow.value > 90
    assert all(record.after.mechanisms[name].follow.value < 5 for name in record.varied)
    assert record.after.mechanisms["shape"].accuracy.value > 90
    assert record.kept
    assert record.accuracy_after == 100
    assert torch.equal(module[1].weight, linear(**weights)[1].weight)
    assert not torch.equal(network[1].weight, module[1].weight)
    assert len(cure_rows(record)) == 17


def test_counterfactuals_vary_what_is_followed_and_nothing_else():
    def varied(*follows):
        return varied_mechanisms(replace(small_record(), follows=follows))

    assert varied("background") == ("background",)
    assert varied("texture+background") == varied("background", "texture+background") == ("texture", "background")
    assert varied() == ()
    images = compose(Stripes(), 200, policy=cure_policy(("background",)))
    assert torch.equal(images.texture_labels, images.shape_labels)
    assert not torch.equal(images.background_labels, images.shape_labels)


def test_a_user_may_name_what_varies(real):
    """A background alone, say, of objects whose texture belongs to them."""
    record, _ = cured(linear(texture=0.5, background=1.0, shape=0.2), real, vary=["background"])
    assert record.varied == ("background",)
    assert record.after.mechanisms["background"].follow.value < 5
    with pytest.raises(UserError, match="name texture, background or both"):
        cured(linear(shape=1.0), real, vary=["shape"])
    images = compose(Stripes(), 64, policy=cure_policy(("background",), whole=True))
    assert torch.equal(images.texture_labels, images.shape_labels)


def test_without_a_shortcut_nothing_changes(real, tmp_path):
    record, network = cured(linear(shape=1.0), real, out=str(tmp_path / "cure"))
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


@pytest.mark.slow
def test_a_cured_run_folder_is_a_run_folder(tmp_path):
    cgn = Stripes(4)
    data = compose(cgn, 600)
    shortcut = LabelledImages(data.images, data.background_labels, CLASSES)
    write_folder(tmp_path / "real", compose(cgn, 30, policy=["background.correlate:1"]), CLASSES)
    classify(shortcut, ClassifyConfig(epochs=2, he_init=True), tmp_path / "run", device="cpu")
    record, network = cure(
        str(tmp_path / "run"), cgn, tmp_path / "real", out=tmp_path / "out", n=50, most_lost=100,
        config=CureConfig(steps=9),
        layers="all", device="cpu",
    )  # fmt: skip
    assert "background" in record.varied
    images, again = compose(cgn, 20, seed=7).images, open_classifier(tmp_path / "out" / "cured")
    assert torch.allclose(again.probabilities(images), network.eval()(images).softmax(1), atol=1e-6)
    before = open_classifier(tmp_path / "run").probabilities(images)
    assert not torch.allclose(again.probabilities(images), before, atol=1e-2)
    assert again.classes.names == CLASSES


def test_the_last_layer_alone_learns_and_norms_keep_their_statistics(real):
    module = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3), *linear(background=1.0))
    module[0].weight.data = torch.eye(3)[..., None, None]
    options = {"config": CureConfig(steps=3), "most_lost": 100}
    weights, state = {"0.weight", "1.weight", "1.bias", "3.weight"}, module.state_dict()
    for layers, learn in (("last", {"3.weight"}), ("all", weights)):
        after = cured(module, real, layers=layers, **options).module.state_dict()
        assert {name for name, value in after.items() if not torch.equal(value, state[name])} == learn
    assert all(p.grad is None for p in module.parameters())


MINE = """
import torch
from torch import nn
import skdcgn

def network():
    teacher, labels = skdcgn.load_teacher("double-colored-digits"), torch.arange(10).repeat(8)
    colours = teacher.query("background", torch.randn(80, 32, generator=torch.manual_seed(0)), labels).mean((2, 3))
    means = colours.view(8, 10, 3).mean(0)
    head = nn.Linear(3, 10)
    head.weight.data, head.bias.data = 40 * means, -20 * means.square().sum(1)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
"""


@pytest.mark.slow
def test_the_command_cures_a_function_of_mine_or_says_that_it_costs_too_much(tmp_path, monkeypatch, skdcgn):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_network.py").write_text(MINE)
    data = compose(load_teacher("double-colored-digits"), 60, policy=["texture.correlate:1", "background.correlate:1"])
    write_folder(tmp_path / "real", data, tuple("0123456789"))
    words = ("cure", "my_network:network", "--cgn", "double-colored-digits", "--train", "real", "-n", "50")
    words += ("--preprocess", "signed", "--steps", "2", "--learning-rate", "1000", "--device", "cpu", "--out", "out")
    status, output, _ = skdcgn(*words, "--most-lost", "100")
    assert status == 0
    assert "cured classifier: out/cured.safetensors" in output
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))
    network.load_state_dict(read_tensors(tmp_path / "out" / "cured.safetensors")[0])
    status, output, _ = skdcgn(*words, "--most-lost", "0")
    assert status == 1
    assert "not kept:" in output
    assert read_cure(tmp_path / "out").kept is False


MISTAKES = {
    "a callable": (lambda real: cured(lambda images: images.mean((2, 3)), real), "cure trains modules of PyTorch"),
    "no last layer": (lambda real: cured(nn.Sequential(nn.Conv2d(3, 3, 8), nn.Flatten()), real), "--layers all"),
    "layers": (lambda real: cured(linear(background=1.0), real, layers="first"), "layers 'first': use last or all"),
    "no pictures": (lambda real: cured(linear(background=1.0), real / "nowhere"), "no folder"),
    "pictures of other classes": (lambda real: cured(linear(background=1.0), real.parent), "which the CGN lacks"),
    "a limit": (lambda real: cured(linear(background=1.0), real, most_lost=-1), "most_lost is -1"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_line(mistake, real):
    call, words = MISTAKES[mistake]
    with pytest.raises(UserError, match=words) as raised:
        call(real)
    assert "\n" not in str(raised.value)
