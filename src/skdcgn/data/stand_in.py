"""A stand-in for ImageNet's data sets, in their layouts, drawn by a CGN of sixteen classes, to try the code offline.

The three labels of the pictures in ``train`` and ``val`` agree; in ``cue-conflict`` shape and texture differ; ``in9``
has foregrounds of nine classes on backgrounds of their own class (``original``, ``mixed_same``) or of any
(``mixed_rand``). Accuracies on them describe the CGN, and say nothing of ImageNet.
"""

import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from skdcgn.base.errors import UserError
from skdcgn.base.files import write_bytes, write_json
from skdcgn.base.seeds import derive_seed
from skdcgn.cgn.classes import Classes, in_order_of
from skdcgn.cgn.compose import compose
from skdcgn.cgn.counterfactuals import Counterfactuals
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.cgn.pictures import as_rgb, encode
from skdcgn.cgn.policy import Intervention
from skdcgn.data.categories import CATEGORIES

NAMES = tuple(CATEGORIES)
NINE = ("dog", "bird", "vehicle", "reptile", "carnivore", "insect", "instrument", "primate", "fish")
SAME_TEXTURE = Intervention(Mechanism.TEXTURE, "correlate", 1.0)
SAME_BACKGROUND = Intervention(Mechanism.BACKGROUND, "correlate", 1.0)
VARIANTS = {
    "original": (SAME_TEXTURE, SAME_BACKGROUND),
    "mixed_same": (SAME_TEXTURE, SAME_BACKGROUND),
    "mixed_rand": (SAME_TEXTURE,),
}
TRAIN, TEST = 240, 80


class Folders(NamedTuple):
    """Folders of images: to train on, for top-1 and top-5, cue conflicts, ImageNet-9; None where there are none."""

    real: Path
    val: Path | None = None
    cue_conflict: Path | None = None
    in9: Path | None = None


def stand_in(cgn: Teacher, out: Path, *, seed: int = 0) -> Folders:
    """Draw the four data sets into ``out``, unless they are there; return their folders.

    Raises:
        UserError: the CGN has other than sixteen classes, or classes of other names than the categories'.
    """
    if cgn.spec.classes != len(NAMES):
        raise UserError(
            f"the teacher has {cgn.spec.classes} classes: pass --real DIR; only one of {len(NAMES)} has a stand-in"
        )
    categories = Classes("the stand-in", len(NAMES), NAMES)
    cgn, done = in_order_of(categories, cgn, "the teacher", "pass --real DIR"), out / "done.json"
    if not done.exists():
        agreeing = (SAME_TEXTURE, SAME_BACKGROUND)
        for part, count in (("train", TRAIN), ("val", TEST)):
            _write(compose(cgn, count, policy=agreeing, seed=derive_seed(seed, part)), out / part)
        _write_cues(compose(cgn, TEST, seed=derive_seed(seed, "cues")), out / "cue-conflict")
        for variant, policy in VARIANTS.items():
            counterfactuals = compose(cgn, TEST, policy=policy, seed=derive_seed(seed, variant))
            _write_nine(counterfactuals, out / "in9" / variant / "val")
        in9_map = {str(label): label if label < len(NINE) else -1 for label in range(len(NAMES))}
        write_bytes(out / "in9" / "in_to_in9.json", json.dumps(in9_map).encode())
        write_json(done, {"teacher": cgn.digest, "seed": seed})
    return Folders(out / "train", out / "val", out / "cue-conflict", out / "in9")


def _write(counterfactuals: Counterfactuals, folder: Path) -> None:
    for index, (picture, label) in enumerate(
        zip(as_rgb(counterfactuals.images), counterfactuals.shape_labels.tolist(), strict=True)
    ):
        write_bytes(folder / NAMES[label] / f"{index}.png", encode(picture.permute(1, 2, 0)))


def _write_cues(counterfactuals: Counterfactuals, folder: Path) -> None:
    counts: Counter[str] = Counter()
    labels = zip(counterfactuals.shape_labels.tolist(), counterfactuals.texture_labels.tolist(), strict=True)
    for picture, (shape, texture) in zip(as_rgb(counterfactuals.images), labels, strict=True):
        cues = []
        for name in (NAMES[shape], NAMES[texture]):
            counts[name] += 1
            cues.append(f"{name}{counts[name]}")
        write_bytes(folder / NAMES[shape] / f"{'-'.join(cues)}.png", encode(picture.permute(1, 2, 0)))


def _write_nine(counterfactuals: Counterfactuals, folder: Path) -> None:
    for index, (picture, label) in enumerate(
        zip(as_rgb(counterfactuals.images), counterfactuals.shape_labels.tolist(), strict=True)
    ):
        if label < len(NINE):
            write_bytes(folder / f"{label:02d}_{NINE[label]}" / f"{index}.png", encode(picture.permute(1, 2, 0)))
