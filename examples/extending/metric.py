"""A metric: a pure function of features. Here: the sliced Wasserstein distance of images, on the digits' features."""

import torch
from torch import Tensor

import skdcgn
from skdcgn.features.extractors import load_extractor


def sliced_wasserstein(first: Tensor, second: Tensor, directions: int, rng: torch.Generator) -> float:
    """Mean over random directions of the mean distance of sorted projections; features (N, D), as many of both."""
    projection = torch.randn(first.shape[1], directions, generator=rng, dtype=first.dtype)
    projection /= projection.norm(dim=0)
    one, other = ((features @ projection).sort(dim=0).values for features in (first, second))
    return float((one - other).abs().mean())


teacher, extractor = skdcgn.load_teacher("double-colored-digits"), load_extractor("digits")
sets = [skdcgn.compose(teacher, n=200, seed=seed).images for seed in (0, 1)]
sets.append(skdcgn.compose(teacher, n=200, seed=1, policy=["shape.blur:2"]).images)
sharp, again, blurred = (extractor.gather(images).features for images in sets)
for name, features in (("the same teacher", again), ("blurred masks", blurred)):
    print(f"{name}: {sliced_wasserstein(sharp, features, 100, torch.Generator().manual_seed(0)):.3f}")
