"""Metrics against closed forms."""

import math

import pytest
import torch

from skdcgn.metrics import class_diversity, label_means, nearest_iou, paired_l1


def test_diversity_is_the_mean_pairwise_l1_within_a_class():
    images = torch.tensor([0.0, 1.0, 3.0, 5.0, 5.0])[:, None, None, None].expand(-1, 1, 2, 2)
    labels = torch.tensor([0, 0, 0, 1, 1])
    found = class_diversity(images, labels, 3)
    assert found[0] == pytest.approx((1 + 3 + 2) / 3)
    assert found[1] == 0
    assert math.isnan(found[2])


def test_paired_l1_is_in_float64():
    drawn = torch.full((1000, 1, 32, 32), 0.1)
    assert paired_l1(drawn, torch.zeros_like(drawn)) == pytest.approx(0.1, abs=1e-8)


def test_label_means_average_each_class():
    images, labels = torch.randn(30, 3, 4, 4), torch.arange(30) % 3
    means = label_means(images, labels, 4)
    for c in range(3):
        assert torch.allclose(means[c], images[labels == c].mean(0), atol=1e-6)
    assert torch.equal(means[3], torch.zeros(3, 4, 4))


def test_iou_is_the_greatest_within_the_class():
    rows = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]]).float()[:, None, None]  # (3, 1, 1, 4)
    real = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [1, 1, 0, 0]]).float()[:, None, None]
    found = nearest_iou(rows, torch.tensor([0, 1, 0]), real, torch.tensor([0, 0, 1, 1]))
    assert found == pytest.approx((2 / 3 + 1 + 0) / 3)  # the last real row is of the other class
