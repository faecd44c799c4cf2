"""How well the layers of a CGN carry their class: the held-out accuracy of a probe that reads one layer alone.

If shapes show nothing of their class, no classifier can follow them, and an audit accuses the innocent. The probe is
kernel ridge regression onto the classes (Saunders et al. 1998), in closed form, with a Gaussian kernel,

    k(a, b) = exp(-|a - b|^2 / 2 s^2),   s^2 the median of |a - b|^2,

on features that need no training: the layer at 12 x 12 pixels and, of pictures, a histogram of 64 colours and the
strength of edges in four directions at three scales.

Identical pictures never stand on both sides of the split, and count once: a photo CGN repeats its photographs. Only a
class that has one picture whatever the noise has it on both.
"""

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.base.seeds import generator
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.cgn.pictures import as_rgb
from skdcgn.evaluation.audit_record import Carried
from skdcgn.evaluation.reactions import intervals
from skdcgn.metrics.intervals import share_draws, share_ends

LEAST, MOST = 300, 1000  # layers of a mechanism, as many as base pictures between these
MOST_CLASSES = 20  # that the probe tells apart; of more, a seeded selection
HELD_OUT = 0.3  # share of the pictures
BATCH = 64
SIDE, COLOURS, SCALES = 12, 4, 3  # pixels; levels of a channel; halvings of the picture
RIDGE = 1e-2


def carried(cgn: Teacher, n: int, *, seed: int = 0) -> dict[str, Carried]:
    """Return how well each mechanism's layers carry their class, in an audit of ``n`` base pictures."""
    count = min(max(n, LEAST), MOST)
    return {str(mechanism): _carried(cgn, mechanism, count, seed) for mechanism in Mechanism}


def _carried(cgn: Teacher, mechanism: Mechanism, count: int, seed: int) -> Carried:
    rng = generator(seed, "carried", mechanism)
    selected = torch.randperm(cgn.spec.classes, generator=rng)[:MOST_CLASSES]
    classes = torch.randint(len(selected), (count,), generator=rng)
    noise = cgn.spec.sample_noise(count, rng)
    parts = []
    for u, y in zip(noise.split(BATCH), selected[classes].split(BATCH), strict=True):
        layers = draw(cgn, mechanism, u, y).cpu()
        parts.append((features(layers), [hashlib.sha256(x.numpy().tobytes()).hexdigest() for x in as_rgb(layers)]))
    pictures = [name for _, names in parts for name in names]
    train, test = split(pictures, classes.tolist())
    data = torch.cat([part for part, _ in parts])
    guesses = probe(data[train], classes[train], data[test], len(selected))
    right = (guesses == classes[test])[:, None]
    (share,) = intervals(share_ends(right, share_draws(right, rng)))
    return Carried(share.value, share.low, share.high, 100 / len(selected))


def features(layers: Tensor) -> Tensor:
    """Return features (B, D) float64 of masks (B, 1, H, W) or pictures (B, 3, H, W)."""
    groups = [F.adaptive_avg_pool2d(layers, SIDE).flatten(1)]
    if layers.shape[1] == Mechanism.TEXTURE.channels:
        groups += [_colours(layers), _edges(layers)]
    return torch.cat([group.double() / group.shape[1] ** 0.5 for group in groups], dim=1)


def _colours(pictures: Tensor) -> Tensor:
    """Return the shares (B, COLOURS^3) of colours, their square roots (Hellinger)."""
    levels = ((pictures + 1) / 2 * COLOURS).long().clamp(0, COLOURS - 1)
    places = (levels[:, 0] * COLOURS + levels[:, 1]) * COLOURS + levels[:, 2]
    return F.one_hot(places.flatten(1), COLOURS**3).float().mean(1).sqrt()


def _edges(pictures: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbours in four directions at each scale, (B, 12), and deviations."""
    numbers = [pictures.flatten(2).std(2)]
    for scale in range(SCALES):
        grey = F.adaptive_avg_pool2d(pictures.mean(1, keepdim=True), max(2, pictures.shape[-1] >> scale))
        middle = grey[..., :-1, :-1]
        others = grey[..., 1:, :-1], grey[..., :-1, 1:], grey[..., 1:, 1:]
        numbers += [(other - middle).abs().mean((2, 3)) for other in others]
        numbers.append((others[0] - others[1]).abs().mean((2, 3)))
    return torch.cat(numbers, dim=1)


def split(pictures: list[str], classes: list[int]) -> tuple[list[int], list[int]]:
    """Return the rows that a probe learns from and those that it is tested on.

    Args:
        pictures: digests; equal ones are the same picture, and stand on one side alone, once for each class.
        classes: of each. A class that has one picture only, drawn again and again, has it on both sides.
    """
    first = dict[tuple[int, str], int]()
    for row, key in enumerate(zip(classes, pictures, strict=True)):
        first.setdefault(key, row)
    names = {label: {name for own, name in first if own == label} for label in set(classes)}
    fixed = {label for label, own in names.items() if len(own) == 1 and classes.count(label) > 1}
    order = sorted({name for label, name in first if label not in fixed})
    held_out = set(order[: max(1, round(HELD_OUT * len(order)))]) if len(order) > 1 else set()
    train = [row for (label, name), row in first.items() if label in fixed or name not in held_out]
    test = [row for (label, name), row in first.items() if label in fixed or name in held_out]
    return train, test or train


def probe(train: Tensor, labels: Tensor, test: Tensor, classes: int) -> Tensor:
    """Return the classes (M,) that the probe reads in ``test`` (M, D), from ``train`` (N, D) and its labels (N,)."""
    mean, deviation = train.mean(0), train.std(0, correction=0).clamp(min=1e-6)
    scale = deviation.mean()  # one for all: features that hardly vary say little
    train, test = (train - mean) / scale, (test - mean) / scale
    squares = torch.cdist(train, train).square()
    width = squares.median().clamp(min=1e-12)
    kernel = (-squares / (2 * width)).exp()
    targets = F.one_hot(labels, classes).double() - 1 / classes
    weights = torch.linalg.solve(kernel + RIDGE * torch.eye(len(train), dtype=torch.float64), targets)
    return ((-torch.cdist(test, train).square() / (2 * width)).exp() @ weights).argmax(1)
