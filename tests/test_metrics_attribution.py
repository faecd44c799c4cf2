"""Attribution: exact on classifiers and CGNs that are written by hand."""

import itertools
import json

import pytest
import torch

from skdcgn.base.config import ClassifyConfig
from skdcgn.base.errors import UserError
from skdcgn.cgn.compose import compose
from skdcgn.cgn.inputs import Inputs
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.classifiers.small_cnn import classify, load_classifier, predict
from skdcgn.data.images import LabelledImages
from skdcgn.evaluation.attribution import (
    axioms,
    composition,
    confusion,
    effectiveness,
    labels_of,
    mechanism_datasets,
    minimality,
    render,
    run_trial,
    sensitivity,
    train_mechanism_classifiers,
)
from skdcgn.features.extractors import Extractor

CLASSES = 4


class Legible:
    """Writes each label in a colour of its own: the mask's rows tell the shape, red the texture, blue the background.

    Textures and backgrounds are flat, so that no crop changes them; the noise sets green and nothing else.
    """

    spec, digest, size = Spec(noise_dim=2, classes=CLASSES), "legible", None

    def query(self, mechanism, noise, labels):
        if mechanism == Mechanism.SHAPE:
            rows = torch.arange(32)[None] // 4 <= labels[:, None]  # (B, 32): the top 4, 8, 12 or 16 rows
            return rows[:, None, :, None].expand(-1, 1, 32, 32).float()
        tone = labels / CLASSES
        green = noise[:, 0].tanh()
        channels = (tone, green, -torch.ones_like(tone))
        if mechanism == Mechanism.BACKGROUND:
            channels = (-torch.ones_like(tone), green, tone)
        return torch.stack(channels, 1)[..., None, None].expand(-1, 3, 32, 32)


class Forgetful(Legible):
    """Gives another green at every call."""

    def __init__(self):
        self.calls = itertools.count()

    def query(self, mechanism, noise, labels):
        return super().query(mechanism, noise + 0.1 * next(self.calls), labels)


def read_shape(images):
    return (images[:, 2, :, 0] < -0.5).sum(1) // 4 - 1


def read_texture(images):
    return (CLASSES * images[:, 0, 0, 0]).round().long()


def read_background(images):
    return (CLASSES * images[:, 2, -1, 0]).round().long()


READ = dict(zip(Mechanism, (read_shape, read_texture, read_background), strict=True))
TRIAL = run_trial(Legible(), 200, seed=0)


def test_exactly_one_label_varies_and_nothing_else():
    for mechanism, (inputs, images) in TRIAL.varied.items():
        field = f"{mechanism}_labels"
        for name in Inputs._fields:
            same = getattr(inputs, name) == getattr(TRIAL.inputs, name)
            assert not same.any() if name == field else same.all()
        assert torch.equal(images, render(Legible(), inputs))
        assert labels_of(inputs)[mechanism].unique().tolist() == list(range(CLASSES))


def test_rendered_inputs_are_what_was_asked_for():
    for mechanism, read in READ.items():
        assert torch.equal(read(TRIAL.images), labels_of(TRIAL.inputs)[mechanism])


def test_a_trial_follows_its_seed():
    again, other = (run_trial(Legible(), 200, seed=s) for s in (0, 1))
    assert torch.equal(again.images, TRIAL.images)
    assert not torch.equal(other.images, TRIAL.images)


@pytest.mark.parametrize("reads", Mechanism)
def test_a_classifier_that_reads_one_mechanism_follows_that_one_alone(reads):
    result = sensitivity(READ[reads], TRIAL)
    shapes = TRIAL.inputs.shape_labels
    for varied in Mechanism:
        assert result[varied].unchanged == (0 if varied is reads else 100)
        inputs, _ = TRIAL.varied[varied]
        guess = labels_of(inputs)[reads]
        target = inputs.shape_labels if varied is Mechanism.SHAPE else shapes
        assert result[varied].accuracy == pytest.approx(100 * float((guess == target).double().mean()))
        assert (result[varied].followed == 100) == (varied is reads)
    assert (result["shape"].accuracy == 100) == (reads is Mechanism.SHAPE)
    assert result["texture"].accuracy == 100 if reads is Mechanism.SHAPE else result["texture"].accuracy < 50


def test_confusion_counts_true_classes_in_rows():
    data = LabelledImages(TRIAL.images, TRIAL.inputs.shape_labels)
    counts = confusion(lambda images: (read_shape(images) - 1).clamp(min=0), data, CLASSES + 1)
    totals = data.labels.bincount(minlength=CLASSES).tolist()
    expected = torch.zeros(CLASSES + 1, CLASSES + 1, dtype=torch.int64)
    for label, total in enumerate(totals):
        expected[label, max(label - 1, 0)] = total
    assert torch.equal(counts, expected)


def test_effectiveness_is_whole_for_classifiers_that_read_and_shows_which_mechanism_fails():
    whole = effectiveness(READ, TRIAL)
    assert all(percent == 100 for row in whole.values() for percent in row.values())
    stuck = {**READ, Mechanism.TEXTURE: lambda images: torch.zeros(len(images), dtype=torch.int64)}
    result = effectiveness(stuck, TRIAL)
    before, after = (labels_of(x)[Mechanism.TEXTURE] for x in (TRIAL.inputs, TRIAL.varied[Mechanism.TEXTURE][0]))
    for varied, labels in (("none", before), ("shape", before), ("texture", after)):
        assert result[varied]["texture"] == pytest.approx(100 * float((labels == 0).double().mean()))
    assert result["texture"]["shape"] == result["background"]["background"] == 100


def test_composition_is_zero_for_a_pure_function_and_not_for_another(analytic_teacher, random_cgn):
    for cgn in (Legible(), analytic_teacher, random_cgn):
        assert composition(cgn, run_trial(cgn, 20)) == 0
    forgetful = Forgetful()
    assert composition(forgetful, run_trial(forgetful, 20)) > 0.01


def on_line(images):
    """One feature: where the image lies."""
    return images[:, :1, 0, 0], None


def by_hand(positions, labels, moved, new):
    """Mean CLD, straight from its definition."""
    divergences = []
    for i, (x, y, after, target) in enumerate(zip(positions, labels, moved, new, strict=True)):
        old_class = [abs(x - z) for j, (z, c) in enumerate(zip(positions, labels, strict=True)) if c == y and j != i]
        new_class = [abs(x - z) for z, c in zip(positions, labels, strict=True) if c == target]
        if old_class and new_class:
            gap = abs(after - x)
            beyond = sum(d >= gap for d in old_class) / len(old_class)
            short = sum(d <= gap for d in new_class) / len(new_class)
            divergences.append(torch.tensor([short, beyond], dtype=torch.float64).exp().mean().log())
    return float(sum(divergences) / len(divergences))


def test_minimality_is_its_definition():
    def look(images):
        return images[:, :1, 0, 0] + 0.3 * images[:, 1:2, 0, 0]  # the texture's label, and its noise

    result = minimality(Extractor("red and green", "none", 32, 1, lambda images: (look(images), None)), TRIAL)
    for mechanism, (inputs, images) in TRIAL.varied.items():
        old, new = (labels_of(x)[mechanism].tolist() for x in (TRIAL.inputs, inputs))
        expected = by_hand(look(TRIAL.images)[:, 0].tolist(), old, look(images)[:, 0].tolist(), new)
        assert result[mechanism] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("moved", "best"), [(5.0, True), (0.0, False), (30.0, False)])
def test_a_minimal_change_leaves_the_old_class_and_stops_before_the_new_one_ends(moved, best):
    labels = torch.arange(20) % 2
    places = labels * 10.0 + torch.arange(20) / 100  # two classes, 10 apart
    after = places + moved * (1 - 2 * labels)
    inputs = Inputs(*(torch.zeros(20, 1) for _ in range(3)), *([labels] * 3), *(torch.zeros(20, 2) for _ in range(2)))
    trial = TRIAL._replace(
        inputs=inputs,
        images=places[:, None, None, None].expand(-1, 3, 4, 4),
        varied={
            Mechanism.SHAPE: (
                inputs._replace(shape_labels=1 - labels),
                after[:, None, None, None].expand(-1, 3, 4, 4),
            )
        },
    )
    divergence = minimality(Extractor("red", "none", 4, 1, on_line), trial)["shape"]
    worst = 0.62  # log((e + 1) / 2)
    assert divergence == pytest.approx(0, abs=1e-6) if best else divergence == pytest.approx(worst, abs=0.01)


def test_a_trial_that_is_too_small_is_an_error():
    with pytest.raises(UserError, match="too few"):
        minimality(Extractor("red", "none", 32, 1, on_line), run_trial(Legible(), 1))


def test_one_class_has_no_other_label():
    one = Legible()
    one.spec = Spec(noise_dim=2, classes=1)
    with pytest.raises(UserError, match="two or more"):
        run_trial(one, 4)


def test_the_four_axioms_are_json():
    extractor = Extractor("coarse", "none", 4, 48, lambda x: (x.flatten(1), None))
    real = compose(Legible(), 300, seed=5).images
    near = axioms(Legible(), READ, extractor, iter(real.split(100)), n=100)
    assert near.composition == 0
    assert near.effectiveness["shape"] == {"shape": 100, "texture": 100, "background": 100}
    assert (near.realism.extractor, near.realism.real, near.realism.generated) == ("coarse", 300, 300)
    far = axioms(Legible(), READ, extractor, -real, n=100)
    assert far.realism.value > 10 * near.realism.value
    assert json.loads(json.dumps(near.to_dict()))["minimality"] == near.minimality


def test_each_classifier_is_trained_on_its_own_mechanisms_labels(tmp_path):
    config = ClassifyConfig(images=64, per_shape=2, epochs=1)
    classifiers = train_mechanism_classifiers(Legible(), tmp_path / "all", config, device="cpu")
    for mechanism, data in mechanism_datasets(Legible(), config).items():
        assert torch.equal(READ[mechanism](data.images), data.labels)
        alone = classify(data, config, tmp_path / mechanism, device="cpu")
        assert torch.equal(classifiers[mechanism](TRIAL.images), predict(alone, TRIAL.images))
        states = (load_classifier(run / mechanism).state_dict() for run in (tmp_path, tmp_path / "all"))
        assert all(map(torch.equal, *(state.values() for state in states)))
