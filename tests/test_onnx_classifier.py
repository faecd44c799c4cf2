"""Classifiers in ONNX files: size, layout, range and names are read from the file, and what is none is refused."""

import json

import numpy as np
import pytest
import torch

from onnx_classifiers import write_colour_classifier
from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.classifiers.any import open_classifier

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
COLOURS = ("red", "green", "blue")


def pictures(count=6, size=20):
    """Pictures in [-1, 1] in which one channel is brightest, and which one."""
    labels = torch.arange(count) % 3
    images = torch.rand(count, 3, size, size, generator=generator("pictures")) - 1
    images[torch.arange(count), labels] += 1
    return images, labels


def test_a_linear_classifier_of_scikit_learn_is_read_by_its_metadata(tmp_path):
    """Trained there on mean colours in [0, 1], written by hand: its decisions are those of scikit-learn."""
    from sklearn.linear_model import LogisticRegression

    images, labels = pictures(60, 8)
    means = (images / 2 + 0.5).mean((2, 3)).numpy()
    trained = LogisticRegression(fit_intercept=False).fit(means, labels.numpy())
    metadata = {"names": str(dict(enumerate(COLOURS))), "task": "classify", "imgsz": "[8, 8]"}
    path = write_colour_classifier(tmp_path / "x.onnx", side="S", metadata=metadata, weight=trained.coef_.T)
    opened = open_classifier(path)
    assert np.allclose(opened.probabilities(images), trained.predict_proba(means), atol=1e-4)
    assert (opened.size, opened.classes.names, str(opened.preprocess)) == (8, COLOURS, "unit")
    line = str(opened)
    assert "is an ONNX file: pictures of 8 pixels" in line
    assert "unit (as it states)" in line
    assert "3 classes as it names them (red, green, blue)" in line


@pytest.mark.parametrize("last", [False, True])
def test_both_layouts_and_pictures_of_another_size(last, tmp_path):
    images, labels = pictures()
    opened = open_classifier(write_colour_classifier(tmp_path / "x.onnx", last=last))
    assert opened.size == 8
    assert torch.equal(opened.probabilities(images).argmax(1), labels)


def test_grey_levels_half_precision_and_one_picture_at_a_time(tmp_path):
    images, _ = pictures(5, 8)
    levels = (127.5 * images + 127.5).round()
    bytes_ = open_classifier(write_colour_classifier(tmp_path / "u.onnx", kind="UINT8", weight=np.eye(3)))
    assert torch.allclose(bytes_.probabilities(images), levels.mean((2, 3)).softmax(1), atol=1e-5)
    single = open_classifier(write_colour_classifier(tmp_path / "1.onnx", batch=2), preprocess="signed")
    half = open_classifier(write_colour_classifier(tmp_path / "h.onnx", kind="FLOAT16"), preprocess="signed")
    expected = (9 * images.mean((2, 3))).softmax(1)
    assert torch.allclose(single.probabilities(images), expected, atol=1e-5)
    assert torch.allclose(half.probabilities(images), expected, atol=1e-2)


@pytest.mark.parametrize(
    ("metadata", "preprocess", "names"),
    [
        ({"class_names": json.dumps(COLOURS), "mean": "[0.5, 0.4, 0.3]", "std": "0.25"}, (0.5, 0.4, 0.3), COLOURS),
        ({"labels": "red\ngreen\nblue", "Image.NominalPixelRange": "Normalized_1_1"}, (0.5,) * 3, COLOURS),
        ({"classes": "red, green,blue", "Image.BitmapPixelFormat": "Bgr8"}, (0.485, 0.456, 0.406), COLOURS),
        ({"task": "detect", "mean": "a", "std": "[1"}, (0.485, 0.456, 0.406), ()),
    ],
)
def test_metadata_of_several_exporters(metadata, preprocess, names, tmp_path):
    opened = open_classifier(write_colour_classifier(tmp_path / "x.onnx", metadata=metadata))
    assert (opened.preprocess.mean, opened.classes.names) == (preprocess, names)
    assert opened.preprocess.bgr == ("Image.BitmapPixelFormat" in metadata)


def test_a_flag_replaces_what_the_file_says(tmp_path):
    path = write_colour_classifier(tmp_path / "x.onnx", metadata={"task": "classify", "names": str(list(COLOURS))})
    opened = open_classifier(path, preprocess="signed", names=("a", "b", "c"))
    assert str(opened.preprocess) == "signed"
    assert opened.classes.names == ("a", "b", "c")


def two_inputs(model):
    model.graph.input.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [1]))


def of_one_channel(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((1, 3), np.float32), "w"))


def with_spec(model):
    onnx.helper.set_model_props(model, {"spec": "{}"})


def nameless_zero(model):
    onnx.helper.set_model_props(model, {"names": "{1: 'a', 2: 'b', 3: 'c'}"})


def too_few_names(model):
    onnx.helper.set_model_props(model, {"names": "['a', 'b']"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (two_inputs, r"has 2 inputs \(x, z\): a classifier has one input"),
        (of_one_channel, r"its input has shape \('B', 1, 8, 8\)"),
        (with_spec, "is a CGN, not a classifier"),
        (nameless_zero, "names in its metadata names 3 classes, and none is 0"),
        (too_few_names, "answers 3 numbers to an image, and there are 2 names"),
    ],
)
def test_a_file_that_is_no_classifier_is_refused(change, words, tmp_path):
    path = write_colour_classifier(tmp_path / "x.onnx")
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    with pytest.raises(UserError, match=f"^[^\n]*x.onnx[^\n]*{words}[^\n]*$"):
        open_classifier(path)


def test_a_size_that_a_file_does_not_take_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"^[^\n]*does not take pictures of 9 pixels [^\n]*$"):
        open_classifier(write_colour_classifier(tmp_path / "x.onnx"), size=9)
