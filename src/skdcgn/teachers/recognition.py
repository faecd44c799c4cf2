"""Recognition models: networks that teaching needs and throws away, an encoder of noise and a segmenter."""

from typing import cast

import torch
from torch import Tensor, nn

from skdcgn.cgn.mechanism import Spec

LOG_VARIANCE_RANGE = (-8.0, 4.0)


class Encoder(nn.Module):
    """q(u | x, y): a diagonal Gaussian over noise for images (B, 3, H, W) and labels (B,)."""

    def __init__(self, spec: Spec, width: int = 32) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            *self._down(width, 2 * width),
            *self._down(2 * width, 4 * width),
            nn.Flatten(),
        )
        self.embed = nn.Embedding(spec.classes, 10)
        self.head = nn.Linear(4 * width * (spec.image_size // 8) ** 2 + 10, 2 * spec.noise_dim)

    @staticmethod
    def _down(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)]

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, (B, Z) each."""
        features = torch.cat([self.convolutions(images), self.embed(labels)], dim=1)
        mean, log_variance = self.head(features).chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)


class Segmenter(nn.Module):
    """s(x, y): logits of the mask (B, 1, H, W) in images (B, 3, H, W) of labels (B,).

    Each logit depends on the 11 x 11 pixels around it: enough to tell two textures apart, too little to guess a shape.
    """

    def __init__(self, spec: Spec, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *self._layer(3, width, 5),
            *self._layer(width, width, 3),
            *self._layer(width, width, 3),
            nn.Conv2d(width, spec.classes, 3, padding=1, padding_mode="replicate"),
        )

    @staticmethod
    def _layer(inputs: int, outputs: int, side: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, side, padding=side // 2, padding_mode="replicate")
        return [convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)]

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        rows = torch.arange(len(labels), device=labels.device)
        return cast(Tensor, self.layers(images))[rows, labels, None]
