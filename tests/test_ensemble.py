"""The ensemble: each head learns its own label, frozen norms stay, a killed run ends with the same bytes."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from skdcgn.base.config import EnsembleConfig, Heads, RateSchedule
from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn.classes import Classes
from skdcgn.cgn.compose import compose
from skdcgn.cgn.counterfactuals import Counterfactuals
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.classifiers.backbones import SmallResNet
from skdcgn.classifiers.ensemble import (
    Ensemble,
    TrainEnsemble,
    freeze_norms,
    load_ensemble,
    read_ensemble_form,
    train_ensemble,
)
from skdcgn.classifiers.photo_batches import open_stream, resize_and_mirror
from skdcgn.classifiers.small_cnn import load_classifier
from skdcgn.data.counterfactuals import CounterfactualStream, stream_from_cgn, stream_from_file
from skdcgn.deploy.generate import write_counterfactuals
from skdcgn.experiments.evaluate import evaluate_ensemble
from skdcgn.training.loop import Step

TINY = EnsembleConfig(
    width=4, image_size=16, epochs=2, batch_size=8, counterfactuals=6, save_every=2, learning_rate=0.05
)
HEADS = list(Mechanism)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Two noisy pictures of each of ten classes, each class with its own brightness."""
    folder = tmp_path_factory.mktemp("real")
    for label in range(10):
        (folder / f"c{label}").mkdir()
        for index in range(2):
            pixels = 20 * label + torch.randint(40, (20, 24, 3), generator=generator(label, index))
            Image.fromarray(pixels.to(torch.uint8).numpy()).save(folder / f"c{label}" / f"{index}.png")
    return folder


def small(**changes):
    torch.manual_seed(0)
    config = EnsembleConfig(**{"width": 4, "image_size": 16, **changes})
    return TrainEnsemble(config, Ensemble(SmallResNet(4), 10, 16, config.heads))


def batch(seed=0, real=6, counterfactuals=5):
    rng = generator("batch", seed)
    labels = {name: torch.randint(10, (counterfactuals,), generator=rng) for name in HEADS}
    return {
        "images": 2 * torch.rand(real, 3, 16, 16, generator=rng) - 1,
        "labels": torch.randint(10, (real,), generator=rng),
        "counterfactuals": 2 * torch.rand(counterfactuals, 3, 16, 16, generator=rng) - 1,
        **{name.value: label for name, label in labels.items()},
    }


def gradients(method, batch):
    method.descend = lambda name, loss: loss.backward()  # keep what one step would follow
    method.modules["ensemble"].zero_grad()
    method.step(batch, Step())
    return {name: p.grad.clone() for name, p in method.modules["ensemble"].named_parameters()}


@pytest.mark.parametrize("changed", HEADS)
def test_a_head_follows_its_own_counterfactual_label_and_no_other(changed):
    method, inputs = small(), batch()
    before = gradients(method, inputs)
    after = gradients(method, {**inputs, changed.value: (inputs[changed.value] + 1) % 10})
    for head in HEADS:
        same = torch.equal(before[f"heads.{head}.weight"], after[f"heads.{head}.weight"])
        assert same == (head != changed)
    assert not torch.equal(before["backbone.stem.0.weight"], after["backbone.stem.0.weight"])


def test_every_head_follows_the_real_label_through_the_mean_of_logits():
    method, inputs = small(weight=0.0), batch()
    before = gradients(method, inputs)
    after = gradients(method, {**inputs, "labels": (inputs["labels"] + 1) % 10})
    for head in HEADS:
        assert not torch.equal(before[f"heads.{head}.weight"], after[f"heads.{head}.weight"])
        assert torch.allclose(before[f"heads.{head}.bias"], before["heads.shape.bias"])  # each has a third of the mean


def test_the_loss_is_the_published_one():
    method, inputs = small(weight=0.5), batch()
    totals = {}
    method.descend = lambda name, loss: totals.update({name: loss.detach()})
    losses = method.step(inputs, Step())
    ensemble = method.modules["ensemble"].eval()
    with torch.no_grad():
        expected = F.cross_entropy(ensemble(inputs["images"]).mean(0), inputs["labels"])
        for logits, head in zip(ensemble(inputs["counterfactuals"]), HEADS, strict=True):
            expected += 0.5 * F.cross_entropy(logits, inputs[head.value])
    assert float(totals["ensemble"]) == pytest.approx(float(expected), rel=1e-5)
    assert set(losses) == {"real", "shape", "texture", "background", "accuracy"}


def test_one_head_learns_the_mean_of_real_labels_and_shape_labels():
    method, inputs = small(heads=Heads.ONE, weight=0.5), batch()
    totals = {}
    method.descend = lambda name, loss: totals.update({name: loss.detach()})
    losses = method.step(inputs, Step())
    ensemble = method.modules["ensemble"].eval()
    assert list(ensemble.heads) == ["ensemble"]
    with torch.no_grad():
        real = F.cross_entropy(ensemble(inputs["images"])[0], inputs["labels"])
        counterfactual = F.cross_entropy(ensemble(inputs["counterfactuals"])[0], inputs["shape"])
    assert float(totals["ensemble"]) == pytest.approx(float((real + 0.5 * counterfactual) / 1.5), rel=1e-5)
    assert set(losses) == {"real", "shape", "accuracy"}


@pytest.mark.parametrize("heads", Heads)
def test_a_frozen_backbone_keeps_every_tensor_and_the_heads_learn(heads):
    method = small(freeze_backbone=True, freeze_norms=False, heads=heads)
    before = {name: t.clone() for name, t in method.modules["ensemble"].state_dict().items()}
    for seed in range(2):
        method.step(batch(seed), Step())
    after = method.modules["ensemble"].state_dict()
    changed = {name for name, t in after.items() if not torch.equal(t, before[name])}
    assert changed == {name for name in after if name.startswith("heads.")}
    assert all(weights.grad is None for weights in method.modules["ensemble"].backbone.parameters())


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_norms_keep_their_statistics_and_still_learn_scale_and_offset(frozen):
    method = small(freeze_norms=frozen, learning_rate=0.1)
    before = {name: t.clone() for name, t in method.modules["ensemble"].state_dict().items()}
    for seed in range(3):
        method.step(batch(seed), Step())
    after = method.modules["ensemble"].state_dict()
    changed = {name for name, t in after.items() if not torch.equal(t, before[name])}
    statistics = {name for name in after if "running" in name or "num_batches" in name}
    assert statistics
    assert changed == set(after) - (statistics if frozen else set())


def test_freezing_reaches_norms_of_any_dimension():
    module = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.BatchNorm2d(2), nn.Dropout()))
    freeze_norms(module.train())
    assert [part.training for part in module.modules()] == [True, False, True, False, True]


def test_images_reach_the_backbone_normalised_as_imagenets():
    inputs = []

    class Spy(nn.Module):
        def forward(self, images):
            inputs.append(images)
            return images  # (B, 3, S, S): pooled by the ensemble

    heads = Ensemble(Spy(), 4, 8)(torch.full((2, 3, 8, 8), -1.0))
    assert heads.shape == (3, 2, 4)
    assert inputs[-1][0, :, 0, 0].tolist() == pytest.approx([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])


def test_features_of_another_shape_are_reported():
    with pytest.raises(UserError, match=r"features have shape \(1, 3, 4\)"):
        Ensemble(nn.Flatten(2), 4, 2)


def test_counterfactuals_are_resized_in_range_and_half_are_mirrored():
    images = torch.linspace(-1, 1, 32).expand(64, 3, 32, 32)
    resized = resize_and_mirror(images, 16, generator(0))
    assert resized.shape == (64, 3, 16, 16)
    assert 16 < int((resized[:, 0, 0, 0] > 0).sum()) < 48
    assert torch.equal(resize_and_mirror(images, 16, generator(0)), resized)
    assert torch.equal(resize_and_mirror(images, 32, generator(0)).abs(), images.abs())


def test_a_file_is_read_row_by_row_with_all_three_labels(tmp_path, analytic_teacher):
    write_counterfactuals(analytic_teacher, tmp_path, 40, seed=3)
    source = stream_from_file(tmp_path / "counterfactuals.safetensors", 7)
    assert source.numbered_as(Classes("it", 10), "").classes.count == 10
    for count in (9, 1000):
        with pytest.raises(UserError, match=f"has {count} classes without names, .* has 10 classes"):
            source.numbered_as(Classes("it", count), "")
    whole, part, again = compose(analytic_teacher, 40, seed=3), source.at(5), source.at(5)
    assert torch.equal(part.images, again.images)
    for image, *labels in zip(*part.to_dict().values(), strict=True):
        row = int((whole.images == image).flatten(1).all(1).nonzero()[0])
        assert labels == [whole.shape_labels[row], whole.texture_labels[row], whole.background_labels[row]]


def killed_at(step):
    def kill(record):
        if record.step == step:
            raise KeyboardInterrupt

    return (kill,)


@pytest.mark.parametrize("of_file", [True, False])
def test_a_killed_run_ends_with_the_same_bytes_whatever_the_threads(of_file, real, tmp_path, analytic_teacher):
    if of_file:
        write_counterfactuals(analytic_teacher, tmp_path, 30)
        source = stream_from_file(tmp_path / "counterfactuals.safetensors", 6)
    else:
        source = stream_from_cgn(analytic_teacher, 6)
    keywords = {"device": "cpu", "seed": 1}
    whole = train_ensemble(real, source, TINY, tmp_path / "whole", workers=1, **keywords)
    with pytest.raises(KeyboardInterrupt):  # in the second epoch, after the checkpoint of step 4
        train_ensemble(real, source, TINY, tmp_path / "killed", workers=2, callbacks=killed_at(5), **keywords)
    train_ensemble(real, source, TINY, tmp_path / "killed", workers=3, **keywords)
    for file in ("checkpoint.safetensors", "config.json"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "killed" / file).read_bytes()
    loaded, names = load_ensemble(tmp_path / "killed")
    assert names == tuple(f"c{i}" for i in range(10))
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(loaded(images), whole.eval()(images))


def channel_source(count, seed=0):
    """Counterfactuals that tell each mechanism's label, one of three, by a colour channel of its own."""

    def at(step):
        rng = generator(seed, "channels", step)
        labels = torch.randint(3, (count, 3), generator=rng)
        images = (labels - 1.0)[:, :, None, None] * 0.8 + 0.1 * torch.randn(count, 3, 16, 16, generator=rng)
        return Counterfactuals(images.clamp(-1, 1), *labels.unbind(1))

    return CounterfactualStream("channels", Classes("channels", 3), at, at_least=True)


def test_each_head_learns_its_mechanism_and_is_invariant_to_the_others(real, tmp_path):
    config = EnsembleConfig(
        width=8,
        image_size=16,
        epochs=120,
        decay_epochs=90,
        batch_size=20,
        counterfactuals=64,
        weight=3.0,
        learning_rate=0.03,
        freeze_norms=False,  # of a backbone that begins with nothing: frozen ones made this a matter of the machine
    )
    ensemble = train_ensemble(real, channel_source(64), config, tmp_path, device="cpu").eval()
    unseen = channel_source(400, seed=1).at(0)
    with torch.no_grad():
        decided = ensemble(unseen.images).argmax(2)
    labels = (unseen.shape_labels, unseen.texture_labels, unseen.background_labels)
    agreement = torch.tensor([[float((row == label).float().mean()) for label in labels] for row in decided])
    assert (agreement.diagonal() > 0.9).all(), agreement
    assert (agreement[~torch.eye(3, dtype=torch.bool)] < 0.45).all(), agreement  # a third is chance


def test_an_own_backbone_is_asked_for_again_when_loading(real, tmp_path, analytic_teacher):
    config = EnsembleConfig(image_size=8, epochs=1, batch_size=20, counterfactuals=4)

    def pixels():
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 6))

    trained = train_ensemble(
        real, stream_from_cgn(analytic_teacher, 4), config, tmp_path, backbone=pixels, device="cpu"
    )
    with pytest.raises(UserError, match="a backbone of your own: pass it to load_ensemble"):
        load_ensemble(tmp_path)
    with pytest.raises(UserError, match=r"another architecture.*an ensemble of its classes on this backbone"):
        load_ensemble(tmp_path, nn.Flatten)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(load_ensemble(tmp_path, pixels)[0](images), trained.eval()(images))


def test_other_classes_than_the_counterfactuals_are_reported(real, tmp_path, analytic_teacher):
    (tmp_path / "c0").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "c0" / "0.png")
    with pytest.raises(UserError, match=r"has 1 class \(c0\), the CGN has 10 classes without names: pass real"):
        train_ensemble(tmp_path, stream_from_cgn(analytic_teacher, 4), TINY, tmp_path / "out", device="cpu")


def test_what_is_no_ensemble_is_reported(tmp_path):
    (tmp_path / "config.json").write_text('{"epochs": 3}')
    with pytest.raises(
        UserError, match=r"config\.json: backbone is missing: name a run folder that skdcgn ensemble wrote"
    ):
        load_ensemble(tmp_path)


def test_one_head_on_real_images_alone_needs_no_counterfactuals_and_is_measured(real, tmp_path):
    config = replace(TINY, heads=Heads.ONE, weight=0.0, schedule=RateSchedule.ONE_CYCLE)
    trained = train_ensemble(real, None, config, tmp_path, device="cpu").eval()
    assert read_ensemble_form(tmp_path).heads is Heads.ONE
    images = torch.randn(2, 3, 16, 16)
    loaded = load_ensemble(tmp_path)[0]
    assert torch.equal(loaded(images), trained(images))
    scores = evaluate_ensemble(tmp_path, images=real, device="cpu")
    assert {head for score in scores.values() for head in score.percent} == {"ensemble"}
    with pytest.raises(UserError, match="has a weight, and there are none: pass some, or --weight 0"):
        train_ensemble(real, None, TINY, tmp_path / "other", device="cpu")


def test_counterfactuals_come_from_a_cgn_by_its_policy_or_from_a_file(tmp_path, analytic_teacher):
    policy = ("texture.correlate:1.0",)
    stream = open_stream(replace(TINY, policy=policy), cgn=analytic_teacher, seed=2)
    counterfactuals = stream.at(0)
    assert torch.equal(counterfactuals.texture_labels, counterfactuals.shape_labels)
    assert stream.origin != open_stream(TINY, cgn=analytic_teacher, seed=2).origin
    assert open_stream(replace(TINY, weight=0.0)) is None
    with pytest.raises(UserError, match="either by --cgn or by --images"):
        open_stream(TINY)
    with pytest.raises(UserError, match="holds composed counterfactuals: pass --policy"):
        open_stream(replace(TINY, policy=policy), images=tmp_path / "x.safetensors")


def test_an_ensemble_is_no_classifier(real, tmp_path, analytic_teacher):
    config = EnsembleConfig(width=2, image_size=8, epochs=1, batch_size=20, counterfactuals=2)
    train_ensemble(real, stream_from_cgn(analytic_teacher, 2), config, tmp_path, device="cpu")
    with pytest.raises(UserError, match="is not a classifier's run folder"):
        load_classifier(tmp_path)
