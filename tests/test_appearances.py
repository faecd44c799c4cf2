"""Glyphs and appearances: what gives the class away in training says nothing at test time."""

import itertools
import time

import pytest
import torch

from skdcgn.base.errors import UserError
from skdcgn.data.appearances import COLORED, COLORED_VARIANCE, DOUBLE_COLORED, DOUBLE_COLORED_DEVIATION, paint
from skdcgn.data.glyphs import binarise, load_glyphs, vary
from skdcgn.data.images import LabelledImages


def half_masks(count):
    """Glyphs whose upper half is object, so that both colours can be read off exactly."""
    masks = torch.zeros(count, 1, 32, 32)
    masks[:, :, :16] = 1
    return LabelledImages(masks, torch.arange(count) % 10)


def colours(data):
    unit = data.images / 2 + 0.5
    return unit[:, :, 0, 0], unit[:, :, -1, 0]  # object, background: (N, 3)


def test_digits_are_the_1797_split_once_and_for_all():
    train, test = load_glyphs("digits", "train"), load_glyphs("digits", "test")
    assert (len(train.labels), len(test.labels)) == (1297, 500)
    assert set(train.images.unique().tolist()) == {0.0, 1.0}
    assert train.images.shape[1:] == (1, 32, 32)
    assert max(test.labels.bincount()) - min(test.labels.bincount()) <= 3
    again = load_glyphs("digits", "train")
    assert torch.equal(train.images, again.images)


def test_digits_look_like_digits():
    """A nearest-neighbour classifier reads the test glyphs; ink fills a plausible part of the frame."""
    train, test = load_glyphs("digits", "train"), load_glyphs("digits", "test")
    nearest = torch.cdist(test.images.flatten(1), train.images.flatten(1), p=1).argmin(1)
    assert float((train.labels[nearest] == test.labels).float().mean()) > 0.95
    assert 0.1 < float(train.images.mean()) < 0.35
    assert float(train.images[:, :, 0].sum() + train.images[:, :, :, 0].sum()) == 0


def test_variants_follow_their_originals_and_stay_near_them():
    some = load_glyphs("digits", "train").rows(slice(60))
    varied, again, other = (vary(some, 4, seed) for seed in (0, 0, 1))
    assert torch.equal(varied.images, again.images)
    assert not torch.equal(varied.images, other.images)
    assert torch.equal(varied.labels, some.labels.repeat(4))
    assert torch.equal(varied.images[:60], some.images)
    assert set(varied.images.unique().tolist()) == {0.0, 1.0}
    both = torch.minimum(varied.images[60:], some.images.repeat(3, 1, 1, 1)).sum((1, 2, 3))
    share = both / torch.maximum(varied.images[60:], some.images.repeat(3, 1, 1, 1)).sum(
        (1, 2, 3)
    )  # intersection / union
    assert 0.3 < share.mean() < 0.95
    assert torch.equal(vary(some, 1, 0).images, some.images)


def test_binarise_is_nearest_resize_and_a_threshold_at_a_tenth():
    images = torch.zeros(1, 28, 28, dtype=torch.uint8)
    images[0, 0, 0], images[0, 0, 1] = 25, 26  # 25 / 255 < 0.1 < 26 / 255
    mask = binarise(images)[0, 0]
    rows = torch.arange(32) * 28 // 32
    assert torch.equal(mask, (images[0][rows][:, rows] / 255 > 0.1).float())
    assert mask.sum() > 0


@pytest.mark.parametrize(("appearance", "deviation"), [("double-colored", DOUBLE_COLORED_DEVIATION)])
def test_correlated_colours_are_the_class_palette_with_the_stated_jitter(appearance, deviation):
    glyphs = half_masks(5000)
    found_object, found_background = colours(paint(glyphs, appearance, correlated=True, seed=0))
    palette = torch.tensor(DOUBLE_COLORED) / 255
    inner = (palette > 0.1) & (palette < 0.9)  # where clamping does not reach
    for colour, expected in ((found_object, (glyphs.labels - 6) % 10), (found_background, glyphs.labels)):
        error = (colour - palette[expected])[inner[expected]]
        assert abs(float(error.mean())) < 0.001
        assert float(error.std()) == pytest.approx(deviation, rel=0.05)


def test_colored_is_a_class_colour_on_black_with_variance():
    glyphs = half_masks(5000)
    objects, background = colours(paint(glyphs, "colored", correlated=True, seed=0))
    assert float(background.abs().max()) == 0
    palette = (torch.tensor(COLORED) / 255)[glyphs.labels]
    middle = (palette > 0.42) & (palette < 0.58)
    assert float((objects - palette)[middle].var()) == pytest.approx(COLORED_VARIANCE, rel=0.1)


@pytest.mark.parametrize("appearance", ["colored", "double-colored"])
def test_decorrelated_colours_are_independent_of_the_class(appearance):
    glyphs = half_masks(20_000)
    objects = colours(paint(glyphs, appearance, correlated=False, seed=0))[0]
    palette = torch.tensor(DOUBLE_COLORED if appearance == "double-colored" else COLORED) / 255
    nearest = torch.cdist(objects, palette).argmin(1)
    counts = torch.stack([nearest[glyphs.labels == c].bincount(minlength=10) for c in range(10)]).double()
    expected = counts.sum(1, keepdim=True) * counts.sum(0, keepdim=True) / counts.sum()
    chi_square = float(((counts - expected).square() / expected).sum())
    assert chi_square < 126  # the 99.9th percentile with 81 degrees of freedom


def test_double_colored_draws_object_and_background_apart():
    """One test image in ten has the object in the background's own colour (REFERENCE)."""
    found_object, found_background = colours(paint(half_masks(20_000), "double-colored", correlated=False, seed=0))
    same = ((found_object - found_background).abs().amax(1) < 0.1).float().mean()
    assert float(same) == pytest.approx(0.1, abs=0.01)


def test_wildlife_correlated_crops_come_from_the_class_pictures():
    glyphs = half_masks(200)
    data = paint(glyphs, "wildlife", correlated=True, seed=0)
    same = paint(
        LabelledImages(glyphs.images, torch.zeros(200, dtype=torch.int64)), "wildlife", correlated=True, seed=0
    )
    means = torch.stack([data.images[data.labels == c].mean((0, 2, 3)) for c in range(10)])
    distances = [float((a - b).norm()) for a, b in itertools.combinations(means, 2)]
    assert max(distances) > 0.3
    assert same.images.std(0).mean() > 0.05  # crops of one picture differ


@pytest.mark.parametrize("appearance", ["colored", "double-colored", "wildlife"])
def test_same_seed_same_bytes_and_test_colours_stay(appearance):
    glyphs = half_masks(50)
    first, again, other = (paint(glyphs, appearance, correlated=False, seed=s) for s in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert first.images.min() >= -1
    assert first.images.max() <= 1


def test_copies_repeat_the_glyphs_in_new_colours():
    data = paint(half_masks(20), "double-colored", correlated=False, seed=0, copies=3)
    assert data.images.shape == (60, 3, 32, 32)
    assert torch.equal(data.labels, half_masks(20).labels.repeat(3))
    assert not torch.equal(data.images[:20], data.images[20:40])


def test_sixty_thousand_images_take_seconds():
    start = time.perf_counter()
    assert len(paint(half_masks(60_000), "double-colored", correlated=True, seed=0).labels) == 60_000
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: load_glyphs("letters", "train"), "no glyphs called 'letters'"),
        (lambda: load_glyphs("digits", "validation"), "unknown split 'validation'"),
        (lambda: paint(half_masks(1), "striped", correlated=True, seed=0), "unknown appearance 'striped'"),
    ],
)
def test_wrong_names_end_in_one_line(call, words):
    with pytest.raises(UserError, match=words) as error:
        call()
    assert "\n" not in str(error.value)
