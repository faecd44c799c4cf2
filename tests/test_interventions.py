"""Interventions: each does exactly what its name says, stays in range, and is a function of its seed."""

import pytest
import torch
import torch.nn.functional as F

import skdcgn
from skdcgn.errors import UserError
from skdcgn.interventions import (
    MASKS,
    PICTURES,
    affine,
    elastic,
    jitter,
    noise,
    parse_policy,
    recolour,
    sharpen,
    stroke,
    turn,
)
from skdcgn.mechanism import Layers, Mechanism
from skdcgn.seeds import generator

COUNT = 64
AMOUNTS = {
    "sharpen": 4.0,
    "stroke": 1.5,
    "affine": 0.2,
    "elastic": 1.5,
    "jitter": 0.3,
    "recolour": 0.5,
    "turn": 0.5,
    "noise": 0.2,
}


def squares(size=12):
    """Masks (COUNT, 1, 32, 32): a filled square in the middle."""
    mask = torch.zeros(COUNT, 1, 32, 32)
    edge = (32 - size) // 2
    mask[..., edge : 32 - edge, edge : 32 - edge] = 1
    return mask


def pictures():
    return torch.rand(COUNT, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


WORDS = [f"shape.{name}:{AMOUNTS[name]}" for name in MASKS] + [
    f"{mechanism}.{name}:{AMOUNTS[name]}" for mechanism in ("texture", "background") for name in PICTURES
]


@pytest.mark.parametrize("word", WORDS)
def test_one_layer_changes_within_its_range_as_the_seed_says(word):
    layers = Layers(squares() * 0.8 + 0.1, pictures(), pictures().flip(0))
    (intervene,) = parse_policy([word])
    changed, again, other = (intervene(layers, generator(seed)) for seed in (1, 1, 2))
    for mechanism, before, after, same, differs in zip(Mechanism, layers, changed, again, other, strict=True):
        if mechanism is not intervene.mechanism:
            assert after is before
            continue
        assert (after.shape, after.dtype) == (before.shape, before.dtype)
        assert mechanism.low <= float(after.min()) <= float(after.max()) <= 1
        assert torch.equal(after, same)
        assert not torch.equal(after, before)
        assert torch.equal(after, differs) == (intervene.name == "sharpen")


@pytest.mark.parametrize("word", [w for w in WORDS if "sharpen" not in w])
def test_an_amount_of_nothing_changes_nothing(word):
    layers = Layers(squares() * 0.8 + 0.1, pictures(), pictures())
    place = word.partition(":")[0]
    for before, after in zip(layers, parse_policy([f"{place}:0"])[0](layers, generator(0)), strict=True):
        assert torch.allclose(after, before, atol=1e-5)


def test_sharpening_is_a_power_of_the_odds():
    mask = torch.tensor([0.0, 0.1, 0.5, 0.8, 1.0]).view(1, 1, 1, 5)
    wanted = mask**3 / (mask**3 + (1 - mask) ** 3)
    assert torch.allclose(sharpen(mask, 3.0, generator(0)), wanted, atol=1e-5)
    assert torch.allclose(sharpen(mask, 1.0, generator(0)), mask, atol=2e-4)


def test_strokes_grow_and_shrink_by_up_to_the_pixels_asked_for():
    drawn = stroke(squares(12), 2.0, generator(0))
    assert torch.equal((drawn > 0).float().amax(0, keepdim=True), squares(16)[:1])
    assert torch.equal((drawn == 1).float().amin(0, keepdim=True), squares(8)[:1])
    areas = drawn.sum((1, 2, 3))
    assert areas.min() < 100 < 144 < 200 < areas.max()  # 12^2 = 144 before; 8^2 and 16^2 are the limits


def test_affine_maps_are_those_of_its_matrices():
    mask = squares()
    places = torch.eye(2, 3) + 0.1 * (2 * torch.rand(COUNT, 2, 3, generator=generator(5)) - 1)
    wanted = F.grid_sample(mask, F.affine_grid(places, [COUNT, 1, 32, 32], align_corners=False), align_corners=False)
    assert torch.equal(affine(mask, 0.1, generator(5)), wanted)
    rows, columns = (torch.linspace(0, 31, 32).view(shape) for shape in ((32, 1), (1, 32)))
    moved = affine(mask, 0.2, generator(0))[:, 0]
    centres = torch.stack([(moved * x).sum((1, 2)) / moved.sum((1, 2)) for x in (rows, columns)])
    assert (centres - 15.5).abs().max() < 0.2 * 16 / 0.6  # b / (1 - 2 a), in pixels
    assert (centres - 15.5).abs().max() > 2


def test_elastic_displacements_are_smooth_and_of_the_deviation_asked_for():
    ramp = torch.linspace(0, 1, 32).expand(COUNT, 1, 32, 32)  # its value tells where a pixel came from
    moved = (elastic(ramp, 1.0, generator(0)) - ramp)[..., 8:24, 8:24] * 31  # in pixels
    assert 0.5 < float(moved.std()) < 1.0  # 1 at the nodes, less between them
    assert abs(float(moved.mean())) < 0.1
    assert float((moved[..., 1:] - moved[..., :-1]).abs().mean()) < 0.3


def test_jitter_is_an_affine_map_per_channel():
    picture = 0.5 * pictures()
    changed = jitter(picture, 0.2, generator(3))
    scale, offset = 0.2 * (2 * torch.rand(2, COUNT, 3, 1, 1, generator=generator(3)) - 1)
    assert torch.allclose(changed, (1 + scale) * picture + offset)


def test_recolouring_permutes_and_inverts_channels_of_the_share_asked_for():
    picture = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(2000, 3, 2, 2)
    changed = recolour(picture, 1.0, generator(0))
    assert torch.equal(changed.abs().sort(1).values, picture)
    assert len(changed[..., 0, 0].unique(dim=0)) == 48  # 3! orders times 2^3 signs
    half = recolour(picture, 0.5, generator(0))
    assert 0.45 < float((half != picture).flatten(1).any(1).float().mean()) / (47 / 48) < 0.55


def test_turning_gives_the_eight_symmetries_of_the_square():
    picture = torch.arange(9.0).view(1, 1, 3, 3).expand(2000, 3, 3, 3) / 9
    assert len(turn(picture, 1.0, generator(0)).flatten(1).unique(dim=0)) == 8
    half = (turn(picture, 0.5, generator(0)) != picture).flatten(1).any(1).float().mean()
    assert 0.45 < float(half) / (7 / 8) < 0.55


def test_noise_has_the_deviation_asked_for():
    changed = noise(torch.zeros(COUNT, 3, 32, 32), 0.1, generator(0))
    assert abs(float(changed.std()) - 0.1) < 1e-3
    assert abs(float(changed.mean())) < 1e-3


def test_a_policy_runs_in_its_order_inside_the_composer(analytic_teacher):
    plain = skdcgn.compose(analytic_teacher, 6, seed=1)
    changed = skdcgn.compose(analytic_teacher, 6, policy=("shape.sharpen:8", "texture.noise:0.1"), seed=1)
    for name in ("shape_labels", "texture_labels", "background_labels"):
        assert torch.equal(getattr(plain, name), getattr(changed, name))
    assert not torch.equal(plain.images, changed.images)
    backwards = skdcgn.compose(analytic_teacher, 6, policy=("shape.noise:0.1", "shape.sharpen:8"), seed=1)
    forwards = skdcgn.compose(analytic_teacher, 6, policy=("shape.sharpen:8", "shape.noise:0.1"), seed=1)
    assert not torch.equal(backwards.images, forwards.images)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("shape.elastik:1", "did you mean shape.elastic"),
        ("shape.jitter:1", "use one of sharpen"),
        ("texture.sharpen:1", "use one of jitter"),
        ("colour.noise:1", "unknown mechanism 'colour'"),
        ("shape.noise", "the amount is missing"),
        ("shape.noise:much", "'much' is no number"),
    ],
)
def test_a_wrong_word_is_named_with_its_mend(word, said):
    with pytest.raises(UserError, match=said):
        parse_policy(["shape.noise:0.1", word])
