"""U2-Net: published counts and shapes, and its numbers against the definition, computed from the state dict alone."""

import pytest
import torch
import torch.nn.functional as F

from skdcgn.base.errors import UserError
from skdcgn.base.weights import on_meta, parameter_count
from skdcgn.features.u2net import FULL, SMALL, U2Net, Width, standardise, u2net_from

TINY = (Width(2, 4), Width(3, 5), Width(2, 6), Width(3, 4), Width(2, 3), Width(4, 6)) + (Width(3, 4),) * 5
TABLE = {  # inputs, middle and outputs of each block, as Fig. 5 of the paper lists them
    **{"stage1": (3, 32, 64), "stage2": (64, 32, 128), "stage3": (128, 64, 256), "stage4": (256, 128, 512)},
    **{"stage5": (512, 256, 512), "stage6": (512, 256, 512), "stage5d": (1024, 256, 512)},
    **{"stage4d": (1024, 128, 256), "stage3d": (512, 64, 128), "stage2d": (256, 32, 64), "stage1d": (128, 16, 64)},
}


def convolved(state, name, x, dilation=1):
    """relu(bn(conv(x))), each written out."""
    x = F.conv2d(x, state[f"{name}.conv_s1.weight"], state[f"{name}.conv_s1.bias"], padding=dilation, dilation=dilation)
    mean, variance, weight, bias = (
        state[f"{name}.bn_s1.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return ((x - mean) / (variance + 1e-5).sqrt() * weight + bias).clamp(min=0)


def enlarged(x, like):
    """Bilinear with aligned corners, as two matrix products."""
    matrices = []
    for old, new in zip(x.shape[2:], like.shape[2:], strict=True):
        place = torch.arange(new, dtype=torch.float64) * (old - 1) / max(new - 1, 1)
        matrices.append((1 - (place[:, None] - torch.arange(old)).abs()).clamp(min=0))
    return matrices[0] @ x @ matrices[1].T


def shrunk(x):
    return F.max_pool2d(x, 2, ceil_mode=True)


def residual_u(state, name, x, height, shrinks):
    """The block by recursion over its levels."""

    def level(x, depth):
        if depth == height:
            return convolved(state, f"{name}.rebnconv{depth}", x, 2 if shrinks else 2 ** (depth - 1))
        dilation = 1 if shrinks else 2 ** (depth - 1)
        h = convolved(state, f"{name}.rebnconv{depth}", x, dilation)
        deeper = level(shrunk(h) if shrinks and depth < height - 1 else h, depth + 1)
        return convolved(state, f"{name}.rebnconv{depth}d", torch.cat([enlarged(deeper, h), h], 1), dilation)

    start = convolved(state, f"{name}.rebnconvin", x)
    return level(start, 1) + start


def described(state, x):
    """The network by recursion over its stages."""
    outputs = []

    def stage(x, depth):
        height = max(4, 8 - depth)
        h = residual_u(state, f"stage{depth}", x, height, depth < 5)
        if depth < 6:
            deeper = stage(shrunk(h), depth + 1)
            h = residual_u(state, f"stage{depth}d", torch.cat([enlarged(deeper, h), h], 1), height, depth < 5)
        outputs.insert(0, F.conv2d(h, state[f"side{depth}.weight"], state[f"side{depth}.bias"], padding=1))
        return h

    stage(x, 1)
    fused = torch.cat([enlarged(side, outputs[0]) for side in outputs], 1)
    return F.conv2d(fused, state["outconv.weight"], state["outconv.bias"]).sigmoid()


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    u2net = U2Net(TINY).requires_grad_(False)
    standardise(u2net, torch.randn(8, 3, 64, 64), mean=0.0, deviation=1.0)  # or most of it is dead
    return u2net.double()  # the small variances of a small network magnify what rounding leaves


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (1, 3, 50, 71)])
def test_it_draws_what_the_definition_says(shape, tiny):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    masks = tiny(x)
    assert masks.shape == (shape[0], 1, *shape[2:])
    assert masks.std() > 0.02
    assert (masks - described(tiny.state_dict(), x)).abs().max() < 1e-5


def test_a_block_draws_what_the_definition_says(tiny):
    x = torch.randn(2, 3, 33, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    state = tiny.state_dict()
    assert torch.allclose(tiny.stage1(x), residual_u(state, "stage1", x, 7, True), atol=1e-5)
    x = torch.randn(2, 4, 9, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.allclose(tiny.stage5(x), residual_u(state, "stage5", x, 4, False), atol=1e-5)


@pytest.mark.parametrize(("widths", "count"), [(FULL, 44_009_869), (SMALL, 1_131_181)])
def test_parameters_are_the_published_ones(widths, count):
    u2net = on_meta(U2Net, widths)
    assert parameter_count(u2net) == count
    assert u2net(torch.empty(2, 3, 256, 256, device="meta")).shape == (2, 1, 256, 256)


def test_names_and_shapes_are_the_published_ones():
    state = on_meta(U2Net).state_dict()
    for name, (inputs, middle, outputs) in TABLE.items():
        assert state[f"{name}.rebnconvin.conv_s1.weight"].shape == (outputs, inputs, 3, 3)
        assert state[f"{name}.rebnconv1.conv_s1.weight"].shape == (middle, outputs, 3, 3)
        assert state[f"{name}.rebnconv2d.bn_s1.running_var"].shape == (middle,)
        assert state[f"{name}.rebnconv1d.conv_s1.bias"].shape == (outputs,)
    heights = dict(zip(TABLE, (7, 6, 5, 4, 4, 4, 4, 4, 5, 6, 7), strict=True))
    for name, height in heights.items():
        assert f"{name}.rebnconv{height}.conv_s1.weight" in state
        assert f"{name}.rebnconv{height + 1}.conv_s1.weight" not in state
        assert f"{name}.rebnconv{height}d.conv_s1.weight" not in state
    assert [state[f"side{i}.weight"].shape[1] for i in range(1, 7)] == [64, 64, 128, 256, 512, 512]
    assert state["outconv.weight"].shape == (1, 6, 1, 1)
    assert len(state) == 112 * 7 + 14


@pytest.mark.parametrize("widths", [FULL, SMALL])
def test_widths_are_read_off_the_weights(widths):
    state = on_meta(U2Net, widths).state_dict()
    loaded = u2net_from(state, "u2net.pth").state_dict()
    assert {name: value.shape for name, value in loaded.items()} == {n: v.shape for n, v in state.items()}


def test_loading_is_exact(tiny):
    loaded = u2net_from(tiny.state_dict(), "u2net.pth").eval()
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    state, x = tiny.state_dict(), torch.randn(2, 3, 64, 64)
    same = U2Net(TINY).eval()
    same.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(loaded(x), same(x))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stage3d.rebnconvin.conv_s1.weight": None}, "stage3d.rebnconvin.conv_s1.weight is missing"),
        ({"side4.bias": None}, r"u.pth .* side4.bias is missing, a U2-Net has \(1,\)"),
        ({"side4.bias": torch.zeros(2)}, r"u.pth .* side4.bias is \(2,\), a U2-Net has \(1,\)"),
        ({"side7.bias": torch.zeros(1)}, r"u.pth .* side7.bias is \(1,\), a U2-Net has no such tensor"),
    ],
)
def test_a_file_that_is_not_whole_is_reported(change, words, tiny):
    state = {name: value for name, value in {**tiny.state_dict(), **change}.items() if value is not None}
    with pytest.raises(UserError, match=words) as error:
        u2net_from(state, "u.pth")
    assert "\n" not in str(error.value)


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    u2net, pictures = U2Net((Width(6, 8),) * 11), torch.randn(8, 3, 64, 64)
    standardise(u2net, pictures, mean=0.0, deviation=1.0)
    u2net(pictures).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in u2net.parameters())


def test_standardising_sets_the_logits():
    torch.manual_seed(0)
    u2net, pictures = U2Net(TINY), torch.randn(8, 3, 64, 64)
    standardise(u2net, pictures, mean=-1.0, deviation=3.0)
    assert not u2net.training
    with torch.no_grad():
        logits = u2net.logits(pictures)
    assert abs(logits.mean() + 1) < 1e-4
    assert abs(logits.std() - 3) < 1e-4
