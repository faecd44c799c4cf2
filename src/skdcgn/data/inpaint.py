"""Inpainting by push-pull: holes take the colours around them, from coarse to fine.

Gortler et al., "The Lumigraph", SIGGRAPH 1996, Sec. 3.4: the picture is halved again and again, each level the weighted
mean of its pixels and of more weight; on the way back each level keeps its own colours where they weigh 1 and takes
those of the coarser level, enlarged, where they weigh 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def push_pull(images: Tensor, weight: Tensor) -> Tensor:
    """Return images whose pixels of weight 0 have colours of their surroundings; those of weight 1 stay.

    Args:
        images: (B, C, H, W), floating point.
        weight: (B, 1, H, W) in [0, 1]; an image without any weight becomes its mean colour.
    """
    height, width = images.shape[-2:]
    if height == width == 1:
        return images
    weight = weight.to(images.dtype)
    mass = F.avg_pool2d(weight, 2, ceil_mode=True, count_include_pad=False)
    colour = F.avg_pool2d(weight * images, 2, ceil_mode=True, count_include_pad=False)
    mean = F.avg_pool2d(images, 2, ceil_mode=True, count_include_pad=False)
    coarse = push_pull(torch.where(mass > 0, colour / mass.clamp(min=1e-6), mean), (4 * mass).clamp(max=1))
    spread = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    return torch.lerp(spread, images, weight)
