"""The parts of benchmarks/cure.py, by hand: groups, GroupDRO's weights, JTT's rows, DFR's head, recombined digits."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from cure_data import Network, Pictures, bf16, composed_batches, recombined_digits, tied
from cure_groups import GroupWeights, evenly_by_group, group_accuracies, groups_of, upweighted
from cure_methods import BATCH, JTT, Batch, GroupDRO, Mixture, Rate, Run, decisions, fit, set_head
from skdcgn.base.seeds import generator
from skdcgn.data.images import LabelledImages


def test_groups_and_the_worst_of_them_by_hand():
    labels, agrees = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([True, False, True, False, False])
    groups = groups_of(labels, agrees)
    assert groups.tolist() == [1, 0, 3, 2, 2]
    correct = torch.tensor([True, False, True, True, False])
    assert group_accuracies(correct, groups) == {0: 0, 1: 100, 2: 50, 3: 100}


def test_weights_of_groupdro_follow_the_formula():
    weights = GroupWeights(3, eta=0.5)
    losses, groups = torch.tensor([1.0, 3.0, 4.0]), torch.tensor([0, 0, 2])  # means 2, none, 4
    total = weights(losses, groups)
    raised = [math.exp(0.5 * 2), math.exp(0.0), math.exp(0.5 * 4)]
    expected = torch.tensor(raised) / sum(raised)
    assert torch.allclose(weights.weights, expected)
    assert float(total) == pytest.approx(float(expected[0] * 2 + expected[2] * 4))


def test_gradient_of_groupdro_weighs_losses_and_not_its_weights():
    weights, losses = GroupWeights(2, eta=1.0), torch.tensor([1.0, 2.0], requires_grad=True)
    weights(losses, torch.tensor([0, 1])).backward()
    assert torch.allclose(losses.grad, weights.weights)


def test_errors_come_more_often_by_the_factor():
    rows = upweighted(torch.tensor([False, True, False]), 4)
    assert rows.bincount().tolist() == [1, 4, 1]


def test_balanced_rows_have_as_many_of_each_group_as_the_smallest():
    groups = torch.tensor([0] * 5 + [1] * 2 + [3] * 9)
    rows = evenly_by_group(groups, generator(0))
    assert groups[rows].bincount().tolist() == [2, 2, 0, 2]
    assert len(rows.unique()) == len(rows)


def glyphs(count, size=16):
    """Squares of ten places, one for each class."""
    labels = torch.arange(count) % 10
    images = torch.zeros(count, 1, size, size)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 3 + label // 5 * 6 : 6 + label // 5 * 6, 3 + 2 * (label % 5) :][:, :3] = 1
    return LabelledImages(images, labels)


def test_the_share_of_pictures_agrees_and_the_others_show_two_other_classes():
    own = glyphs(2000)
    pictures = tied(own, 0.9, generator(0))
    assert float(pictures.agrees.double().mean()) == pytest.approx(0.9, abs=0.02)
    agreeing = tied(own, 1, generator(0))
    distance = (pictures.images.float() - agreeing.images.float()).abs().amax(1)  # jitter has a deviation of 2.6 levels
    assert bool((distance.flatten(1).amin(1)[~pictures.agrees] > 30).all())


def test_recombined_digits_have_the_outline_of_their_class_and_colours_of_others():
    own = glyphs(200)
    pictures = tied(own, 1, generator(0))
    images, labels = recombined_digits(pictures)(100, 0)
    ground = images[:, :, :1, :1]
    outline = ((images - ground).abs().amax(1, keepdim=True) > 0.2).float()
    alike = (outline == own.images[labels]).flatten(1).all(1)
    assert float(alike.double().mean()) > 0.85  # two pictures may have one colour
    assert len({tuple(colour) for colour in ground[labels == 0].flatten(1).mul(4).round().tolist()}) > 3


def test_pictures_of_one_colour_are_not_recombined():
    pictures = tied(glyphs(20), 1, generator(0))
    pictures.images[3] = 90
    images, labels = recombined_digits(pictures.rows(torch.tensor([3, 4])))(50, 0)
    assert bool(images.isfinite().all())
    assert set(labels.tolist()) == {4}


def test_batches_of_composed_pictures_never_repeat():
    calls = []

    def source(n, seed):
        calls.append((n, seed))
        return torch.full((n, 1), float(len(calls))), torch.arange(n)

    following = composed_batches(source, 3, 0, at_once=6)
    labels = [following()[1].tolist() for _ in range(3)]
    assert labels == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]
    assert len(calls) == len(set(calls)) == 2


class Flat(nn.Module):
    def forward(self, images):
        return images.flatten(1)


def small_network(size=16):
    return Network(Flat(), nn.Linear(3 * size * size, 10))


class SmallTask:
    """What methods read of a task; the colours of 95 % of the squares agree with their class."""

    network, budget = staticmethod(small_network), 10 * BATCH
    augment = staticmethod(lambda images, rng: images)
    train = tied(glyphs(400), 0.95, generator(1))
    sources = {"paste": recombined_digits(train)}  # noqa: RUF012


def test_dfr_writes_its_regression_into_the_head():
    from sklearn.linear_model import LogisticRegression

    network, rng = small_network(2), generator(0)
    inputs, labels = torch.randn(300, 12, generator=rng) * 3 + 1, torch.arange(300) % 10
    inputs[:, 0] += labels
    set_head(network, inputs, labels, 1.0)
    mean, deviation = inputs.mean(0), inputs.std(0)
    direct = LogisticRegression(C=1.0, max_iter=1000).fit((inputs - mean) / deviation, labels)
    assert network.head(inputs).argmax(1).tolist() == direct.predict((inputs - mean) / deviation).tolist()


@pytest.mark.parametrize("method", [GroupDRO(0.1, 0.01), JTT(0.3, 20), Mixture("paste", 0.75)], ids=str)
def test_methods_pass_the_budget_and_help_where_the_shortcut_contradicts(method, tmp_path, monkeypatch):
    seen = []
    run = Run(SmallTask(), 0, Rate(5e-2), tmp_path)
    plain = run.plain()

    def counting():
        network = small_network()
        network.register_forward_pre_hook(lambda module, images: seen.append(len(images[0])))
        return network

    monkeypatch.setattr(SmallTask, "network", staticmethod(counting))
    network = method(run)
    assert sum(seen) == pytest.approx(SmallTask.budget, abs=BATCH)
    against = tied(glyphs(500), 0, generator(2))

    def accuracy(one):
        return float((decisions(one, against.images) == against.labels).double().mean())

    assert accuracy(network) > accuracy(plain) + 0.05


def test_the_plain_network_is_trained_once(tmp_path):
    run = Run(SmallTask(), 0, Rate(), tmp_path)
    first, again = run.plain(), Run(SmallTask(), 0, Rate(), tmp_path)
    assert torch.equal(again.plain().head.weight, first.head.weight)
    assert again.correction > 0 == run.correction


def test_training_lowers_the_loss_at_a_rate_that_ends_at_zero():
    network, pictures = small_network(), SmallTask.train
    batch = Batch(pictures.images[:BATCH].float() / 127.5 - 1, pictures.labels[:BATCH])
    before = nn.functional.cross_entropy(network(batch.images), batch.labels)
    fit(network, iter([batch] * 20), 20 * BATCH, Rate(1e-2))
    assert nn.functional.cross_entropy(network(batch.images), batch.labels) < before / 2


def test_bfloat16_computes_with_the_weights_of_now():
    layer, inputs = nn.Linear(3, 2), torch.ones(1, 3)
    with bf16():
        before = layer(inputs)
        with torch.no_grad():
            layer.weight.add_(1)
        assert float((layer(inputs) - before).detach().min()) > 2


def test_rows_of_pictures_stay_together():
    pictures = SmallTask.train.rows(torch.tensor([3, 1]))
    assert isinstance(pictures, Pictures)
    assert pictures.labels.tolist() == [3, 1]
