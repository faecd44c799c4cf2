"""Evaluation of a folder or a name: classifiers, CGNs and runs, and what is refused."""

import pytest
import torch
from PIL import Image

from skdcgn.base.config import ClassifyConfig
from skdcgn.base.errors import UserError
from skdcgn.base.files import write_json
from skdcgn.base.seeds import generator
from skdcgn.classifiers.small_cnn import classify
from skdcgn.cli.terminal import show_cgn
from skdcgn.data.images import LabelledImages
from skdcgn.experiments.artifacts import artifact_kind
from skdcgn.experiments.evaluate import evaluate_cgn, evaluate_ensemble, evaluate_run
from skdcgn.experiments.evaluate_classifier import evaluate_classifier
from skdcgn.teachers.load import load_teacher


def trained(folder, classes, size):
    """A classifier of coloured squares that has taken a step."""
    labels = torch.arange(2 * classes) % classes
    images = torch.rand(len(labels), 3, size, size, generator=generator("evaluate")) * 2 - 1
    classify(LabelledImages(images, labels), ClassifyConfig(epochs=1), folder, origin={})


def test_a_classifier_of_other_classes_or_another_size_is_not_measured_on_a_presets_images(tmp_path):
    trained(tmp_path / "three", 3, 64)
    with pytest.raises(UserError, match=r"three has 3 classes without names, .* has 10 classes \(0, 1, .*--images"):
        evaluate_classifier(tmp_path / "three")
    trained(tmp_path / "large", 10, 64)
    with pytest.raises(UserError, match=r"large has images of 64 pixels, .* of 32 pixels: .*--images"):
        evaluate_classifier(tmp_path / "large")
    trained(tmp_path / "ten", 10, 32)
    evaluation = evaluate_classifier(tmp_path / "ten")
    counts = torch.tensor(evaluation.confusion)
    assert counts.shape == (10, 10)
    assert evaluation.ood_accuracy == pytest.approx(100 * float(counts.diag().sum() / counts.sum()), abs=1e-4)
    assert evaluation.sensitivity == {}


def test_a_cgn_that_draws_other_classes_than_the_classifier_knows_is_refused(tmp_path):
    trained(tmp_path / "two", 2, 32)
    for label in ("a", "b"):
        (tmp_path / "test" / label).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "test" / label / "0.png")
    assert evaluate_classifier(tmp_path / "two", images=tmp_path / "test").ood_accuracy == 50
    with pytest.raises(
        UserError, match=r"two has 2 classes without names, double-colored-digits has 10 classes .*--cgn"
    ):
        evaluate_classifier(tmp_path / "two", images=tmp_path / "test", cgn="double-colored-digits")


def test_a_cgn_of_other_pictures_than_the_presets_is_refused():
    with pytest.raises(
        UserError, match=r"the test set of .* has the class '0', .* which imagenet-smoke lacks .*--images"
    ):
        evaluate_cgn("imagenet-smoke")


def test_a_run_is_evaluated_only_where_there_is_one(tmp_path):
    trained(tmp_path, 2, 32)
    with pytest.raises(UserError, match="is a classifier, not a run"):
        evaluate_run(tmp_path)


def test_a_folder_of_another_kind_is_named(tmp_path):
    trained(tmp_path / "classifier", 3, 32)
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "results.json", {})
    with pytest.raises(UserError, match=r"run is a run, not a classifier: .*classifiers"):
        evaluate_classifier(tmp_path / "run")
    with pytest.raises(UserError, match=r"is a classifier, not an ensemble: .*skdcgn ensemble"):
        evaluate_ensemble(tmp_path / "classifier")
    with pytest.raises(UserError, match=r"no classifier .*none': pass a run folder"):
        evaluate_classifier(tmp_path / "none")


def test_a_folder_says_where_its_student_lies(tmp_path):
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "model.safetensors").touch()
    with pytest.raises(UserError, match=f"pass {tmp_path / 'student'}"):
        artifact_kind(tmp_path)
    (tmp_path / "begun" / "pairs").mkdir(parents=True)
    with pytest.raises(UserError, match="has not ended: repeat its command"):
        artifact_kind(tmp_path / "begun")


@pytest.mark.slow
def test_the_axioms_are_measured_by_classifiers_of_another_cgns_counterfactuals(tmp_path, capsys):
    budget = ClassifyConfig(images=320, epochs=1)
    teacher = load_teacher("double-colored-digits")
    evaluation = evaluate_cgn(
        teacher, n=120, mechanism_classifiers=tmp_path / "classifiers", teacher=teacher, budget=budget, device="cpu"
    )
    axioms = evaluation.to_dict()["axioms"]
    assert set(axioms["effectiveness"]) == {"none", "shape", "texture", "background"}
    show_cgn(evaluation)
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("effectiveness", "minimality", "composition 0 ", "realism", "digits@"))
    with pytest.raises(UserError, match="--mechanism-classifiers DIR"):
        evaluate_cgn(teacher, teacher=teacher)


def test_any_classifier_is_measured_on_photographs_cue_conflicts_and_a_cgn(tmp_path):
    """A classifier by mean colour, of another maker: its decisions are counted again by hand."""

    def by_colour(images):
        return 20 * images.mean((2, 3))

    colours = {"bear": (200, 0, 0), "cat": (0, 200, 0), "dog": (0, 0, 200)}
    for name, colour in colours.items():
        for folder, file in ((f"val/{name}", "0.png"), (f"cues/{name}", f"{name}1-cat1.png")):
            (tmp_path / folder).mkdir(parents=True)
            Image.new("RGB", (12, 12), colour).save(tmp_path / folder / file)
    folders = {"images": tmp_path / "val", "cue_conflict": tmp_path / "cues"}
    names = ("bear", "cat", "dog")
    scores = evaluate_classifier(by_colour, names=names, size=8, device="cpu", **folders).scores
    assert scores["top-1"].percent == {"ensemble": 100.0}
    assert (scores["shape bias"].percent["ensemble"], scores["shape bias"].images) == (100.0, 2)
    turned = evaluate_classifier(by_colour, names=names[::-1], size=8, device="cpu", images=tmp_path / "val")
    assert turned.scores["top-1"].percent["ensemble"] == pytest.approx(100 / 3)
    assert turned.ood_accuracy is None
    assert "is a callable: pictures of 8 pixels (as --size says), preprocess signed" in turned.classifier


def test_words_that_name_a_classifier_are_told_from_a_cgn():
    assert artifact_kind("efficientnet-lite0") == artifact_kind("package.module:network") == "a classifier"
    for words in ("double-colored-digits", "recorded:pairs", "http://127.0.0.1:8000", "https://example.org/cgn"):
        assert artifact_kind(words) == "a CGN"


def test_an_onnx_file_is_a_classifier_or_a_cgn(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from onnx_classifiers import write_colour_classifier

    assert artifact_kind(write_colour_classifier(tmp_path / "mine.onnx")) == "a classifier"
    assert artifact_kind(write_colour_classifier(tmp_path / "cgn.onnx", metadata={"spec": "{}"})) == "a CGN"
