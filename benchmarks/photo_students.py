"""Distill a photo CGN with several students and compare what their pictures say of their class.

    python benchmarks/photo_students.py --images ../shared/data/imagenette/train --masks MASKS

MASKS is what ``skdcgn segment`` wrote. Photo CGNs, pairs and students go to ``runs/photo-students``; a killed call goes
on by the same command, and a trial that is in the results is not repeated. Two numbers beside the L1: how often
EfficientNet-Lite0, restricted to the classes of the folder (WordNet ids), names the class of a texture, a background
or a whole photograph (the three mechanisms at one noise), and the Frechet distance on its features to the photo CGN's
pictures at the same noise. Results: ``benchmarks/results/photo-students.json``.
"""

import argparse
import io
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from skdcgn.base.files import write_json
from skdcgn.base.photo_students import PHOTO_DISTILL, PHOTO_QUERY
from skdcgn.base.records import override, to_dict
from skdcgn.base.seeds import generator
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers, Mechanism, Teacher
from skdcgn.cgn.pictures import as_rgb
from skdcgn.data.folders import list_photos, read_picture
from skdcgn.data.imagenet_classes import WORDNET_IDS
from skdcgn.evaluation.fidelity import fidelity
from skdcgn.features.extractors import Extractor, load_extractor
from skdcgn.metrics.distances import frechet_distance
from skdcgn.metrics.moments import Moments
from skdcgn.pairs.query import query_all
from skdcgn.results.versions import versions
from skdcgn.students.distill import distill
from skdcgn.teachers.photographs import build_photo_cgn, load_photo_cgn

RESULTS = Path(__file__).parent / "results" / "photo-students.json"
IMAGES, SHOWN, QUALITY = 250, 5, 75  # pictures of each kind; in the sheet, per class; of the JPEG files


@dataclass(frozen=True)
class Trial:
    """A photo CGN and the settings in which its student differs from the preset ``photos``."""

    image_size: int = 64
    noise_dim: int = 8
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"photo-cgn-{self.image_size}-{self.noise_dim}"


def each(**sizes: Any) -> dict[str, Any]:
    """Return the same changes for the three mechanisms."""
    return {f"{mechanism}.{key}": value for mechanism in Mechanism for key, value in sizes.items()}


TRIALS = {
    "preset": Trial(),
    "no memory": Trial(changes=each(memory=0)),
    "noise of 32": Trial(noise_dim=32),
    "no memory, noise of 32": Trial(noise_dim=32, changes=each(memory=0)),
    "feature + adversarial": Trial(changes={"feature": 1.0, "adversarial": 0.01, "steps": 600}),
    "perceptual": Trial(changes={"perceptual": 1.0, "steps": 1500}),
    "128 pixels": Trial(image_size=128, changes={"steps": 1000}),
}


@dataclass(frozen=True)
class Pictures:
    """Textures, backgrounds and whole photographs (N, 3, S, S) at one noise, and their labels."""

    texture: Tensor
    background: Tensor
    whole: Tensor
    labels: Tensor

    def kinds(self) -> dict[str, Tensor]:
        return {"texture": self.texture, "background": self.background, "whole": self.whole}


def pictures_of(cgn: Teacher, seed: int) -> Pictures:
    labels = torch.arange(IMAGES) % cgn.spec.classes
    noise = cgn.spec.sample_noise(IMAGES, generator(seed, "photo students"))
    layers = Layers(*(draw(cgn, mechanism, noise, labels) for mechanism in Mechanism))
    return Pictures(layers.texture, layers.background, blend(layers), labels)


@cache
def efficientnet() -> Extractor:
    return load_extractor("efficientnet-lite0")


@dataclass(frozen=True)
class Seen:
    """The features of each kind of picture, and how many percent of them show their class."""

    features: dict[str, Tensor]
    accuracy: dict[str, float]


def see(pictures: Pictures, names: tuple[str, ...]) -> Seen:
    outputs = {kind: efficientnet().gather(images) for kind, images in pictures.kinds().items()}
    classes = torch.tensor([WORDNET_IDS.index(name) for name in names])
    accuracy = {}
    for kind, (_, probabilities) in outputs.items():
        assert probabilities is not None
        hits = probabilities[:, classes].argmax(1) == pictures.labels
        accuracy[kind] = 100 * float(hits.double().mean())
    return Seen({kind: output.features for kind, output in outputs.items()}, accuracy)


def compare(student: Seen, teacher: Seen) -> dict[str, Any]:
    return {
        "accuracy": student.accuracy,
        "frechet": {kind: distance(student.features[kind], teacher.features[kind]) for kind in teacher.features},
    }


def distance(first: Tensor, second: Tensor) -> float:
    """Return the Frechet distance of features (N, D) in the span of all of them, where it is the same, but fast."""
    span = torch.linalg.qr(torch.cat([first, second]).T).Q
    return frechet_distance(Moments.of(first @ span), Moments.of(second @ span))


def photographs_mb(photos: Path, size: int, most: int = 500) -> float:
    """Return the megabytes of 1,000 photographs as JPEG files of ``size`` pixels, from a sample."""
    files = list_photos(photos).files
    sample = files[:: max(1, len(files) // most)]
    return 1000 * sum(_jpeg_bytes(read_picture(Path(file), size)) for file in sample) / len(sample) / 1e6


def _jpeg_bytes(picture: Tensor) -> int:
    file = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=QUALITY)
    return len(file.getvalue())


def sheet(teacher: Pictures, student: Pictures, path: Path) -> None:
    """Write rows of the teacher's pictures, each above the student's at the same noise."""
    rows = slice(0, SHOWN * 4)
    lines = [
        as_rgb(images[rows]).permute(2, 0, 3, 1).flatten(1, 2)
        for kind in teacher.kinds()
        for images in (teacher.kinds()[kind], student.kinds()[kind])
    ]
    Image.fromarray(torch.cat(lines).numpy()).save(path)


def run_trial(trial: Trial, arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """Return the numbers of one trial; writes a sheet of samples beside its student."""
    home = arguments.runs / trial.name
    file = home / "photos.safetensors"
    home.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        build_photo_cgn(arguments.images, arguments.masks, file, image_size=trial.image_size, noise_dim=trial.noise_dim)
    teacher = load_photo_cgn(file)
    query_all(teacher, home / "pairs", PHOTO_QUERY)
    config = override(PHOTO_DISTILL, trial.changes)
    out = arguments.runs / name.replace(" ", "-")
    student = distill(home / "pairs", out, config, device="cpu")
    l1, diversity = fidelity(student, home / "pairs")
    both = pictures_of(teacher, 0), pictures_of(student, 0)
    sheet(*both, out / "samples.png")
    seen = [see(pictures, teacher.spec.names) for pictures in both]
    again = see(pictures_of(teacher, 1), teacher.spec.names)
    return {
        "config": to_dict(config),
        "noise_dim": trial.noise_dim,
        "image_size": trial.image_size,
        "parameters": student.size,
        "megabytes": {
            "student": (out / "student" / "model.safetensors").stat().st_size / 1e6,
            "photo CGN": file.stat().st_size / 1e6,
            "photographs, JPEG": photographs_mb(arguments.images, trial.image_size) * len(teacher) / 1000,
        },
        "photographs": len(teacher),
        "l1": to_dict(l1),
        "diversity": to_dict(diversity),
        "student": compare(seen[1], seen[0]),
        "photo CGN": compare(again, seen[0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--masks", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/photo-students"))
    parser.add_argument("--only", nargs="+", choices=TRIALS, default=list(TRIALS))
    arguments = parser.parse_args()
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else {}
    for name in arguments.only:
        if name not in rows:
            rows[name] = run_trial(TRIALS[name], arguments, name)
            print(name, json.dumps(rows[name]), flush=True)
            command = "python benchmarks/photo_students.py --images ../shared/data/imagenette/train --masks MASKS"
            write_json(RESULTS, {"command": command, "versions": versions(), "device": "cpu", "rows": rows})


if __name__ == "__main__":
    main()
