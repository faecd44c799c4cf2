"""``skdcgn run photos``: the whole path on synthetic photographs, killed and resumed, with held-out photographs."""

import shutil
from dataclasses import replace

import pytest
import torch

from skdcgn.base.config import Heads
from skdcgn.base.errors import UserError
from skdcgn.base.presets import PHOTO_RUNS
from skdcgn.base.progress import silent
from skdcgn.base.records import override
from skdcgn.classifiers.ensemble import read_ensemble_form
from skdcgn.data.folders import list_photos
from skdcgn.data.synthetic_photos import synthetic_photos
from skdcgn.evaluation.challenge import VARIANTS
from skdcgn.experiments.photo_folders import hold_out
from skdcgn.experiments.run_photos import budget_of, real_alone, run_photos
from skdcgn.results.photo_record import PhotosResults
from skdcgn.results.records import read_results
from skdcgn.teachers.photographs import load_photo_cgn

SMOKE = override(PHOTO_RUNS["photos-smoke"], {"ensemble.epochs": 1, "paste": True, "student": True})
ROWS = ("real", "counterfactuals", "independent", "ensemble", "paste", "student")
UNTIMED = {"seconds.json", "results.json", "report.html", "metrics.jsonl"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return synthetic_photos(tmp_path_factory.mktemp("photos"), train=5, test=2, size=24)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "smoke"
    return out, run_photos(SMOKE, out, device="cpu", watch=silent)


def contents(folder):
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {str(name): path.read_bytes() for name, path in files.items() if name.name not in UNTIMED}


def test_a_run_ends_with_a_row_per_classifier_and_a_column_per_measure(finished):
    out, results = finished
    assert tuple(results.classifiers) == ROWS
    assert all({"top-1", "BG-gap", *VARIANTS} <= set(scores) for scores in results.classifiers.values())
    assert results.names == ("cross", "disc", "square")
    assert results.student.parameters > 0
    assert (results.photographs.test, results.photographs.test_usable) == (12, 12)
    assert read_results(out, PhotosResults) == results
    heads = {name: read_ensemble_form(out / "ensembles" / name).heads for name in ROWS}
    backgrounds = [load_photo_cgn(out / f"{name}.safetensors") for name in ("photos", "paste")]
    noise, labels = torch.zeros(1, 8), torch.zeros(1, dtype=torch.int64)
    filled, whole = (cgn.query("background", noise, labels) for cgn in backgrounds)
    assert not torch.equal(filled, whole)  # pasted objects lie on whole photographs
    assert heads == {name: Heads.THREE if name == "ensemble" else Heads.ONE for name in ROWS}


def test_the_report_shows_the_classes_the_table_and_the_pictures(finished):
    out, results = finished
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64") == 5
    assert all(f"<span>{name}</span>" in page for name in results.names)
    assert all(results.classifiers[name]["BG-gap"].text("ensemble") in page for name in ROWS)
    before = page
    (out / "report.html").unlink()
    assert run_photos(SMOKE, out, device="cpu", watch=silent) == results  # a finished run is read
    assert (out / "report.html").read_text() == before


@pytest.mark.parametrize("stage", ["challenge", "ensemble counterfactuals"])
def test_a_killed_run_is_continued_to_the_same_bytes(stage, finished, tmp_path):
    class KilledError(Exception):
        pass

    def watch(name, total):
        if name == stage:
            raise KilledError
        return silent(name, total)

    with pytest.raises(KilledError):
        run_photos(SMOKE, tmp_path / "run", device="cpu", watch=watch)
    results = run_photos(SMOKE, tmp_path / "run", device="cpu", watch=silent)
    assert contents(tmp_path / "run") == contents(finished[0])
    assert replace(results, seconds={}) == replace(finished[1], seconds={})


def test_without_test_photographs_a_share_of_each_class_is_held_out(photos, tmp_path):
    train, test = hold_out(photos.images, 0.2, tmp_path / "a", seed=0)
    assert [list_photos(folder).labels.bincount().tolist() for folder in (train, test)] == [[4] * 3, [1] * 3]
    names = {folder: {path.name for path in (folder / "disc").iterdir()} for folder in (train, test)}
    assert names[train].isdisjoint(names[test])
    assert hold_out(photos.images, 0.2, tmp_path / "a", seed=0) == (train, test)  # links are kept
    other = hold_out(photos.images, 0.2, tmp_path / "b", seed=1)[1]
    assert any(
        {path.name for path in (other / name).iterdir()} != {path.name for path in (test / name).iterdir()}
        for name in ("cross", "disc", "square")
    )


def test_all_rows_have_the_same_images_per_step_and_as_many_steps():
    config = PHOTO_RUNS["photos"].ensemble
    alone, budget = real_alone(config), budget_of(config, 2000)
    assert alone.batch_size == config.batch_size + config.counterfactuals == budget.images
    assert alone.weight == 0
    assert abs(budget.steps - budget.real_steps) <= 0.03 * budget.steps


def test_the_verb_runs_on_a_users_folders_and_shows_the_table(photos, tmp_path, skdcgn):
    images = shutil.copytree(photos.images, tmp_path / "images")
    words = ("run", "photos-smoke", "--images", images, "--masks", photos.masks, "--image-size", 16)
    words = (*words, "--ensemble-epochs", 1, "--out", tmp_path / "run", "--device", "cpu")
    status, output, _ = skdcgn(*words)
    assert status == 0
    assert all(word in output for word in ("real", "independent", "mixed-rand", "BG-gap", "only background"))
    assert "drawings" not in output
    assert output.splitlines()[-1] == f"report: {tmp_path / 'run' / 'report.html'}"
    assert skdcgn("evaluate", tmp_path / "run")[1].strip() in output
    shutil.copy(images / "disc" / "train0.png", images / "disc" / "train1.png")
    status, _, error = skdcgn(*words)
    assert status == 2
    assert "on other data (different now: the images in" in error


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": None}, "pass --images DIR"),
        ({"masks": "somewhere"}, "has its own test photographs and masks"),
        ({"images": "nowhere"}, "no folder nowhere"),
    ],
)
def test_folders_that_do_not_fit_are_refused_before_anything_is_written(changes, words, tmp_path):
    with pytest.raises(UserError, match=words):
        run_photos(override(SMOKE, changes), tmp_path / "run", watch=silent)
    assert not (tmp_path / "run").exists()


def test_a_class_of_one_photograph_cannot_be_divided(photos, tmp_path):
    images = shutil.copytree(photos.images, tmp_path / "images")
    for file in list((images / "disc").iterdir())[1:]:
        file.unlink()
    with pytest.raises(UserError, match="has one photograph: add some, or pass test photographs by --test"):
        hold_out(images, 0.2, tmp_path / "out", seed=0)
