"""Numbers on pixels against closed forms and direct formulas."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from skdcgn.base.errors import UserError
from skdcgn.metrics.pixels import class_diversity, label_means, nearest_iou, pair_agreement, paired_l1

RNG = torch.Generator().manual_seed(0)
IMAGES, TARGETS = (torch.rand(7, 3, 32, 32, generator=RNG) * 2 - 1 for _ in range(2))


def direct_ssim(x, y, span):
    """Wang et al. 2004, Eq. 13, at every pixel, in a window of 11 x 11 on the image reflected at its edges."""
    x, y = (F.pad(v, (5,) * 4, mode="reflect") for v in (x, y))
    line = torch.exp(-((torch.arange(11.0, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    window = (line.outer(line) / line.sum() ** 2).expand(3, 1, 11, 11)
    mean = [F.conv2d(v, window, groups=3) for v in (x, y)]
    xx, yy, xy = (F.conv2d(a * b, window, groups=3) for a, b in ((x, x), (y, y), (x, y)))
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    likeness = (2 * mean[0] * mean[1] + c1) * (2 * (xy - mean[0] * mean[1]) + c2)
    return likeness / ((mean[0] ** 2 + mean[1] ** 2 + c1) * (xx - mean[0] ** 2 + yy - mean[1] ** 2 + c2))


def test_diversity_is_the_mean_pairwise_l1_within_a_class():
    images = torch.tensor([0.0, 1.0, 3.0, 5.0, 5.0])[:, None, None, None].expand(-1, 1, 2, 2)
    labels = torch.tensor([0, 0, 0, 1, 1])
    diversity = class_diversity(images, labels, 3)
    assert diversity[0] == pytest.approx((1 + 3 + 2) / 3)
    assert diversity[1] == 0
    assert math.isnan(diversity[2])


def test_paired_l1_is_in_float64():
    images = torch.full((1000, 1, 32, 32), 0.1)
    assert paired_l1(images, torch.zeros_like(images)) == pytest.approx(0.1, abs=1e-8)


@pytest.mark.parametrize("size", [1, 7, 30])
def test_label_means_average_each_class_in_any_batches(size):
    images, labels = torch.randn(30, 3, 4, 4), torch.arange(30) % 3
    means = label_means(zip(images.split(size), labels.split(size), strict=True), (4, 3, 4, 4))
    assert torch.equal(means, label_means([(images, labels)], (4, 3, 4, 4)))
    for c in range(3):
        assert torch.allclose(means[c], images[labels == c].mean(0), atol=1e-6)
    assert torch.equal(means[3], torch.zeros(3, 4, 4))


def test_iou_is_the_greatest_within_the_class():
    rows = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]]).float()[:, None, None]  # (3, 1, 1, 4)
    real = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [1, 1, 0, 0]]).float()[:, None, None]
    overlap = nearest_iou(rows, torch.tensor([0, 1, 0]), real, torch.tensor([0, 0, 1, 1]))
    assert overlap == pytest.approx((2 / 3 + 1 + 0) / 3)  # the last real row is of the other class


def test_paired_numbers_are_their_formulas():
    x, y = IMAGES.double(), (0.7 * IMAGES + 0.3 * TARGETS).double()
    agreement = pair_agreement([(x, y)], low=-1)
    assert agreement.pairs == 7
    assert agreement.l1 == pytest.approx(float((x - y).abs().mean()))
    assert agreement.psnr == pytest.approx(float(10 * torch.log10(4 / (x - y).square().mean())))
    assert agreement.ssim == pytest.approx(float(direct_ssim(x, y, span=2).mean()), abs=1e-9)
    assert 0.3 < agreement.ssim < 0.95


def test_a_mask_spans_half_of_what_a_picture_spans():
    mask, picture = (
        pair_agreement([((IMAGES + 1) / 2, (TARGETS + 1) / 2)], low=0),
        pair_agreement([(IMAGES, TARGETS)], low=-1),
    )
    assert mask.psnr == pytest.approx(picture.psnr, abs=1e-5)
    assert mask.l1 == pytest.approx(picture.l1 / 2, abs=1e-6)


@pytest.mark.parametrize("size", [1, 3, 6])
def test_paired_numbers_do_not_depend_on_batches(size):
    whole = pair_agreement([(IMAGES, TARGETS)], low=-1)
    split = pair_agreement(zip(IMAGES.split(size), TARGETS.split(size), strict=True), low=-1)
    assert split == pytest.approx(whole, abs=1e-9)


def test_equal_images_agree_wholly():
    agreement = pair_agreement([(IMAGES, IMAGES)], low=-1)
    assert agreement == pytest.approx((0, math.inf, 1, 7))
    assert json.loads(json.dumps(agreement.to_dict(), allow_nan=False))["psnr"] is None


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "no pairs"),
        ([(IMAGES, TARGETS[:, :1])], r"\(7, 3, 32, 32\) and \(7, 1, 32, 32\)"),
        ([(IMAGES[..., :8, :8], TARGETS[..., :8, :8])], "11 pixels wide"),
    ],
)
def test_images_that_form_no_pairs_are_an_error(batches, words):
    with pytest.raises(UserError, match=words):
        pair_agreement(batches, low=-1)
