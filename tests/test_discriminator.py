"""The projection discriminator: spectral norm one, a class term, features of every block."""

import torch

from skdcgn.students.discriminator import Discriminator


def make(channels=3):
    torch.manual_seed(0)
    return Discriminator(channels, classes=10, widths=(8, 16, 16))


def test_each_layer_has_spectral_norm_one():
    discriminator, x = make(), torch.randn(4, 3, 32, 32)
    for _ in range(60):  # power iterations
        discriminator(x, torch.arange(4))
    for layer in (*discriminator.blocks, discriminator.head, discriminator.embedding):
        assert abs(torch.linalg.matrix_norm(layer.weight.flatten(1), 2) - 1) < 0.05


def test_features_are_the_activations_of_every_block():
    output = make(1)(torch.randn(4, 1, 32, 32), torch.arange(4))
    assert output.logits.shape == (4,)
    assert [tuple(f.shape) for f in output.features] == [(4, 8, 16, 16), (4, 16, 8, 8), (4, 16, 4, 4)]


def test_the_class_term_is_a_projection():
    discriminator, x = make().eval(), torch.randn(6, 3, 32, 32)
    zero, one = (discriminator(x, torch.full((6,), c)) for c in (0, 1))
    pooled = zero.features[-1].sum((2, 3))
    expected = pooled @ (discriminator.embedding.weight[1] - discriminator.embedding.weight[0])
    assert torch.allclose(one.logits - zero.logits, expected, atol=1e-4)


def test_every_parameter_gets_a_gradient():
    discriminator = make()
    discriminator(torch.randn(10, 3, 32, 32), torch.arange(10)).logits.sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in discriminator.parameters())
