"""Linear heads on frozen EfficientNet-Lite0 features of photographs and exported counterfactuals, over seeds.

    python benchmarks/photo_heads.py --photos TRAIN --test VAL --masks MASKS --test-masks VALMASKS

Every row has as many training pictures as there are photographs: ``real`` a crop of each, the others a crop of half of
them and as many counterfactuals of 128 pixels. Features are computed once, and a logistic regression is fitted to them.
Seeds change crops, halves and counterfactuals. Raw results: ``benchmarks/results/photo-heads.json``.
"""

import argparse
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from photographs import RESULTS, markdown, table
from skdcgn.base.files import write_json
from skdcgn.base.seeds import generator
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Teacher
from skdcgn.classifiers.backbones import load_backbone
from skdcgn.classifiers.ensemble import Ensemble
from skdcgn.data.folders import as_unit, list_photos, read_picture
from skdcgn.data.images import PhotoFiles
from skdcgn.data.photos import random_crop
from skdcgn.evaluation.challenge import ChallengeConfig, write_challenge
from skdcgn.teachers.photographs import build_photo_cgn, load_photo_cgn

SIZE, BATCH, LEAST_AREA = 128, 64, 0.4
VARIANTS = ("mixed_same", "mixed_rand", "only_bg_t")
Features = tuple[Tensor, Tensor]  # (N, D) and labels (N,)


class Backbone:
    """EfficientNet-Lite0 as a function from pictures (N, 3, 128, 128) in [-1, 1] to features (N, 1280)."""

    def __init__(self) -> None:
        self.network = Ensemble(load_backbone("efficientnet-lite0"), 2, SIZE).eval()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, pictures: Iterable[Tensor]) -> Tensor:
        with torch.inference_mode():
            return torch.cat([self.network.features(as_unit(batch)) for batch in pictures])


def batches(photos: PhotoFiles, read: partial[Tensor]) -> Iterable[Tensor]:
    """Yield the pictures of files, read by ``read(path, row)``, in batches."""
    for start in range(0, len(photos), BATCH):
        yield torch.stack([read(row) for row in range(start, min(start + BATCH, len(photos)))])


def crops(backbone: Backbone, photos: PhotoFiles, seed: int) -> Tensor:
    """Return the features of a random crop of each photograph."""

    def read(row: int) -> Tensor:
        return random_crop(photos.files[row], SIZE, generator(seed, "crop", row), LEAST_AREA)

    return backbone(batches(photos, partial(read)))


def whole(backbone: Backbone, photos: PhotoFiles) -> Features:
    """Return the features of photographs and their labels."""

    def read(row: int) -> Tensor:
        return read_picture(Path(photos.files[row]), SIZE)

    return backbone(batches(photos, partial(read))), photos.labels


def counterfactual_features(backbone: Backbone, cgn: Teacher, n: int, policy: tuple[str, ...], seed: int) -> Features:
    """Return the features of counterfactuals and the labels of their shapes."""
    images = compose(cgn, n, policy=policy, seed=seed)
    return backbone(images.images.split(BATCH)), images.shape_labels


def fit_head(features: Tensor, labels: Tensor) -> Pipeline:
    """Return a logistic regression of labels on standardised features."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300)).fit(features, labels)


def accuracies(head: Pipeline, tests: dict[str, Features]) -> dict[str, float | None]:
    """Return the accuracy on each test, in percent, and the BG-gap in points."""
    scores = {name: 100 * float(head.score(*features)) for name, features in tests.items()}
    return {**scores, "BG-gap": scores["mixed_same"] - scores["mixed_rand"]}


def photo_cgn(arguments: argparse.Namespace, background: str) -> Teacher:
    """Return the photo CGN with filled backgrounds or whole ones, written if it is not there."""
    path = arguments.runs / f"{background}.safetensors"
    arguments.runs.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return load_photo_cgn(path)
    return build_photo_cgn(arguments.photos, arguments.masks, path, image_size=SIZE, background=background)


def test_sets(backbone: Backbone, arguments: argparse.Namespace) -> dict[str, Features]:
    """Return the features of the test photographs and of their background challenge."""
    challenge = arguments.runs / "challenge"
    write_challenge(arguments.test, arguments.test_masks, challenge, ChallengeConfig(SIZE, 0))
    photos = {"top-1": list_photos(arguments.test)}
    photos |= {variant: list_photos(challenge / variant / "val") for variant in VARIANTS}
    return {name: whole(backbone, files) for name, files in photos.items()}


def main() -> None:
    """Fit and measure the heads of all seeds; write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("photos", "test", "masks", "test-masks"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/photo-heads"))
    arguments = parser.parse_args()
    backbone, photos = Backbone(), list_photos(arguments.photos)
    tests = test_sets(backbone, arguments)
    filled, pasted = photo_cgn(arguments, "inpaint"), photo_cgn(arguments, "photograph")
    rows = {
        "counterfactuals": (filled, ("texture.whole:1",)),
        "independent": (filled, ()),
        "paste": (pasted, ("texture.whole:1",)),
    }
    runs = []
    for seed in arguments.seeds:
        real = crops(backbone, photos, seed)
        half = torch.randperm(len(photos), generator=generator(seed, "half"))[: len(photos) // 2]
        scores = {"real": accuracies(fit_head(real, photos.labels), tests)}
        for name, (cgn, policy) in rows.items():
            features, labels = counterfactual_features(backbone, cgn, len(photos) - len(half), policy, seed)
            head = fit_head(torch.cat([real[half], features]), torch.cat([photos.labels[half], labels]))
            scores[name] = accuracies(head, tests)
        runs.append(scores)
    summary = table(runs)
    write_json(RESULTS / "photo-heads.json", {"seeds": arguments.seeds, "table": summary, "runs": runs})
    print(markdown(summary))


if __name__ == "__main__":
    main()
