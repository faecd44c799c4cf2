"""Measurements: what they depend on, independence of the batch size, JSON."""

import json

import pytest
import torch

from skdcgn.base.config import QueryConfig
from skdcgn.base.errors import UserError
from skdcgn.base.records import from_dict
from skdcgn.cgn.compose import compose
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.data.appearances import paint
from skdcgn.data.glyphs import load_glyphs
from skdcgn.data.images import LabelledImages
from skdcgn.evaluation.measure import (
    Measurement,
    compare_cgn,
    compare_images,
    compare_with_pairs,
    feature_moments,
    frechet,
)
from skdcgn.features.extractors import Extractor, load_extractor
from skdcgn.metrics.distances import frechet_distance
from skdcgn.metrics.moments import Moments
from skdcgn.metrics.pixels import paired_l1
from skdcgn.pairs.manifest import HELD_OUT
from skdcgn.pairs.query import query_all
from skdcgn.pairs.stored import read_pairs
from skdcgn.teachers.load import load_teacher

FIRST, SECOND = (load_glyphs("digits", "train").rows(part) for part in (slice(300), slice(300, 560)))
REAL, LIKE = (paint(glyphs, "double-colored", correlated=False, seed=0) for glyphs in (FIRST, SECOND))
NAMES = {"frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage"}
NAMES |= {"intra_class_frechet", "diversity", "inception_style_score"}


@pytest.fixture(scope="module")
def extractor():
    return load_extractor("digits")


@pytest.fixture(scope="module")
def like(extractor):
    return compare_images(extractor, REAL, LIKE)


def test_every_number_says_what_it_depends_on(like, extractor):
    assert like.keys() == NAMES
    for name, measurement in like.items():
        assert measurement.metric == name
        assert (measurement.extractor, measurement.digest, measurement.resizer) == (
            "digits",
            extractor.digest,
            "bilinear-antialias-32",
        )
        assert (measurement.real, measurement.generated) == (0 if name == "inception_style_score" else 300, 260)
        assert (measurement.seed == 0) == (name in {"kernel_distance", "precision", "recall", "density", "coverage"})
        assert from_dict(Measurement, json.loads(json.dumps(measurement.to_dict()))) == measurement
    words = f"digits@{extractor.digest[:8]}, bilinear-antialias-32, 260 generated, 300 real, seed 0"
    assert words in str(like["kernel_distance"])


def test_like_images_are_near_and_others_far(like, extractor):
    upside_down = compare_images(extractor, REAL, LabelledImages(LIKE.images.flip(2), LIKE.labels))
    for name in ("frechet_distance", "kernel_distance", "intra_class_frechet"):
        assert upside_down[name].value > 2 * abs(like[name].value)  # fewer images in a class than features: biased
    for name in ("precision", "recall", "density", "coverage"):
        assert upside_down[name].value < like[name].value
    assert like["diversity"].value == pytest.approx(1, abs=0.1)


def test_one_image_per_class_lacks_diversity_and_coverage(extractor, like):
    first = torch.stack([(REAL.labels == c).nonzero()[0, 0] for c in range(10)])
    same = compare_images(extractor, REAL, LabelledImages(REAL.images[first[REAL.labels]], REAL.labels))
    assert same["diversity"].by_class == pytest.approx((0,) * 10, abs=1e-6)
    assert same["coverage"].value < 0.5 * like["coverage"].value
    assert same["recall"].value < 0.1


def test_equal_sets_are_at_no_distance(extractor):
    same = compare_images(extractor, REAL, REAL)
    assert same["frechet_distance"].value == pytest.approx(0, abs=1e-8)
    assert same["intra_class_frechet"].by_class == pytest.approx((0,) * 10, abs=1e-8)
    assert [same[name].value for name in ("precision", "recall", "coverage")] == [1, 1, 1]


@pytest.mark.parametrize("size", [1, 33, 120])
def test_no_number_depends_on_batches(extractor, size):
    real, generated = REAL.images[:120], LIKE.images[:90]
    whole, split = feature_moments(extractor, real), feature_moments(extractor, iter(real.split(size)))
    assert torch.allclose(split.covariance, whole.covariance, rtol=1e-9, atol=1e-9)
    in_batches = frechet(extractor, real.split(size), generated.split(size))
    assert in_batches.value == pytest.approx(frechet(extractor, real, generated).value, abs=1e-9)


def test_streamed_moments_are_those_of_all_features(extractor):
    whole = Moments.of(extractor.gather(REAL.images).features)
    assert frechet_distance(feature_moments(extractor, REAL.images), whole) == pytest.approx(0, abs=1e-9)


def test_neighbours_are_looked_for_in_a_sample_from_the_seed(extractor):
    few, others = (data.rows(slice(150)) for data in (REAL, LIKE))
    first, again, other = (
        compare_images(extractor, few, others, seed=s, neighbour_images=100)["density"] for s in (0, 0, 1)
    )
    assert first == again
    assert first.value != other.value
    assert (first.real, first.generated, other.seed) == (100, 100, 1)


def test_without_probabilities_there_is_no_score():
    blind = Extractor("pixels", "none", 4, 48, lambda x: (x.flatten(1), None))
    assert compare_images(blind, LIKE, LIKE).keys() == NAMES - {"inception_style_score"}


def test_what_is_not_finite_is_none_in_json():
    values = Measurement("diversity", float("inf"), "e", "d", "r", 2, 2, by_class=(1.0, float("nan"))).to_dict()
    assert (values["value"], values["by_class"]) == (None, [1.0, None])


def test_a_class_without_images_is_an_error(extractor):
    few = REAL.rows(slice(150))
    some = few.labels != 4
    with pytest.raises(UserError, match=r"class 4 has \d+ and 0 images"):
        compare_images(extractor, few, LabelledImages(few.images[some], few.labels[some]))


def test_a_student_is_compared_with_its_teachers_held_out_answers(tmp_path, analytic_teacher, random_cgn):
    query_all(analytic_teacher, tmp_path, QueryConfig(shape=1, texture=1, background=1, held_out=12, shard_size=5))
    random, own = (compare_with_pairs(cgn, tmp_path) for cgn in (random_cgn, analytic_teacher))
    for mechanism in Mechanism:
        noise, labels, images = read_pairs(tmp_path / mechanism / HELD_OUT)
        assert random[mechanism].pairs == 12
        expected = paired_l1(draw(random_cgn, mechanism, noise, labels), images)
        assert random[mechanism].l1 == pytest.approx(expected, abs=1e-6)
        assert own[mechanism].ssim == pytest.approx(1, abs=1e-6)


def test_the_zoos_teacher_is_nearer_to_real_images_than_random_weights(extractor, random_cgn):
    far, near = (
        compare_cgn(cgn, extractor, REAL, n=150) for cgn in (random_cgn, load_teacher("double-colored-digits"))
    )
    assert near["frechet_distance"].value < far["frechet_distance"].value / 3
    assert near["coverage"].value > far["coverage"].value
    composed = compose(random_cgn, 150)
    assert far == compare_images(extractor, REAL, LabelledImages(composed.images, composed.shape_labels))
