"""The MNIST CGN: names and sizes of the published files, and its numbers against a second implementation."""

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from skdcgn.base.errors import UserError
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.teachers.cgn import AT_ONCE_CPU, CGN, CGNTeacher, InwardClamp
from skdcgn.teachers.load import load_teacher

PUBLISHED = ("cgn_colored_mnist", "cgn_double_colored_mnist", "cgn_wildlife_mnist")


def instance_norm(x):
    return (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()


def batch_norm(x, state, name):
    mean, var, weight, bias = (state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
    column = (slice(None), None, None)
    return (x - mean[column]) / (var[column] + 1e-5).sqrt() * weight[column] + bias[column]


def doubled(x):
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def up_block(x, state, conv, norm):
    x = batch_norm(F.conv2d(doubled(x), state[f"{conv}.weight"], padding=1), state, norm)
    return torch.where(x > 0, x, 0.2 * x)


def described(state, mechanism, noise, labels):
    """The network as its description has it, layer by layer, from the state dict alone."""
    inputs = torch.cat([noise, state["label_emb.weight"][labels]], 1)
    name = {"shape": "f_shape", "texture": "f_text1", "background": "f_text2"}[mechanism]
    x = (inputs @ state[f"{name}.0.weight"].T + state[f"{name}.0.bias"]).reshape(-1, 64, 8, 8)
    if mechanism == "shape":
        x = instance_norm(up_block(instance_norm(x), state, f"{name}.4", f"{name}.5"))
        return instance_norm(up_block(x, state, f"{name}.9", f"{name}.10")).clamp(1e-4, 0.9999)
    x = up_block(x, state, f"{name}.3", f"{name}.4")
    x = up_block(x, state, f"{name}.7", f"{name}.8")
    x = F.conv2d(x, state[f"{name}.10.weight"], state[f"{name}.10.bias"], padding=1)
    return batch_norm(x, state, f"{name}.11").tanh()


def assert_as_described(teacher):
    state, noise = teacher.cgn.state_dict(), torch.randn(20, 32, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(20) % 10
    for mechanism in Mechanism:
        images, expected = teacher.query(mechanism, noise, labels), described(state, mechanism, noise, labels)
        assert (images - expected).abs().max() < 1e-5, mechanism


def test_random_weights_draw_what_the_description_says(random_cgn):
    assert_as_described(random_cgn)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights_draw_what_the_description_says(name):
    folder = os.environ.get("SKDCGN_TEACHERS")
    if not folder or not (Path(folder) / f"{name}.pth").is_file():
        pytest.skip(f"set SKDCGN_TEACHERS to a folder with {name}.pth")
    teacher = load_teacher(Path(folder) / f"{name}.pth")
    assert_as_described(teacher)
    masks = teacher.query("shape", torch.randn(100, 32), torch.arange(100) % 10)
    assert 0.05 < masks.mean() < 0.5  # digits, not their negatives
    assert ((masks < 0.01) | (masks > 0.99)).float().mean() > 0.8


def test_parameters_are_the_published_ones():
    cgn = CGN()
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in cgn.named_children()}
    assert sizes == {"label_emb": 100, "f_shape": 194_914, "f_text1": 232_489, "f_text2": 232_489}
    assert CGNTeacher(cgn, "new").size == 659_992


def test_sixty_four_pixels_take_one_doubling_more():
    noise, labels = torch.randn(3, 16), torch.arange(3)
    for size in (32, 64):
        cgn = CGNTeacher(CGN(Spec(size, noise_dim=16, classes=3)), "new")
        for mechanism in Mechanism:
            assert cgn.query(mechanism, noise, labels).shape == (3, mechanism.channels, size, size)
    with pytest.raises(UserError, match="32 or 64 pixels, not 128"):
        CGN(Spec(128))


def test_an_image_does_not_depend_on_its_batch(random_cgn):
    noise, labels = torch.randn(6, 32), torch.arange(6)
    for mechanism in Mechanism:
        together = random_cgn.query(mechanism, noise, labels)
        alone = torch.cat([random_cgn.query(mechanism, noise[i : i + 1], labels[i : i + 1]) for i in range(6)])
        assert torch.allclose(together, alone, atol=1e-5)


def test_on_a_cpu_many_images_are_drawn_in_parts_that_fit_its_cache(random_cgn):
    batch_sizes = []
    hook = random_cgn.cgn.register_forward_pre_hook(lambda cgn, inputs: batch_sizes.append(len(inputs[-1])))
    noise, labels = torch.randn(2 * AT_ONCE_CPU + 3, 32), torch.arange(2 * AT_ONCE_CPU + 3) % 10
    parts = random_cgn.query("texture", noise, labels)
    hook.remove()
    assert batch_sizes == [AT_ONCE_CPU, AT_ONCE_CPU, 3]
    with torch.inference_mode():
        whole = random_cgn.cgn(Mechanism.TEXTURE, noise, labels)
    assert torch.allclose(parts, whole, atol=1e-5)


def test_querying_changes_nothing(random_cgn):
    before = {name: value.clone() for name, value in random_cgn.cgn.state_dict().items()}
    noise, labels = torch.randn(4, 32), torch.arange(4)
    first = [random_cgn.query(m, noise, labels) for m in Mechanism]
    again = [random_cgn.query(m, noise, labels) for m in Mechanism]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(v, before[name]) for name, v in random_cgn.cgn.state_dict().items())


@pytest.mark.parametrize("mechanism", Mechanism)
def test_every_parameter_of_a_mechanism_gets_a_gradient(mechanism):
    torch.manual_seed(0)
    cgn = CGN()
    cgn(mechanism, torch.randn(20, 32), torch.arange(20) % 10).square().sum().backward()
    network = {"shape": cgn.f_shape, "texture": cgn.f_text1, "background": cgn.f_text2}[mechanism]
    silent = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    # a bias that a normalisation removes again has no gradient, as published
    assert silent <= {"10.bias"}
    assert cgn.label_emb.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("x", "grad", "passed"),
    [(0.5, 1.0, 1.0), (-1.0, 1.0, 0.0), (-1.0, -1.0, -1.0), (2.0, -1.0, 0.0), (2.0, 1.0, 1.0)],
)
def test_the_clamp_lets_saturated_pixels_come_back(x, grad, passed):
    x = torch.tensor([x], requires_grad=True)
    y = InwardClamp.apply(x, 0.0, 1.0)
    assert y.item() == min(max(x.item(), 0.0), 1.0)
    y.backward(torch.tensor([grad]))
    assert x.grad.item() == passed
