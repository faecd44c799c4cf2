"""The projection discriminator with spectral norm; its activations are the features of the distillation losses.

Stride-2 Conv4x4 with LeakyReLU, sum-pooling, and a projection on the class embedding
(Miyato & Koyama 2018, Eq. 3; Miyato et al. 2018; sizes after TinyGAN, Chang & Lu 2020).
"""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

LEAK = 0.1


class Discrimination(NamedTuple):
    """A logit per image (B,) and the activations after each block, coarsest last: (B, C_i, H_i, W_i)."""

    logits: Tensor
    features: list[Tensor]


class Discriminator(nn.Module):
    """D(x, y) = w . h(x) + v + emb(y) . h(x), with h the sum-pooled activations of the last block.

    Args:
        channels: of the images, 1 or 3.
        classes: how many labels.
        widths: output channels of each stride-2 block.
    """

    def __init__(self, channels: int, classes: int, widths: tuple[int, ...] = (32, 64, 128, 128)) -> None:
        super().__init__()
        sizes = zip((channels, *widths), widths, strict=False)
        self.blocks = nn.ModuleList(spectral_norm(nn.Conv2d(i, o, 4, stride=2, padding=1)) for i, o in sizes)
        self.activation = nn.LeakyReLU(LEAK)
        self.head = spectral_norm(nn.Linear(widths[-1], 1))
        self.embedding = spectral_norm(nn.Embedding(classes, widths[-1]))

    def forward(self, images: Tensor, labels: Tensor) -> Discrimination:
        """Return the logits of images (B, C, H, W) with labels (B,), and the activations."""
        features: list[Tensor] = []
        for block in self.blocks:
            images = self.activation(block(images))
            features.append(images)
        pooled = images.sum((2, 3))  # (B, C)
        return Discrimination(self.head(pooled)[:, 0] + (self.embedding(labels) * pooled).sum(1), features)
