"""Pictures a second: counterfactuals drawn by a student, and the same number of pictures read from PNG and JPEG files.

    python benchmarks/loading.py --pictures ../shared/data/imagenette/val

Three loaders take turns at 32, 64 and 128 pixels, with 0, 1 and 2 workers: ``CounterfactualDataset.loader``, and a
plain map-style data set of PNG files, and of JPEG files of quality 90, which Pillow decodes to floats in [-1, 1].
Students have the sizes of the preset ``double-colored-digits`` at 32 pixels and of photographs' students above, and are
untrained, which does not change their speed. Files are counterfactuals of the bundled teacher at 32 pixels, crops of
photographs above, and were all read just before, so that they are in the page cache. Each process has one thread.
Medians over rounds. Lands in ``results/loading.json`` and ``docs/results/figures/loading.png``.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from scale_figures import draw_loading, loading_table
from skdcgn.base.files import write_json
from skdcgn.base.photo_students import PHOTO_DISTILL
from skdcgn.base.presets import DEFAULT, RUNS
from skdcgn.base.records import to_dict
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.cgn.pictures import as_rgb
from skdcgn.data.folders import list_photos
from skdcgn.data.photos import middle_crop
from skdcgn.deploy.dataset import CounterfactualDataset
from skdcgn.results.versions import versions
from skdcgn.students.generator import StudentCGN, student_size
from skdcgn.teachers.load import load_teacher

RESULTS = Path(__file__).parent / "results"
BATCHES = {32: 256, 64: 64, 128: 64}  # images of a batch, by size
WORKERS, FILES, QUALITY = (0, 1, 2), 1000, 90
Rates = dict[str, dict[str, list[float]]]  # by workers and side, of each round


class PictureFiles(Dataset[tuple[Tensor, int]]):
    """Pictures of a folder as floats (3, S, S) in [-1, 1], with a label each."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(map(str, files))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        with Image.open(self.files[row]) as picture:
            pixels = np.array(picture.convert("RGB"))
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div_(127.5).sub_(1), row % 10

    def loader(self, workers: int, batch_size: int) -> DataLoader[tuple[Tensor, int]]:
        """Return a loader without end in practice, in random order."""
        order = RandomSampler(self, replacement=True, num_samples=10**9)
        return DataLoader(self, batch_size, sampler=order, num_workers=workers)


def student(size: int) -> StudentCGN:
    """Return an untrained student for images of ``size`` pixels."""
    config = RUNS[DEFAULT].distill if size == 32 else PHOTO_DISTILL
    spec = load_teacher(DEFAULT).spec if size == 32 else Spec(image_size=size, noise_dim=8, classes=10, tiles=False)
    torch.manual_seed(0)
    return StudentCGN(to_dict(spec), {m.value: student_size(config, m) for m in Mechanism})


def pictures(size: int, photographs: Path) -> Iterator[Tensor]:
    """Yield pictures (3, S, S) uint8."""
    if size == 32:
        return iter(as_rgb(compose(load_teacher(DEFAULT), FILES).images))
    files = list_photos(photographs).files
    return (middle_crop(file, size) for file in files[:: max(1, len(files) // FILES)][:FILES])


def write_files(size: int, photographs: Path, folder: Path) -> dict[str, PictureFiles]:
    """Write pictures as PNG and as JPEG; return both as data sets."""
    files: dict[str, list[Path]] = {"png": [], "jpeg": []}
    options: dict[str, Any] = {"quality": QUALITY}  # PNG has none
    for row, picture in enumerate(pictures(size, photographs)):
        image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
        for form, paths in files.items():
            paths.append(folder / f"{row:05d}.{form}")
            image.save(paths[-1], **options)
    sets = {form: PictureFiles(paths) for form, paths in files.items()}
    for one in sets.values():
        for row in range(len(one)):
            one[row]  # into the page cache
    return sets


def rate(loader: DataLoader[Any], workers: int, seconds: float) -> float:
    """Return the pictures a second of a loader once its workers have begun and what they read ahead is taken."""
    batches = iter(loader)
    for _ in islice(batches, 2 + 2 * workers):
        pass
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        count += len(next(batches)[0])
    return count / elapsed


def measure(size: int, photographs: Path, rounds: int, seconds: float) -> Rates:
    rates: Rates = {str(workers): {"student": [], "png": [], "jpeg": []} for workers in WORKERS}
    with tempfile.TemporaryDirectory() as folder:
        sets: dict[str, Any] = write_files(size, photographs, Path(folder))
        sets["student"] = CounterfactualDataset(student(size))
        for number in range(rounds):
            for workers, sides in rates.items():
                for name in list(sides)[:: 1 if number % 2 else -1]:
                    loader = sets[name].loader(int(workers), batch_size=BATCHES[size])
                    sides[name].append(rate(loader, int(workers), seconds))
                print(size, workers, {name: round(own[-1]) for name, own in sides.items()}, flush=True)
    return rates


def crossover(medians: dict[int, dict[str, float]], side: str) -> float | None:
    """Return the size at which a student and files give equally many pictures, on lines of logarithms; None: none."""
    sizes = list(medians)
    gaps = [math.log(medians[size]["student"] / medians[size][side]) for size in sizes]
    for (low, high), (before, after) in zip(pairwise(sizes), pairwise(gaps), strict=True):
        if before >= 0 > after:
            return float(low * (high / low) ** (before / (before - after)))
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="folder with sub-folders of photographs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each loader in a round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rates = {size: measure(size, arguments.pictures, arguments.rounds, arguments.seconds) for size in BATCHES}
    medians = {
        workers: {size: {side: median(own) for side, own in rates[size][workers].items()} for size in rates}
        for workers in map(str, WORKERS)
    }
    record = {
        "command": f"python benchmarks/loading.py --pictures {arguments.pictures.name} --rounds {arguments.rounds}",
        "versions": versions(),
        "batch_sizes": BATCHES,
        "pictures_per_second": medians,
        "crossover_pixels": {w: {side: crossover(own, side) for side in ("png", "jpeg")} for w, own in medians.items()},
        "rounds": rates,
    }
    write_json(RESULTS / "loading.json", record)
    draw_loading(medians)
    print(loading_table(medians))
    print("crossover:", record["crossover_pixels"])


if __name__ == "__main__":
    main()
