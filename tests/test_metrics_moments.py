"""Streaming statistics: however the rows are split, the whole's mean, covariance and score."""

import math
from functools import reduce
from operator import add

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skdcgn.base.errors import UserError
from skdcgn.metrics.moments import Moments, Predictions

ROWS = torch.randn(50, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
SPLITS = st.lists(st.integers(1, 12), min_size=1, max_size=12).filter(lambda sizes: sum(sizes) <= 50)


def merged(kind, rows, sizes):
    return reduce(add, (kind.of(part) for part in rows.split([*sizes, len(rows) - sum(sizes)]) if len(part)))


def test_moments_are_numpys():
    split = Moments.of(ROWS)
    assert split.count == 50
    assert np.allclose(split.mean, ROWS.numpy().mean(0), atol=1e-12)
    assert np.allclose(split.covariance, np.cov(ROWS.numpy(), rowvar=False), atol=1e-12)


@settings(deadline=None)
@given(SPLITS, st.sampled_from([0.0, 1e6]))
def test_merged_moments_are_the_wholes_even_far_from_zero(sizes, offset):
    whole, split = Moments.of(ROWS), merged(Moments, ROWS + offset, sizes)
    assert split.count == 50
    assert torch.allclose(split.mean - offset, whole.mean, atol=1e-9)
    assert torch.allclose(split.covariance, whole.covariance, atol=1e-8)  # sums of squares would be off by 1e-4


def test_float32_rows_are_summed_in_float64():
    rows = ROWS.float() + 1000
    assert torch.allclose(Moments.of(rows).covariance, rows.double().T.cov(), atol=1e-9)


def test_one_row_has_no_covariance():
    with pytest.raises(UserError, match="at least two"):
        _ = Moments.of(ROWS[:1]).covariance


@settings(deadline=None)
@given(SPLITS)
def test_merged_scores_are_the_wholes(sizes):
    probabilities = ROWS.softmax(1)
    whole, split = Predictions.of(probabilities), merged(Predictions, probabilities, sizes)
    assert split.inception_style == pytest.approx(whole.inception_style, abs=1e-9)
    divergence = (probabilities * (probabilities / probabilities.mean(0)).log()).sum(1).mean()
    assert whole.inception_style == pytest.approx(math.exp(divergence), abs=1e-9)
    assert 1 < whole.inception_style < 5


@pytest.mark.parametrize(
    ("probabilities", "score"),
    [
        (torch.eye(7).repeat(3, 1), 7),  # certain, and every class as often
        (torch.eye(7)[:1].repeat(9, 1), 1),  # certain, of one class
        (torch.full((9, 7), 1 / 7), 1),  # never certain
        (torch.cat([torch.eye(4)[:2]] * 2), 2),
    ],
)
def test_scores_of_closed_forms(probabilities, score):
    assert Predictions.of(probabilities).inception_style == pytest.approx(score, abs=1e-6)
