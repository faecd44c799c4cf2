"""Interventions: each does exactly what its name says, stays in range, and is a function of its seed."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn import interventions as do
from skdcgn.cgn.amounts import Number, write
from skdcgn.cgn.catalogue import Catalogue, LayerChange
from skdcgn.cgn.interventions import INTERVENTIONS
from skdcgn.cgn.layers import tile_crop
from skdcgn.cgn.mechanism import Layers, Mechanism
from skdcgn.cgn.policy import Intervention, parse_policy

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


WORDS = [
    f"{mechanism}.{name}:{write(change.amount.example)}"
    for mechanism in Mechanism
    for name, change in INTERVENTIONS[mechanism].items()
    if isinstance(change, LayerChange)
]
PICTURES = [name for name, change in INTERVENTIONS[Mechanism.TEXTURE].items() if isinstance(change, LayerChange)]


def example():
    return Layers(squares() * 0.8 + 0.1, pictures(), pictures().flip(0))


def distorted(word, layers, seed=0):
    return parse_policy([word], classes=10).layers(layers, generator(seed))


GREATEST = [
    f"{mechanism}.{name}:{write(change.amount.high)}"
    for mechanism in Mechanism
    for name, change in INTERVENTIONS[mechanism].items()
    if isinstance(change.amount, Number) and isinstance(change, LayerChange)
]


@pytest.mark.parametrize("word", GREATEST)
def test_the_greatest_amount_keeps_every_number_finite_and_in_range(word):
    for mechanism, layer in zip(Mechanism, distorted(word, example()), strict=True):
        assert mechanism.low <= float(layer.min()) <= float(layer.max()) <= 1  # NaN is in no range


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
    share = (changed.grad != 0).float().mean()
    assert share > {"noise": 0.3, "binarise": 0.05}.get(name, 0.8 if name != "erode" else 0.3)


def test_sharpening_is_a_power_of_the_odds():
    mask = torch.tensor([0.0, 0.1, 0.5, 0.8, 1.0]).view(1, 1, 1, 5)
    expected = mask**3 / (mask**3 + (1 - mask) ** 3)
    assert torch.allclose(do.sharpen(mask, 3.0, generator(0)), expected, atol=1e-5)
    assert torch.allclose(do.sharpen(mask, 1.0, generator(0)), mask, atol=2e-4)


def test_a_level_becomes_a_half_and_each_image_has_its_own():
    ramp = torch.linspace(0.005, 0.995, 100).expand(COUNT, 1, 1, 100)
    levelled = do.level(ramp, 0.4, generator(0))
    levels = ramp.flatten(1)[:, 0] + 0.01 * (levelled < 0.5).flatten(1).sum(1)  # where a half is reached
    assert levels.min() < 0.2 < 0.8 < levels.max()
    assert 0.1 <= levels.min() < levels.max() <= 0.91
    assert bool((levelled.diff(dim=-1) > 0).all())


def test_strokes_grow_and_shrink_by_up_to_the_pixels_asked_for():
    strokes = do.stroke(squares(12), 2.0, generator(0))
    assert torch.equal((strokes > 0).float().amax(0, keepdim=True), squares(16)[:1])
    assert torch.equal((strokes == 1).float().amin(0, keepdim=True), squares(8)[:1])
    areas = strokes.sum((1, 2, 3))
    assert areas.min() < 100 < 144 < 200 < areas.max()  # 12^2 = 144 before; 8^2 and 16^2 are the limits


def test_affine_maps_are_those_of_its_matrices():
    mask = squares()
    places = torch.eye(2, 3) + 0.1 * (2 * torch.rand(COUNT, 2, 3, generator=generator(5)) - 1)
    expected = F.grid_sample(mask, F.affine_grid(places, [COUNT, 1, 32, 32], align_corners=False), align_corners=False)
    assert torch.equal(do.affine(mask, 0.1, generator(5)), expected)
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


def test_binarising_compares_with_the_threshold_and_passes_gradients_straight_on():
    mask = torch.tensor([0.0, 0.3, 0.5, 0.51, 1.0]).view(1, 1, 1, 5).requires_grad_(True)
    hard = do.binarise(mask, 0.5, generator(0))
    assert hard.flatten().tolist() == [0, 0, 0, 1, 1]
    (hard * torch.arange(5.0)).sum().backward()
    assert mask.grad.flatten().tolist() == [0, 1, 2, 3, 4]


@given(factor=st.floats(0, 1))
def test_opacity_multiplies(factor):
    mask = torch.linspace(0, 1, 16).view(1, 1, 4, 4)
    assert torch.equal(do.opacity(mask, factor, generator(0)), mask * factor)


@pytest.mark.parametrize(
    ("word", "values"), [("shape.constant:0.25", [0.25]), ("texture.constant:#ff8000", [1.0, 128 / 127.5 - 1, -1.0])]
)
def test_constants_are_what_they_say_everywhere(word, values):
    layers = example()
    changed = distorted(word, layers)[word.startswith("texture")]
    assert torch.allclose(changed, torch.tensor(values).view(1, -1, 1, 1).expand_as(changed), atol=1e-6)


@given(pixels=st.integers(0, 4))
def test_dilation_and_erosion_move_the_edge_by_the_pixels_asked_for(pixels):
    assert torch.equal(do.dilate(squares(12), pixels, generator(0)), squares(12 + 2 * pixels))
    assert torch.equal(do.erode(squares(12), pixels, generator(0)), squares(12 - 2 * pixels))


def test_a_part_of_a_pixel_moves_the_edge_in_part():
    assert torch.allclose(do.dilate(squares(12), 1.25, generator(0)), torch.lerp(squares(14), squares(16), 0.25))
    assert torch.allclose(do.erode(squares(12), 1.25, generator(0)), torch.lerp(squares(10), squares(8), 0.25))


@pytest.mark.parametrize("quarters", [-3, -1, 1, 2, 4])
def test_rotation_is_that_of_the_grid_at_right_angles(quarters):
    mask = torch.rand(5, 1, 32, 32, generator=generator(0))
    rotated = do.rotate(mask, 90.0 * quarters, generator(0))
    assert torch.allclose(rotated, torch.rot90(mask, quarters, (2, 3)), atol=1e-4)
    interior = squares(8) * torch.arange(32.0) / 31
    assert torch.allclose(do.rotate(interior, 90.0, generator(0)), torch.rot90(interior, 1, (2, 3)), atol=1e-5)


@given(degrees=st.floats(-360, 360))
def test_a_blob_is_found_at_its_angle_and_that_of_the_rotation(degrees):
    def blob(angle):
        radians, along = math.radians(angle), torch.linspace(-31 / 32, 31 / 32, 32)
        across, up = along - 0.25 * math.cos(radians), -along[:, None] - 0.25 * math.sin(radians)
        return (-8 * (across**2 + up**2)).exp()[None, None]

    assert torch.allclose(do.rotate(blob(20), degrees, generator(0)), blob(20 + degrees), atol=0.02)


def test_spins_are_rotations_by_uniform_angles_within_the_limits():
    ray = torch.zeros(4000, 1, 33, 33)
    ray[:, 0, 16, 22:30] = 1  # to the right of the centre
    spun = do.spin(ray, 60.0, generator(0))[:, 0]
    along = torch.arange(33.0) - 16
    down, across = (spun * along[:, None]).sum((1, 2)), (spun * along).sum((1, 2))
    angles = torch.atan2(-down, across).rad2deg()
    assert angles.abs().max() < 61
    assert (angles.histc(6, -60, 60) / 4000 - 1 / 6).abs().max() < 0.03  # five deviations
    one = do.rotate(ray[:1], float(60 * (2 * torch.rand(4000, generator=generator(0)) - 1)[0]), generator(0))
    assert torch.allclose(spun[0], one[0, 0], atol=1e-5)


def test_shifts_are_every_whole_move_within_reach_and_leave_zeros():
    picture = torch.arange(1.0, 26).view(1, 1, 5, 5) / 25
    padded = F.pad(picture, [2] * 4)[0, 0]
    windows = [padded[i : i + 5, j : j + 5] for i in range(5) for j in range(5)]
    moved = do.shift(picture.expand(2000, 1, 5, 5), 2, generator(0))
    moves = torch.tensor([next(k for k, w in enumerate(windows) if torch.equal(w, one[0])) for one in moved])
    counts = moves.bincount(minlength=25).float()
    assert float(((counts - 80) ** 2 / 80).sum()) < 51.2  # chi-square, 99.9 %, 24 degrees of freedom


@pytest.mark.parametrize("deviation", [0.5, 1.0, 2.0])
def test_blur_is_a_gaussian_convolution_that_keeps_the_mean(deviation):
    along = torch.arange(-15.0, 16)
    kernel = (-0.5 * (along / deviation) ** 2).exp()
    kernel = torch.outer(kernel, kernel) / kernel.sum() ** 2
    mask = squares(8) * torch.rand(COUNT, 1, 32, 32, generator=generator(0))
    blurred = do.blur(mask, deviation, generator(0))
    assert torch.allclose(blurred, F.conv2d(F.pad(mask, [15] * 4), kernel[None, None]), atol=1e-5)
    assert torch.allclose(blurred.mean((1, 2, 3)), mask.mean((1, 2, 3)), atol=1e-5)
    picture = pictures()
    expected = F.conv2d(F.pad(picture, [15] * 4, mode="circular"), kernel.expand(3, 1, -1, -1), groups=3)
    assert torch.allclose(do.blur(picture, deviation, generator(0)), expected, atol=1e-5)


@given(strength=st.floats(0, 1))
def test_grey_goes_from_a_picture_to_the_mean_of_its_channels(strength):
    picture = pictures()[:2]
    mean = picture.mean(1, keepdim=True).expand_as(picture)
    expected = (1 - strength) * picture + strength * mean
    assert torch.allclose(do.grey(picture, strength, generator(0)), expected, atol=1e-6)
    assert torch.equal(do.grey(picture, 1.0, generator(0)), mean)


def test_a_swap_exchanges_the_pictures_of_the_share_asked_for():
    layers = example()
    assert all(map(torch.equal, do.swap(layers, 1.0, generator(0)), (layers.mask, layers.background, layers.texture)))
    many = Layers(torch.zeros(4000, 1, 1, 1), torch.ones(4000, 3, 1, 1), -torch.ones(4000, 3, 1, 1))
    half = do.swap(many, 0.5, generator(0))
    assert torch.equal(half.texture, -half.background)
    assert abs(float(half.texture.mean())) < 0.07  # four deviations
    assert all(map(torch.equal, distorted("texture.swap:0.5", layers), distorted("background.swap:0.5", layers)))


@pytest.mark.parametrize("name", [name for name in PICTURES if name not in ("noise", "turn", "swap")])
def test_pictures_change_alike_before_and_after_their_crop(name):
    """Teaching distorts before it; of noise, the distribution is alike, and of turns, the next test tells."""
    offsets = torch.randint(32, (COUNT, 2), generator=generator(0))
    word = f"texture.{name}:{write(INTERVENTIONS[Mechanism.TEXTURE][name].amount.example)}"
    layers = example()
    before = tile_crop(distorted(word, layers).texture, offsets)
    after = distorted(word, layers._replace(texture=tile_crop(layers.texture, offsets))).texture
    assert torch.allclose(before, after, atol=1e-6)


def test_a_turn_of_a_crop_is_a_crop_of_the_turn():
    picture = torch.rand(1, 3, 4, 4, generator=generator(0)).expand(COUNT, -1, -1, -1)
    turned = do.turn(picture, 1.0, generator(0))
    of_crop = do.turn(tile_crop(picture, torch.tensor([[1, 2]] * COUNT)), 1.0, generator(0))
    for after, tile in zip(of_crop, turned, strict=True):
        crops = tile_crop(tile.expand(16, -1, -1, -1), torch.cartesian_prod(torch.arange(4), torch.arange(4)))
        assert bool((crops == after).flatten(1).all(1).any())


@given(classes=st.integers(2, 12), seed=st.integers(0, 9))
def test_labels_are_changed_as_their_names_say(classes, seed):
    own, shape = torch.randint(classes, (2, 200), generator=generator(seed))
    labels = {share: do.relabel(own, shape, classes, share, generator(seed)) for share in (0.0, 1.0)}
    assert torch.equal(labels[0.0], own)
    assert not bool((labels[1.0] == shape).any())
    assert 0 <= int(labels[1.0].min()) <= int(labels[1.0].max()) < classes
    assert torch.equal(do.correlate(own, shape, classes, 0.0, generator(seed)), own)
    assert torch.equal(do.correlate(own, shape, classes, 1.0, generator(seed)), shape)
    assert do.freeze(own, shape, classes, 1, generator(seed)).tolist() == [1] * 200


def test_the_share_of_labels_that_agree_is_the_correlation_asked_for():
    own, shape = torch.randint(10, (2, 40_000), generator=generator(0))
    for share in (0.1, 0.5, 0.9):
        agree = (do.correlate(own, shape, 10, share, generator(1)) == shape).float().mean()
        assert abs(float(agree) - (share + (1 - share) / 10)) < 0.01  # four deviations
    assert abs(float((do.relabel(shape, shape, 10, 0.3, generator(1)) != shape).float().mean()) - 0.3) < 0.01


def test_other_classes_are_equally_likely():
    shape = torch.full((9000,), 4)
    counts = do.relabel(shape, shape, 10, 1.0, generator(0)).bincount(minlength=10).float()
    assert counts[4] == 0
    assert float(((counts[counts > 0] - 1000) ** 2 / 1000).sum()) < 26.1  # chi-square, 99.9 %, 8 degrees of freedom


def test_one_class_has_no_other():
    with pytest.raises(UserError, match="one class alone"):
        do.relabel(*torch.zeros(2, 3, dtype=torch.int64), 1, 1.0, generator(0))


def test_an_own_intervention_is_one_of_its_mechanism_and_of_no_other():
    own = Catalogue()

    @own.on_layer((Mechanism.SHAPE,), "invert", Number(0.5, high=1))
    def invert(mask, share, rng):
        return torch.where(torch.rand(len(mask), 1, 1, 1, generator=rng) < share, 1 - mask, mask)

    assert list(own[Mechanism.SHAPE]) == ["invert"]
    assert not own[Mechanism.TEXTURE]
    layers = example()
    inverted = own[Mechanism.SHAPE]["invert"].act(layers, 1.0, generator(0))
    assert torch.equal(inverted.mask, 1 - layers.mask)
    assert inverted.texture is layers.texture
    with pytest.raises(UserError, match=r"there is an intervention shape\.invert already"):
        own.on_layer((Mechanism.SHAPE,), "invert", Number(1))(do.sharpen)


def test_a_registered_intervention_is_a_word_of_policies():
    @INTERVENTIONS.on_labels((Mechanism.TEXTURE,), "next", Number(1, high=1))
    def following(own, shape, classes, share, rng):
        return torch.where(torch.rand(len(own), generator=rng) < share, (own + 1) % classes, own)

    own, policy = torch.arange(10), parse_policy(["texture.next:1"], classes=10)
    assert torch.equal(policy.labels(Mechanism.TEXTURE, own, own, generator(0)), (own + 1) % 10)
    assert not Intervention(Mechanism.TEXTURE, "next", 0.5).on_layers
