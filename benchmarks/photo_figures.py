"""Draw counterfactuals of photographs: the README's second picture, and what three heads and two classifiers answer.

    python benchmarks/photo_figures.py layers photos.safetensors
    python benchmarks/photo_figures.py heads photos.safetensors --ensemble RUN/ensembles/ensemble
    python benchmarks/photo_figures.py behind photos.safetensors --before RUN/ensembles/real \
        --after RUN/ensembles/counterfactuals

``layers``: rows of mask, texture, background and image, of one label and of more. ``heads``: counterfactuals of three
labels, and the answer of each head. ``behind``: photographs, the same with the object removed, and the object before
other backgrounds, with what a classifier of real photographs and one with counterfactuals answer. The photo CGN is that
of 200 photographs a class of Imagenette at 128 pixels.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor
from torch.nn.functional import interpolate

from picture import GREY, INK, SIGNS, TITLES, WIDTHS, show, write
from skdcgn.base.seeds import generator
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers, Mechanism, Teacher
from skdcgn.classifiers.ensemble import Ensemble, load_ensemble
from skdcgn.teachers.load import load_teacher

DOCS = Path(__file__).parents[1] / "docs"
NAMES = (
    *("tench", "springer", "cassette player", "chain saw", "church"),
    *("French horn", "garbage truck", "gas pump", "golf ball", "parachute"),
)
Pick = tuple[int, int]  # class, number of the draw
ROWS: dict[str, tuple[Pick, Pick, Pick]] = {
    "one photograph": ((6, 4), (6, 4), (6, 4)),
    "its object before\nanother background": ((6, 4), (6, 4), (8, 1)),
    "three labels": ((6, 4), (9, 5), (4, 1)),
}
DRAWS, SEED = 12, 3


def layers_of(cgn: Teacher, picks: tuple[Pick, Pick, Pick]) -> Layers:
    """Return the layers (1, C, S, S) that the mechanisms draw at their picks."""
    parts = []
    for mechanism, (label, number) in zip(Mechanism, picks, strict=True):
        noise = cgn.spec.sample_noise(DRAWS, generator(SEED, "figures", label))[number, None]
        parts.append(cgn.query(mechanism, noise, torch.tensor([label])))
    return Layers(*parts)


def shown(image: Tensor) -> Tensor:
    """Return a picture (1, 3, S, S) in [-1, 1] as (S, S, 3) in [0, 1]."""
    return (image[0].permute(1, 2, 0) / 2 + 0.5).clamp(0, 1)


def draw_layers(cgn: Teacher, out: Path) -> None:
    """Draw the rows of ``ROWS``."""
    figure, places = plt.subplots(
        len(ROWS), len(WIDTHS), figsize=(9.6, 5.7), layout="constrained", width_ratios=WIDTHS, facecolor="white"
    )
    for (first, *row), (words, picks) in zip(places, ROWS.items(), strict=True):
        write(first, words, 11)
        layers = layers_of(cgn, picks)
        pictures = [layers.mask[0, 0], *(shown(x) for x in (layers.texture, layers.background, blend(layers)))]
        captions = [*(NAMES[label] for label, _ in picks), NAMES[picks[0][0]]]
        for axes, image, caption in zip(row[::2], pictures, captions, strict=True):
            show(axes, image, caption)
        for axes, sign in zip(row[1::2], SIGNS, strict=True):
            write(axes, sign, 13)
    for axes, title in zip(places[0][1::2], TITLES, strict=True):
        axes.set_title(title, fontsize=13, color=INK)
    figure.savefig(out, dpi=100)


def answers(ensemble: Ensemble, image: Tensor, size: int) -> dict[str, str]:
    """Return the likeliest class of each head for a picture (1, 3, S, S), with its probability."""
    with torch.inference_mode():
        small = interpolate(image, size=(size, size), mode="bilinear", antialias=True).clamp(-1, 1)
        heads = ensemble(small)[:, 0].softmax(1)
    return {
        name: f"{NAMES[int(p.argmax())]} {100 * float(p.max()):.0f} %"
        for name, p in zip(ensemble.heads, heads, strict=True)
    }


def sheet(rows: list[list[tuple[Tensor, str]]], titles: list[str], out: Path, height: float) -> None:
    """Draw rows of pictures with captions below them, ``height`` inches each, and titles above the columns."""
    wide, high = len(rows[0]), len(rows)
    figure, places = plt.subplots(
        high, wide, figsize=(2.5 * wide, height * high), layout="constrained", facecolor="white", squeeze=False
    )
    for line, row in zip(places, rows, strict=True):
        for axes, (image, caption) in zip(line, row, strict=True):
            captioned(axes, image, caption)
    for axes, title in zip(places[0], titles, strict=False):
        axes.set_title(title, fontsize=10, color=INK)
    figure.savefig(out, dpi=100)


def captioned(axes: Axes, image: Tensor, caption: str) -> None:
    show(axes, shown(image), "")
    axes.set_xlabel(caption, color=GREY, fontsize=9, loc="left")


def draw_heads(cgn: Teacher, ensemble: Ensemble, size: int, out: Path) -> None:
    """Draw counterfactuals of three labels, with the answer of each head."""
    rng, row, rows = generator(SEED, "heads"), list[tuple[Tensor, str]](), list[list[tuple[Tensor, str]]]()
    for _ in range(8):
        labels = torch.randperm(len(NAMES), generator=rng)[:3].tolist()
        numbers = torch.randint(DRAWS, (3,), generator=rng).tolist()
        image = blend(layers_of(cgn, tuple(zip(labels, numbers, strict=True))))  # type: ignore[arg-type]
        words = answers(ensemble, image, size)
        lines = [f"{m}: {NAMES[y]}\n  head: {words[m]}" for m, y in zip(words, labels, strict=True)]
        row.append((image, "\n".join(lines)))
    rows = [row[:4], row[4:]]
    sheet(rows, [], out, height=3.3)


def draw_behind(cgn: Teacher, before: Ensemble, after: Ensemble, size: int, out: Path) -> None:
    """Draw photographs, their backgrounds alone, and their objects elsewhere, with the answers of two classifiers."""
    rows = []
    for pick, other in (((0, 2), (7, 8)), ((9, 2), (8, 1)), ((8, 1), (9, 3))):
        layers = layers_of(cgn, (pick, pick, pick))
        elsewhere = layers_of(cgn, (pick, pick, other))
        images = (blend(layers), layers.background, blend(elsewhere))
        row = []
        for image in images:
            words = [next(iter(answers(one, image, size).values())) for one in (before, after)]
            row.append((image, f"real alone: {words[0]}\nand counterfactuals: {words[1]}"))
        rows.append(row)
    sheet(rows, ["photograph", "its background", "its object elsewhere"], out, height=2.8)


def main() -> None:
    """Draw one figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=("layers", "heads", "behind"))
    parser.add_argument("cgn", type=Path)
    for name in ("ensemble", "before", "after"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--size", type=int, default=64, help="of the classifiers' inputs")
    arguments = parser.parse_args()
    cgn = load_teacher(arguments.cgn)
    if arguments.figure == "layers":
        draw_layers(cgn, DOCS / "photographs.png")
    elif arguments.figure == "heads":
        draw_heads(cgn, load_ensemble(arguments.ensemble)[0], arguments.size, DOCS / "results/figures/heads.png")
    else:
        before, after = load_ensemble(arguments.before)[0], load_ensemble(arguments.after)[0]
        draw_behind(cgn, before, after, arguments.size, DOCS / "results/figures/behind.png")


if __name__ == "__main__":
    main()
