"""``skdcgn run imagenet-smoke``: the whole ImageNet path with a small teacher, killed and resumed."""

import json

import pytest
from PIL import Image

from skdcgn.base.config import ImageNetConfig
from skdcgn.base.errors import UserError
from skdcgn.base.presets import IMAGENET_RUNS, RUNS
from skdcgn.base.records import override
from skdcgn.cgn.mechanism import Spec
from skdcgn.data.categories import CATEGORIES
from skdcgn.data.stand_in import NINE, TEST, TRAIN, stand_in
from skdcgn.experiments.run_imagenet import run_imagenet

CHANGES = {"ensemble.epochs": 1, "distill.steps": 20, "ensemble.counterfactuals": 8}
CONFIG = override(IMAGENET_RUNS["imagenet-smoke"], CHANGES)
SHORT = ["--device", "cpu", *(f"--{path.replace('.', '-')}={value}" for path, value in CHANGES.items())]
HEADS = {"ensemble", "shape", "texture", "background"}


def written(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_one_command_takes_the_whole_path_and_goes_on_after_a_kill(tmp_path, skdcgn):
    def kill_after_the_second_ensemble(name, total):
        def tell(done, losses=None):
            if (name, done) == ("ensemble teacher", total):  # it is trained, its scores are not yet written
                raise KeyboardInterrupt

        return tell

    with pytest.raises(KeyboardInterrupt):
        run_imagenet(CONFIG, tmp_path, device="cpu", watch=kill_after_the_second_ensemble)
    before = {n: t for n, t in written(tmp_path).items() if n.split("/")[0] in ("pairs", "students", "stand-in")}
    plain = (tmp_path / "ensembles" / "plain" / "result.json").read_bytes()
    assert not (tmp_path / "ensembles" / "teacher" / "result.json").exists()

    command = ["run", "imagenet-smoke", "--out", tmp_path, *SHORT]
    status, said, _ = skdcgn(*command)
    assert status == 0
    assert before.items() <= written(tmp_path).items()
    assert (tmp_path / "ensembles" / "plain" / "result.json").read_bytes() == plain

    results = json.loads((tmp_path / "results.json").read_text())
    assert results["stand_in"]
    assert results["parameters"]["student"] < results["parameters"]["teacher"] == 610_408
    assert results["queries"] == {"shape": 160, "texture": 160, "background": 160}
    assert list(results["ensembles"]) == ["plain", "teacher", "student"]
    for scores in results["ensembles"].values():
        assert list(scores) == ["top-1", "top-5", "shape bias", "mixed_rand", "mixed_same", "original", "BG-gap"]
        assert scores["top-1"]["images"] == TEST
        assert all(set(score["percent"]) <= HEADS for score in scores.values())
        assert scores["top-1"]["percent"]["ensemble"] <= scores["top-5"]["percent"]["ensemble"]
    assert results["ensembles"]["teacher"] != results["ensembles"]["student"]
    page = (tmp_path / "report.html").read_text()
    assert "shape bias, texture head" in page
    assert "These numbers only show that every" in page
    assert "top-1 accuracy" not in page  # no finding from a stand-in
    assert "shape bias, texture head" in said

    whole = written(tmp_path)
    assert skdcgn(*command)[:2] == (0, said)
    changed = {name for name, at in written(tmp_path).items() if whole.get(name) != at}
    assert changed == {"report.html"}  # which is written again from what is there
    assert skdcgn("evaluate", tmp_path)[1] + f"report: {tmp_path / 'report.html'}\n" == said


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
