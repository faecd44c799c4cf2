"""Distill a generator that is a function, without parameters: python examples/bring_your_own_teacher.py [STEPS]

It draws discs, squares and diamonds whose size and place follow the noise, in stripes, on plain backgrounds.
"""

import sys
from pathlib import Path

import torch

import skdcgn
from skdcgn.cgn.pictures import as_rgb, grid, save_picture

SIDE = 32
COLOURS = torch.tensor([[0.9, -0.6, -0.6], [-0.6, 0.5, 0.9], [0.9, 0.8, -0.7]])  # (3, 3): a colour per class
ROWS, COLUMNS = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")


def shapes(mechanism: str, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Noise (B, 4), labels (B,) -> a mask (B, 1, 32, 32) in [0, 1] or a picture (B, 3, 32, 32) in [-1, 1]."""
    u = noise[:, :, None, None]
    if mechanism == "shape":
        down, across, radius = ROWS - 16 - 3 * u[:, 0], COLUMNS - 16 - 3 * u[:, 1], 8 + u[:, 2]
        place = torch.stack([down, across], dim=-1)  # (B, 32, 32, 2)
        norms = torch.stack([place.norm(p=p, dim=-1) for p in (2, torch.inf, 1)])  # disc, square, diamond
        distance = norms[labels, torch.arange(len(labels))]
        return (radius - distance + 0.5).clamp(0, 1)[:, None]
    colour = COLOURS[labels][:, :, None, None]
    if mechanism == "background":
        return colour.expand(-1, -1, SIDE, SIDE)
    return (colour * (0.6 + 0.4 * torch.sin((ROWS + COLUMNS) * torch.pi / 8 + u[:, :1]))).expand(-1, -1, SIDE, SIDE)


steps, out = int(sys.argv[1]) if len(sys.argv) > 1 else 1000, Path("runs/own-teacher")
teacher = skdcgn.load_teacher(shapes, spec=skdcgn.Spec(image_size=SIDE, noise_dim=4, classes=3))
student = skdcgn.distill(
    teacher, out, skdcgn.DistillConfig(steps=steps), skdcgn.QueryConfig(shape=2000, texture=500, background=500)
)
save_picture(out / "counterfactuals.png", grid(as_rgb(skdcgn.compose(student, n=60).images), columns=10), scale=2)
