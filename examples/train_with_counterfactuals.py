"""Counterfactuals in a plain PyTorch loop: python examples/train_with_counterfactuals.py [STEPS] [CGN]

Trains one network on biased digits and one on counterfactuals; tests both on digits in random colours.
"""

import sys

import torch
from torch import nn

import skdcgn
from skdcgn.data.appearances import paint
from skdcgn.data.glyphs import load_glyphs

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
cgn = skdcgn.load_teacher(sys.argv[2] if len(sys.argv) > 2 else "double-colored-digits")  # or a student's folder
biased = paint(load_glyphs("digits", "train"), "double-colored", correlated=True, seed=0)
test = paint(load_glyphs("digits", "test"), "double-colored", correlated=False, seed=0)


def batch(kind: str, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    if kind == "counterfactual":
        data = skdcgn.compose(cgn, n=32, seed=step)
        return data.images, data.shape_labels  # the class is the shape's
    rows = torch.randint(len(biased.labels), (32,))
    return biased.images[rows], biased.labels[rows]


for kind in ("biased", "counterfactual"):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 32, 5, stride=2), nn.ReLU(), nn.Conv2d(32, 64, 5, stride=2), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 5 * 5, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for step in range(steps):
        images, labels = batch(kind, step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    print(f"{kind}: {100 * (network(test.images).argmax(1) == test.labels).float().mean():.1f} %")
