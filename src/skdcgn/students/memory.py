"""How a student's memory begins: with the distinct pictures of its pairs, and with the noise that picks each.

A teacher made of photographs answers with one of a number of pictures. Those that occur most often in the pairs get a
code each, the whitened principal components of the small picture about the mean of its class; keys and biases are those
of the logistic regression of pictures on noise, softmax_i(<u, k_i> + b_i) (Bishop 2006, Sec. 4.3.4), times a factor
that makes of a mixture of pictures nearly one of them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.base.seeds import generator
from skdcgn.students.layers import Memory

LEVELS = 255  # of grey, at which small pictures are compared
STEPS, RATE, DECAY = 200, 0.1, 1e-3  # of the regression
SHARPNESS = 3.0


def start_memory(memory: Memory, noise: Tensor, labels: Tensor, pictures: Tensor) -> None:
    """Let ``memory`` begin at pairs of noise (N, Z), labels (N,) and small pictures (N, D) in [0, 1].

    A class with fewer distinct pictures than the memory has codes leaves the rest at random, with a bias by which noise
    hardly picks them.
    """
    codes = principal_components(pictures, labels, memory.values.shape[2])
    for label in labels.unique().tolist():
        own = labels == label
        numbers, first = most_frequent(pictures[own], memory.keys.shape[1])
        taken = numbers >= 0
        keys, bias = fit_picks(noise[own][taken], numbers[taken], len(first))
        with torch.no_grad():
            memory.bias[label] = SHARPNESS * float(bias.min()) - 10
            memory.keys[label, : len(first)], memory.bias[label, : len(first)] = SHARPNESS * keys, SHARPNESS * bias
            memory.values[label, : len(first)] = codes[own][first]


def most_frequent(pictures: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Number the ``most`` most frequent pictures (N, D): the number of each row, -1 for others; their first rows."""
    _, group, counts = (LEVELS * pictures).round().unique(dim=0, return_inverse=True, return_counts=True)
    kept = counts.sort(descending=True, stable=True).indices[:most]
    number = torch.full_like(counts, -1).scatter(0, kept, torch.arange(len(kept)))[group]
    first = torch.full((len(kept),), len(group)).scatter_reduce(
        0, number[number >= 0], (number >= 0).nonzero()[:, 0], "amin"
    )
    return number, first


def fit_picks(noise: Tensor, numbers: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return keys (K, Z) and biases (K,) by which softmax_i <u, k_i> + b_i picks ``numbers`` (N,) at noise (N, Z)."""
    sums = torch.zeros(count, noise.shape[1]).index_add_(0, numbers, noise)
    keys = (sums / numbers.bincount(minlength=count)[:, None]).requires_grad_()
    bias = torch.zeros(count, requires_grad=True)
    optimizer = torch.optim.Adam([keys, bias], lr=RATE)
    for _ in range(STEPS):
        loss = F.cross_entropy(noise @ keys.T + bias, numbers) + DECAY * keys.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return keys.detach(), bias.detach()


def principal_components(pictures: Tensor, labels: Tensor, dim: int) -> Tensor:
    """Return the whitened principal components (N, dim) of pictures (N, D) about the mean of their class."""
    classes = int(labels.max()) + 1
    sums = torch.zeros(classes, pictures.shape[1]).index_add_(0, labels, pictures)
    centred = pictures - (sums / labels.bincount(minlength=classes).clamp(min=1)[:, None])[labels]
    variances, components = torch.linalg.eigh(centred.double().mT @ centred.double() / len(centred))  # ascending
    scale = variances.flip(0)[:dim].clamp(min=1e-9).rsqrt()
    codes = (centred.double() @ components.flip(1)[:, :dim] * scale).float()
    noise = torch.randn(len(codes), dim - codes.shape[1], generator=generator("memory", "rest"))
    return torch.cat([codes, noise], 1)
