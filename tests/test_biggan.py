"""BigGAN-deep: the public port as an oracle, statistics by truncation, and folding against torch's spectral norm."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from skdcgn.base.errors import UserError
from skdcgn.base.weights import on_meta, parameter_count
from skdcgn.teachers.biggan import (
    LAYOUTS,
    Attention,
    BigGAN,
    Norm,
    at_truncation,
    biggan_from,
    fold_spectral_norm,
    set_standing_statistics,
)

NOISE, LABELS = 0.5 * torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 5, 2])
PUBLISHED = {128: 50_388_609, 256: 55_880_833, 512: 56_163_905}  # "50.4M", "55.9M" and "56.2M"


def port(size, width=4, dim=8, classes=6):
    """The public port with the blocks of our layout."""
    package = pytest.importorskip("pytorch_pretrained_biggan", reason="pip install pytorch-pretrained-biggan (dev)")
    layout = LAYOUTS[size]
    blocks = [block for a, b in pairwise(layout.channels) for block in ((False, a, a), (True, a, b))]
    config = package.BigGANConfig(
        output_dim=size,
        z_dim=dim,
        class_embed_dim=dim,
        channel_width=width,
        num_classes=classes,
        layers=blocks,
        attention_layer_position=layout.attention,
    )
    return package.BigGAN(config)


@torch.no_grad()
def shaken(biggan):
    """Random statistics, attention and last norm, so that all of them matter; u and v by power iteration."""
    torch.manual_seed(1)
    for name, value in (*biggan.named_buffers(), *biggan.named_parameters()):
        if name.endswith("running_means"):
            value.normal_(0, 0.3)
        elif name.endswith("running_vars"):
            value.uniform_(0.3, 1.5)
        elif name.endswith(("gamma", "generator.bn.weight", "generator.bn.bias")):
            value.uniform_(0.3, 0.8)
    return biggan


@torch.no_grad()
def oracle(size):
    biggan = shaken(port(size)).train()
    for _ in range(3):
        biggan(NOISE, nn.functional.one_hot(LABELS, 6).float(), 0.5)
    return biggan.eval()


@pytest.fixture(scope="module")
def ours():
    torch.manual_seed(0)
    return shaken(BigGAN(64, noise_dim=8, classes=6, width=4))


@pytest.mark.parametrize("size", [64, 128, 256])
@torch.no_grad()
def test_the_public_port_draws_the_same(size):
    theirs = oracle(size)
    ours = biggan_from(theirs.state_dict(), "the port")
    for truncation in (0.02, 0.3, 1.0):
        images = ours(NOISE, LABELS, truncation)
        expected = theirs(NOISE, nn.functional.one_hot(LABELS, 6).float(), truncation)
        assert images.shape == (3, 3, size, size)
        assert images.std() > 0.05
        assert (images - expected).abs().max() < 1e-5, truncation


@pytest.mark.parametrize(("size", "count"), PUBLISHED.items())
def test_published_names_and_shapes_load_key_for_key(size, count):
    with torch.device("meta"):
        theirs = shaken(port(size, width=128, dim=128, classes=1000))  # the port leaves its last norm uninitialised
    ours = biggan_from(theirs.state_dict(), "the port")
    assert (ours.image_size, ours.noise_dim, ours.classes) == (size, 128, 1000)
    assert parameter_count(ours) == parameter_count(theirs) == count


@pytest.mark.parametrize(("size", "count"), PUBLISHED.items())
def test_parameters_are_the_published_ones(size, count):
    assert parameter_count(on_meta(BigGAN, size)) == count


@pytest.mark.parametrize("row", range(51))
def test_a_multiple_takes_its_own_row(row):
    table = torch.arange(51.0)[:, None]
    for truncation in {row / 50, round(0.02 * row, 2), 0.02 * row}:  # as they are computed and as they are typed
        assert at_truncation(table, truncation).item() == row


@pytest.mark.parametrize("truncation", [0.005, 0.03, 0.331, 0.5099, 0.999])
def test_between_two_rows_lies_a_straight_line(truncation):
    table = torch.randn(51, 7, generator=torch.Generator().manual_seed(0))
    row = int(truncation // 0.02)
    share = (truncation - 0.02 * row) / 0.02  # of the upper row: nearer means more
    expected = (1 - share) * table[row] + share * table[row + 1]
    assert torch.allclose(at_truncation(table, truncation), expected, atol=1e-5)


@torch.no_grad()
def test_every_norm_takes_its_statistics_at_the_truncation(ours):
    there = BigGAN(64, noise_dim=8, classes=6, width=4)
    state = ours.state_dict()
    for name, table in state.items():
        if "running_" in name:
            state[name] = (0.25 * table[16] + 0.75 * table[17]).expand_as(table)  # of 0.335
    there.load_state_dict(state)
    images = ours(NOISE, LABELS, 0.335)
    assert (images - there(NOISE, LABELS, 0.8)).abs().max() < 1e-5
    assert (images - ours(NOISE, LABELS, 0.345)).abs().max() > 1e-3


@pytest.mark.parametrize("layer", [nn.Linear(6, 5), nn.Conv2d(6, 5, 3)])
@torch.no_grad()
def test_folding_draws_what_spectral_norm_draws(layer):
    torch.manual_seed(0)
    layer.weight.normal_()  # whose greatest singular value is far from one
    normed = nn.utils.spectral_norm(layer)
    x = torch.randn(4, 6) if isinstance(layer, nn.Linear) else torch.randn(4, 6, 7, 7)
    for _ in range(3):
        normed.train()(x)
    expected, state = normed.eval()(x), normed.state_dict()
    folded = fold_spectral_norm(state, "a file")
    plain = nn.Linear(6, 5) if isinstance(layer, nn.Linear) else nn.Conv2d(6, 5, 3)
    plain.load_state_dict(folded)  # key for key
    assert (plain(x) - expected).abs().max() < 1e-6
    assert (folded["weight"] - state["weight_orig"]).abs().max() > 0.01
    assert fold_spectral_norm(folded, "a file").keys() == folded.keys()


def test_attention_stands_at_64_pixels_in_every_published_layout():
    sides = {}
    for size in PUBLISHED:
        biggan = on_meta(BigGAN, size, 8, 6, 4)
        (attention,) = (layer for layer in biggan.modules() if isinstance(layer, Attention))
        attention.register_forward_hook(lambda _, inputs, __, size=size: sides.update({size: inputs[0].shape[-1]}))
        biggan(NOISE.to("meta"), LABELS.to("meta"), 0.5)
    assert sides == dict.fromkeys(PUBLISHED, 64)


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    biggan = BigGAN(64, noise_dim=8, classes=6, width=8)
    torch.nn.init.ones_(biggan.generator.layers[6].gamma)
    set_standing_statistics(biggan, NOISE, LABELS, 0.5)
    biggan(NOISE, LABELS, 0.5).square().sum().backward()
    silent = {name for name, p in biggan.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert silent == set()
    assert (biggan.embeddings.weight.grad.abs().sum(0) > 0).tolist() == [True, False, True, False, False, True]


@torch.no_grad()
def test_standing_statistics_are_those_of_the_images():
    torch.manual_seed(0)
    biggan, noise, labels = BigGAN(64, noise_dim=8, classes=6, width=4), torch.randn(24, 8), torch.arange(24) % 6
    set_standing_statistics(biggan, noise, labels, 0.5)
    state = {name: value.clone() for name, value in biggan.state_dict().items()}
    spreads = []
    for norm in biggan.modules():
        if isinstance(norm, Norm):
            norm.register_forward_hook(lambda norm, inputs, _: spreads.append(norm.normalised(inputs[0], 0.3)))
    biggan(noise, labels, 0.3)
    assert len(spreads) == 33
    for x in spreads:
        assert x.mean((0, 2, 3)).abs().max() < 1e-4
        assert (x.var((0, 2, 3)) - 1).abs().max() < 0.2  # below 1 where the variance is not far from 1e-4
    biggan(noise + 1, labels, 0.3)
    assert all(torch.equal(value, state[name]) for name, value in biggan.state_dict().items())


@pytest.mark.parametrize("truncation", [0, -0.5, 1.01])
def test_a_truncation_out_of_range_is_reported(truncation, ours):
    with pytest.raises(UserError, match=r"use a number above 0 and up to 1"):
        ours(NOISE, LABELS, truncation)


@pytest.mark.parametrize(
    ("arguments", "words"), [({"image_size": 96}, "64, 128, 256, 512 pixels, not 96"), ({"width": 6}, "multiple of 4")]
)
def test_a_size_without_a_layout_is_reported(arguments, words):
    with pytest.raises(UserError, match=words):
        on_meta(lambda: BigGAN(**arguments))


def spoilt(state, kind):
    """One of the ways in which a BigGAN's state dict is not whole."""
    if kind == "no layers at the end":
        return {name: value for name, value in state.items() if not name.startswith("generator.layers.8.")}
    if kind == "no v":
        weight = state["generator.gen_z.weight"]
        return {**state, "generator.gen_z.weight_orig": weight, "generator.gen_z.weight_u": weight[:, 0]}
    if kind == "other width":
        return {**state, "generator.conv_to_rgb.bias": torch.zeros(8)}
    return {name: value for name, value in state.items() if name != kind}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("embeddings.weight", "f.bin is not whole, embeddings.weight is missing"),
        ("generator.layers.3.bn_2.running_vars", "f.bin .* generator.layers.3.bn_2.running_vars is missing"),
        ("no v", "f.bin is not whole, generator.gen_z.weight_v is missing"),
        ("no layers at the end", "f.bin has 8 layers where a BigGAN-deep has 9, 11, 13, 15"),
        ("other width", r"f.bin .* generator.conv_to_rgb.bias is \(8,\), a BigGAN-deep-64 has \(4,\)"),
    ],
)
def test_a_file_that_is_not_whole_is_reported(kind, words, ours):
    with pytest.raises(UserError, match=words) as error:
        biggan_from(spoilt(ours.state_dict(), kind), "f.bin")
    assert "\n" not in str(error.value)


@torch.no_grad()
def test_half_precision_is_widened(ours):
    halves = {name: value.half() for name, value in ours.state_dict().items()}
    widened = biggan_from(halves, "f.bin")
    assert {p.dtype for p in widened.parameters()} == {torch.float32}
    assert (widened(NOISE, LABELS, 0.5) - ours(NOISE, LABELS, 0.5)).abs().mean() < 5e-3
