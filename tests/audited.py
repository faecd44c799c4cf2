"""Planted truth for audits: a CGN whose mechanisms draw the class in an obvious way, and classifiers that read it.

A class is a grey level of a texture and of a background, and the column of a mark in a mask. Noise tints the pictures
and one pixel of the mask, too little to change what is read.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from skdcgn.cgn.mechanism import Spec, Teacher
from skdcgn.teachers.load import load_teacher

SIDE = 16
Read = Callable[[Tensor], Tensor]


def obvious_cgn(classes: int = 10, *, blank: str = "", names: tuple[str, ...] = ()) -> Teacher:
    """Return a CGN whose layers show the class; the mechanism ``blank`` draws that of class 0 always."""

    def query(mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        labels = torch.zeros_like(labels) if mechanism == blank else labels
        if mechanism == "shape":
            return _masks(labels, noise)
        level = (2 * labels + 1) / classes - 1  # the middle of the class's share of [-1, 1]
        tint = 0.3 / classes * noise[:, :1, None, None].clamp(-1, 1)
        return (
            (level[:, None, None, None] + tint + 0.01 * noise[:, 1:2, None, None].sin())
            .clamp(-1, 1)
            .expand(-1, 3, SIDE, SIDE)
        )

    return load_teacher(query, spec=Spec(SIDE, 4, classes, names=names, tiles=False))


def _masks(labels: Tensor, noise: Tensor) -> Tensor:
    """Return masks (B, 1, H, W): a square and, in row 0, a mark whose column says the class."""
    mask = torch.zeros(len(labels), 1, SIDE, SIDE)
    mask[:, :, 4:12, 4:12] = 1
    mask[torch.arange(len(labels)), 0, 0, labels] = 1
    mask[:, 0, 14, 8] = noise[:, 0].sigmoid()
    return mask


def of_background(images: Tensor, classes: int = 10) -> Tensor:
    """Return the class (B,) that the background shows."""
    return _level(images[:, 0, 15, 15], classes)


def of_texture(images: Tensor, classes: int = 10) -> Tensor:
    """Return the class (B,) that the texture shows."""
    return _level(images[:, 0, 8, 8], classes)


def of_shape(images: Tensor, classes: int = 10) -> Tensor:
    """Return the class (B,) that the mask shows: the column in row 0 that is of the object's colour, not behind it.

    Where texture and background are of one colour nothing shows: class 0.
    """
    row, behind = images[:, 0, 0, :classes], images[:, 0, 15, 15, None]
    return (row - behind).abs().argmax(1)


def _level(grey: Tensor, classes: int) -> Tensor:
    return ((grey + 1) / 2 * classes).long().clamp(0, classes - 1)


def chance_of(images: Tensor) -> Tensor:
    """Return a number (B,) in [0, 1) for each picture, the same whatever the batch: a hash of its pixels."""
    places = torch.arange(1, images[0].numel() + 1, dtype=torch.float64)
    return ((images.double().flatten(1) * places.sin()).sum(1) * 1e4).remainder(1)


def answering(read: Read, classes: int = 10, confidence: float = 0.9) -> Read:
    """Return a classifier (B, classes) that gives the class it reads this probability."""

    def probabilities(images: Tensor) -> Tensor:
        answer = torch.full((len(images), classes), (1 - confidence) / (classes - 1))
        return answer.scatter(1, read(images)[:, None], confidence)

    return probabilities


def mixture(share: float, classes: int = 10) -> Read:
    """Return what reads the background with probability ``share``, else the shape; a hash of the picture decides."""

    def read(images: Tensor) -> Tensor:
        behind, shape = of_background(images, classes), of_shape(images, classes)
        return torch.where(chance_of(images) < share, behind, shape)

    return read
