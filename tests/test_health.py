"""A teacher's health: perfect for real glyphs, and each usual failure is named."""

import os
from pathlib import Path

import pytest
import torch

from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.data.appearances import paint
from skdcgn.data.folders import as_unit, read_picture
from skdcgn.data.glyphs import load_glyphs
from skdcgn.data.images import LabelledImages
from skdcgn.teachers.health import (
    GLYPH_MASKS,
    PHOTO_MASKS,
    Health,
    balanced_selection,
    check_health,
    leakage,
    mask_symptoms,
    real_reference,
    symptoms,
)

GLYPHS = load_glyphs("digits", "train")
REAL_GLYPHS = real_reference(GLYPHS, 10, seed=0)


class Real:
    """Draws real glyphs of the class asked for, on textures that say nothing of them."""

    spec, digest, size = Spec(), "real", None

    def query(self, mechanism, noise, labels):
        rows = [self._row(float(u[0]), int(c)) for u, c in zip(noise, labels, strict=True)]
        masks = GLYPHS.images[torch.stack(rows)]
        if mechanism is Mechanism.SHAPE:
            return masks
        return self.picture(mechanism, masks, noise)

    def picture(self, mechanism, masks, noise):
        return noise[:, :3, None, None].tanh().expand(-1, 3, 32, 32)

    @staticmethod
    def _row(u, c):
        rows = (GLYPHS.labels == c).nonzero()[:, 0]
        return rows[int(1e6 * abs(u)) % len(rows)]


def test_health_of_real_glyphs_is_perfect():
    health = check_health(Real(), REAL_GLYPHS, seed=0)
    assert (health.class_accuracy, health.distance) == (1, 0)  # each is its own nearest glyph
    assert health.diversity == pytest.approx(1, abs=0.1)
    assert health.mask_mean == pytest.approx(float(GLYPHS.images.mean()), abs=0.02)
    assert health.leakage == pytest.approx(0, abs=0.001)
    assert list(symptoms(health, REAL_GLYPHS)) == []


def test_where_shapes_are_unknown_whole_pictures_are_compared():
    pictures = paint(GLYPHS, "double-colored", correlated=True, seed=0)
    health = check_health(Real(), real_reference(pictures, 10, seed=0), seed=0)
    assert health.class_accuracy < 0.5  # the colours are those of the noise
    assert health.distance > 1


def test_a_texture_that_shows_its_mask_leaks_wherever_it_lies():
    class Leaky(Real):
        def picture(self, mechanism, masks, noise):
            shown = 2 * masks.roll((9, 20), (2, 3)) - 1
            picture = 0.2 * shown + 0.3 if mechanism is Mechanism.TEXTURE else -0.5 * masks
            return picture.expand(-1, 3, -1, -1)

    assert check_health(Leaky(), REAL_GLYPHS, seed=0).leakage > 0.2


def test_leakage_of_a_copy_and_of_anything_else():
    rng = torch.Generator().manual_seed(0)
    masks = (torch.rand(100, 1, 32, 32, generator=rng) > 0.8).float()
    copies = masks.roll(5, 3).expand(-1, 3, -1, -1) * torch.tensor([1.0, -0.5, 0.5])[:, None, None]
    assert leakage(masks, copies) > 0.8
    assert abs(leakage(masks, torch.randn(100, 3, 32, 32, generator=rng))) < 0.01
    assert abs(leakage(masks, torch.zeros(100, 3, 32, 32))) < 0.01


FINE = Health(0.9, 0.6, 0.95, 1.1, 0.24, 0.1, 0.01)


@pytest.mark.parametrize(
    ("changes", "words", "fatal"),
    [
        ({"mask_diversity": 0.001}, "one shape", True),
        ({"mask_mean": 0.97}, "full or inverted", True),
        ({"mask_mean": 0.001}, "empty", True),
        ({"class_accuracy": 0.5}, "classes collide: only 50%", False),
        ({"leakage": 0.3}, "carries the shape", False),
    ],
)
def test_each_failure_is_reported_in_words(changes, words, fatal):
    (symptom,) = symptoms(FINE._replace(**changes), REAL_GLYPHS)
    assert words in symptom.words
    assert symptom.fatal is fatal


def test_a_healthy_teacher_has_no_symptoms():
    assert list(symptoms(FINE, REAL_GLYPHS)) == []


@pytest.mark.parametrize(
    ("limits", "mean", "entropy", "words"),
    [
        (PHOTO_MASKS, 0.01, 0.1, "the masks are empty (mean 0.01): raise --mask"),
        (PHOTO_MASKS, 0.99, 0.1, "the masks are full or inverted (mean 0.99): raise --mask"),
        (PHOTO_MASKS, 0.5, 0.9, "the masks are grey (entropy 0.90 bits): raise --binary"),
        (GLYPH_MASKS, 0.01, 0.1, "the masks are empty (mean 0.01): raise --binary or take another --seed"),
        (GLYPH_MASKS, 0.7, 0.1, "the masks are full or inverted (mean 0.70): raise --binary or take another --seed"),
    ],
)
def test_each_recipe_has_its_own_limits_of_masks(limits, mean, entropy, words):
    assert [symptom.words for symptom in mask_symptoms(limits, mean, entropy)] == [words]
    assert list(mask_symptoms(limits, 0.3, 0.1)) == []


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("sizes", "count", "selected"),
    [
        ([9, 9, 10], 28, [9, 9, 10]),
        ([9, 9, 10], 5000, [9, 9, 10]),
        ([1, 40, 40], 21, [1, 10, 10]),
        ([5, 0, 50], 40, [5, 0, 35]),
    ],
)
def test_real_ones_are_drawn_without_replacement_and_balanced_as_far_as_there_are(sizes, count, selected):
    labels = torch.arange(3).repeat_interleave(torch.tensor(sizes))[torch.randperm(sum(sizes), generator=rng())]
    rows = balanced_selection(labels, count, rng())
    assert len(rows.unique()) == len(rows) == sum(selected)
    assert labels[rows].bincount(minlength=3).tolist() == selected
    assert torch.equal(rows, balanced_selection(labels, count, rng()))


def photographs(count, classes=10, seed=0):
    """Pictures (N, 3, 32, 32) of coarse noise whose class shifts it a little: most lie nearest to another class."""
    labels = torch.arange(count) % classes
    means = torch.randn(classes, 3, 8, 8, generator=rng(99)) * 0.12
    pictures = means[labels] + torch.randn(count, 3, 8, 8, generator=rng(seed)) * 0.5
    return LabelledImages(pictures.repeat_interleave(4, 2).repeat_interleave(4, 3).clamp(-1, 1), labels)


class Photographer:
    """Draws pictures that the real ones do not have, each behind a mask that says nothing of it."""

    digest, size = "photographer", None

    def __init__(self, pictures, classes, shift=0):
        self.spec, self.shift = Spec(pictures.images.shape[-1], classes=classes), shift
        self.pictures = [pictures.images[pictures.labels == c] for c in range(classes)]

    def query(self, mechanism, noise, labels):
        if mechanism is Mechanism.SHAPE:
            line = torch.linspace(-1, 1, self.spec.image_size)
            return (noise[:, :1, None, None] > line[:, None]).float().expand(-1, 1, -1, self.spec.image_size)
        classes = ((labels + self.shift) % self.spec.classes).tolist()
        own = [self.pictures[c] for c in classes]
        rows = (1e6 * noise[:, 0].abs()).long().tolist()
        return torch.stack([pictures[row % len(pictures)] for pictures, row in zip(own, rows, strict=True)])


def test_28_real_pictures_are_all_compared_and_each_once():
    pictures = photographs(28, classes=3)
    twice = LabelledImages(pictures.images.repeat(2, 1, 1, 1), pictures.labels.repeat(2))
    once, of_twice = (real_reference(real, 3, seed=0) for real in (pictures, twice))
    assert len(once.images) == len(of_twice.images) == 28
    assert of_twice.distance == pytest.approx(once.distance)
    health = check_health(Photographer(photographs(60, 3, seed=1), 3), once, seed=0)
    assert health.distance == pytest.approx(1, abs=0.1)
    assert health.diversity == pytest.approx(1, abs=0.1)


def test_a_class_of_one_picture_leaves_finite_numbers():
    pictures = photographs(200)
    alone = pictures.rows(torch.cat([torch.tensor([0]), (pictures.labels > 0).nonzero()[:, 0]]))
    health = check_health(Photographer(photographs(400, seed=1), 10), real_reference(alone, 10, seed=0), seed=0)
    assert health.numbers.keys() == set(Health._fields)
    assert torch.tensor(list(health.numbers.values())).isfinite().all()


def test_what_one_picture_a_class_cannot_say_is_not_measured():
    health = check_health(
        Photographer(photographs(40, 2, seed=1), 2), real_reference(photographs(2, 2), 2, seed=0), seed=0
    )
    assert (health.diversity, health.least_diversity, health.class_accuracy) == (None, None, None)
    assert "diversity" not in health.numbers


def test_collisions_are_relative_to_real_pictures_that_are_held_out():
    real = real_reference(photographs(1000), 10, seed=0)
    assert real.class_accuracy < 0.5  # a constant limit of 0.7 would warn of real pictures
    assert str(real) == f"of real ones that are held out, {real.class_accuracy:.2f} are nearest to their own class"
    sound = check_health(Photographer(photographs(1000, seed=1), 10), real, seed=0)
    assert sound.class_accuracy == pytest.approx(real.class_accuracy, abs=0.1)
    assert list(symptoms(sound, real)) == []
    (symptom,) = symptoms(check_health(Photographer(photographs(1000, seed=1), 10, shift=1), real, seed=0), real)
    assert symptom.words.startswith("classes collide:")
    assert f"less than 75% of the {real.class_accuracy:.0%} of real ones that are held out" in symptom.words


def test_too_few_real_pictures_are_no_reference():
    real = real_reference(photographs(60), 10, seed=0)
    assert real.class_accuracy is None
    assert "collisions of classes are not reported" in str(real)
    assert list(symptoms(FINE._replace(class_accuracy=0.0), real)) == []


PHOTOS = Path(os.environ.get("SKDCGN_DATA", "nowhere")) / "imagenette"


def imagenette(part, size, count):
    folders = sorted((PHOTOS / part).iterdir())
    files = [(file, label) for label, folder in enumerate(folders) for file in sorted(folder.iterdir())[:count]]
    pictures = torch.stack([read_picture(file, size) for file, _ in files])
    return LabelledImages(as_unit(pictures), torch.tensor([label for _, label in files]))


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="SKDCGN_DATA holds no imagenette")
@pytest.mark.parametrize("size", [32, 64])
def test_real_photographs_that_are_held_out_have_no_symptoms(size):
    real = real_reference(imagenette("train", size, 40), 10, seed=0)
    health = check_health(Photographer(imagenette("val", size, 20), 10), real, seed=0)
    assert health.class_accuracy < 0.5
    assert list(symptoms(health, real)) == []
