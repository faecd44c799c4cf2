"""An intervention: a function with a decorator; from then on it is a word of every policy. Here: inverted masks."""

import torch
from torch import Tensor

import skdcgn
from skdcgn.cgn.amounts import Number
from skdcgn.cgn.interventions import INTERVENTIONS


@INTERVENTIONS.on_layer((skdcgn.Mechanism.SHAPE,), "invert", Number(0.5, high=1))  # an example, and the greatest
def invert(mask: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """1 - m for a share of the images: the texture is outside, the background inside."""
    rows = torch.rand(len(mask), 1, 1, 1, generator=rng) < share
    return torch.where(rows.to(mask.device), 1 - mask, mask)


teacher = skdcgn.load_teacher("double-colored-digits")
plain, inverted = (skdcgn.compose(teacher, n=100, policy=policy) for policy in ([], ["shape.invert:0.5"]))
changed = (plain.images != inverted.images).flatten(1).any(1)
print(f"{int(changed.sum())} of {len(plain)} images have an inverted mask")
