"""A teacher's health: perfect for real glyphs, and each usual failure is named."""

import pytest
import torch

from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.data.appearances import paint
from skdcgn.data.glyphs import load_glyphs
from skdcgn.teachers.health import (
    GLYPH_MASKS,
    PHOTO_MASKS,
    Health,
    check_health,
    leakage,
    mask_symptoms,
    symptoms,
)

GLYPHS = load_glyphs("digits", "train")


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
    health = check_health(Real(), GLYPHS, seed=0)
    assert (health.class_accuracy, health.distance) == (1, 0)  # each is its own nearest glyph
    assert health.diversity == pytest.approx(1, abs=0.1)
    assert health.mask_mean == pytest.approx(float(GLYPHS.images.mean()), abs=0.02)
    assert health.leakage == pytest.approx(0, abs=0.001)
    assert list(symptoms(health)) == []


def test_where_shapes_are_unknown_whole_pictures_are_compared():
    pictures = paint(GLYPHS, "double-colored", correlated=True, seed=0)
    health = check_health(Real(), pictures, seed=0)
    assert health.class_accuracy < 0.5  # the colours are those of the noise
    assert health.distance > 1


def test_a_texture_that_shows_its_mask_leaks_wherever_it_lies():
    class Leaky(Real):
        def picture(self, mechanism, masks, noise):
            shown = 2 * masks.roll((9, 20), (2, 3)) - 1
            return (0.2 * shown + 0.3).expand(-1, 3, -1, -1) if mechanism is Mechanism.TEXTURE else -masks + 0.5 * masks

    assert check_health(Leaky(), GLYPHS, seed=0).leakage > 0.2


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
    (symptom,) = symptoms(FINE._replace(**changes))
    assert words in symptom.words
    assert symptom.fatal is fatal


def test_a_healthy_teacher_has_no_symptoms():
    assert list(symptoms(FINE)) == []


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
