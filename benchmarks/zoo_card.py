"""Put a teacher that ``skdcgn teach`` trained into the zoo, with its card.

    python benchmarks/zoo_card.py double-colored-digits runs/teacher      # weights and card
    python benchmarks/seeds.py double-colored-digits --seeds 0 1 2        # measures it
    python benchmarks/zoo_card.py double-colored-digits runs/teacher      # the card now tells the accuracy

The accuracy on the card is read from ``benchmarks/results/NAME.json``, never typed.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from skdcgn.files import read_json, sha256, write_json
from skdcgn.teachers.registry import load_cgn
from skdcgn.train import read_metrics

ZOO = Path(__file__).parents[1] / "src" / "skdcgn" / "zoo"
RESULTS = Path(__file__).parent / "results"


def measured(name: str) -> dict[str, Any]:
    """Accuracies of the table, if it was made with the weights now in the zoo."""
    path = RESULTS / f"{name}.json"
    if not path.exists() or {r["teacher"]["digest"] for r in read_json(path)["runs"]} != {sha256(weights(name))}:
        return {}
    table = read_json(path)
    scores = {key.split(".")[1]: value for key, value in table["summary"].items() if key.startswith("ood_accuracy.")}
    return {"out_of_domain_accuracy_percent": scores, "seeds": len(table["runs"]), "measured_by": table["command"]}


def weights(name: str) -> Path:
    return ZOO / f"{name}.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("run", type=Path, help="folder that skdcgn teach wrote")
    chosen = parser.parse_args()
    shutil.copyfile(chosen.run / "teacher.safetensors", weights(chosen.name))
    config = read_json(chosen.run / "config.json")
    health = [line for line in read_metrics(chosen.run / "metrics.jsonl") if "diversity" in line][-1]
    card = {
        "title": f"{chosen.name}: a CGN trained by this project",
        "architecture": "mnist-cgn",
        "parameters": load_cgn(weights(chosen.name)).size,
        "data": f"training split of glyphs {config['glyphs']!r} in the {config['appearance']} appearance, correlated",
        "command": f"skdcgn teach {chosen.name} --out runs/teacher",
        "config": config,
        "health": {
            "mask_diversity_over_real_glyphs": round(health["diversity"], 3),
            "least_class": round(health["least_diversity"], 3),
            "class_of_nearest_real_glyph_percent": round(100 * health["class_accuracy"], 1),
            "distance_to_nearest_over_real_glyphs": round(health["distance"], 3),
        },
        **measured(chosen.name),
        "limits": "32 x 32 digits; some shapes are ambiguous, some textures blotched; for research on shortcuts.",
        "licence": "MIT",
        "sha256": sha256(weights(chosen.name)),
    }
    write_json(ZOO / f"{chosen.name}.json", card)
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
