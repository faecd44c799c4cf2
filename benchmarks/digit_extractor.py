"""Train the extractor for 32 px that the package ships, and write it and its card into the zoo.

    python benchmarks/digit_extractor.py --data-root DIR

The project's classifier, on training glyphs in all three appearances, decorrelated: colours and textures vary, so that
the features have met them, but they do not give the class away. The card holds its accuracy on test glyphs, and the
Frechet distance between one half of them, altered in one thing, and the other half.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from skdcgn.base.files import sha256, write_json
from skdcgn.base.presets import PUBLISHED_TRAINING
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import generator
from skdcgn.base.tensors import write_tensors
from skdcgn.classifiers.small_cnn import accuracy, classify
from skdcgn.data.appearances import APPEARANCES, paint
from skdcgn.data.glyphs import load_glyphs, vary
from skdcgn.data.images import LabelledImages, concatenate
from skdcgn.evaluation.measure import frechet
from skdcgn.features.extractors import DIGITS, Extractor, load_extractor

ZOO = Path(__file__).parents[1] / "src" / "skdcgn" / "zoo" / "extractors"
APPEARANCE = "double-colored"


def mixture(sources: list[LabelledImages], count: int, seed: int) -> LabelledImages:
    """Return ``count`` random glyphs, as many of each source, a third of these in each appearance, decorrelated."""
    painted, each = [], count // len(sources)
    for source in sources:
        glyphs = vary(source, -(-each // len(source.labels)), seed)
        rows = torch.randperm(len(glyphs.labels), generator=generator(seed, "extractor"))[:each]
        for name, part in zip(APPEARANCES, rows.tensor_split(len(APPEARANCES)), strict=True):
            painted.append(paint(glyphs.rows(part), name, correlated=False, seed=seed))
    return concatenate(painted)


def frechet_of_alterations(extractor: Extractor, glyphs: LabelledImages, seed: int) -> dict[str, float]:
    """Return the Frechet distance of half of the test images to the other half, altered in one thing each.

    Random halves: even and odd rows of MNIST's test set are not alike.
    """
    order = torch.randperm(len(glyphs.labels), generator=generator(seed, "halves"))
    first, second = (glyphs.rows(order[part::2]) for part in (0, 1))
    real = paint(first, APPEARANCE, correlated=False, seed=seed).images
    like = paint(second, APPEARANCE, correlated=False, seed=seed + 1).images
    altered = {
        "nothing": like,
        "colours tell the class": paint(second, APPEARANCE, correlated=True, seed=seed).images,
        "textures instead of colours": paint(second, "wildlife", correlated=False, seed=seed).images,
        "noise of deviation 0.1": like + 0.1 * torch.randn(like.shape, generator=generator(seed, "noise")),
        "upside down": like.flip(2),
        "one class missing": like[second.labels > 0],
    }
    return {name: round(frechet(extractor, real, images).value, 3) for name, images in altered.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glyphs", nargs="+", default=["mnist", "digits"])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    train = [load_glyphs(name, "train", arguments.data_root) for name in arguments.glyphs]
    test = {name: load_glyphs(name, "test", arguments.data_root) for name in ("mnist", "digits")}
    config = replace(PUBLISHED_TRAINING, he_init=True, cooldown=1.0, images=arguments.images, epochs=arguments.epochs)
    data = mixture(train, arguments.images, arguments.seed)
    run = arguments.runs / f"extractor-{'-'.join(arguments.glyphs)}"
    classifier = classify(data, config, run, seed=arguments.seed, device="cpu").eval()
    accuracy_by_source = {
        source: {
            name: round(accuracy(classifier, paint(glyphs, name, correlated=False, seed=arguments.seed)), 2)
            for name in APPEARANCES
        }
        for source, glyphs in test.items()
    }
    weights = ZOO / f"{DIGITS}.safetensors"
    write_tensors(weights, classifier.state_dict())
    card = {
        "title": f"{DIGITS}: features of a digit classifier for 32 px, trained by this project",
        "architecture": "skdcgn.classifiers.small_cnn, log(1 + f) of the 64 pooled activations before its last layer",
        "parameters": sum(p.numel() for p in classifier.parameters()),
        "classes": classifier.head.out_features,
        "image_size": 32,
        "data": f"training split of glyphs {arguments.glyphs}, a third in each appearance, decorrelated",
        "command": "python benchmarks/digit_extractor.py "
        f"--glyphs {' '.join(arguments.glyphs)} --images {arguments.images} "
        f"--epochs {arguments.epochs} --seed {arguments.seed}",
        "config": to_dict(config),
        "accuracy_percent": accuracy_by_source,
        "limits": "32 x 32 digits. It was trained to tell shapes whatever their colours and textures, so its distances "
        "see shapes first; see frechet_distance_if_altered. Not to be compared with Inception's FID",
        "licence": "MIT",
        "sha256": sha256(weights),
    }
    write_json(ZOO / f"{DIGITS}.json", card)
    altered = frechet_of_alterations(load_extractor(DIGITS), test["mnist"], arguments.seed)
    write_json(ZOO / f"{DIGITS}.json", {**card, "frechet_distance_if_altered": altered})
    print(json.dumps({**card, "frechet_distance_if_altered": altered}, indent=2))


if __name__ == "__main__":
    main()
