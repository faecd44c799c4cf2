"""Views of images and layers for the losses of teaching: shifted, halved, stacked, averaged over crops."""

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.cgn.mechanism import Layers

SHIFT = 1  # pixels


def crop_expectation(layers: Layers) -> Layers:
    """Replace textures by their mean over all random crops: each pixel is the texture's mean colour."""
    mask, *pictures = layers
    return Layers(mask, *(p.mean((2, 3), keepdim=True).expand_as(p) for p in pictures))


def with_mask(images: Tensor, mask: Tensor) -> Tensor:
    """Stack images (B, 3, H, W) and a mask (B, 1, H, W) as channels: (B, 4, H, W) in [-1, 1]."""
    return torch.cat([images, 2 * mask - 1], dim=1)


def half_resolution(images: Tensor) -> Tensor:
    """Shift images (B, C, H, W) by up to a pixel, then halve them: (B, C, H/2, W/2).

    A discriminator at full resolution rewards noise from pixel to pixel in masks.
    """
    return F.avg_pool2d(shift(images), 2)


def shift(images: Tensor) -> Tensor:
    """Move each image (B, C, H, W) by up to a pixel, edges repeated."""
    height, width = images.shape[-2:]
    dy, dx = torch.randint(-SHIFT, SHIFT + 1, (2, len(images), 1, 1), device=images.device)
    rows = (torch.arange(height, device=images.device)[:, None] + dy).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + dx).clamp(0, width - 1)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return images[batch, :, rows, columns].permute(0, 3, 1, 2)
