"""``skdcgn run imagenet``: the whole path with a small CGN of random weights, killed and resumed."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skdcgn.base.config import ImageNetConfig
from skdcgn.base.errors import UserError
from skdcgn.base.presets import IMAGENET_RUNS, RUNS
from skdcgn.base.records import merge, override
from skdcgn.cgn.drawings import draw_cgns
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.cgn.pictures import SPACING
from skdcgn.data.categories import CATEGORIES
from skdcgn.data.imagenet_classes import WORDNET_IDS
from skdcgn.data.stand_in import NINE, TEST, TRAIN, stand_in
from skdcgn.evaluation.scores import HEADS
from skdcgn.evaluation.timing import counterfactuals_per_second
from skdcgn.experiments.run_imagenet import run_imagenet
from skdcgn.results.records import ImageNetResults, read_results
from skdcgn.teachers.load import load_teacher

SMALL_STUDENT = {"channels": [16, 16, 8], "grid": 8, "embedding": 8}
SMALL = {  # of everything that the preset imagenet has, and one held-out answer of each class
    "query": {"shape": 64, "texture": 48, "background": 32, "held_out": 16, "shard_size": 48},
    "distill": {"steps": 6, "batch_size": 16, **dict.fromkeys(("shape", "texture", "background"), SMALL_STUDENT)},
    "ensemble": {
        "backbone": "small",
        "width": 8,
        "image_size": 64,
        "epochs": 1,
        "batch_size": 16,
        "counterfactuals": 8,
    },
    "speed_images": 1,
    "speed_seconds": 0,
    "pictures": 4,
}
IN9 = ("original", "mixed_same", "mixed_rand", "only_bg_b")
WORDNET = {category: min(ids) for category, ids in CATEGORIES.items()}


def written(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


class Plain:
    """Draws plain colours and masks of the categories at once."""

    spec, digest, size = replace(Spec(64, 8, len(CATEGORIES)), names=tuple(CATEGORIES)), "plain", None

    def query(self, mechanism, noise, labels):
        channels = 1 if mechanism is Mechanism.SHAPE else 3
        return (noise[:, :channels, None, None].tanh().abs()).expand(-1, channels, 64, 64)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folders of the stand-in, drawn by a formula: a CGN of photographs takes half a minute."""
    return stand_in(Plain(), tmp_path_factory.mktemp("images") / "stand-in")


@pytest.fixture(scope="module")
def downloads(drawn, tmp_path_factory):
    """The pictures of the stand-in, laid out as ImageNet, the cue-conflict stimuli and ImageNet-9 are downloaded."""
    out = tmp_path_factory.mktemp("downloads")
    for part, source in (("train", drawn.real), ("val", drawn.val)):
        for file in source.glob("*/*.png"):
            folder = out / part / WORDNET[file.parent.name]
            folder.mkdir(parents=True, exist_ok=True)
            Image.open(file).save(folder / f"{folder.name}_{file.stem}.JPEG", format="JPEG")
    shutil.copytree(drawn.cue_conflict, out / "cue-conflict")
    for variant in IN9:
        source = variant if variant != "only_bg_b" else "original"
        shutil.copytree(drawn.in9 / source / "val", out / "bg_challenge" / variant / "val")
    for file in (out / "bg_challenge" / "original").glob("val/*/*.png"):
        mask = out / "bg_challenge" / "fg_mask" / "val" / file.parent.name / f"{file.stem}.npy"
        mask.parent.mkdir(parents=True, exist_ok=True)
        np.save(mask, np.zeros((64, 64), dtype=bool))
    in9_map = {str(number): number % (len(NINE) + 1) - 1 for number in range(len(WORDNET_IDS))}
    (out / "in_to_in9.json").write_text(json.dumps(in9_map))  # of ImageNet's thousand classes, beside the pictures
    return out


@pytest.fixture(scope="module")
def settings(downloads, tmp_path_factory):
    """A file of settings: a checkpoint without class names, as published, small budgets, the folders of all images."""
    paths = {"real": "train", "val": "val", "cue_conflict": "cue-conflict", "in9": "bg_challenge", "teacher": "cgn.pth"}
    torch.save(load_teacher("imagenet-smoke").cgn.state_dict(), downloads / "cgn.pth")
    file = tmp_path_factory.mktemp("settings") / "small.json"
    folders = {name: str(downloads / path) for name, path in paths.items()}
    file.write_text(json.dumps({**SMALL, **folders, "truncation": 0.6}))
    return file


@pytest.fixture(scope="module")
def killed(settings, tmp_path_factory):
    """The folder of a run that was killed when its second ensemble was trained and its scores not yet written."""
    out = tmp_path_factory.mktemp("run")

    def kill(name, total):
        def tell(done, losses=None):
            if (name, done) == ("ensemble teacher", total):
                raise KeyboardInterrupt

        return tell

    config = merge(IMAGENET_RUNS["imagenet"], json.loads(settings.read_text()), "settings")
    with pytest.raises(KeyboardInterrupt):
        run_imagenet(config, out, device="cpu", watch=kill)
    return out


@pytest.mark.slow
def test_one_command_takes_the_whole_path_and_goes_on_after_a_kill(killed, settings, skdcgn):
    """On folders as they are downloaded, and with one held-out answer of each class, which have no diversity."""
    before = {n: t for n, t in written(killed).items() if n.split("/")[0] in ("pairs", "students")}
    plain = (killed / "ensembles" / "plain" / "result.json").read_bytes()
    assert not (killed / "ensembles" / "teacher" / "result.json").exists()

    command = ["run", "imagenet", "--config", settings, "--out", killed, "--device", "cpu"]
    status, said, _ = skdcgn(*command)
    assert status == 0
    assert before.items() <= written(killed).items()
    assert (killed / "ensembles" / "plain" / "result.json").read_bytes() == plain

    results = json.loads((killed / "results.json").read_text())
    assert not results["stand_in"]
    assert results["parameters"]["student"] < results["parameters"]["teacher"] == 610_408
    spec = load_teacher(killed / "student").spec
    assert (spec.tiles, spec.truncation) == (False, 0.6)
    assert results["queries"] == {"shape": 64, "texture": 48, "background": 32}
    for diversity in results["diversity"].values():
        assert (diversity["teacher"], diversity["student"]) == (None, None)
    assert list(results["ensembles"]) == ["plain", "teacher", "student"]
    for scores in results["ensembles"].values():
        assert list(scores) == ["top-1", "top-5", "shape bias", *sorted(IN9), "BG-gap"]
        assert scores["top-1"]["images"] == TEST
        assert all(set(score["percent"]) == set(HEADS) for score in scores.values())
        assert scores["top-1"]["percent"]["ensemble"] <= scores["top-5"]["percent"]["ensemble"]
    assert results["ensembles"]["teacher"] != results["ensembles"]["student"]
    page = (killed / "report.html").read_text()
    assert "shape bias, texture head" in page
    assert "BG-gap, shape + texture heads" in page
    assert " texture)</td>" in page  # the decisions beside the ratio
    assert "top-1 accuracy" in page
    assert page.count(">not measured<") >= 6  # the diversity of teacher and student in three mechanisms
    assert "it is not measured where no class has two" in page
    assert "shape bias, texture head" in said
    assert "BG-gap, shape + texture heads" in said

    whole = written(killed)
    assert skdcgn(*command)[:2] == (0, said)
    changed = {name for name, at in written(killed).items() if whole.get(name) != at}
    assert changed == {"report.html"}  # which is written again from what is there
    assert skdcgn("evaluate", killed)[1] + f"report: {killed / 'report.html'}\n" == said


STUDENT = [
    f"--{mechanism}-{size}"
    for mechanism in ("shape", "texture", "background")
    for size in ("channels=16", "channels=16", "channels=8", "grid=8", "embedding=4")
]
MINIATURE = {  # what makes a command of the guide small, by verb
    "query": ["--shape=16", "--texture=16", "--background=16", "--held-out=16", "--shard-size=16"],
    "distill": ["--steps=1", "--batch-size=4", *STUDENT],
    "ensemble": ["--backbone=small", "--width=4", "--image-size=32", "--epochs=1", "--counterfactuals=4"],
    "evaluate": [],
}
FOR_A_GPU = ("--bf16", "--channels-last", "--compile")  # a CPU compiles for minutes


def guide_commands(title):
    """The words of each skdcgn command of a section of the guide, without launchers; ``run`` is tested above."""
    page = (Path(__file__).parents[1] / "docs" / "guides" / "imagenet.md").read_text(encoding="utf-8")
    block = page[page.index(f"## {title}") :].partition("\n## ")[0].replace("\\\n", " ")
    lines = [shlex.split(line, comments=True)[1:] for line in block.splitlines() if re.match(r"(skdcgn|\$L) ", line)]
    return [[word for word in words if word not in FOR_A_GPU] for words in lines if words[0] != "run"]


@pytest.mark.parametrize("title", ["With the real weights, on one GPU", "With the real weights, on eight GPUs"])
def test_the_commands_of_the_guide_run_small(title, downloads, settings, tmp_path, monkeypatch, skdcgn):
    monkeypatch.chdir(tmp_path)
    paths = {"cgn.pth": "cgn.pth", "imagenet/train": "train", "imagenet/val": "val", "in_to_in9.json": "in_to_in9.json"}
    folders = {"--cue-conflict": "cue-conflict", "--in9": "bg_challenge"}
    commands = guide_commands(title)
    assert {words[0] for words in commands} == set(MINIATURE)
    for words in commands:
        typed = [
            downloads / (folders[before] if word == "DIR" else paths[word]) if word in (*paths, "DIR") else word
            for before, word in zip(["", *words], words, strict=False)
        ]
        status, said, err = skdcgn(*typed, *MINIATURE[words[0]])
        assert status == 0, (words, err)
    assert "top-1" in said or "shape bias" in said


@pytest.mark.slow
def test_without_real_images_the_cgn_draws_a_stand_in(killed, drawn, tmp_path, skdcgn):
    """A run in whose folder the pictures and the scores of the ensembles are already there, for quickness."""
    shutil.copytree(drawn.real.parent, tmp_path / "stand-in")
    for name in ("plain", "teacher", "student"):
        (tmp_path / "ensembles" / name).mkdir(parents=True)
        shutil.copy(killed / "ensembles" / "plain" / "result.json", tmp_path / "ensembles" / name)
    budgets = ["--query-shape=16", "--query-texture=16", "--query-background=16", "--distill-steps=1"]
    budgets += ["--speed-images=1", "--speed-seconds=0", "--pictures=4", "--picture-classes=2"]
    status, said, _ = skdcgn("run", "imagenet-smoke", "--out", tmp_path, "--device", "cpu", *budgets)
    assert status == 0
    assert read_results(tmp_path, ImageNetResults).stand_in
    assert "the teacher drew the real images too" in said
    page = (tmp_path / "report.html").read_text()
    assert "These numbers only show that every" in page
    assert "top-1 accuracy" not in page  # no finding from a stand-in


class Counting:
    """A teacher that counts the images that it is asked for."""

    def __init__(self, inner):
        self.inner, self.spec, self.digest, self.size, self.images = inner, inner.spec, "counting", None, 0

    def query(self, mechanism, noise, labels):
        self.images += len(labels)
        return self.inner.query(mechanism, noise, labels)


def test_timing_and_sample_pictures_ask_the_teacher_for_as_few_images_as_flags_say(tmp_path, analytic_teacher):
    teacher = Counting(analytic_teacher)
    counterfactuals_per_second({"teacher": teacher, "student": analytic_teacher}, 1, seconds=0)
    assert teacher.images == 3 * 2  # of each mechanism one as a warm-up and one that is timed
    teacher.images = 0
    draw_cgns(teacher, analytic_teacher, tmp_path, 0, classes=2, counterfactuals=3)
    assert teacher.images == 3 * (2 * 3 + 3)  # two classes in three rows, three counterfactuals
    with Image.open(tmp_path / "counterfactuals_teacher.png") as picture:
        assert picture.width == 2 * (3 * 32 + 2 * SPACING)


def test_the_stand_in_has_the_layouts_of_the_public_data_sets(tmp_path, monkeypatch, analytic_teacher):
    monkeypatch.setattr(analytic_teacher.__class__, "spec", Spec(classes=16))
    folders = stand_in(analytic_teacher, tmp_path)
    assert sum(1 for _ in folders.real.glob("*/*.png")) == TRAIN
    assert {path.name for path in folders.val.iterdir()} <= set(CATEGORIES)
    for file in folders.cue_conflict.glob("*/*.png"):
        assert file.name.startswith(file.parent.name)
    assert {path.name for path in folders.in9.iterdir()} == {"original", "mixed_same", "mixed_rand", "in_to_in9.json"}
    assert {path.name for path in (folders.in9 / "mixed_rand" / "val").iterdir()} >= {"00_dog", "08_fish"}


def test_only_a_teacher_of_sixteen_classes_stands_in(tmp_path, analytic_teacher):
    with pytest.raises(UserError, match="the teacher has 10 classes: pass --real DIR"):
        stand_in(analytic_teacher, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--val", "x"], "pass --real DIR"),
        (["--full"], "--full is a budget of the digits' classifiers"),
        (["--classify-epochs", "2"], "unknown key 'classify.epochs'"),
        (["--teacher", "double-colored-digits"], "the teacher has 10 classes: pass --real DIR"),
        (["--real", "/nowhere"], "/nowhere"),
        (["--ensemble-backbone", "resnet"], "unknown backbone 'resnet'"),
    ],
)
def test_wrong_input_is_one_line_and_costs_no_query(words, expected, tmp_path, skdcgn):
    status, _, err = skdcgn("run", "imagenet-smoke", "--out", tmp_path / "out", *words)
    assert (status, err.count("\n")) == (2, 1)
    assert expected in err
    assert not (tmp_path / "out" / "pairs").exists()


@pytest.mark.parametrize("part", ["--real", "--val", "--cue-conflict", "--in9"])
def test_a_damaged_picture_anywhere_costs_no_query(part, tmp_path, skdcgn):
    for folder in ("real", "val"):
        for name in CATEGORIES:
            draw(tmp_path / folder / name / "0.png")
    draw(tmp_path / "cues" / "cat" / "cat1-dog2.png")
    for label, name in enumerate(NINE):
        draw(tmp_path / "in9" / "mixed_rand" / "val" / f"{label:02d}_{name}" / "0.png")
    (tmp_path / "in9" / "in_to_in9.json").write_text(json.dumps({str(index): -1 for index in range(16)}))
    folders = {"--real": "real", "--val": "val", "--cue-conflict": "cues", "--in9": "in9"}
    damaged = min((tmp_path / folders[part]).rglob("*.png"))
    damaged.write_bytes(b"no picture")
    words = (word for flag, folder in folders.items() for word in (flag, tmp_path / folder))
    status, _, err = skdcgn("run", "imagenet-smoke", "--out", tmp_path / "out", *words)
    assert (status, err.splitlines()[-1]) == (
        2, f"error: {damaged} is not a picture that Pillow can read: replace it or remove it"
    )  # fmt: skip
    assert not (tmp_path / "out" / "pairs").exists()


def draw(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def test_a_flag_of_photographs_is_none_of_digits(tmp_path, skdcgn):
    status, _, err = skdcgn("run", "smoke", "--out", tmp_path, "--real", "x")
    assert (status, err.count("\n")) == (2, 1)
    assert "unknown key 'real'" in err


@pytest.mark.parametrize("name", IMAGENET_RUNS)
def test_every_preset_of_photographs_can_be_laid_over(name):
    assert name not in RUNS
    assert override(IMAGENET_RUNS[name], {"seed": 3, "query.shape": 7}).query.shape == 7
    assert isinstance(IMAGENET_RUNS[name], ImageNetConfig)


def test_a_launcher_gets_the_command_to_launch(tmp_path, monkeypatch, skdcgn):
    for name, value in {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    status, _, err = skdcgn("run", "imagenet-smoke", "--out", tmp_path / "out")
    assert (status, err) == (
        2,
        "error: run is one process: start query, distill and ensemble by torchrun instead, one after another\n",
    )


def test_a_stage_begins_with_its_part_of_a_preset(tmp_path, skdcgn):
    query = ["query", "imagenet-smoke", "--preset", "imagenet-smoke", "--out", tmp_path, "--background", "8"]
    status, said, _ = skdcgn(*query)
    assert (status, said) == (
        0,
        "shape: 160 queries, texture: 160 queries, background: 8 queries; of each, 32 more are held out (--held-out)\n",
    )
    status, _, err = skdcgn("ensemble", "--preset", "imagenet-smoked", "--real", "x", "--out", tmp_path)
    assert (status, err) == (2, "error: unknown preset 'imagenet-smoked': did you mean 'imagenet-smoke'?\n")
