"""Numbers with what they depend on: the same whatever the batches, and JSON."""

import json

import pytest
import torch

from skdcgn.composer import draw
from skdcgn.config import QueryConfig, from_dict
from skdcgn.data import Dataset, load_glyphs, paint
from skdcgn.errors import UserError
from skdcgn.mechanism import Mechanism
from skdcgn.metrics import (
    Measured,
    Moments,
    compare_with_pairs,
    frechet,
    frechet_distance,
    load_extractor,
    measure,
    moments,
    paired_l1,
)
from skdcgn.metrics.extractors import Extractor
from skdcgn.pairs import HELD_OUT, query_all, read_pairs
from skdcgn.teachers.registry import load_teacher

GLYPHS = load_glyphs("digits", "test")
REAL = paint(GLYPHS, "double-colored", correlated=False, seed=0)
NAMES = {"frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage"}
NAMES |= {"intra_class_frechet", "diversity", "inception_style_score"}


@pytest.fixture(scope="module")
def extractor():
    return load_extractor("digits")


@pytest.fixture(scope="module")
def like(extractor):
    return measure(extractor, REAL, paint(GLYPHS, "double-colored", correlated=False, seed=1))


def test_every_number_says_what_it_depends_on(like, extractor):
    assert like.keys() == NAMES
    for name, told in like.items():
        assert told.metric == name
        assert (told.extractor, told.digest, told.resizer) == ("digits", extractor.digest, "bilinear-antialias-32")
        assert (told.real, told.drawn) == (0 if name == "inception_style_score" else 500, 500)
        assert (told.seed == 0) == (name in {"kernel_distance", "precision", "recall", "density", "coverage"})
        assert from_dict(Measured, json.loads(json.dumps(told.to_dict()))) == told
    words = f"digits@{extractor.digest[:8]}, bilinear-antialias-32, 500 drawn, 500 real, seed 0"
    assert words in str(like["kernel_distance"])


def test_like_images_are_near_and_others_far(like, extractor):
    upside_down = measure(extractor, REAL, Dataset(REAL.images.flip(2), REAL.labels))
    for name in ("frechet_distance", "kernel_distance", "intra_class_frechet"):
        assert upside_down[name].value > 3 * abs(like[name].value)
    for name in ("precision", "recall", "density", "coverage"):
        assert upside_down[name].value < like[name].value
    assert like["diversity"].value == pytest.approx(1, abs=0.1)


def test_one_image_per_class_lacks_diversity_and_coverage(extractor, like):
    first = torch.stack([(REAL.labels == c).nonzero()[0, 0] for c in range(10)])
    same = measure(extractor, REAL, Dataset(REAL.images[first[REAL.labels]], REAL.labels))
    assert same["diversity"].by_class == pytest.approx((0,) * 10, abs=1e-6)
    assert same["coverage"].value < 0.5 * like["coverage"].value
    assert same["recall"].value < 0.1


def test_equal_sets_are_at_no_distance(extractor):
    same = measure(extractor, REAL, REAL)
    assert same["frechet_distance"].value == pytest.approx(0, abs=1e-8)
    assert same["intra_class_frechet"].by_class == pytest.approx((0,) * 10, abs=1e-8)
    assert [same[name].value for name in ("precision", "recall", "coverage")] == [1, 1, 1]


@pytest.mark.parametrize("size", [1, 33, 500])
def test_no_number_depends_on_batches(extractor, size):
    whole = moments(extractor, REAL.images)
    split = moments(extractor, iter(REAL.images.split(size)))
    assert torch.allclose(split.covariance, whole.covariance, rtol=1e-9, atol=1e-9)
    found = frechet(extractor, REAL.images.flip(2).split(size), REAL.images.split(size))
    assert found.value == pytest.approx(frechet(extractor, REAL.images.flip(2), REAL.images).value, abs=1e-9)


def test_streamed_moments_are_those_of_all_features(extractor):
    whole = Moments.of(extractor.gather(REAL.images).features)
    assert frechet_distance(moments(extractor, REAL.images), whole) == pytest.approx(0, abs=1e-9)


def test_neighbours_are_looked_for_in_a_sample_from_the_seed(extractor):
    drawn = Dataset(REAL.images.flip(3), REAL.labels)
    first, again, other = (measure(extractor, REAL, drawn, seed=s, most=100)["density"] for s in (0, 0, 1))
    assert first == again
    assert first.value != other.value
    assert (first.real, first.drawn, other.seed) == (100, 100, 1)


def test_without_probabilities_there_is_no_score():
    blind = Extractor("pixels", "none", 4, 48, lambda x: (x.flatten(1), None))
    assert measure(blind, REAL, REAL).keys() == NAMES - {"inception_style_score"}


def test_what_is_not_finite_is_none_in_json():
    told = Measured("diversity", float("inf"), "e", "d", "r", 2, 2, by_class=(1.0, float("nan"))).to_dict()
    assert (told["value"], told["by_class"]) == (None, [1.0, None])


def test_a_class_that_was_not_drawn_is_told(extractor):
    some = REAL.labels != 4
    with pytest.raises(UserError, match="class 4 has 49 and 0 images|class 4 has 50 and 0 images"):
        measure(extractor, REAL, Dataset(REAL.images[some], REAL.labels[some]))


def test_a_student_is_compared_with_its_teachers_held_out_answers(tmp_path, analytic_teacher, random_cgn):
    query_all(analytic_teacher, tmp_path, QueryConfig(shape=10, texture=10, background=10, held_out=30, shard_size=7))
    found = compare_with_pairs(random_cgn, tmp_path)
    for mechanism in Mechanism:
        noise, labels, images = read_pairs(tmp_path / mechanism / HELD_OUT)
        assert found[mechanism].pairs == 30
        wanted = paired_l1(draw(random_cgn, mechanism, noise, labels), images)
        assert found[mechanism].l1 == pytest.approx(wanted, abs=1e-6)
        assert compare_with_pairs(analytic_teacher, tmp_path)[mechanism].ssim == pytest.approx(1, abs=1e-6)


def test_the_zoos_teacher_is_nearer_to_real_images_than_random_weights(extractor, random_cgn):
    from skdcgn.composer import compose

    far, near = (
        frechet(extractor, REAL.images, compose(cgn, 500).images).value
        for cgn in (random_cgn, load_teacher("double-colored-digits"))
    )
    assert near < far / 5
