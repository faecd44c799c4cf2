"""Every loss of the method, one pure function each, with its equation and source.

``f_i`` are the activations of the discriminator's i-th block; s is the student's image, t its teacher's.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_l1(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean |s - t| over all pixels (TinyGAN, Chang & Lu 2020, Eq. 1)."""
    return (student - teacher).abs().mean()


def pixel_l2(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean (s - t)^2 over all pixels: least where s is the mean of t's distribution; the L1 is least at its median."""
    return (student - teacher).square().mean()


def feature_l1(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """sum_i w_i mean |f_i(s) - f_i(t)|, w = ..., 1/4, 1/2, 1 from fine to coarse (TinyGAN, Eq. 3)."""
    weights = [2.0 ** (i - len(student) + 1) for i in range(len(student))]
    terms = [w * (s - t).abs().mean() for w, s, t in zip(weights, student, teacher, strict=True)]
    return torch.stack(terms).sum()


def feature_kl(student: Sequence[Tensor], teacher: Sequence[Tensor], temperature: float) -> Tensor:
    """sum_i KL(softmax(f_i(t)/T) || softmax(f_i(s)/T)), softmax over channels, mean over places (SKDCGN)."""
    return torch.stack([_kl(s / temperature, t / temperature) for s, t in zip(student, teacher, strict=True)]).sum()


def _kl(student: Tensor, teacher: Tensor) -> Tensor:
    log_p, log_q = teacher.log_softmax(1), student.log_softmax(1)  # (B, C, H, W)
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E max(0, 1 - D(t)) + E max(0, 1 + D(s)) (Lim & Ye 2017)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """-E D(s) (Lim & Ye 2017)."""
    return -fake.mean()


def least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """(E (D(x) - 1)^2 + E D(x~)^2) / 2 (Mao et al. 2017, Eq. 2), the CGN's adversarial loss."""
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def least_squares_generator(fake: Tensor) -> Tensor:
    """E (D(x~) - 1)^2 (Mao et al. 2017, Eq. 2)."""
    return (fake - 1).square().mean()


def binary_entropy(mask: Tensor) -> Tensor:
    """-p log2 p - (1 - p) log2(1 - p) in bits, mean over pixels: 0 for a binary mask (CGN, Eq. 5)."""
    p = mask.clamp(1e-4, 1 - 1e-4)
    return -(p * p.log2() + (1 - p) * (1 - p).log2()).mean()


def total_variation(mask: Tensor) -> Tensor:
    """Mean, over pixels, of the differences with the next row and the next column (Rudin et al. 1992), anisotropic."""
    rows, columns = mask.diff(dim=2).abs().sum(), mask.diff(dim=3).abs().sum()
    return (rows + columns) / mask.numel()


def mask_range(mask: Tensor, low: float, high: float) -> Tensor:
    """Mean distance of each mask's mean from [low, high] (CGN, App. A): neither empty, full nor inverted."""
    mean = mask.mean((1, 2, 3))  # (B,)
    return (F.relu(low - mean) + F.relu(mean - high)).mean()


def gram(features: Tensor) -> Tensor:
    """Gram matrices of features (B, C, H, W), divided by C H W: (B, C, C) (Gatys et al. 2016, Eq. 3)."""
    flat = features.flatten(2)
    return flat @ flat.mT / (flat.shape[1] * flat.shape[2])


def style_l1(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """sum_i mean |Gram(g_i(x~)) - Gram(g_i(x))| over the extractor's layers g_i (CGN's perceptual loss)."""
    return torch.stack([(gram(f) - gram(r)).abs().mean() for f, r in zip(fake, real, strict=True)]).sum()


def style_scale(weight: float) -> float:
    """w^2 5e3, by which the published CGN multiplies the Gram L1 of a layer: 80,000 for its w of 4, 125,000 for 5."""
    return 5e3 * weight**2


def patch_mosaic(
    images: Tensor, mask: Tensor, patch: int, *, grid: int, best: int, rng: torch.Generator | None = None
) -> Tensor:
    """Put ``grid`` x ``grid`` patches, drawn from the ``best`` where the mask is largest, side by side (CGN, App. C).

    The mosaic of an image (B, C, H, W) is its object's surface without its shape: (B, C, grid patch, grid patch).
    Every place of a patch of ``patch`` pixels is a candidate; each patch is drawn independently, from ``rng`` or
    from PyTorch's global generator.
    """
    coverage = F.avg_pool2d(mask, patch, stride=1)  # (B, 1, H', W')
    places = coverage.flatten(1)
    candidates = places.topk(min(best, places.shape[1])).indices.flip(1)  # the largest last, as an ascending sort
    draws = torch.randint(candidates.shape[1], (len(images), grid * grid), generator=rng, device=images.device)
    top, left = (p[..., None] for p in _row_and_column(candidates.gather(1, draws), coverage.shape[3]))
    within, batch = torch.arange(patch, device=images.device), torch.arange(len(images), device=images.device)
    rows, columns = (top + within)[..., None], (left + within)[:, :, None]  # (B, grid^2, patch, 1), (.., 1, patch)
    patches = images.permute(0, 2, 3, 1)[batch[:, None, None, None], rows, columns]  # (B, grid^2, patch, patch, C)
    laid = patches.unflatten(1, (grid, grid)).permute(0, 5, 1, 3, 2, 4)  # (B, C, grid, patch, grid, patch)
    return laid.flatten(4).flatten(2, 3)


def _row_and_column(places: Tensor, width: int) -> tuple[Tensor, Tensor]:
    return places // width, places % width


def local_l2(fake: Sequence[Tensor], real: Sequence[Tensor], window: int = 4) -> Tensor:
    """sum_i mean ((A g_i(x~) - A g_i(x)) / E g_i(x))^2, A the mean over windows of ``window`` x ``window``.

    With g_i = |f * x| it compares which texture lies where, independent of its phase, which a random crop changes.
    """
    terms = []
    for f, r in zip(fake, real, strict=True):
        error = F.avg_pool2d(f, window) - F.avg_pool2d(r, window)
        terms.append((error / r.mean()).square().mean())
    return torch.stack(terms).sum()


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)) in nats, mean over the batch (Kingma & Welling 2014, App. B)."""
    return (0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)).sum(1).mean()
