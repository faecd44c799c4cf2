"""The composer: one formula, literal tiling, independent labels, the same bytes for the same seed."""

import ast
import base64
import io
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import skdcgn
from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn.compose import TRIES, compose, compose_batches
from skdcgn.cgn.counterfactuals import Counterfactuals
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.inputs import sample_offsets
from skdcgn.cgn.layers import blend, crop, tile_crop
from skdcgn.cgn.mechanism import Layers, Mechanism, Spec
from skdcgn.cgn.policy import parse_policy

# 99.9 % points of chi-square for the degrees of freedom used below
CHI_SQUARE_999 = {9: 27.88, 81: 126.1}


class Flat:
    """Masks of 0.25; a texture tells its label by its colour."""

    spec, digest, size = Spec(image_size=4, noise_dim=2), "flat", None

    def query(self, mechanism, noise, labels):
        if mechanism == Mechanism.SHAPE:
            return torch.full((len(labels), 1, 4, 4), 0.25) + 0.01 * labels[:, None, None, None]
        sign = 1 if mechanism == Mechanism.TEXTURE else -1
        return (sign * labels[:, None, None, None] / 10).expand(-1, 3, 4, 4)


def test_blend_is_its_formula():
    mask, texture, background = torch.rand(2, 1, 4, 4), torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    expected = torch.empty(2, 3, 4, 4)
    for b, c, i, j in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4), torch.arange(4)):
        m = mask[b, 0, i, j]
        expected[b, c, i, j] = m * texture[b, c, i, j] + (1 - m) * background[b, c, i, j]
    assert torch.allclose(blend(Layers(mask, texture, background)), expected)
    assert torch.equal(blend(Layers(torch.ones(2, 1, 4, 4), texture, background)), texture)
    assert torch.equal(blend(Layers(torch.zeros(2, 1, 4, 4), texture, background)), background)


def binary(node, kind):
    return isinstance(node, ast.BinOp) and isinstance(node.op, kind)


def same(one, other):
    return ast.dump(one) == ast.dump(other)


def factors(node):
    return (node.left, node.right) if binary(node, ast.Mult) else ()


def complements(one, other):
    """Whether ``one`` is 1 - ``other``."""
    return binary(one, ast.Sub) and getattr(one.left, "value", None) == 1 and same(one.right, other)


def is_lerp(node):
    if not isinstance(node, ast.Call):
        return False
    return ast.unparse(node.func).rsplit(".", 1)[-1] in ("lerp", "lerp_")


def is_blend(node):
    """Whether a node is m t + (1 - m) b, b + m (t - b) or a lerp, in any order of terms and factors."""
    if is_lerp(node):
        return True
    if not binary(node, (ast.Add, ast.Sub)):
        return False
    if any(complements(x, y) or complements(y, x) for x in factors(node.left) for y in factors(node.right)):
        return True
    return any(
        binary(factor, ast.Sub) and (same(factor.left, term) or same(factor.right, term))
        for term, product in ((node.left, node.right), (node.right, node.left))
        for factor in factors(product)
        if not isinstance(term, ast.Constant)
    )


def blends(source, place=""):
    """The functions of ``source`` with a blend."""
    functions = set()
    for node in ast.iter_child_nodes(source):
        inside = node.name if isinstance(node, ast.FunctionDef) else place
        functions |= ({inside} if is_blend(node) else set()) | blends(node, inside)
    return functions


@pytest.mark.parametrize(
    "code",
    [
        "x = m * t + (1 - m) * b",
        "x = (1.0 - mask) * b + mask * t",
        "return layers.background * (1 - layers.mask) + layers.texture * layers.mask",
        "torch.lerp(b, t, m)",
        "b.lerp_(t, m)",
        "b + m * (t - b)",
        "(t - b) * m + b",
        "b - m * (b - t)",
    ],
)
def test_the_formula_is_recognised_in_any_spelling(code):
    assert blends(ast.parse(f"def f():\n    {code}")) == {"f"}


@pytest.mark.parametrize(
    "code", ["m * t + n * b", "m * t + (1 - n) * b", "t + m * (c - b)", "2 * (n - 1) + 1", "1 - m"]
)
def test_nothing_else_is_recognised_as_the_formula(code):
    assert not blends(ast.parse(f"def f():\n    {code}"))


# Other convex combinations, of numbers, colours, moments, and of layers with themselves.
NO_COMPOSITION = {
    ("cgn/drawings.py", "interpolate"),
    ("cgn/interventions.py", "_by_pixels"),
    ("cgn/interventions.py", "grey"),
    ("cgn/mechanism.py", "_truncated_normal"),
    ("data/inpaint.py", "push_pull"),
    ("data/photos.py", "random_box"),
    ("data/textures.py", "_render"),
    ("evaluation/audit_pictures.py", "picture"),
    ("metrics/moments.py", "__add__"),
    ("pairs/stores.py", "from_levels"),
    ("teachers/biggan.py", "at_truncation"),
    ("teachers/photo_layers.py", "spread_object"),
    ("teachers/teach_method.py", "step"),
    ("training/losses.py", "binary_entropy"),
    ("training/processes.py", "_remember"),
}


def test_the_formula_is_written_once():
    source = Path(skdcgn.__file__).parent
    places = {
        (path.relative_to(source).as_posix(), function)
        for path in source.rglob("*.py")
        for function in blends(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert places - NO_COMPOSITION == {("cgn/layers.py", "blend")}


def test_tile_crop_is_literal_tiling_at_every_offset():
    picture = torch.rand(1, 3, 4, 4)
    tiled = picture.repeat(1, 1, 2, 2)
    offsets = torch.cartesian_prod(torch.arange(4), torch.arange(4))  # (16, 2)
    windows = tile_crop(picture.expand(16, -1, -1, -1), offsets)
    for (row, column), window in zip(offsets.tolist(), windows, strict=True):
        assert torch.equal(window, tiled[0, :, row : row + 4, column : column + 4])


@given(count=st.integers(1, 40), per_shape=st.integers(1, 12), seed=st.integers(0, 5))
def test_images_are_the_blend_that_their_labels_say(count, per_shape, seed):
    composed = compose(Flat(), count, per_shape=per_shape, seed=seed)
    assert len(composed) == count == len(composed.images)
    mask = 0.25 + 0.01 * composed.shape_labels
    expected = mask * composed.texture_labels / 10 - (1 - mask) * composed.background_labels / 10
    assert torch.allclose(composed.images, expected[:, None, None, None].expand_as(composed.images), atol=1e-6)
    for group in composed.shape_labels.split(per_shape):
        assert len(group.unique()) == 1


def test_per_shape_shares_the_mask_itself(random_cgn):
    queries = []

    class Spy:
        spec, digest, size = random_cgn.spec, "spy", None

        def query(self, mechanism, noise, labels):
            queries.append((str(mechanism), len(labels)))
            return random_cgn.query(mechanism, noise, labels)

    composed = compose(Spy(), 10, per_shape=4)
    assert dict(queries) == {"shape": 3, "texture": 10, "background": 10}
    assert composed.images.shape == (10, 3, 32, 32)


def test_the_seed_decides_every_byte(random_cgn):
    first, again, other = (compose(random_cgn, 12, per_shape=3, seed=s).to_dict() for s in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_labels_are_uniform_and_independent():
    composed = compose(Flat(), 20_000, seed=4)
    labels = (composed.shape_labels, composed.texture_labels, composed.background_labels)
    for one in labels:
        assert chi_square(one.bincount(minlength=10).float()) < CHI_SQUARE_999[9]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        joint = (10 * labels[one] + labels[other]).bincount(minlength=100).float()
        assert chi_square(joint) < CHI_SQUARE_999[81] + 18  # 99 degrees of freedom with the margins


def test_offsets_cover_the_tile_uniformly():
    offsets = sample_offsets(10_000, 10, torch.Generator().manual_seed(0))
    assert chi_square(offsets[:, 0].bincount(minlength=10).float()) < CHI_SQUARE_999[9]
    assert chi_square((10 * offsets[:, 0] + offsets[:, 1]).bincount(minlength=100).float()) < 149  # 99.9 %, 99


def chi_square(counts):
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())


def test_drawing_in_batches_changes_nothing(random_cgn):
    noise, labels = torch.randn(7, 32), torch.arange(7)
    whole, in_batches = (draw(random_cgn, Mechanism.TEXTURE, noise, labels, batch_size=size) for size in (7, 3))
    assert torch.allclose(in_batches, whole, atol=1e-5)


@pytest.mark.parametrize(("n", "k"), [(0, 1), (5, 0), (-1, 1)])
def test_nothing_to_compose_is_a_mistake(n, k):
    with pytest.raises(UserError, match="must be at least 1"):
        compose(Flat(), n, per_shape=k)


@pytest.mark.parametrize("name", ["double-colored-digits", Path("runs/mine")])
def test_a_name_is_no_cgn(name):
    with pytest.raises(UserError, match=re.escape(f"pass load_teacher({str(name)!r})")):
        compose(name, 3)


def test_the_public_function_is_the_composer():
    assert skdcgn.compose is compose
    assert isinstance(skdcgn.compose(Flat(), n=3), Counterfactuals)


def test_counterfactuals_show_themselves_with_their_labels():
    composed = compose(Flat(), 23, seed=1)
    assert repr(composed) == "Counterfactuals(23 images of 4 x 4 pixels, each with three labels)"
    shown = composed._repr_html_()
    first = [int(labels[0]) for labels in (composed.shape_labels, composed.texture_labels, composed.background_labels)]
    assert shown.count("data:image/png;base64,") == 20
    assert "{} / {} / {}</figcaption>".format(*first) in shown
    png = base64.b64decode(re.search('base64,([^"]+)', shown)[1])
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.size == (8, 8)


class Soft(Flat):
    """Pictures that noise and label decide, through functions whose last bits may depend on the batch."""

    def query(self, mechanism, noise, labels):
        grid = torch.linspace(-1, 1, 4)
        waves = torch.sin(noise[:, :1, None] * grid + labels[:, None, None]) * torch.cos(noise[:, 1:, None] * grid).mT
        return (waves[:, None] + 1) / 2 if mechanism == Mechanism.SHAPE else waves[:, None].expand(-1, 3, -1, -1)


def whole_chunk(cgn, n, per_shape, policy, accept, seed):
    """The first chunk, drawn mechanism by mechanism and blended at once, by the definition of the random numbers."""
    rng, labels, noise = generator(seed, "compose", 0), [], []
    for count in (-(-n // per_shape), n, n):
        labels.append(torch.randint(cgn.spec.classes, (count,), generator=rng))
        noise.append(cgn.spec.sample_noise(count, rng))
    rows, policy = torch.arange(n) // per_shape, parse_policy(policy, cgn.spec.classes)
    shape = labels[0][rows]
    inputs = [
        policy.labels(mechanism, own, of_shape, generator(seed, "labels", mechanism, 0))
        for mechanism, own, of_shape in zip(Mechanism, labels, (labels[0], shape, shape), strict=True)
    ]
    layers = Layers(*(draw(cgn, m, u, y) for m, u, y in zip(Mechanism, noise, inputs, strict=True)))
    layers = crop(layers, *(sample_offsets(n, cgn.spec.image_size, rng) for _ in range(2)))
    rejected = torch.arange(len(labels[0]))
    for _ in range(TRIES if accept else 0):
        rejected = rejected[~accept(layers.mask[rejected], inputs[0][rejected])]
        if len(rejected):
            u = cgn.spec.sample_noise(len(rejected), rng)
            layers.mask[rejected] = draw(cgn, Mechanism.SHAPE, u, inputs[0][rejected])
    layers = policy.layers(layers._replace(mask=layers.mask[rows]), rng)
    return blend(layers), shape, inputs[1], inputs[2]


@pytest.mark.parametrize("accept", [None, lambda masks, labels: masks.mean((1, 2, 3)) > 0.45])
@pytest.mark.parametrize(
    "policy", [(), ("texture.correlate:0.5", "shape.relabel:0.5"), ("texture.noise:0.1", "shape.shift:1")]
)
@pytest.mark.parametrize("per_shape", [1, 3, 300])
def test_batches_hold_the_bytes_of_a_chunk_composed_at_once(per_shape, policy, accept):
    expected = whole_chunk(Soft(), 700, per_shape, policy, accept, seed=3)
    composed = compose(Soft(), 700, per_shape=per_shape, policy=policy, accept=accept, seed=3)
    assert all(torch.equal(x, y) for x, y in zip(composed.to_dict().values(), expected, strict=True))


def test_batches_are_small_and_in_order_over_chunks():
    batches = list(compose_batches(Flat(), 5000, per_shape=5, seed=2))
    assert max(map(len, batches)) <= 256
    assert len(batches[0]) == 256
    composed = compose(Flat(), 5000, per_shape=5, seed=2).to_dict()
    for name, column in composed.items():
        assert torch.equal(torch.cat([batch.to_dict()[name] for batch in batches]), column)


def test_a_stream_draws_no_more_than_is_taken():
    queries = []

    class Counted(Flat):
        def query(self, mechanism, noise, labels):
            queries.append(len(labels))
            return super().query(mechanism, noise, labels)

    stream = compose_batches(Counted(), 10**15)
    assert queries == []
    assert torch.equal(next(stream).images, compose(Flat(), 4096).images[:256])
    assert queries == [256] * 3


def test_a_stream_refuses_before_its_first_batch():
    with pytest.raises(UserError, match="must be at least 1"):
        compose_batches(Flat(), 0)
