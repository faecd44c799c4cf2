"""Classifiers of photographs with and without counterfactuals, over seeds: the tables of docs/results/photographs.md.

    python benchmarks/photographs.py network --photos TRAIN --test VAL --masks MASKS --test-masks VALMASKS
    python benchmarks/photographs.py planted ... --textures DIR

``network`` trains the preset's network from scratch at 64 pixels.
``planted`` first writes photographs whose background tells their class: usable objects on crops of a texture per class,
which is tied to the class in training and random in the test and for the oracle. It segments them again and makes the
photo CGN of what it finds; the test keeps its masks. ``--student`` names a student that ``query`` and
``distill``, both with the preset ``photos``, made of the photo CGN of seed 0. Each seed is a run folder under
``--runs``: the same command goes on where it stopped. Raw results: ``benchmarks/results/photographs-TABLE.json``.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from skdcgn.base.config import Heads
from skdcgn.base.files import write_json
from skdcgn.base.photo_config import PhotosConfig
from skdcgn.base.presets import PHOTO_RUNS
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import generator
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers
from skdcgn.cgn.pictures import as_rgb
from skdcgn.data.folders import as_unit, list_photos, read_picture
from skdcgn.data.masks import MaskedPhotos, list_masked, read_mask, usable_photos
from skdcgn.data.segment import segment
from skdcgn.data.textures import load_textures
from skdcgn.evaluation.imagenet import open_challenges
from skdcgn.evaluation.scores import HeadScores
from skdcgn.experiments.ensembles import EnsembleTask
from skdcgn.experiments.photo_folders import PhotoFolders, photo_folders
from skdcgn.experiments.run_photos import (
    CHALLENGE,
    Row,
    make_photo_cgn,
    photos_reads,
    real_alone,
    run_photos,
    table_rows,
    train_row,
)
from skdcgn.experiments.stages import Run, Workspace
from skdcgn.features.saliency import mask_source
from skdcgn.results.photo_record import SCORE
from skdcgn.results.statistics import mean_and_deviation, with_deviation
from skdcgn.teachers.load import load_student
from skdcgn.training.run_folder import RunFolder

RESULTS = Path(__file__).parent / "results"
PLANTED_SIZE, MASK_SIZE = 128, 160  # pixels of a side
Texture = Callable[[int, torch.Generator], int]  # class, random numbers -> texture
ORACLE = "oracle"
PLANTED_ROWS = ("real", "counterfactuals", "student")
Scores = dict[str, dict[str, HeadScores]]


def network_config(arguments: argparse.Namespace, seed: int) -> PhotosConfig:
    """Return the preset on the photographs of the arguments."""
    return replace(
        PHOTO_RUNS["photos"],
        images=str(arguments.photos),
        test=str(arguments.test),
        masks=str(arguments.masks),
        test_masks=str(arguments.test_masks),
        paste=True,
        seed=seed,
    )


def planted_config(arguments: argparse.Namespace, seed: int) -> PhotosConfig:
    """Return the preset on planted photographs, written and segmented if they are not there yet."""
    folder = arguments.runs / "planted"
    plant(arguments, folder)
    config = network_config(arguments, seed)
    return replace(
        config,
        ensemble=replace(config.ensemble, epochs=12),
        images=str(folder / "biased"),
        masks=str(folder / "masks"),
        test=str(folder / "test"),
        paste=False,
    )


def opened(config: PhotosConfig, out: Path) -> tuple[Run[PhotosConfig], EnsembleTask]:
    """Return the run of a folder, and what its classifiers are trained and measured on."""
    space, folder, folders = Workspace(out, device="cpu"), *opened_folders(config, out)
    names = list_photos(folders.train).names
    challenge = out / CHALLENGE
    sets = open_challenges(names, images=folders.test, in9_folder=challenge if challenge.exists() else None)
    run = Run(config, make_photo_cgn(folders, config, space), folder, space)
    return run, EnsembleTask(folders.train, names, sets)


def opened_folders(config: PhotosConfig, out: Path) -> tuple[RunFolder, PhotoFolders]:
    return RunFolder(out, config, reads=photos_reads(config)), photo_folders(config, out)


def run_scores(config: PhotosConfig, out: Path, student: Path | None) -> Scores:
    """Return the scores of ``run photos``, and of a network with the counterfactuals of a student of its photo CGN."""
    scores = run_photos(config, out, device="cpu").classifiers
    if student is None:
        return scores
    run, task = opened(config, out)
    row = table_rows(config, run.teacher, student=load_student(student))["student"]
    return scores | {"student": train_row(run, task, "student", row)}


def planted_scores(config: PhotosConfig, out: Path, student: Path | None) -> Scores:
    """Return the scores of the biased network, of those with counterfactuals, and of the oracle."""
    run, task = opened(config, out)
    rows = table_rows(config, run.teacher, student=load_student(student) if student else None)
    scores = {name: train_row(run, task, name, rows[name]) for name in PLANTED_ROWS if name in rows}
    decorrelated = replace(task, real=task.real.parent / ORACLE)
    alone = Row(real_alone(replace(config.ensemble, heads=Heads.ONE)))
    return scores | {ORACLE: train_row(run, decorrelated, ORACLE, alone)}


def plant(arguments: argparse.Namespace, folder: Path) -> None:
    """Write ``biased``, ``test`` and ``oracle`` photographs, unless they are there."""
    if (folder / "written").exists():
        return
    textures = load_textures(arguments.textures, "background", PLANTED_SIZE * 2)
    train = usable(arguments.photos, arguments.masks)

    def own(label: int, rng: torch.Generator) -> int:
        return label % len(textures)

    def any_texture(label: int, rng: torch.Generator) -> int:
        return int(torch.randint(len(textures), (), generator=rng))

    write_planted(train, textures, own, folder / "biased")
    write_planted(train, textures, any_texture, folder / ORACLE)
    write_planted(usable(arguments.test, arguments.test_masks), textures, any_texture, folder / "test")
    segment(folder / "biased", folder / "masks", mask_source("u2netp", MASK_SIZE), size=MASK_SIZE)
    (folder / "written").touch()


def usable(photos: Path, masks: Path) -> MaskedPhotos:
    """Return the photographs of a folder whose masks are usable."""
    return usable_photos(list_masked(list_photos(photos), masks))[0]


def write_planted(masked: MaskedPhotos, textures: torch.Tensor, choose: Texture, out: Path) -> None:
    """Write each object on a random crop of a texture (K, 3, T, T) that ``choose`` picks for its class."""
    rng, room = generator(0, "planted", out.name), textures.shape[-1] - PLANTED_SIZE + 1
    for file, mask, label in zip(masked.photos.files, masked.masks, masked.photos.labels.tolist(), strict=True):
        x, y = torch.randint(room, (2,), generator=rng).tolist()
        background = textures[choose(label, rng), None, :, y : y + PLANTED_SIZE, x : x + PLANTED_SIZE]
        picture = as_unit(read_picture(Path(file), PLANTED_SIZE))[None]
        layers = Layers(read_mask(Path(mask), PLANTED_SIZE)[None] / 255, picture, background)
        path = out / masked.photos.names[label] / f"{Path(file).stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(as_rgb(blend(layers))[0].permute(1, 2, 0).numpy()).save(path)


def percentages(results: Scores) -> dict[str, dict[str, float | None]]:
    """Return each classifier's own percentages by measure."""
    return {
        name: {measure: scores.percent.get(SCORE) for measure, scores in by_measure.items()}
        for name, by_measure in results.items()
    }


def table(runs: list[dict[str, dict[str, float | None]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return mean and sample deviation over the seeds, by classifier and measure."""

    def statistics(row: str, measure: str) -> dict[str, float]:
        return to_dict(mean_and_deviation([value for run in runs if (value := run[row][measure]) is not None]))

    return {row: {measure: statistics(row, measure) for measure in measures} for row, measures in runs[0].items()}


def markdown(rows: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the table of a summary."""
    columns = ("top-1", "mixed_same", "mixed_rand", "BG-gap", "only_bg_t")
    lines = ["| trained on | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for name, measures in rows.items():
        cells = [with_deviation(measures[c]["mean"], measures[c]["deviation"], ".1f") for c in columns if c in measures]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


CONFIGS = {"network": network_config, "planted": planted_config}


def main() -> None:
    """Run the seeds of one table; write it and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=list(CONFIGS))
    for name in ("photos", "test", "masks", "test-masks"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--textures", type=Path)
    parser.add_argument("--student", type=Path, help="folder of a student of the photo CGN of seed 0: its row too")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/photographs"))
    arguments = parser.parse_args()
    results = list[Scores]()
    for seed in arguments.seeds:
        config, out = CONFIGS[arguments.table](arguments, seed), arguments.runs / f"{arguments.table}-{seed}"
        scores = planted_scores if arguments.table == "planted" else run_scores
        results.append(scores(config, out, arguments.student))
    summary = table([percentages(result) for result in results])
    raw = {"seeds": arguments.seeds, "table": summary, "runs": [to_dict(result) for result in results]}
    write_json(RESULTS / f"photographs-{arguments.table}.json", raw)
    print(markdown(summary))


if __name__ == "__main__":
    main()
