"""Names of classes from a user's folders to every table: teach, distill, generate, classify, evaluate, export."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from PIL import Image

from skdcgn.base.config import ClassifyConfig, DistillConfig, EnsembleConfig, QueryConfig, StudentConfig, TeachConfig
from skdcgn.base.door import read_json
from skdcgn.base.errors import UserError
from skdcgn.classifiers.ensemble import load_ensemble, train_ensemble
from skdcgn.classifiers.small_cnn import classify, read_form
from skdcgn.cli.terminal import show_classifier
from skdcgn.data.counterfactuals import read_counterfactuals, stream_from_file
from skdcgn.data.folders import load_pictures
from skdcgn.data.images import LabelledImages
from skdcgn.deploy.generate import write_counterfactuals
from skdcgn.evaluation.measure import compare_with_pairs
from skdcgn.experiments.evaluate import evaluate_cgn, evaluate_ensemble
from skdcgn.experiments.evaluate_classifier import evaluate_classifier
from skdcgn.students.distill import distill
from skdcgn.teachers.load import load_student, load_teacher
from skdcgn.teachers.teach import teach

FRUIT = {"Apple": "red", "banana": "yellow", "cherry": "purple"}
NAMES = tuple(FRUIT)
ONE = StudentConfig(channels=(4, 4), embedding=2)
TINY = DistillConfig(steps=2, batch_size=6, shape=ONE, texture=ONE, background=ONE)
BUDGET = QueryConfig(shape=12, texture=12, background=12, held_out=12)


def paint(folder: Path, colours: dict[str, str]) -> Path:
    """Write four squares of one colour in a sub-folder per class."""
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True)
        for index in range(4):
            picture = Image.new("RGB", (32, 32), colour)
            picture.paste("white", (4 + index, 8, 16, 24))
            picture.save(folder / name / f"{index}.png")
    return folder


class Chain(NamedTuple):
    """What each verb of the chain wrote."""

    pictures: Path
    teacher: Path
    pairs: Path
    student: Path
    counterfactuals: Path
    classifier: Path


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    root = tmp_path_factory.mktemp("chain")
    pictures = paint(root / "fruit", FRUIT)
    config = TeachConfig(images=str(pictures), steps=1, batch_size=6)
    taught = teach(config, root / "teach", device="cpu", check=check_nothing)
    distill(taught, root / "distill", TINY, BUDGET, device="cpu")
    student = load_student(root / "distill" / "student")
    write_counterfactuals(student, root / "cf", 30)
    file = root / "cf" / "counterfactuals.safetensors"
    classify(read_counterfactuals(file), ClassifyConfig(epochs=1), root / "classifier", device="cpu", origin="cf")
    return Chain(
        pictures,
        root / "teach" / "teacher.safetensors",
        root / "distill" / "pairs",
        root / "distill" / "student",
        file,
        root / "classifier",
    )


def check_nothing(*_: object) -> object:
    raise AssertionError("a run of one step takes no samples")


def test_every_artifact_names_the_classes_of_the_folders(chain: Chain, tmp_path: Path) -> None:
    assert load_teacher(chain.teacher).spec.names == NAMES
    assert load_teacher(chain.student).spec.names == NAMES
    assert tuple(read_json(chain.pairs / "shape" / "train" / "manifest.json")["spec"]["names"]) == NAMES
    assert read_counterfactuals(chain.counterfactuals).names == NAMES
    assert stream_from_file(chain.counterfactuals, 1).classes.names == NAMES
    assert read_form(chain.classifier).names == NAMES


def test_a_table_of_pictures_has_numbers_and_names(chain: Chain, tmp_path: Path) -> None:
    write_counterfactuals(load_student(chain.student), tmp_path, 5, form="png")
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    for row in rows:
        assert [row[f"{part}_name"] for part in ("shape", "texture", "background")] == [
            NAMES[int(row[part])] for part in ("shape", "texture", "background")
        ]


def test_an_exported_file_names_the_classes(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an empty model: test_export.py exports whole ones."""
    onnx = pytest.importorskip("onnx")
    from skdcgn.deploy.export import exported

    empty = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    monkeypatch.setattr("skdcgn.deploy.export.to_onnx", lambda *_: empty.SerializeToString())
    model = onnx.load_from_string(exported(load_student(chain.student)))
    (entry,) = model.metadata_props
    assert entry.key == "spec"
    assert tuple(json.loads(entry.value)["names"]) == NAMES


def test_a_classifier_is_measured_on_the_same_classes_in_any_order(chain: Chain, tmp_path: Path) -> None:
    """The first letter is large, so that another spelling sorts the folders in another order."""
    whole = evaluate_classifier(chain.classifier, images=chain.pictures)
    assert whole.names == NAMES
    rows = dict(zip(whole.names, whole.confusion, strict=True))
    for name in ("banana", "cherry"):
        shutil.copytree(chain.pictures / name, tmp_path / "some" / name)
    some = evaluate_classifier(chain.classifier, images=tmp_path / "some")
    assert some.confusion == ((0, 0, 0), rows["banana"], rows["cherry"])
    right = rows["banana"][1] + rows["cherry"][2]
    assert some.ood_accuracy == pytest.approx(100 * right / 8)
    shutil.rmtree(tmp_path / "some" / "banana")
    one = evaluate_classifier(chain.classifier, images=tmp_path / "some")
    assert one.confusion == ((0, 0, 0), (0, 0, 0), rows["cherry"])


@pytest.mark.parametrize(
    ("renamed", "words"),
    [
        ({"Apple": "apple"}, r"has the class 'apple', which .* lacks .*did you mean 'Apple'\?.*--images"),
        ({"Apple": "date"}, r"has the class 'date', which .* lacks \(.* has 3 classes \(Apple, banana, cherry\)\)"),
    ],
)
def test_renamed_folders_are_refused(chain: Chain, tmp_path: Path, renamed: dict[str, str], words: str) -> None:
    for name in NAMES:
        shutil.copytree(chain.pictures / name, tmp_path / "fruit" / renamed.get(name, name))
    with pytest.raises(UserError, match=f"^[^\n]*{words}[^\n]*$"):
        evaluate_classifier(chain.classifier, images=tmp_path / "fruit")
    with pytest.raises(UserError, match=f"^[^\n]*{words}[^\n]*$"):
        evaluate_cgn(chain.student, images=tmp_path / "fruit", n=20, device="cpu")


def test_digits_are_no_fruit(chain: Chain) -> None:
    with pytest.raises(UserError, match=r"has the class '0', .* which .*classifier lacks .*--cgn"):
        evaluate_classifier(chain.classifier, images=chain.pictures, cgn="double-colored-digits")
    with pytest.raises(UserError, match=r"test set of double-colored-digits has the class '0'.*--images"):
        evaluate_classifier(chain.classifier)


def test_a_cgn_of_another_size_is_refused_by_name(chain: Chain, tmp_path: Path) -> None:
    data = load_pictures(chain.pictures, 64)
    large = replace(data, images=data.images / 127.5 - 1)
    classify(large, ClassifyConfig(epochs=1), tmp_path / "large", device="cpu", origin="large")
    with pytest.raises(UserError, match=r"large has images of 64 pixels, .*student of 32 pixels: .*--cgn"):
        evaluate_classifier(tmp_path / "large", images=chain.pictures, cgn=chain.student)


def test_the_sensitivity_is_measured_in_the_classifiers_order(chain: Chain, tmp_path: Path) -> None:
    data = read_counterfactuals(chain.counterfactuals).rows(torch.arange(30))
    turned = LabelledImages(data.images, 2 - data.labels, NAMES[::-1])
    classify(turned, ClassifyConfig(epochs=1), tmp_path / "turned", device="cpu", origin="turned")
    evaluation = evaluate_classifier(tmp_path / "turned", images=chain.pictures, cgn=chain.student)
    assert evaluation.names == NAMES[::-1]
    assert set(evaluation.sensitivity) == {"shape", "texture", "background"}


def test_a_student_is_compared_with_pairs_of_its_classes(chain: Chain) -> None:
    assert set(compare_with_pairs(load_student(chain.student), chain.pairs)) == {"shape", "texture", "background"}
    with pytest.raises(UserError, match=r"the CGN has the class '0'.*--pairs"):
        compare_with_pairs(load_teacher("double-colored-digits"), chain.pairs)


def test_an_ensemble_matches_counterfactuals_to_folders_by_name(chain: Chain, tmp_path: Path) -> None:
    config = EnsembleConfig(width=2, image_size=16, epochs=1, batch_size=6, counterfactuals=2)
    stream = stream_from_file(chain.counterfactuals, 2)
    train_ensemble(chain.pictures, stream, config, tmp_path / "ensemble", device="cpu")
    assert load_ensemble(tmp_path / "ensemble")[1] == NAMES
    assert evaluate_ensemble(tmp_path / "ensemble", images=chain.pictures, device="cpu")
    others = paint(tmp_path / "others", {"apple": "red", "banana": "yellow", "cherry": "purple"})
    with pytest.raises(UserError, match=r"has the class 'Apple', which .*others lacks .* did you mean 'apple'\?"):
        train_ensemble(others, stream, config, tmp_path / "other", device="cpu")
    with pytest.raises(UserError, match=r"'apple'"):
        evaluate_ensemble(tmp_path / "ensemble", images=others, device="cpu")


def test_tables_show_names(chain: Chain, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    evaluation = evaluate_classifier(chain.classifier, images=chain.pictures)
    show_classifier(evaluation)
    shown = capsys.readouterr().out
    assert all(shown.count(name) == 2 for name in NAMES)
    assert tuple(evaluation.to_dict()["names"]) == NAMES
    monkeypatch.setenv("COLUMNS", "30")
    show_classifier(evaluation)
    narrow = capsys.readouterr().out
    assert all(f"{number} {name}" in narrow for number, name in enumerate(NAMES))
