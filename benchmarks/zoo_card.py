"""Put a teacher that ``skdcgn teach`` trained into the zoo, with its card.

    python benchmarks/zoo_card.py double-colored-mnist runs/teacher --half                        # weights and card
    python benchmarks/teachers.py double-colored-mnist --published FILE.pth --data-root DIR       # measures it
    python benchmarks/zoo_card.py double-colored-mnist                                            # accuracy and band

The accuracy on the card is read from ``benchmarks/results/teachers-NAME.json`` or ``NAME.json`` (of seeds.py), never
typed.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from skdcgn.base.door import read_json
from skdcgn.base.files import sha256, write_json
from skdcgn.base.presets import teach_preset
from skdcgn.base.records import merge, to_dict
from skdcgn.base.tensors import read_tensors, write_tensors
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.drawings import class_columns
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.metrics.pixels import paired_l1
from skdcgn.results.expected import expected_accuracy
from skdcgn.results.statistics import MeanDeviation
from skdcgn.teachers.checkpoints import load_cgn
from skdcgn.training.run_folder import read_metrics

ZOO = Path(__file__).parents[1] / "src" / "skdcgn" / "zoo"
RESULTS = Path(__file__).parent / "results"
LIMITS = {
    "colored": "some textures are blotched",
    "double-colored": "some textures are blotched, backgrounds hardly vary within a class",
    "wildlife": "a class has nearly one texture and one background, cropped anywhere; some masks have specks",
}

MEASURED = ("out_of_domain_accuracy_percent", "seeds", "measured_by", "measured_with", "mask_quality")
LAST = ("limits", "licence", "sha256")


def measured(name: str) -> dict[str, Any]:
    """Accuracies of the first table that was made with the weights now in the zoo, each with its band; mask quality.

    ``measured_with`` are the parts of the run's configuration that they hold for: a student's row needs all three.
    """
    paths = [path for path in (RESULTS / f"{name}.json", RESULTS / f"teachers-{name}.json") if path.exists()]
    tables = [table for table in map(read_json, paths) if of_these_weights(table, name)]
    if not tables:
        return {}
    table, prefix, count = tables[0], "ood_accuracy.", len(tables[0]["runs"])
    scores = {
        key.removeprefix(prefix): to_dict(expected_accuracy(MeanDeviation(**value), count))
        for key, value in table["summary"].items()
        if key.startswith(prefix)
    }
    quality = [table["teachers"]["teacher"] for table in tables if "teachers" in table]
    return {
        "out_of_domain_accuracy_percent": scores,
        "seeds": count,
        "measured_by": table["command"],
        "measured_with": table["with"],
        **({"mask_quality": quality[0]} if quality else {}),
    }


def of_these_weights(table: dict[str, Any], name: str) -> bool:
    return {run["teacher"]["digest"] for run in table["runs"]} == {sha256(weights(name))}


def weights(name: str) -> Path:
    return ZOO / f"{name}.safetensors"


def told_config(name: str, run: Path) -> dict[str, Any]:
    """Return the run's configuration; fields younger than the run are the preset's."""
    return to_dict(merge(teach_preset(name), read_json(run / "config.json"), str(run)))


def half_costs(run: Path, name: str) -> float:
    """Return by how many of 256 levels the stored weights draw otherwise than the run's, on average."""
    pair = load_cgn(run / "teacher.safetensors"), load_cgn(weights(name))
    noise, labels = class_columns(pair[0], 50, seed=0)
    return statistics.mean(
        255 / (1 - m.low) * paired_l1(*(draw(teacher, m, noise, labels) for teacher in pair)) for m in Mechanism
    )


def new_card(name: str, run: Path, half: bool) -> dict[str, Any]:
    """Store the run's weights; return their card, without the accuracy."""
    state, _ = read_tensors(run / "teacher.safetensors")
    if half:
        state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    write_tensors(weights(name), state)
    config = told_config(name, run)
    health = [line.values for line in read_metrics(run / "metrics.jsonl") if "diversity" in line.values][-1]
    return {
        "title": f"{name}: a CGN trained by this project",
        "architecture": "mnist-cgn",
        "parameters": load_cgn(weights(name)).size,
        "data": f"training split of glyphs {config['glyphs']!r} in the {config['appearance']} appearance, correlated",
        "command": f"skdcgn teach {name} --out runs/teacher",
        "config": config,
        "health": {
            "mask_diversity_over_real_glyphs": round(health["diversity"], 3),
            "least_class": round(health["least_diversity"], 3),
            "class_of_nearest_real_glyph_percent": round(100 * health["class_accuracy"], 1),
            "distance_to_nearest_over_real_glyphs": round(health["distance"], 3),
        },
        **({"half_precision_costs_grey_levels": round(half_costs(run, name), 3)} if half else {}),
        "limits": "32 x 32 digits, for research on shortcuts. Some shapes are ambiguous, "
        + LIMITS[config["appearance"]],
        "licence": "MIT",
        "sha256": sha256(weights(name)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("run", type=Path, nargs="?", help="folder that skdcgn teach wrote; without it, weights stay")
    parser.add_argument("--half", action="store_true", help="store the weights in half precision")
    arguments = parser.parse_args()
    path = ZOO / f"{arguments.name}.json"
    card = new_card(arguments.name, arguments.run, arguments.half) if arguments.run else read_json(path)
    card = {key: value for key, value in card.items() if key not in MEASURED} | measured(arguments.name)
    write_json(path, {key: card[key] for key in sorted(card, key=lambda key: key in LAST)})
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
