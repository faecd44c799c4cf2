"""What it costs to keep a teacher's answers at 256 pixels: KB and milliseconds an image, in each form.

    python benchmarks/stores.py --pictures DIR

Pictures are random 256-pixel crops of a folder's photographs, as textures and backgrounds are; masks are real digits,
enlarged, smooth at the edge and black or white elsewhere, as a saliency network's. Forms are timed in turn; medians.
The gigabytes of 1,000 classes x 1,000 images of each mechanism are multiplied, not measured. ``none`` keeps noise
(128 numbers) and label; to read it is to ask the teacher again, whose seconds ``imagenet.py`` measures. Lands in
``results/stores.json``.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from skdcgn.base.config import Store
from skdcgn.base.files import write_json
from skdcgn.base.seeds import generator
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.data.folders import as_unit, list_photos
from skdcgn.data.glyphs import load_glyphs
from skdcgn.data.photos import random_crop
from skdcgn.evaluation.timing import median_seconds
from skdcgn.pairs.stores import decode, encode
from skdcgn.results.versions import versions

RESULTS = Path(__file__).parent / "results"
SIZE, COUNT, NOISE = 256, 100, 128
PLANNED = 1_000_000


def pictures(folder: Path) -> Tensor:
    files, rng = list_photos(folder).files, generator("stores")
    return as_unit(torch.stack([random_crop(files[i % len(files)], SIZE, rng) for i in range(COUNT)]))


def masks() -> Tensor:
    small = load_glyphs("digits", "train").images[:COUNT]
    large = F.interpolate(small, size=(SIZE, SIZE), mode="bicubic", align_corners=False)
    return ((large - 0.5) * 8).sigmoid()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="folder with sub-folders of photographs")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    images_of = {Mechanism.SHAPE: masks(), Mechanism.TEXTURE: pictures(arguments.pictures)}
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for mechanism, images in images_of.items():
        kept = {store: encode(images, mechanism, store) for store in Store}
        calls: dict[tuple[Store, str], Callable[[], Any]]
        calls = {(store, "write"): partial(encode, images, mechanism, store) for store in Store}
        calls |= {(store, "read"): partial(decode, kept[store], mechanism) for store in Store if kept[store]}
        seconds = median_seconds(calls, arguments.rounds)
        size = {s: len(save(tensors)) / COUNT if tensors else 4.0 * NOISE + 8 for s, tensors in kept.items()}
        rows[mechanism.value] = {
            store.value: {
                "kb": size[store] / 1024,
                **{f"{verb}_ms": 1000 * seconds[s, verb] / COUNT for s, verb in seconds if s is store},
            }
            for store in Store
        }
    planned = {
        store.value: sum(rows[kind][store.value]["kb"] * times for kind, times in (("shape", 1), ("texture", 2)))
        * 1024
        * PLANNED
        / 1e9
        for store in Store
    }
    record = {
        "command": f"python benchmarks/stores.py --pictures DIR --rounds {arguments.rounds}",
        "versions": versions(),
        "image": rows,
        "gb_of_1000_x_1000_images_of_each_mechanism": planned,
    }
    write_json(RESULTS / "stores.json", record)
    for kind, stores in rows.items():
        for store, numbers in stores.items():
            print(kind, store, ", ".join(f"{key} {value:.2f}" for key, value in numbers.items()))
    print(", ".join(f"{store}: {size:,.0f} GB" for store, size in planned.items()))


if __name__ == "__main__":
    main()
