"""Layers and images by a drawer (:mod:`skdcgn.cgn.drawer`), on all threads of a CPU or on a GPU.

On a GPU noise, labels, crops, answers and blend stay there; images come to the CPU when they are composed. Filters of
masks and interventions on layers work on the CPU.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from skdcgn.cgn.drawer import BATCH, Drawer, draw
from skdcgn.cgn.inputs import Inputs, Query
from skdcgn.cgn.layers import blend, crop
from skdcgn.cgn.mechanism import Layers, Mechanism, Teacher, check_answer
from skdcgn.cgn.threads import in_threads

PICTURES = (Mechanism.TEXTURE, Mechanism.BACKGROUND)


def empty_images(count: int, side: int) -> Tensor:
    """Return memory for images (N, 3, S, S) by NumPy, which asks Linux for large pages: first writes are faster."""
    return torch.from_numpy(np.empty((count, 3, side, side), np.float32))


@dataclass(frozen=True)
class FastLayers:
    """Draws the layers of a CGN.

    Args:
        cgn: asked only where the drawer's images are not finite, for its error.
        drawer: of the CGN.
        per_shape: images that share a mask.
    """

    cgn: Teacher
    drawer: Drawer
    per_shape: int

    @property
    def batch(self) -> int:
        """Images that are drawn in one call, a multiple of ``BATCH``."""
        return max(2, self.drawer.piece // BATCH) * BATCH

    def draw(self, mechanism: Mechanism, query: Query, offsets: Tensor | None = None) -> Tensor:
        """Draw and check the images (N, C, H, W) of a mechanism, cropped at ``offsets`` (N, 2), on the CPU."""
        images = torch.empty(len(query.labels), mechanism.channels, *2 * [self.cgn.spec.image_size])
        starts = range(0, len(images), self.batch)
        for _ in in_threads(partial(self._fill, images, mechanism, query, offsets, start) for start in starts):
            pass
        return check_answer(self.cgn.spec, mechanism, images, len(images))

    def _fill(self, images: Tensor, mechanism: Mechanism, query: Query, offsets: Tensor | None, start: int) -> None:
        rows, device = slice(start, start + self.batch), self.drawer.device
        part = Query(query.noise[rows].to(device), query.labels[rows].to(device))
        with torch.inference_mode():
            pieces = self.drawer.pieces(mechanism, part, None if offsets is None else offsets[rows].to(device))
            for piece, out in zip(pieces, images[rows].split(self.drawer.piece), strict=True):
                out.copy_(piece)

    def layers(self, inputs: Inputs, masks: Tensor | None) -> Layers:
        """Draw all layers, cropped; draw the masks too if they are None."""
        masks = self.draw(Mechanism.SHAPE, inputs.query(Mechanism.SHAPE)) if masks is None else masks
        pictures = zip(PICTURES, inputs[6:], strict=True)
        rows = torch.arange(len(inputs.texture_labels)) // self.per_shape
        return Layers(masks[rows], *(self.draw(m, inputs.query(m), offsets) for m, offsets in pictures))

    def compose(self, inputs: Inputs) -> Tensor:
        """Compose images (N, 3, H, W) with a mask each."""
        size = self.cgn.spec.image_size
        images = empty_images(len(inputs.texture_labels), size)
        for _ in self.images(inputs, None, images):
            pass
        return images

    def images(self, inputs: Inputs, masks: Tensor | None, images: Tensor | None) -> Iterator[Tensor]:
        """Compose images in batches of ``BATCH``; draw the masks (M, 1, H, W) too if they are None.

        Args:
            inputs: of a chunk.
            masks: of its shapes.
            images: where they are written, (N, 3, H, W); None: into new tensors.
        """
        if masks is None and self.per_shape > 1:
            masks = self.draw(Mechanism.SHAPE, inputs.query(Mechanism.SHAPE))
        starts = range(0, len(inputs.texture_labels), self.batch)
        for batch in in_threads(partial(self._composed, inputs, masks, images, start) for start in starts):
            yield from batch.split(BATCH)

    def _composed(self, inputs: Inputs, masks: Tensor | None, images: Tensor | None, start: int) -> Tensor:
        """Compose a batch on the drawer's device; return it on the CPU."""
        count = min(self.batch, len(inputs.texture_labels) - start)
        own = inputs.rows(slice(start, start + count))  # of texture and background, and of the shapes without masks
        shape = None if masks is None else masks[torch.arange(start, start + count) // self.per_shape]
        size = self.cgn.spec.image_size
        out = torch.empty(count, 3, size, size) if images is None else images[start : start + count]
        with torch.inference_mode():
            if self.drawer.device.type == "cpu":
                finite = self._blend(own, shape, out)
            else:
                there = torch.empty(out.shape, device=self.drawer.device)
                masks_there = None if shape is None else shape.to(self.drawer.device)
                finite = self._blend(own.to(self.drawer.device), masks_there, there)
                out.copy_(there)
            if not finite:
                out.copy_(blend(self._asked(own, shape)))
        return out

    def _blend(self, inputs: Inputs, masks: Tensor | None, out: Tensor) -> bool:
        """Compose a batch into ``out``; return whether it is finite."""
        for layers, piece in zip(self._pieces(inputs, masks), out.split(self.drawer.piece), strict=True):
            blend(layers, out=piece)
        return isfinite(float(out.sum()))

    def _pieces(self, inputs: Inputs, masks: Tensor | None) -> Iterator[Layers]:
        """Draw the layers of a batch in pieces, cropped."""
        crops, shape = zip(PICTURES, inputs[6:], strict=True), inputs.query(Mechanism.SHAPE)
        pieces = (self.drawer.pieces(m, inputs.query(m), offsets) for m, offsets in crops)
        piece = self.drawer.piece
        shapes = self.drawer.pieces(Mechanism.SHAPE, shape, None) if masks is None else iter(masks.split(piece))
        return map(Layers, shapes, *pieces)

    def _asked(self, inputs: Inputs, masks: Tensor | None) -> Layers:
        """Ask the CGN itself for the layers of a batch, cropped; raise UserError where they are not finite."""
        shape, texture, background = (draw(self.cgn, m, *inputs.query(m)) for m in Mechanism)
        return crop(Layers(shape if masks is None else masks, texture, background), *inputs.offsets)
