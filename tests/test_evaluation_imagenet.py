"""ImageNet's top-k, shape bias and ImageNet-9 against numbers counted by hand, whatever the last batch's size."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

from skdcgn.base.config import EnsembleConfig, Heads
from skdcgn.base.errors import UserError
from skdcgn.base.records import from_dict, to_dict
from skdcgn.cgn.classes import Classes
from skdcgn.classifiers.backbones import load_backbone
from skdcgn.classifiers.ensemble import Ensemble, train_ensemble
from skdcgn.data.categories import CATEGORIES
from skdcgn.data.counterfactuals import stream_from_cgn
from skdcgn.data.folders import list_photos
from skdcgn.data.imagenet_classes import WORDNET_IDS
from skdcgn.evaluation.heads import by_head
from skdcgn.evaluation.imagenet import (
    Share,
    bg_gap,
    in9_accuracy,
    measure_ensemble,
    open_challenges,
    top_k,
)
from skdcgn.evaluation.in9 import in9_variants, read_in9_map
from skdcgn.evaluation.scores import HEADS, CueCounts, CueDecisions, HeadScores
from skdcgn.evaluation.shape_bias import ShapeBias, conflicts_among, list_cue_conflicts, shape_bias
from skdcgn.results.head_lines import cue_scope, head_lines, head_sentences

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


def test_top_1_and_top_5_are_counted_per_image(tmp_path):
    for label in range(8):
        paint(tmp_path / f"n{label}" / "right.png", label)
    paint(tmp_path / "n3" / "fourth.png", 0)  # says 0, 1, 2, 3, 4
    paint(tmp_path / "n0" / "fifth.png", 4)  # says 4, 5, 6, 7, 0
    paint(tmp_path / "n5" / "sixth.png", 0)
    shares = top_k(reads(8), list_photos(tmp_path), 32, batch_size=5)["ensemble"]
    assert shares == {1: Share(8, 11), 5: Share(10, 11)}  # in batches of 5, 5 and 1
    assert shares[1].percent == pytest.approx(100 * 8 / 11)


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


def test_shape_bias_is_shape_over_shape_and_texture_where_cues_disagree(cues):
    names = [min(ids) for ids in CATEGORIES.values()]  # one class each: the classifier's order is the categories'
    bias = shape_bias(reads(16, step=10), list_cue_conflicts(cues), names, 32, batch_size=5)["ensemble"]
    assert bias == (3, 2, 8)
    assert bias.percent == 60.0


def test_shape_bias_means_over_a_categorys_classes(cues):
    """A category of many classes must not win by their number: here each dog has less than the one bear."""
    dogs = sorted(CATEGORIES["dog"])
    names = [*(min(ids) for name, ids in CATEGORIES.items() if name != "dog"), *dogs]

    def logits(images):
        values = torch.full((len(images), len(names)), -20.0)
        values[:, 1], values[:, 15:] = 0.0, -1.0  # bear; every dog
        return {"ensemble": values}

    bears = list_cue_conflicts(cues)
    assert shape_bias(logits, bears, names, 32)["ensemble"] == (3, 1, 8)


def test_a_classifier_of_some_categories_decides_among_them_on_the_conflicts_between_them(cues, tmp_path):
    """As Imagenette's classes: a dog, a truck and others."""
    paint(tmp_path / "cues" / "dog" / "dog1-truck1.png", 0)
    paint(tmp_path / "cues" / "truck" / "truck1-dog1.png", 0)
    paint(tmp_path / "cues" / "truck" / "truck1-dog2.png", 1)
    names = ("n02102040", "n03417042", "n01440764")
    conflicts = conflicts_among(list_cue_conflicts(tmp_path / "cues"), ("dog", "truck"))
    assert (len(conflicts.files), conflicts.left_out) == (3, 8)
    biases = shape_bias(reads(3), list_cue_conflicts(tmp_path / "cues"), names, 32, batch_size=2)
    assert biases["ensemble"] == (2, 1, 3)  # two dogs are said: one is the shape; and the truck's shape
    assert shape_bias(reads(3), conflicts, names, 32) == biases
    opened = open_challenges(names, cue_conflict=tmp_path / "cues")
    assert opened.files == conflicts.files


def test_a_tench_never_takes_a_decision_of_the_sixteen(cues):
    def logits(images):
        return {"ensemble": torch.tensor([[9.0, 1.0, 0.0]]).expand(len(images), -1)}  # a tench, then a bear

    names = ("n01440764", min(CATEGORIES["bear"]), min(CATEGORIES["cat"]))
    assert shape_bias(logits, list_cue_conflicts(cues), names, 32)["ensemble"] == (2, 1, 3)


def test_no_conflict_between_the_categories_of_a_classifier_is_one_line(cues):
    with pytest.raises(
        UserError, match="no cue conflict is between two of boat, bottle, the only categories"
    ) as caught:
        open_challenges(("boat", "bottle"), cue_conflict=cues)
    assert "\n" not in str(caught.value)


def test_the_published_gap_is_that_of_shape_and_texture(tmp_path):
    """Each head alone, the two and the three disagree about which pictures are right: counted by hand."""
    heads = torch.zeros(3, 1, 9)
    heads[0, 0, 1], heads[1, 0, 0], heads[2, 0, 1] = 1.0, 3.0, 2.5  # bird, dog, bird
    logits = by_head(("shape", "texture", "background"), heads)
    assert {head: int(values.argmax()) for head, values in logits.items()} == {
        "ensemble": 1, "shape + texture": 0, "shape": 1, "texture": 0, "background": 1
    }  # fmt: skip
    assert torch.equal(logits["shape + texture"], (heads[0] + heads[1]) / 2)
    for variant, wrong in (("mixed_same", 1), ("mixed_rand", 4)):
        nine_folders(tmp_path, variant, wrong)
    plain = reads(9, step=10)

    def with_heads(images):  # the two are right where the picture is, the three never
        right = plain(images)["ensemble"]
        return by_head(("shape", "texture", "background"), torch.stack([0 * right, right, -3 * right]))

    gaps = bg_gap(in9_accuracy(with_heads, in9_variants(tmp_path), torch.arange(9), 32))
    assert gaps["shape + texture"] == gaps["texture"] == pytest.approx(100 * 3 / 62)
    assert list(gaps) == list(HEADS)


def test_a_classifier_of_one_head_is_measured_as_the_ensemble_alone(cues, tmp_path):
    for variant in ("mixed_same", "mixed_rand"):
        nine_folders(tmp_path / "in9", variant, 0)
    (tmp_path / "in_to_in9.json").write_text(json.dumps({str(i): i % 9 for i in range(16)}))
    names = tuple(CATEGORIES)
    classifier = Ensemble(load_backbone("small", width=2, weights="none"), len(names), 8, Heads.ONE)
    challenges = open_challenges(names, cue_conflict=cues, in9_folder=tmp_path / "in9")
    scores = measure_ensemble(classifier, names, 8, challenges)
    assert list(scores) == ["shape bias", "mixed_rand", "mixed_same", "BG-gap"]
    assert all(list(score.percent) == ["ensemble"] for score in scores.values())
    assert list(scores["shape bias"].cues.decisions) == ["ensemble"]
    assert [line.measure for line in head_lines({"one": scores})] == list(scores)


def test_decisions_stand_beside_the_ratio():
    counts = CueCounts({"ensemble": CueDecisions(197, 622)}, ("dog", "truck"), left_out=80)
    bias = HeadScores(1200, {"ensemble": 100 * 197 / 819}, counts)
    assert list(head_sentences("shape bias", bias)) == [
        "ensemble: shape bias 24.1 %, 197 shape, 622 texture of 1,200 images"
    ]
    two, one = {"shape bias": replace(bias, percent={**bias.percent, "shape": None})}, {"shape bias": bias}
    lines = head_lines({"real": one, "counterfactuals": two})
    assert [(line.measure, line.images) for line in lines] == [
        ("shape bias, ensemble", "1,200"),
        ("shape bias, shape head", "1,200"),
    ]
    assert [*map(str, lines[0].values)] == ["24.1 (197 shape, 622 texture)"] * 2
    assert lines[0].values[0].stacked.splitlines() == ["24.1", "197 shape", "622 texture"]
    assert [*map(str, lines[1].values)] == ["not measured"] * 2
    assert head_lines({"real": one})[0].measure == "shape bias"
    assert cue_scope(one) == (
        "shape bias: among dog, truck, for which the classifier has classes; 80 other cue conflicts left out"
    )
    assert from_dict(HeadScores, to_dict(bias)) == bias
    assert from_dict(HeadScores, {"images": 3, "percent": {"ensemble": 1.0}}).cues is None


def test_no_decision_at_all_is_no_number():
    assert ShapeBias(0, 0, 8).percent is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cat/cat1.png", "cat1.png does not state its shape and texture"),
        ("cat/dog1-bear2.png", "does not state"),
        ("cat/cat1-lion2.png", "does not state"),
        ("lion/lion1-cat1.png", "has the class 'lion', which the set of sixteen categories lacks"),
    ],
)
def test_a_stimulus_whose_name_does_not_state_its_cues_is_an_error(name, words, cues):
    paint(cues / name, 0)
    with pytest.raises(UserError, match=words):
        list_cue_conflicts(cues)


def test_a_folder_without_a_conflict_is_an_error(tmp_path):
    paint(tmp_path / "cat" / "cat1-cat2.png", 0)
    with pytest.raises(UserError, match="disagree"):
        list_cue_conflicts(tmp_path)


def nine_folders(folder, variant, wrong):
    """Seven images of each of the nine, but for one less dog; the first ``wrong`` dogs look like the next class."""
    for label, name in enumerate(NINE):
        for index in range(7 if label else 6):
            level = label + 1 if not label and index < wrong else label
            paint(folder / variant / "val" / f"{label:02d}_{name}" / f"{index}.png", 10 * level)


def test_the_gap_between_backgrounds_is_counted_per_image(tmp_path):
    for variant, wrong in (("mixed_same", 1), ("mixed_rand", 4), ("original", 0)):
        nine_folders(tmp_path, variant, wrong)
    for batch in (5, 62, 64):  # divided by batch size times batches, it would be 3 of 65, 62 or 64
        shares = in9_accuracy(reads(9, step=10), in9_variants(tmp_path), torch.arange(9), 32, batch_size=batch)
        assert {name: by["ensemble"] for name, by in shares.items()} == {
            "mixed_rand": Share(58, 62), "mixed_same": Share(61, 62), "original": Share(62, 62)
        }  # fmt: skip
        assert bg_gap(shares)["ensemble"] == pytest.approx(100 * 3 / 62)
    assert bg_gap({"mixed_same": shares["mixed_same"]}) == {}


def test_classes_reach_the_nine_by_the_data_sets_json_and_others_are_wrong(tmp_path):
    nine_folders(tmp_path, "original", 0)
    (tmp_path / "map.json").write_text(json.dumps({str(i): i if i != 2 else -1 for i in range(9)}))
    shares = in9_accuracy(
        reads(9, step=10), in9_variants(tmp_path), read_in9_map(tmp_path / "map.json", Classes("it", 9)), 32
    )
    assert shares["original"]["ensemble"] == Share(55, 62)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({str(i): 0 for i in range(8)}, "which of ImageNet-9's classes class 8 of 9 is"),
        ({str(i): 9 if i == 4 else 0 for i in range(9)}, "class 4 of 9"),
        ([0] * 9, "should be an object, .*: pass ImageNet-9's in_to_in9.json"),
        ({str(i): True for i in range(9)}, "0: input should be a valid integer"),
        ({str(i): 1.0 for i in range(9)}, "0: input should be a valid integer"),
    ],
)
def test_a_wrong_map_is_an_error(values, words, tmp_path):
    (tmp_path / "map.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=words):
        read_in9_map(tmp_path / "map.json", Classes("it", 9))


def test_a_folder_that_is_no_imagenet_9_is_an_error(tmp_path):
    with pytest.raises(UserError, match="has no pictures in a folder such as mixed_rand/val"):
        in9_variants(tmp_path)
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        in9_variants(tmp_path / "nowhere")
    paint(tmp_path / "mixed_same" / "val" / "00_dog" / "0.png", 0)
    with pytest.raises(UserError, match="val has 1 sub-folders: ImageNet-9 has nine"):
        in9_variants(tmp_path)


DOWNLOAD = ("mixed_next", "mixed_rand", "mixed_same", "no_fg", "only_bg_b", "only_bg_t", "only_fg", "original")


def test_the_public_download_is_read_as_it_unpacks(tmp_path, caplog):
    for variant in DOWNLOAD:
        nine_folders(tmp_path, variant, 0)
    for label, name in enumerate(NINE):  # foreground masks, as arrays of NumPy
        file = tmp_path / "fg_mask" / "val" / f"{label:02d}_{name}" / "fg_n02085936_10130.npy"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"\x93NUMPY")
    (tmp_path / "._original").write_bytes(b"\0")
    with caplog.at_level("INFO"):
        challenges = open_challenges(NINE, in9_folder=tmp_path)
    assert set(challenges.in9) == set(DOWNLOAD)
    assert len(challenges.files) == 8 * 62
    assert f"{tmp_path}: no pictures in fg_mask, left out" in caplog.text


def test_a_folder_that_does_not_exist_is_refused_though_a_map_is_given(tmp_path):
    (tmp_path / "map.json").write_text(json.dumps({str(i): i for i in range(9)}))
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        open_challenges(NINE, in9_folder=tmp_path / "nowhere", in9_map=tmp_path / "map.json")


def test_the_command_line_trains_and_measures(tmp_path, cues, skdcgn):
    real, out = tmp_path / "real", tmp_path / "out"
    for label in range(10):
        paint(real / f"{label}" / "0.png", 20 * label)
    train = ["ensemble", "--real", real, "--out", out, "--image-size", "16", "--width", "2", "--epochs", "1",
             "--counterfactuals", "4", "--device", "cpu"]  # fmt: skip
    status, _, err = skdcgn(*train)
    assert (status, err) == (2, "error: pass counterfactuals either by --cgn or by --images\n")
    status, said, _ = skdcgn(*train, "--cgn", "double-colored-digits")
    assert (status, said) == (0, f"ensemble: {out}\n")
    status, said, _ = skdcgn("evaluate", out, "--images", real, "--device", "cpu")
    assert status == 0
    in9, damaged = tmp_path / "downloads" / "in9", shutil.copytree(real, tmp_path / "damaged")
    nine_folders(in9, "original", 0)
    (damaged / "0" / "1.png").write_bytes(b"no picture")
    assert [line[: line.index("-") + 2] for line in said.splitlines()] == [f"{h}: top-{k}" for k in "15" for h in HEADS]
    assert all(line.endswith(" % of 10 images") for line in said.splitlines())
    for words, expected in (
        ([out], "name images to measure it on"),
        ([out, "--cue-conflict", cues / "nowhere"], "no folder"),
        ([out, "--in9", in9], "no in_to_in9.json in"),
        ([out, "--images", damaged], "0/1.png is not a picture"),
        (
            ["double-colored-digits", "--in9", tmp_path],
            "Unknown option: --in9. ",
        ),
    ):
        status, _, err = skdcgn("evaluate", *words, "--device", "cpu")
        assert (status, err.count("\n")) == (2, 1)
        assert expected in err


def test_every_metric_of_an_ensemble_of_sixteen_classes(tmp_path, cues, analytic_teacher):
    for name in CATEGORIES:
        paint(tmp_path / "real" / name / "0.png", 50)
    nine_folders(tmp_path / "in9", "mixed_same", 0)
    nine_folders(tmp_path / "in9", "mixed_rand", 0)
    (tmp_path / "in_to_in9.json").write_text(json.dumps({str(i): i % 9 for i in range(16)}))
    source = stream_from_cgn(analytic_teacher, 4)._replace(classes=Classes("it", 16))
    config = EnsembleConfig(width=2, image_size=8, epochs=1, counterfactuals=4)
    ensemble = train_ensemble(tmp_path / "real", source, config, tmp_path / "out", device="cpu")
    names = tuple(CATEGORIES)
    folders = {"images": tmp_path / "real", "in9_folder": tmp_path / "in9"}
    scores = measure_ensemble(ensemble, names, 8, open_challenges(names, **folders))
    assert list(scores) == ["top-1", "top-5", "mixed_rand", "mixed_same", "BG-gap"]
    assert all(tuple(score.percent) == HEADS for score in scores.values())
    assert [score.images for score in scores.values()] == [16, 16, 62, 62, 62]
    assert scores["BG-gap"].percent["ensemble"] == 0.0
    scores = measure_ensemble(ensemble, names, 8, open_challenges(names, cue_conflict=tmp_path / "cues"))
    assert list(scores) == ["shape bias"]
    assert scores["shape bias"].images == 8
    assert scores["shape bias"].cues.categories == names
    assert scores["shape bias"].cues.left_out == 0


def test_some_of_imagenets_classes_are_found_in_its_map_by_their_wordnet_ids(tmp_path):
    dogs = [WORDNET_IDS.index(name) for name in CATEGORIES["dog"]]
    (tmp_path / "map.json").write_text(json.dumps({str(i): 0 if i in dogs else -1 for i in range(1000)}))
    names = ("n02099601", "n01440764", "n02085936")  # a golden retriever, a tench, a Maltese dog
    assert read_in9_map(tmp_path / "map.json", Classes("it", 3, names)).tolist() == [0, -1, 0]
    with pytest.raises(UserError, match=r"class 1 of 2 is \(tench\): .*WordNet ids"):
        read_in9_map(tmp_path / "map.json", Classes("it", 2, ("n02099601", "tench")))


def test_nine_classes_of_imagenet_9_are_matched_by_name(tmp_path):
    nine_folders(tmp_path, "original", 0)
    turned = open_challenges(NINE[::-1], in9_folder=tmp_path).in9_map
    assert turned.tolist() == list(range(9))[::-1]
    assert open_challenges([f"{i:02d}_{name}" for i, name in enumerate(NINE)], in9_folder=tmp_path).in9_map[3] == 3
    with pytest.raises(UserError, match=r"the ensemble has the class 'cat', which .*: take a classifier of"):
        open_challenges(("cat", *NINE[1:]), in9_folder=tmp_path)
