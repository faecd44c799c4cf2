"""ImageNet's top-k, shape bias and ImageNet-9 against numbers counted by hand, whatever the last batch's size."""

import json

import pytest
import torch
from PIL import Image

from skdcgn.base.config import EnsembleConfig
from skdcgn.base.errors import UserError
from skdcgn.classifiers.ensemble import train_ensemble
from skdcgn.data.categories import CATEGORIES
from skdcgn.data.counterfactuals import from_cgn
from skdcgn.data.photos import list_photos
from skdcgn.evaluation import imagenet
from skdcgn.evaluation.imagenet import Share, gap, in9, list_cues, measure, nine_of, open_tests, shape_bias, top_k

NINE = ("dog", "bird", "vehicle", "reptile", "carnivore", "insect", "instrument", "primate", "fish")


def paint(path, grey):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (grey, grey, grey)).save(path)


def reads(classes, step=1):
    """A classifier of plain grey: level g says class g // step, and after it the next ones in a circle."""

    def logits(images):
        level = ((images[:, 0, 0, 0] + 1) * 127.5).round().long() // step
        distance = (torch.arange(classes) - level[:, None]) % classes
        return {"ensemble": -distance.float(), "other": distance.float()}

    return logits


@pytest.fixture
def five_per_batch(monkeypatch):
    monkeypatch.setattr(imagenet, "BATCH", 5)


def test_top_1_and_top_5_are_counted_per_image(tmp_path, five_per_batch):
    for label in range(8):
        paint(tmp_path / f"n{label}" / "right.png", label)
    paint(tmp_path / "n3" / "fourth.png", 0)  # says 0, 1, 2, 3, 4
    paint(tmp_path / "n0" / "fifth.png", 4)  # says 4, 5, 6, 7, 0
    paint(tmp_path / "n5" / "sixth.png", 0)
    found = top_k(reads(8), list_photos(tmp_path), 32)["ensemble"]
    assert found == {1: Share(8, 11), 5: Share(10, 11)}  # in batches of 5, 5 and 1
    assert found[1].percent == pytest.approx(100 * 8 / 11)


def test_with_fewer_than_five_classes_all_are_among_the_five(tmp_path):
    for label in range(3):
        paint(tmp_path / f"n{label}" / "0.png", (label + 1) % 3)
    assert top_k(reads(3), list_photos(tmp_path), 32)["ensemble"] == {1: Share(0, 3), 5: Share(3, 3)}


@pytest.fixture
def cues(tmp_path):
    """Eight conflicts, whose grey decides for: 3 shapes, 2 textures, 3 others; and one image without a conflict."""
    number = {name: 10 * index for index, name in enumerate(CATEGORIES)}
    decided = [
        ("bear1-cat2", "bear"), ("bear2-cat1", "cat"), ("bear3-truck3", "dog"), ("cat1-bear10", "cat"),
        ("cat2-dog2", "dog"), ("cat3-dog1", "truck"), ("truck1-knife1", "truck"), ("truck2-knife1", "oven"),
        ("truck3-truck9", "truck"),
    ]  # fmt: skip
    for name, says in decided:
        paint(tmp_path / "cues" / name.split("-")[0].rstrip("123") / f"{name}.png", number[says])
    return tmp_path / "cues"


def test_shape_bias_is_shape_over_shape_and_texture_where_cues_disagree(cues, five_per_batch):
    names = [min(ids) for ids in CATEGORIES.values()]  # one class each: the classifier's order is the categories'
    found = shape_bias(reads(16, step=10), list_cues(cues), names, 32)["ensemble"]
    assert found == (3, 2, 8)
    assert found.percent == 60.0


def test_shape_bias_means_over_a_categorys_classes(cues):
    """A category of many classes must not win by their number: here each dog has less than the one bear."""
    dogs = sorted(CATEGORIES["dog"])
    names = [*(min(ids) for name, ids in CATEGORIES.items() if name != "dog"), *dogs]

    def logits(images):
        told = torch.full((len(images), len(names)), -20.0)
        told[:, 1], told[:, 15:] = 0.0, -1.0  # bear; every dog
        return {"ensemble": told}

    bears = list_cues(cues)
    assert shape_bias(logits, bears, names, 32)["ensemble"] == (3, 1, 8)


def test_no_decision_at_all_is_no_number():
    assert str(imagenet.ShapeBias(0, 0, 8).percent) == "nan"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cat/cat1.png", "cat1.png does not tell its shape and texture"),
        ("cat/dog1-bear2.png", "does not tell"),
        ("cat/cat1-lion2.png", "does not tell"),
        ("lion/lion1-cat1.png", "sub-folder 'lion', which is none of the 16"),
    ],
)
def test_a_stimulus_that_does_not_tell_its_cues_is_named(name, words, cues):
    paint(cues / name, 0)
    with pytest.raises(UserError, match=words):
        list_cues(cues)


def test_a_folder_without_a_conflict_is_told(tmp_path):
    paint(tmp_path / "cat" / "cat1-cat2.png", 0)
    with pytest.raises(UserError, match="disagree"):
        list_cues(tmp_path)


def nine_folders(folder, variant, wrong):
    """Seven images of each of the nine, but for one less dog; the first ``wrong`` dogs are taken for the next class."""
    for label, name in enumerate(NINE):
        for index in range(7 if label else 6):
            taken = label + 1 if not label and index < wrong else label
            paint(folder / variant / "val" / f"{label:02d}_{name}" / f"{index}.png", 10 * taken)


def test_the_gap_between_backgrounds_is_counted_per_image(tmp_path, monkeypatch):
    for variant, wrong in (("mixed_same", 1), ("mixed_rand", 4), ("original", 0)):
        nine_folders(tmp_path, variant, wrong)
    for batch in (5, 62, 64):  # divided by batch size times batches, it would be 3 of 65, 62 or 64
        monkeypatch.setattr(imagenet, "BATCH", batch)
        found = in9(reads(9, step=10), tmp_path, torch.arange(9), 32)
        assert {name: by["ensemble"] for name, by in found.items()} == {
            "mixed_rand": Share(58, 62), "mixed_same": Share(61, 62), "original": Share(62, 62)
        }  # fmt: skip
        assert gap(found)["ensemble"] == pytest.approx(100 * 3 / 62)
    assert gap({"mixed_same": found["mixed_same"]}) == {}


def test_classes_reach_the_nine_by_the_data_sets_json_and_others_are_wrong(tmp_path):
    nine_folders(tmp_path, "original", 0)
    (tmp_path / "map.json").write_text(json.dumps({str(i): i if i != 2 else -1 for i in range(9)}))
    found = in9(reads(9, step=10), tmp_path, nine_of(tmp_path / "map.json", 9), 32)
    assert found["original"]["ensemble"] == Share(55, 62)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({str(i): 0 for i in range(8)}, "which of the nine class 8 of 9 is"),
        ({str(i): 9 if i == 4 else 0 for i in range(9)}, "class 4 of 9"),
        ([0] * 9, "class 0 of 9"),
    ],
)
def test_a_map_that_is_none_is_told(told, words, tmp_path):
    (tmp_path / "map.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match=words):
        nine_of(tmp_path / "map.json", 9)


def test_a_folder_that_is_no_imagenet_9_is_told(tmp_path):
    with pytest.raises(UserError, match="has no mixed_rand/val or the like"):
        in9(reads(9), tmp_path, torch.arange(9), 32)
    paint(tmp_path / "mixed_same" / "val" / "00_dog" / "0.png", 0)
    with pytest.raises(UserError, match="val has 1 sub-folders: ImageNet-9 has nine"):
        in9(reads(9), tmp_path, torch.arange(9), 32)


def test_the_command_line_trains_and_measures(tmp_path, cues, skdcgn):
    real, out = tmp_path / "real", tmp_path / "out"
    for label in range(10):
        paint(real / f"n{label}" / "0.png", 20 * label)
    train = ["ensemble", "--real", real, "--out", out, "--image-size", "16", "--width", "2", "--epochs", "1",
             "--counterfactuals", "4", "--device", "cpu"]  # fmt: skip
    status, _, err = skdcgn(*train)
    assert (status, err) == (2, "error: pass counterfactuals either by --cgn or by --images\n")
    status, said, _ = skdcgn(*train, "--cgn", "double-colored-digits")
    assert (status, said) == (0, f"ensemble: {out}\n")
    status, said, _ = skdcgn("evaluate", out, "--images", real, "--device", "cpu")
    assert status == 0
    heads = ["ensemble", "shape", "texture", "background"]
    assert [line[: line.index("-") + 2] for line in said.splitlines()] == [f"{h}: top-{k}" for k in "15" for h in heads]
    assert all(line.endswith(" % of 10 images") for line in said.splitlines())
    for words, expected in (
        ([out], "say what to measure it by"),
        ([out, "--cue-conflict", cues / "nowhere"], "no folder"),
        ([out, "--in9", tmp_path], "no in_to_in9.json in or beside"),
        (
            ["double-colored-digits", "--in9", tmp_path],
            "--in9 measures an ensemble, and double-colored-digits is a CGN",
        ),
    ):
        status, _, err = skdcgn("evaluate", *words, "--device", "cpu")
        assert (status, err.count("\n")) == (2, 1)
        assert expected in err


def test_every_measure_of_an_ensemble_of_sixteen_classes(tmp_path, cues, analytic_teacher):
    for name in CATEGORIES:
        paint(tmp_path / "real" / name / "0.png", 50)
    nine_folders(tmp_path / "in9", "mixed_same", 0)
    nine_folders(tmp_path / "in9", "mixed_rand", 0)
    (tmp_path / "in_to_in9.json").write_text(json.dumps({str(i): i % 9 for i in range(16)}))
    source = from_cgn(analytic_teacher, 4)._replace(classes=16)
    config = EnsembleConfig(width=2, image_size=8, epochs=1, counterfactuals=4)
    ensemble = train_ensemble(tmp_path / "real", source, config, tmp_path / "out", device="cpu")
    names = tuple(CATEGORIES)
    given = {"images": tmp_path / "real", "in9_folder": tmp_path / "in9"}
    told = measure(ensemble, names, 8, open_tests(names, **given))
    assert list(told) == ["top-1", "top-5", "mixed_rand", "mixed_same", "BG-gap"]
    heads = {"ensemble", "shape", "texture", "background"}
    assert all(set(found.percent) == heads for found in told.values())
    assert [found.images for found in told.values()] == [16, 16, 62, 62, 62]
    assert told["BG-gap"].percent["ensemble"] == 0.0
    told = measure(ensemble, names, 8, open_tests(names, cue_conflict=tmp_path / "cues"))
    assert list(told) == ["shape bias"]
    assert told["shape bias"].images == 8
