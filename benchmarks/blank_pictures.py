"""Measure how many double-colored test images are blank, and the oracle's accuracy on these and on all others.

    python benchmarks/blank_pictures.py --data-root DIR

An image is blank if the colours of its object and of its background differ by less than ``SAME_COLOUR`` grey levels,
mean over the channels. The oracle is that of ``double-colored-mnist``: one classifier per seed, each an ordinary run
folder. Raw results land in ``benchmarks/results/blank-double-colored-mnist.json``.
"""

from pathlib import Path

import torch
from torch import Tensor

import commands
from skdcgn.base.files import write_json
from skdcgn.base.presets import run_preset
from skdcgn.base.records import to_dict
from skdcgn.classifiers.small_cnn import classify, predict
from skdcgn.data.images import LabelledImages
from skdcgn.experiments.training_sets import MnistData
from skdcgn.results.statistics import mean_and_deviation
from skdcgn.results.versions import versions

PRESET = "double-colored-mnist"
SAME_COLOUR = 32.0
RESULTS = Path(__file__).parent / "results" / f"blank-{PRESET}.json"


def colour_difference(images: Tensor, masks: Tensor) -> Tensor:
    """Return the mean |difference| of object and background colour in grey levels, (N,), of images in [-1, 1]."""
    colours = [(part * images).sum((2, 3)) / part.sum((2, 3)) for part in (masks, 1 - masks)]  # (N, 3) each
    return 127.5 * (colours[0] - colours[1]).abs().mean(1)


def accuracies(predictions: Tensor, test: LabelledImages, blank: Tensor) -> dict[str, float]:
    """Return the accuracy in percent on blank images, on all others, and on all."""
    right = (predictions == test.labels).double()
    return {name: 100 * float(right[rows].mean()) for name, rows in rows_by_name(blank).items()}


def rows_by_name(blank: Tensor) -> dict[str, Tensor]:
    return {"blank": blank, "others": ~blank, "all": torch.ones_like(blank)}


def main() -> None:
    parser = commands.parser(__doc__)
    arguments = parser.parse_args()
    config = run_preset(PRESET)
    data = MnistData.of(config, arguments.data_root)
    test = data.test_images()
    difference = colour_difference(test.images, data.load("test").images.repeat(data.test_copies, 1, 1, 1))
    blank, runs = difference < SAME_COLOUR, []
    for seed in arguments.seeds:
        budget = config.classify
        train = data.training_images(budget.images, correlated=False, seed=seed)
        out = arguments.runs / f"blank-{PRESET}" / str(seed)
        oracle = classify(train, budget, out, seed=seed, device="cpu", origin={"data": "oracle", "seed": seed})
        runs.append({"seed": seed, "accuracy": accuracies(predict(oracle, test.images), test, blank)})
        print(runs[-1], flush=True)
    record = {
        "command": commands.command_line("blank_pictures.py", [], arguments).replace("  ", " "),
        "versions": versions(),
        "share_percent": {name: 100 * float(rows.double().mean()) for name, rows in rows_by_name(blank).items()},
        "colour_difference_grey_levels": {
            "blank, mean": float(difference[blank].mean()),
            "others, least": float(difference[~blank].min()),
        },
        "accuracy_percent": {
            name: to_dict(mean_and_deviation([run["accuracy"][name] for run in runs])) for name in rows_by_name(blank)
        },
        "runs": runs,
    }
    write_json(RESULTS, record)
    print(record["share_percent"], record["colour_difference_grey_levels"], record["accuracy_percent"])


if __name__ == "__main__":
    main()
