"""Policies: words in their order, on labels before layers are drawn, on layers after; errors name the mend."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skdcgn.base.errors import UserError
from skdcgn.base.presets import run_preset
from skdcgn.cgn.amounts import Colour, write
from skdcgn.cgn.compose import compose
from skdcgn.cgn.interventions import INTERVENTIONS
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.cgn.policy import Intervention, parse_intervention, parse_policy
from skdcgn.experiments.run_mnist import run_mnist

MANY = 20_000


class LabelTeacher:
    """Each mechanism draws its label: masks of (1 + label) / 20, pictures of label / 10, negative for backgrounds."""

    spec, digest, size = Spec(image_size=2, noise_dim=1), "labels", None

    def query(self, mechanism, noise, labels):
        value = labels[:, None, None, None].float()
        if mechanism == Mechanism.SHAPE:
            return ((1 + value) / 20).expand(-1, 1, 2, 2)
        return (value / 10 if mechanism == Mechanism.TEXTURE else -value / 10).expand(-1, 3, 2, 2)


def labels_of(counterfactuals):
    return counterfactuals.shape_labels, counterfactuals.texture_labels, counterfactuals.background_labels


def composed(shape, texture, background):
    mask = (1 + shape) / 20
    return mask * texture / 10 - (1 - mask) * background / 10


def assert_composed(counterfactuals, shape, texture, background):
    expected = composed(shape, texture, background)[:, None, None, None].expand_as(counterfactuals.images)
    assert torch.allclose(counterfactuals.images, expected, atol=1e-6)


def test_a_policy_runs_in_its_order(analytic_teacher):
    plain = compose(analytic_teacher, 6, seed=1)
    changed = compose(analytic_teacher, 6, policy=("shape.sharpen:8", "texture.noise:0.1"), seed=1)
    assert all(map(torch.equal, labels_of(plain), labels_of(changed)))
    assert not torch.equal(plain.images, changed.images)
    backwards = compose(analytic_teacher, 6, policy=("shape.noise:0.1", "shape.sharpen:8"), seed=1)
    forwards = compose(analytic_teacher, 6, policy=("shape.sharpen:8", "shape.noise:0.1"), seed=1)
    assert not torch.equal(backwards.images, forwards.images)


@given(
    share=st.sampled_from([0.0, 0.3, 1.0]),
    count=st.integers(1, 40),
    per_shape=st.integers(1, 12),
    seed=st.integers(0, 5),
)
def test_images_are_composed_from_the_labels_that_are_returned(share, count, per_shape, seed):
    words = (f"texture.correlate:{share}", f"background.correlate:{share}")
    counterfactuals = compose(LabelTeacher(), count, per_shape=per_shape, policy=words, seed=seed)
    assert_composed(counterfactuals, *labels_of(counterfactuals))
    for group in counterfactuals.shape_labels.split(per_shape):
        assert len(group.unique()) == 1
    if share == 1:
        assert torch.equal(counterfactuals.texture_labels, counterfactuals.shape_labels)
        assert torch.equal(counterfactuals.background_labels, counterfactuals.shape_labels)


@pytest.mark.parametrize("word", ["texture.correlate:0", "background.correlate:0", "shape.relabel:0", "texture.swap:0"])
def test_a_probability_of_zero_leaves_every_byte(analytic_teacher, word):
    plain, changed = (compose(analytic_teacher, 12, per_shape=3, policy=p, seed=2).to_dict() for p in ((), (word,)))
    assert all(torch.equal(plain[name], changed[name]) for name in plain)


def test_a_greater_probability_changes_more_images_and_no_others(analytic_teacher):
    low, high = (compose(analytic_teacher, 60, policy=(f"texture.correlate:{p}",), seed=2) for p in (0.3, 0.6))
    plain = compose(analytic_teacher, 60, seed=2)
    same = plain.texture_labels == high.texture_labels
    assert torch.equal(plain.images[same], high.images[same])
    assert bool((low.texture_labels == plain.texture_labels)[same].all())
    assert 0 < int((~same).sum()) < 60


def test_correlation_is_of_the_strength_asked_for_and_of_its_mechanism_alone():
    counterfactuals = compose(LabelTeacher(), MANY, per_shape=4, policy=("texture.correlate:0.5",))
    shape, texture, background = labels_of(counterfactuals)
    assert abs(float((texture == shape).float().mean()) - 0.55) < 0.015  # four deviations
    assert abs(float((background == shape).float().mean()) - 0.1) < 0.015
    assert abs(float((background == texture).float().mean()) - 0.1) < 0.015


def test_frozen_mechanisms_draw_one_class_and_leave_the_others():
    plain, frozen = (compose(LabelTeacher(), 50, policy=words, seed=1) for words in ((), ("texture.freeze:3",)))
    assert frozen.texture_labels.tolist() == [3] * 50
    assert torch.equal(frozen.shape_labels, plain.shape_labels)
    assert torch.equal(frozen.background_labels, plain.background_labels)
    assert_composed(frozen, *labels_of(frozen))


def test_a_mask_of_another_class_keeps_the_label_that_is_asked_for():
    plain, relabelled = (
        compose(LabelTeacher(), 60, per_shape=4, policy=words, seed=1) for words in ((), ("shape.relabel:1",))
    )
    assert all(map(torch.equal, labels_of(plain), labels_of(relabelled)))
    texture, background = relabelled.texture_labels / 10, relabelled.background_labels / 10
    mask = (relabelled.images[:, 0, 0, 0] + background) / (texture + background)
    mask_labels = (20 * mask - 1).round()
    visible = (texture + background > 0).nonzero()[:, 0]
    assert not bool((mask_labels == relabelled.shape_labels)[visible].any())
    for start in range(0, 60, 4):
        group = visible[(visible >= start) & (visible < start + 4)]
        assert len(mask_labels[group].unique()) <= 1  # one mask serves them all


def test_what_correlates_does_so_with_the_label_that_is_asked_for():
    words = ("shape.relabel:1", "texture.correlate:1", "background.freeze:0")
    counterfactuals = compose(LabelTeacher(), 40, per_shape=3, policy=words)
    assert torch.equal(counterfactuals.texture_labels, counterfactuals.shape_labels)
    assert not counterfactuals.background_labels.any()


def test_a_filter_gets_the_class_that_was_drawn():
    def accept(masks, labels):
        assert torch.equal((20 * masks[:, 0, 0, 0] - 1).round().long(), labels)
        return torch.ones(len(masks), dtype=torch.bool)

    compose(LabelTeacher(), 40, per_shape=3, policy=("shape.relabel:1",), accept=accept)


def test_swapped_pictures_change_places_and_keep_the_labels_of_what_drew_them():
    plain, swapped = (compose(LabelTeacher(), 50, policy=words, seed=1) for words in ((), ("texture.swap:1",)))
    shape, texture, background = labels_of(swapped)
    assert all(map(torch.equal, labels_of(plain), labels_of(swapped)))
    assert_composed(swapped, shape, -background, -texture)


def test_label_words_of_one_mechanism_run_in_their_order():
    frozen = compose(LabelTeacher(), 400, policy=("texture.correlate:0.5", "texture.freeze:3"))
    half = compose(LabelTeacher(), 400, policy=("texture.freeze:3", "texture.correlate:0.5"))
    assert frozen.texture_labels.unique().tolist() == [3]
    assert bool(((half.texture_labels == 3) | (half.texture_labels == half.shape_labels)).all())
    assert abs(float((half.texture_labels == half.shape_labels).float().mean()) - 0.55) < 0.1


WORDS = [f"{m}.{name}:{write(change.amount.example)}" for m in Mechanism for name, change in INTERVENTIONS[m].items()]


@pytest.mark.parametrize("word", WORDS)
def test_each_word_composes_the_same_bytes_for_the_same_seed(analytic_teacher, word):
    first, again = (compose(analytic_teacher, 7, per_shape=2, policy=(word,), seed=3).to_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert -1 <= float(first["images"].min()) <= float(first["images"].max()) <= 1
    plain = compose(analytic_teacher, 7, per_shape=2, seed=3)
    assert not torch.equal(plain.images, first["images"])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("shape.elastik:1", "unknown intervention 'shape.elastik': did you mean shape.elastic?"),
        ("texture.corelate:1", "unknown intervention 'texture.corelate': did you mean texture.correlate?"),
        ("shape.jitter:1", "unknown intervention 'shape.jitter': use one of sharpen, level, binarise"),
        ("shape.correlate:1", "unknown intervention 'shape.correlate': use one of"),
        ("texture.sharpen:1", "unknown intervention 'texture.sharpen': use one of jitter, grey"),
        ("colour.noise:1", "unknown mechanism 'colour': use shape, texture or background"),
        ("shape.noise", "intervention 'shape.noise': the amount is missing: write for instance shape.noise:0.2"),
        ("shape.noise:much", "intervention 'shape.noise:much': amount 'much' is no number: write"),
        ("shape.noise:nan", "amount nan is not from 0 to 1e+06"),
        ("shape.noise:inf", "amount inf is not from 0 to 1e+06"),
        ("texture.jitter:1e308", "amount 1e+308 is not from 0 to 1e+06: write for instance texture.jitter:0.3"),
        ("shape.sharpen:1e39", "amount 1e+39 is not from 0 to 1e+06"),
        ("texture.freeze:" + "9" * 4000, "is not from 0 to 999999"),
        ("texture.freeze:" + "9" * 5000, "is no whole number"),
        ("shape." + "\x1b" * 5000 + ":1", "unknown intervention 'shape."),
        ("shape.shift:1.5", "amount '1.5' is no whole number: write for instance shape.shift:3"),
        ("texture.constant:0.5", "amount '0.5' is no colour: write for instance texture.constant:#80c0ff"),
        ("shape.opacity:1.5", "intervention 'shape.opacity:1.5': amount 1.5 is not from 0 to 1: write for instance"),
        ("shape.blur:-1", "amount -1 is not from 0 to 64"),
        ("texture.correlate:1.1", "amount 1.1 is not from 0 to 1"),
        ("background.freeze:10", "amount 10 is not from 0 to 9: write for instance background.freeze:3"),
        ("background.freeze:-1", "amount -1 is not from 0 to 999999"),
    ],
)
def test_a_wrong_word_is_reported_in_one_line_with_its_mend(word, said):
    with pytest.raises(UserError) as caught:
        parse_policy(["shape.noise:0.1", word], classes=10)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", [*WORDS, "shape.elastic:0.123456789", "texture.constant:#000000", "shape.rotate:-90"])
def test_an_intervention_writes_the_word_it_was_read_from(word):
    intervention = parse_intervention(word)
    assert str(intervention) == word
    assert parse_intervention(str(intervention)) == intervention


def test_typed_interventions_and_their_words_compose_the_same_bytes(analytic_teacher):
    words = ["shape.elastic:1", "texture.constant:#ff8000", "background.freeze:3"]
    typed = [
        Intervention(Mechanism.SHAPE, "elastic", 1),
        Intervention(Mechanism.TEXTURE, "constant", Colour(255, 128, 0)),
        Intervention("background", "freeze", 3),
    ]
    assert [str(one) for one in typed] == words
    assert parse_policy(words, 10) == parse_policy(typed, 10)
    first, again = (compose(analytic_teacher, 7, policy=policy, seed=3).images for policy in (words, typed))
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Intervention("shape", "elastic", "1"),
            "amount '1' is no number: write for instance shape.elastic:1.5",
        ),
        (lambda: Intervention("shape", "elastic", True), "amount True is no number"),
        (lambda: Intervention("shape", "shift", 1.5), "amount 1.5 is no whole number"),
        (lambda: Intervention("shape", "spin", 200), "amount 200 is not from 0 to 180"),
        (lambda: Intervention("texture", "constant", (0, 0, 256)), r"amount \(0, 0, 256\) is no colour"),
        (lambda: Intervention("texture", "sharpen", 1.0), "unknown intervention 'texture.sharpen'"),
        (lambda: Intervention("colour", "noise", 1.0), "unknown mechanism 'colour'"),
        (lambda: parse_policy("shape.elastic:1", 10), r'pass a list of them: \["shape.elastic:1"\]'),
        (
            lambda: parse_policy(parse_intervention("shape.elastic:1"), 10),
            r'pass a list of them: \["shape.elastic:1"\]',
        ),
        (lambda: parse_policy([Intervention("texture", "freeze", 3)], 3), "amount 3 is not from 0 to 2"),
    ],
)
def test_a_wrong_intervention_is_refused_in_one_line_with_its_mend(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_a_wrong_word_costs_a_run_no_query(tmp_path):
    config = run_preset("smoke")
    config = replace(config, classify=replace(config.classify, policy=("shape.elastik:1",)))
    with pytest.raises(UserError, match=r"did you mean shape\.elastic"):
        run_mnist(config, tmp_path)
    assert not (tmp_path / "pairs").exists()
