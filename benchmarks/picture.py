"""Draw the README's picture: a mask, a texture and a background, and the image that a CGN composes from them.

python benchmarks/picture.py

The first row has one label for all three, as biased training images have; the second has three labels.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor

from skdcgn.base.seeds import generator
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers, Mechanism, Teacher
from skdcgn.teachers.load import load_teacher

PICTURE = Path(__file__).parents[1] / "docs" / "picture.png"
TITLES = ("shape mask m", "texture t", "background b", "image x")
WIDTHS = (1.05, 1, 0.22, 1, 0.75, 1, 0.22, 1)  # words, then pictures and signs in turn
TIMES, MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"
SIGNS = (TIMES, f"+ (1 {MINUS} m) {TIMES}", "=")
ROWS = {
    "one label,\nas in biased\ntraining data": (3, 3, 3),
    "three labels:\na counterfactual": (3, 0, 8),
}
INK, GREY = "#1c1c1c", "#5f5f5f"


def draw_layers(cgn: Teacher, labels: tuple[int, ...], seed: int) -> list[Tensor]:
    """Return mask, texture, background and their composition as pictures (H, W) or (H, W, 3) in [0, 1]."""
    noise = cgn.spec.sample_noise(1, generator(seed, "picture"))
    layers = Layers(*(draw(cgn, m, noise, torch.tensor([y])) for m, y in zip(Mechanism, labels, strict=True)))
    pictures = (layers.texture, layers.background, blend(layers))
    return [layers.mask[0, 0], *((x[0].permute(1, 2, 0) + 1) / 2 for x in pictures)]


def show(axes: Axes, image: Tensor, caption: str) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(caption, color=GREY, fontsize=12)
    for side in axes.spines.values():
        side.set_color("#bbbbbb")


def write(axes: Axes, words: str, size: int) -> None:
    axes.axis("off")
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=size, color=INK)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cgn", default="wildlife-mnist", help="a teacher's name, a file or a student's folder")
    parser.add_argument("--seed", type=int, default=4)
    arguments = parser.parse_args()
    cgn = load_teacher(arguments.cgn)
    figure, places = plt.subplots(
        len(ROWS), len(WIDTHS), figsize=(9.2, 3.9), layout="constrained", width_ratios=WIDTHS, facecolor="white"
    )
    for (first, *row), (words, labels) in zip(places, ROWS.items(), strict=True):
        write(first, words, 12)
        captions = [f"label {label}" for label in labels] + [f"class {labels[0]}"]
        for axes, image, caption in zip(row[::2], draw_layers(cgn, labels, arguments.seed), captions, strict=True):
            show(axes, image, caption)
        for axes, sign in zip(row[1::2], SIGNS, strict=True):
            write(axes, sign, 13)
    for axes, title in zip(places[0][1::2], TITLES, strict=True):
        axes.set_title(title, fontsize=13, color=INK)
    figure.savefig(PICTURE, dpi=100)


if __name__ == "__main__":
    main()
