"""Interventions: each does exactly what its name says, stays in range, and is a function of its seed."""

import re

import pytest
import torch
import torch.nn.functional as F

from skdcgn import interventions as do
from skdcgn.mechanism import Layers, Mechanism
from skdcgn.policy import BOTH_PICTURES, MASKS, PICTURES, parse_policy
from skdcgn.seeds import generator

COUNT = 64
FIXED = ("sharpen", "binarise", "opacity", "constant", "dilate", "erode", "rotate", "blur", "grey")  # whatever the seed
NOTHING = {"opacity": "1"}  # the amounts that change nothing, where they are not 0


def squares(size=12):
    """Masks (COUNT, 1, 32, 32): a filled square in the middle."""
    mask = torch.zeros(COUNT, 1, 32, 32)
    edge = (32 - size) // 2
    mask[..., edge : 32 - edge, edge : 32 - edge] = 1
    return mask


def pictures():
    return torch.rand(COUNT, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


WORDS = [f"shape.{name}:{word.example}" for name, word in MASKS.items()] + [
    f"{mechanism}.{name}:{word.example}"
    for mechanism in ("texture", "background")
    for name, word in {**PICTURES, **BOTH_PICTURES}.items()
]


def example():
    return Layers(squares() * 0.8 + 0.1, pictures(), pictures().flip(0))


def distorted(word, layers, seed=0):
    return parse_policy([word], classes=10).layers(layers, generator(seed))


@pytest.mark.parametrize("word", WORDS)
def test_one_layer_changes_within_its_range_as_the_seed_says(word):
    layers, (place, _, name) = example(), word.partition(":")[0].partition(".")
    changed, again, other = (distorted(word, layers, seed) for seed in (1, 1, 2))
    for mechanism, before, after, same, differs in zip(Mechanism, layers, changed, again, other, strict=True):
        if mechanism != place and not (name == "swap" and mechanism is not Mechanism.SHAPE):
            assert after is before
            continue
        assert (after.shape, after.dtype) == (before.shape, before.dtype)
        assert mechanism.low <= float(after.min()) <= float(after.max()) <= 1
        assert torch.equal(after, same)
        assert not torch.equal(after, before)
        assert torch.equal(after, differs) == (name in FIXED)


@pytest.mark.parametrize(
    "word", [w for w in WORDS if not {"sharpen", "binarise", "constant"} & set(re.split("[.:]", w))]
)
def test_an_amount_of_nothing_changes_nothing(word):
    layers, place = example(), word.partition(":")[0]
    after = distorted(f"{place}:{NOTHING.get(place.partition('.')[2], 0)}", layers)
    for before, unchanged in zip(layers, after, strict=True):
        assert torch.allclose(unchanged, before, atol=1e-5)


@pytest.mark.parametrize("word", [w for w in WORDS if "constant" not in w])
def test_gradients_flow_through_all_but_constants(word):
    layers, name = Layers(*(0.9 * x for x in example())), word.partition(":")[0].partition(".")[2]
    for layer in layers:
        layer.requires_grad_(True)
    sum(x.square().sum() for x in distorted(word, layers)).backward()
    changed = dict(zip(Mechanism, layers, strict=True))[Mechanism(word.partition(".")[0])]
    assert bool(changed.grad.isfinite().all())
    reached = (changed.grad != 0).float().mean()
    assert reached > {"noise": 0.3, "binarise": 0.05}.get(name, 0.8 if name != "erode" else 0.3)


def test_sharpening_is_a_power_of_the_odds():
    mask = torch.tensor([0.0, 0.1, 0.5, 0.8, 1.0]).view(1, 1, 1, 5)
    wanted = mask**3 / (mask**3 + (1 - mask) ** 3)
    assert torch.allclose(do.sharpen(mask, 3.0, generator(0)), wanted, atol=1e-5)
    assert torch.allclose(do.sharpen(mask, 1.0, generator(0)), mask, atol=2e-4)


def test_strokes_grow_and_shrink_by_up_to_the_pixels_asked_for():
    drawn = do.stroke(squares(12), 2.0, generator(0))
    assert torch.equal((drawn > 0).float().amax(0, keepdim=True), squares(16)[:1])
    assert torch.equal((drawn == 1).float().amin(0, keepdim=True), squares(8)[:1])
    areas = drawn.sum((1, 2, 3))
    assert areas.min() < 100 < 144 < 200 < areas.max()  # 12^2 = 144 before; 8^2 and 16^2 are the limits


def test_affine_maps_are_those_of_its_matrices():
    mask = squares()
    places = torch.eye(2, 3) + 0.1 * (2 * torch.rand(COUNT, 2, 3, generator=generator(5)) - 1)
    wanted = F.grid_sample(mask, F.affine_grid(places, [COUNT, 1, 32, 32], align_corners=False), align_corners=False)
    assert torch.equal(do.affine(mask, 0.1, generator(5)), wanted)
    rows, columns = (torch.linspace(0, 31, 32).view(shape) for shape in ((32, 1), (1, 32)))
    moved = do.affine(mask, 0.2, generator(0))[:, 0]
    centres = torch.stack([(moved * x).sum((1, 2)) / moved.sum((1, 2)) for x in (rows, columns)])
    assert (centres - 15.5).abs().max() < 0.2 * 16 / 0.6  # b / (1 - 2 a), in pixels
    assert (centres - 15.5).abs().max() > 2


def test_elastic_displacements_are_smooth_and_of_the_deviation_asked_for():
    ramp = torch.linspace(0, 1, 32).expand(COUNT, 1, 32, 32)  # its value tells where a pixel came from
    moved = (do.elastic(ramp, 1.0, generator(0)) - ramp)[..., 8:24, 8:24] * 31  # in pixels
    assert 0.5 < float(moved.std()) < 1.0  # 1 at the nodes, less between them
    assert abs(float(moved.mean())) < 0.1
    assert float((moved[..., 1:] - moved[..., :-1]).abs().mean()) < 0.3


def test_jitter_is_an_affine_map_per_channel():
    picture = 0.5 * pictures()
    changed = do.jitter(picture, 0.2, generator(3))
    scale, offset = 0.2 * (2 * torch.rand(2, COUNT, 3, 1, 1, generator=generator(3)) - 1)
    assert torch.allclose(changed, (1 + scale) * picture + offset)


def test_recolouring_permutes_and_inverts_channels_of_the_share_asked_for():
    picture = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(2000, 3, 2, 2)
    changed = do.recolour(picture, 1.0, generator(0))
    assert torch.equal(changed.abs().sort(1).values, picture)
    assert len(changed[..., 0, 0].unique(dim=0)) == 48  # 3! orders times 2^3 signs
    half = do.recolour(picture, 0.5, generator(0))
    assert 0.45 < float((half != picture).flatten(1).any(1).float().mean()) / (47 / 48) < 0.55


def test_turning_gives_the_eight_symmetries_of_the_square():
    picture = torch.arange(9.0).view(1, 1, 3, 3).expand(2000, 3, 3, 3) / 9
    assert len(do.turn(picture, 1.0, generator(0)).flatten(1).unique(dim=0)) == 8
    half = (do.turn(picture, 0.5, generator(0)) != picture).flatten(1).any(1).float().mean()
    assert 0.45 < float(half) / (7 / 8) < 0.55


def test_noise_has_the_deviation_asked_for():
    changed = do.noise(torch.zeros(COUNT, 3, 32, 32), 0.1, generator(0))
    assert abs(float(changed.std()) - 0.1) < 1e-3
    assert abs(float(changed.mean())) < 1e-3
