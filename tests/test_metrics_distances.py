"""Distances against closed forms, scipy and brute force."""

import math

import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skdcgn.base.errors import UserError
from skdcgn.metrics.distances import (
    density_coverage,
    frechet_distance,
    intra_class_frechet,
    kernel_distance,
    precision_recall,
)
from skdcgn.metrics.moments import Moments


def normal(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gaussian(mean, covariance, count=1000):
    return Moments(count, mean.double(), covariance.double() * (count - 1))


def by_scipy(first, second):
    product = scipy.linalg.sqrtm((first.covariance @ second.covariance).numpy())
    traces = float(first.covariance.trace() + second.covariance.trace()) - 2 * float(product.real.trace())
    return float((first.mean - second.mean).square().sum()) + traces


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(0, 4), st.floats(0, 4)), min_size=1, max_size=6)
)
def test_frechet_of_independent_gaussians_is_the_closed_form(columns):
    means, others, deviations, other_deviations = torch.tensor(columns, dtype=torch.float64).T
    distance = frechet_distance(
        gaussian(means, deviations.square().diag()), gaussian(others, other_deviations.square().diag())
    )
    expected = (means - others).square().sum() + (deviations - other_deviations).square().sum()
    assert distance == pytest.approx(float(expected), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 8))
def test_frechet_is_scipys_symmetric_and_zero_on_itself(seed, dim):
    first = Moments.of(normal(seed, 40, dim) @ normal(seed + 1, dim, dim))
    second = Moments.of(normal(seed + 2, 30, dim) @ normal(seed + 3, dim, dim) + 1)
    distance = frechet_distance(first, second)
    assert distance == pytest.approx(by_scipy(first, second), rel=1e-6)
    assert distance == pytest.approx(frechet_distance(second, first), rel=1e-9)
    assert distance > 0
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_frechet_where_a_covariance_has_no_full_rank():
    few = Moments.of(normal(0, 5, 20))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-9)
    shifted = Moments(few.count, few.mean + 2, few.scatter)
    assert frechet_distance(few, shifted) == pytest.approx(20 * 4, abs=1e-9)


def kernel(x, y):
    return (float(x @ y) / len(x) + 1) ** 3


def by_double_loop(first, second):
    own = [
        sum(kernel(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j)
        / (len(rows) * (len(rows) - 1))
        for rows in (first, second)
    ]
    return sum(own) - 2 * sum(kernel(a, b) for a in first for b in second) / (len(first) * len(second))


def test_kernel_distance_is_a_double_loop():
    first, second = normal(0, 12, 4), normal(1, 12, 4) + 0.5
    distance = kernel_distance(first, second, subsets=3)
    assert distance.value == pytest.approx(by_double_loop(first, second), abs=1e-12)
    assert distance.deviation == pytest.approx(0, abs=1e-12)  # every subset is the whole


def test_kernel_distance_takes_its_subsets_from_its_seed():
    first, second = normal(0, 60, 4), normal(1, 80, 4)
    distance, again, other = (kernel_distance(first, second, subsets=5, subset_size=20, seed=s) for s in (0, 0, 1))
    assert distance == again != other
    assert distance.deviation > 0


def test_kernel_distance_is_unbiased():
    distances = [kernel_distance(normal(2 * s, 20, 3), normal(2 * s + 1, 20, 3), subsets=1).value for s in range(300)]
    mean, error = sum(distances) / 300, torch.tensor(distances).std() / math.sqrt(300)
    assert min(distances) < 0 < max(distances)
    assert abs(mean) < 3 * error


def nearest(rows, i, k):
    return sorted(math.dist(rows[i], rows[j]) for j in range(len(rows)) if j != i)[k - 1]


def by_brute_force(real, generated, k):
    """precision, recall, density, coverage."""
    balls = [[math.dist(x, r) <= nearest(real, i, k) for i, r in enumerate(real)] for x in generated]
    back = [[math.dist(x, d) <= nearest(generated, i, k) for i, d in enumerate(generated)] for x in real]
    return (
        sum(map(any, balls)) / len(generated),
        sum(map(any, back)) / len(real),
        sum(map(sum, balls)) / (k * len(generated)),
        sum(map(any, zip(*balls, strict=True))) / len(real),
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5), st.floats(0, 3))
def test_neighbours_are_brute_force(seed, k, shift):
    real, generated = normal(seed, 25, 3), normal(seed + 1, 18, 3) * 0.8 + shift
    numbers = (*precision_recall(real, generated, k), *density_coverage(real, generated, k))
    assert numbers == pytest.approx(by_brute_force(real.tolist(), generated.tolist(), k))


def test_neighbours_by_hand():
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])  # balls of k = 1 reach 1, 1, 1 and 8
    generated = torch.tensor([[0.5], [3.0], [30.0]])  # balls of k = 1 reach 2.5, 2.5 and 27
    assert precision_recall(real, generated, k=1) == pytest.approx((2 / 3, 1))
    assert density_coverage(real, generated, k=1) == pytest.approx((4 / 3, 1))
    assert density_coverage(real, generated[2:], k=1) == (0, 0)


def test_neighbours_do_not_depend_on_blocks():
    real, generated = normal(0, 40, 3), normal(1, 30, 3)
    whole = precision_recall(real, generated), density_coverage(real, generated)
    assert (precision_recall(real, generated, block=7), density_coverage(real, generated, block=7)) == whole


def test_where_points_coincide_balls_of_no_radius_hold_them():
    points = normal(0, 30, 3) * 1000 + 1000
    real, generated = torch.cat([points] * 5), torch.cat([points.flip(0)] * 4)
    assert precision_recall(real, generated, k=3) == (1, 1)
    assert density_coverage(real, generated, k=4) == (5 / 4, 1)
    assert precision_recall(real, generated + 1e-6, k=3) == (0, 0)


def test_intra_class_frechet_sees_what_the_whole_hides():
    features, labels = normal(0, 400, 2), torch.arange(400) % 2
    features[labels == 1] += 5
    swapped = intra_class_frechet((features, labels), (features, 1 - labels), 2)
    same = intra_class_frechet((features, labels), (features, labels), 2)
    within = [Moments.of(features[labels == c]) for c in range(2)]
    assert swapped.tolist() == pytest.approx([frechet_distance(*within)] * 2)
    assert same.tolist() == pytest.approx([0, 0], abs=1e-9)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda rows: kernel_distance(rows[:1], rows), "at least two"),
        (lambda rows: precision_recall(rows, rows[:3]), "at least 4"),
        (lambda rows: density_coverage(rows[:5], rows), "at least 6"),
        (lambda rows: intra_class_frechet((rows, torch.arange(9)), (rows, torch.arange(9)), 2), "class 0 has 1 and 1"),
    ],
)
def test_too_few_images_are_an_error(call, words):
    with pytest.raises(UserError, match=words):
        call(normal(0, 9, 2))
