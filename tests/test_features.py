"""Feature extractors of the Gram loss: random, EfficientNet-Lite0, a VGG16 file, a trained classifier; all frozen."""

import pytest
import torch
import torch.nn.functional as F

from skdcgn.base.config import ClassifyConfig
from skdcgn.base.errors import UserError
from skdcgn.classifiers.small_cnn import Classify
from skdcgn.features.perceptual import TextureEnergy, load_features
from skdcgn.training.losses import style_l1
from skdcgn.training.run_folder import RunFolder

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_random_features_are_the_same_everywhere_and_separate_colours():
    extract = load_features("random")
    first, again = extract(IMAGES), load_features("random")(IMAGES)
    assert [tuple(f.shape) for f in first] == [(2, 32, 32, 32), (2, 32, 16, 16)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    red, green = torch.zeros(2, 1, 3, 32, 32)
    red[:, 0], green[:, 1] = 1, 1
    assert style_l1(extract(red), extract(green)) > 10 * style_l1(extract(red), extract(red * 0.99))


def test_texture_energy_distinguishes_textures_but_not_their_phases():
    energy = TextureEnergy()
    assert [tuple(f.shape) for f in energy(IMAGES)] == [(2, 16, 32, 32), (2, 16, 16, 16), (2, 16, 8, 8)]
    columns = torch.arange(32.0).expand(1, 3, 32, 32)
    stripes, wide = (columns * torch.pi / width for width in (3, 9))
    energies = {
        name: torch.stack([f[..., 2:-2, 2:-2].mean() for f in energy(x.sin())])
        for name, x in {"stripes": stripes, "moved": stripes + 1, "negative": stripes + torch.pi, "wide": wide}.items()
    }
    assert torch.allclose(energies["moved"], energies["stripes"], rtol=0.2)
    assert torch.allclose(energies["negative"], energies["stripes"], rtol=1e-4)
    assert energies["stripes"].argmax() < energies["wide"].argmax()  # finer stripes in a finer octave
    flat = energy(torch.full((1, 3, 32, 32), 0.5))
    assert all(float(f.abs().max()) < 1e-5 for f in flat)


def test_vgg16_returns_activations_before_the_first_four_pools(vgg16_file):
    state = torch.load(vgg16_file)
    activations = load_features(str(vgg16_file))(IMAGES)
    assert [tuple(f.shape[1:]) for f in activations] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    as_it_is = load_features(str(vgg16_file), normalised=False)(IMAGES)
    for x, layers in (((IMAGES + 1) / 2 - mean) / deviation, activations), (IMAGES, as_it_is):
        for index in (0, 2):
            x = F.relu(F.conv2d(x, state[f"features.{index}.weight"], padding=1))
        assert torch.allclose(layers[0], x, atol=1e-5)


def test_extractors_let_gradients_through_to_the_image_only(vgg16_file):
    extract = load_features(str(vgg16_file))
    image = IMAGES.clone().requires_grad_()
    extract(image)[-1].sum().backward()
    assert image.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in extract.parameters())


def test_a_classifiers_folder_gives_its_activations(tmp_path):
    torch.manual_seed(0)
    method, folder = Classify(ClassifyConfig()), RunFolder(tmp_path / "c", {"classes": 10})
    folder.save(method, 1)
    activations = load_features(str(tmp_path / "c"))(IMAGES)
    assert [tuple(f.shape[1:]) for f in activations] == [(32, 16, 16), (32, 16, 16), (64, 8, 8), (64, 8, 8)]
    assert all(float(f.min()) >= 0 and not f.requires_grad for f in activations)
    expected = method.modules["classifier"].eval().body[:4](IMAGES)
    assert torch.allclose(activations[0], expected, atol=1e-6)


def test_wrong_features_are_an_error(tmp_path, vgg16_file):
    with pytest.raises(UserError, match="no features called 'vgg'"):
        load_features("vgg")
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"features\.0\.bias is missing, VGG16 has \(64,\)"):
        load_features(str(tmp_path / "other.pth"))
    torch.save({name: torch.zeros(2) for name in torch.load(vgg16_file)}, tmp_path / "sizes.pth")
    with pytest.raises(UserError, match=r"is \(2,\), VGG16 has"):
        load_features(str(tmp_path / "sizes.pth"))


def test_efficientnet_returns_four_layers_fine_to_coarse():
    features = load_features("efficientnet-lite0")
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1)) * 2 - 1
    outputs = features(images)
    assert [tuple(t.shape[1:]) for t in outputs] == [(16, 112, 112), (24, 56, 56), (40, 28, 28), (112, 14, 14)]
    assert not any(p.requires_grad for p in features.parameters())
    model, inputs = features.model, []
    for index, block in enumerate(model._blocks):  # what the package itself computes on its way
        block.register_forward_hook(lambda _m, args, _out, index=index: inputs.append(args[0]))
    model.extract_features((127.5 * images + 127.5 - 127) / 128)
    for index, output in zip((1, 3, 5, 11), outputs, strict=True):
        torch.testing.assert_close(inputs[index], output, rtol=1e-3, atol=1e-4)
