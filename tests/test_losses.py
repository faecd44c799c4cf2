"""Each loss against its closed form or a plain loop."""

import math

import pytest
import torch

from skdcgn.training import losses


def test_pixel_l1_is_the_mean_distance():
    assert losses.pixel_l1(torch.tensor([1.0, -1.0]), torch.tensor([0.0, 1.0])) == 1.5


def test_pixel_l2_is_the_mean_squared_distance_and_least_at_the_mean():
    assert losses.pixel_l2(torch.tensor([1.0, -1.0]), torch.tensor([0.0, 1.0])) == 2.5
    pixels = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0])  # 3 of 8
    guesses = torch.linspace(0, 1, 9)
    assert guesses[torch.stack([losses.pixel_l2(g, pixels) for g in guesses]).argmin()] == 3 / 8
    assert guesses[torch.stack([losses.pixel_l1(g, pixels) for g in guesses]).argmin()] == 0


def test_feature_l1_weighs_coarse_features_most():
    student = [torch.ones(2, 3, 4, 4), torch.ones(2, 3, 2, 2), torch.ones(2, 3, 1, 1)]
    for i, weight in enumerate((1 / 4, 1 / 2, 1)):
        teacher = [torch.zeros_like(s) if j == i else s for j, s in enumerate(student)]
        assert losses.feature_l1(student, teacher) == pytest.approx(weight)


@pytest.mark.parametrize("temperature", [1.0, 8.0])
def test_feature_kl_is_the_divergence_from_teacher_to_student(temperature):
    teacher, student = torch.randn(2, 5, 3, 3), torch.randn(2, 5, 3, 3)
    p, q = (torch.softmax(x.permute(0, 2, 3, 1) / temperature, -1).reshape(-1, 5) for x in (teacher, student))
    expected = sum(float(a * math.log(a / b)) for row in zip(p, q, strict=True) for a, b in zip(*row, strict=True))
    assert losses.feature_kl([student], [teacher], temperature) == pytest.approx(expected / 18, rel=1e-4)
    assert losses.feature_kl([teacher], [teacher], temperature) == pytest.approx(0, abs=1e-6)
    both = losses.feature_kl([student, student], [teacher, teacher], temperature)
    assert both == pytest.approx(2 * expected / 18, rel=1e-4)


def test_feature_kl_is_not_symmetric():
    teacher, student = torch.tensor([[4.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    forward, backward = (
        losses.feature_kl([a[..., None, None]], [b[..., None, None]], 1.0)
        for a, b in ((student, teacher), (teacher, student))
    )
    assert abs(forward - backward) > 0.1


def test_hinge_stops_at_the_margin():
    assert losses.hinge_discriminator(torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -5.0])) == 0
    assert losses.hinge_discriminator(torch.tensor([0.0]), torch.tensor([0.0])) == 2
    assert losses.hinge_discriminator(torch.tensor([-1.0]), torch.tensor([2.0])) == 5
    assert losses.hinge_generator(torch.tensor([2.0, 4.0])) == -3


def test_least_squares_has_its_optimum_at_the_targets():
    assert losses.least_squares_discriminator(torch.ones(4), torch.zeros(4)) == 0
    assert losses.least_squares_discriminator(torch.zeros(4), torch.ones(4)) == 1
    assert losses.least_squares_generator(torch.tensor([1.0, 3.0])) == 2


@pytest.mark.parametrize(("p", "bits"), [(0.5, 1.0), (0.25, 0.811278), (0.0, 0.001474), (1.0, 0.001474)])
def test_binary_entropy_in_bits(p, bits):
    assert losses.binary_entropy(torch.full((2, 1, 4, 4), p)) == pytest.approx(bits, abs=2e-5)


def test_total_variation_is_the_perimeter_of_a_binary_mask_per_pixel():
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, 0, 2:4, 3:6] = 1  # 2 x 3 pixels within one of two images
    assert losses.total_variation(mask) == pytest.approx((2 + 3) * 2 / mask.numel())
    assert losses.total_variation(torch.ones(1, 1, 4, 4)) == 0


def test_mask_range_is_the_distance_of_the_mean_from_the_interval():
    masks = torch.tensor([0.0, 0.3, 0.9])[:, None, None, None].expand(3, 1, 4, 4)
    assert losses.mask_range(masks, 0.1, 0.5) == pytest.approx((0.1 + 0 + 0.4) / 3)


def test_gram_is_the_mean_product_of_channels():
    features = torch.randn(2, 3, 4, 5)
    expected = torch.zeros(2, 3, 3)
    for b, i, j in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(3)):
        expected[b, i, j] = (features[b, i] * features[b, j]).sum() / (3 * 4 * 5)
    assert torch.allclose(losses.gram(features), expected, atol=1e-6)


def test_style_ignores_where_things_are():
    image = torch.randn(1, 3, 8, 8)
    moved = image.roll((3, 2), dims=(2, 3))
    assert losses.style_l1([moved], [image]) == pytest.approx(0, abs=1e-6)
    assert losses.style_l1([2 * image], [image]) == pytest.approx(3 * float(losses.gram(image).abs().mean()), rel=1e-5)


def test_gaussian_kl_is_torchs():
    mean, log_variance = torch.randn(6, 4), torch.randn(6, 4)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    assert torch.allclose(losses.gaussian_kl(mean, log_variance), expected, atol=1e-5)
    assert losses.gaussian_kl(torch.zeros(2, 4), torch.zeros(2, 4)) == 0


def test_local_l2_compares_window_means_as_shares_of_the_real_mean():
    real = torch.tensor([[1.0, 3.0], [1.0, 3.0]]).repeat_interleave(4, 0).repeat_interleave(4, 1)[None, None]  # mean 2
    fake = real.clone()
    fake[..., :4, :4] += 2
    assert losses.local_l2([fake], [real]) == pytest.approx((2 / 2) ** 2 / 4)
    assert losses.local_l2([fake, fake], [real, real]) == pytest.approx(0.5)
    within = real.clone()
    within[..., 0, 0] += 1
    within[..., 3, 3] -= 1
    assert losses.local_l2([within], [real]) == 0  # where in a window does not count
