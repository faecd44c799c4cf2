"""The composer: counterfactuals of a CGN, whose layers :mod:`skdcgn.cgn.layers` crops and blends.

Labels of the three mechanisms are drawn independently, so that the composed image is a counterfactual.

A policy (:mod:`skdcgn.cgn.policy`) may change labels, then the noise and labels of a texture or background, once the
noise of the shape is final, and then layers, after they are cropped. Its changes of labels and noise use random
generators of their own: noise and crops do not depend on the policy, and neither does an image whose labels and noise
the policy keeps.

Images are composed in batches, so that memory does not grow with their number; random numbers belong to chunks of
``CHUNK`` images. Layers are drawn a batch at a time, with two exceptions: ``accept`` takes all masks of a chunk, and a
policy that changes layers takes all layers of a chunk (28 bytes per pixel and image: 0.1 GB at 32 pixels a side, 7.5 GB
at 256, and as much again while it changes them).

A CGN that has a drawer (:mod:`skdcgn.cgn.drawer`) is drawn by it, on all threads; ``exact`` asks its networks instead,
whose images differ by rounding. The bytes of a seed depend on neither threads nor batches.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn.counterfactuals import Counterfactuals
from skdcgn.cgn.drawer import BATCH, Drawable, draw
from skdcgn.cgn.fast_layers import FastLayers, empty_images
from skdcgn.cgn.inputs import Inputs, Query, sample_crops
from skdcgn.cgn.layers import blend, crop
from skdcgn.cgn.mechanism import Layers, Mechanism, Teacher
from skdcgn.cgn.policy import Intervention, Policy, parse_policy

CHUNK = 4096  # images per chunk; chunk i has a random generator of its own
TRIES = 10  # per mask, until ``accept`` takes it

Accept = Callable[[Tensor, Tensor], Tensor]  # masks (B, 1, H, W), labels (B,) -> (B,) bool


def compose(
    cgn: Teacher,
    n: int,
    *,
    per_shape: int = 1,
    policy: Sequence[str | Intervention] = (),
    accept: Accept | None = None,
    shared_noise: bool = False,
    exact: bool = False,
    device_noise: bool = False,
    seed: int = 0,
) -> Counterfactuals:
    """Draw ``n`` counterfactuals whose shape, texture and background labels are independent and uniform.

    Args:
        cgn: a teacher or a student CGN.
        n: how many images.
        per_shape: images that share one mask (k); each has its own texture and background.
        policy: interventions on labels and layers, in their order: words ``mechanism.name:amount``, or
            :class:`skdcgn.cgn.policy.Intervention`.
        accept: which masks look like their labels (:mod:`skdcgn.classifiers.mask_filter`). The others are drawn again
            with the same label, at most ``TRIES`` times, so that labels stay uniform.
        shared_noise: texture and background take the noise of their shape, as published on ImageNet; labels stay
            independent.
        exact: ask the networks of the CGN themselves, not its drawer, whose images are within ``TOLERANCE`` of theirs
            (:mod:`skdcgn.cgn.drawer`).
        device_noise: draw noise on the GPU of the CGN's weights, which is faster; a seed then has other images than on
            a CPU. Without a GPU, or with ``exact``, nothing changes.
        seed: the same seed gives the same bytes on the same machine.

    Raises:
        UserError: ``cgn`` is a name, ``n`` or ``per_shape`` is below 1, or an intervention is unknown.
    """
    recipe = _recipe(
        cgn,
        n,
        per_shape,
        policy,
        accept,
        shared_noise=shared_noise,
        exact=exact,
        device_noise=device_noise,
        seed=seed,
    )
    images = empty_images(n, cgn.spec.image_size) if recipe.fast else None
    batches = (tuple(batch.to_dict().values())[images is not None :] for batch in recipe.batches(n, images))
    columns = _join(batches, n)
    return Counterfactuals(*columns) if images is None else Counterfactuals(images, *columns)


def compose_batches(
    cgn: Teacher,
    n: int,
    *,
    per_shape: int = 1,
    policy: Sequence[str | Intervention] = (),
    accept: Accept | None = None,
    shared_noise: bool = False,
    exact: bool = False,
    device_noise: bool = False,
    seed: int = 0,
) -> Iterator[Counterfactuals]:
    """Yield the counterfactuals that :func:`compose` returns, in batches of at most ``BATCH``.

    Batches come in the order of the images. Memory does not grow with ``n``.

    Args:
        cgn, n, per_shape, policy, accept, shared_noise, exact, device_noise, seed: as
            :func:`compose` takes them.

    Raises:
        UserError: as :func:`compose` does, before the first batch.
    """
    recipe = _recipe(
        cgn,
        n,
        per_shape,
        policy,
        accept,
        shared_noise=shared_noise,
        exact=exact,
        device_noise=device_noise,
        seed=seed,
    )
    return recipe.batches(n)


def _recipe(
    cgn: Teacher,
    n: int,
    per_shape: int,
    policy: Sequence[str | Intervention],
    accept: Accept | None,
    *,
    shared_noise: bool,
    exact: bool,
    device_noise: bool,
    seed: int,
) -> "_Recipe":
    if isinstance(cgn, str | Path):
        raise UserError(f"compose draws from a CGN, and {str(cgn)!r} is a name: pass load_teacher({str(cgn)!r})")
    if n < 1 or per_shape < 1:
        raise UserError(f"n is {n} and per_shape is {per_shape}: both must be at least 1")
    parsed = parse_policy(policy, cgn.spec.classes, tiles=cgn.spec.tiles)
    drawer = cgn.drawer() if isinstance(cgn, Drawable) and not exact else None
    fast = FastLayers(cgn, drawer, per_shape) if drawer else None
    place = drawer.device if drawer and device_noise else torch.device("cpu")
    return _Recipe(cgn, fast, per_shape, parsed, accept, shared_noise, seed, place)


@dataclass(frozen=True)
class _Recipe:
    """How each chunk is composed: the arguments of :func:`compose_batches`, checked."""

    cgn: Teacher
    fast: FastLayers | None  # None: the CGN is asked
    per_shape: int
    policy: Policy
    accept: Accept | None
    shared_noise: bool
    seed: int
    noise_device: torch.device

    def batches(self, n: int, images: Tensor | None = None) -> Iterator[Counterfactuals]:
        """Compose ``n`` images in batches, into ``images`` (n, 3, H, W) if they are given and there is a drawer."""
        size = max(1, CHUNK // self.per_shape) * self.per_shape
        chunks = enumerate(range(0, n, size))
        parts = ((i, min(size, n - start), None if images is None else images[start:]) for i, start in chunks)
        return chain.from_iterable(self.chunk(*part) for part in parts)

    def chunk(self, index: int, n: int, images: Tensor | None) -> Iterator[Counterfactuals]:
        """Compose chunk ``index``, of ``n`` images, in batches."""
        rng = generator(self.seed, "compose", index)
        inputs, labels = self._inputs(index, n, rng)  # labels (N,) of the shapes, to predict
        masks, inputs = self._accepted(self.accept, inputs, rng) if self.accept else (None, inputs)
        inputs = self._follow_shapes(inputs, index)
        batches = self._images(inputs, masks, rng, images)
        for batch, start in zip(batches, range(0, n, BATCH), strict=True):
            rows = slice(start, start + BATCH)
            yield Counterfactuals(batch, labels[rows], inputs.texture_labels[rows], inputs.background_labels[rows])

    def _images(
        self, inputs: Inputs, masks: Tensor | None, rng: torch.Generator, images: Tensor | None
    ) -> Iterator[Tensor]:
        """Compose the images of a chunk in batches."""
        if self.fast and not self.policy.on_layers:
            return self.fast.images(inputs, masks, images)
        if not self.policy.on_layers:
            return map(blend, self._layers(inputs, masks))
        layers = self.fast.layers(inputs, masks) if self.fast else self._all_layers(inputs, masks)
        batches = _split(self.policy.layers(layers, rng))
        return _blended(batches, images) if self.fast else map(blend, batches)

    def _all_layers(self, inputs: Inputs, masks: Tensor | None) -> Layers:
        return Layers(*_join(self._layers(inputs, masks), len(inputs.texture_labels)))

    def _inputs(self, index: int, n: int, rng: torch.Generator) -> tuple[Inputs, Tensor]:
        """Draw the inputs of a chunk, with a shape for ``per_shape`` images each, and its labels to predict."""
        spec, labels, noise, on_cpu = self.cgn.spec, [], [], self.noise_device.type == "cpu"
        noise_rng = rng if on_cpu else generator(self.seed, "noise", index, device=self.noise_device)
        for count in (-(-n // self.per_shape), n, n):
            labels.append(torch.randint(spec.classes, (count,), generator=rng))
            noise.append(spec.sample_noise(count, noise_rng))
        shape = labels[0][torch.arange(n) // self.per_shape]
        labels = [
            self.policy.labels(mechanism, own, of_shape, generator(self.seed, "labels", mechanism, index))
            for mechanism, own, of_shape in zip(Mechanism, labels, (labels[0], shape, shape), strict=True)
        ]
        return Inputs(*noise, *labels, *sample_crops(spec, n, rng)), shape

    def _accepted(self, accept: Accept, inputs: Inputs, rng: torch.Generator) -> tuple[Tensor, Inputs]:
        """Draw the masks of a chunk (M, 1, H, W) until ``accept`` takes them; return them and inputs of their noise."""
        noise, labels = inputs.query(Mechanism.SHAPE)
        masks, final = self._masks_of(noise, labels), Query(noise.clone(), labels)
        self._redraw(masks, final, accept, rng)
        return masks, inputs.with_query(Mechanism.SHAPE, final)

    def _masks_of(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw masks (M, 1, H, W)."""
        query = Query(noise, labels)
        return self.fast.draw(Mechanism.SHAPE, query) if self.fast else draw(self.cgn, Mechanism.SHAPE, *query)

    def _redraw(self, masks: Tensor, query: Query, accept: Accept, rng: torch.Generator) -> None:
        """Draw the masks that are not accepted again, with other noise, both in place; those of the last try stay."""
        noise, labels = query
        rows = torch.arange(len(labels))
        for _ in range(TRIES):
            rows = rows[~accept(masks[rows], labels[rows])]
            if not len(rows):
                return
            noise[rows] = self.cgn.spec.sample_noise(len(rows), rng).to(noise.device)
            masks[rows] = self._masks_of(noise[rows], labels[rows])

    def _follow_shapes(self, inputs: Inputs, index: int) -> Inputs:
        """Give textures and backgrounds what they take from their shapes."""
        rows = torch.arange(len(inputs.texture_noise)) // self.per_shape
        shape = Query(inputs.shape_noise[rows], inputs.shape_labels[rows])
        for mechanism in (Mechanism.TEXTURE, Mechanism.BACKGROUND):
            own, rng = inputs.query(mechanism), generator(self.seed, "inputs", mechanism, index)
            own = own._replace(noise=shape.noise) if self.shared_noise else own
            inputs = inputs.with_query(mechanism, self.policy.inputs(mechanism, own, shape, rng))
        return inputs

    def _layers(self, inputs: Inputs, masks: Tensor | None) -> Iterator[Layers]:
        """Draw the layers of a chunk, cropped if they tile, in batches; draw the masks too if they are None."""
        starts = range(0, len(inputs.texture_noise), BATCH)
        for start, mask in zip(starts, self._masks(inputs, masks), strict=True):
            rows = inputs.rows(slice(start, start + BATCH))  # of texture and background
            texture = draw(self.cgn, Mechanism.TEXTURE, rows.texture_noise, rows.texture_labels)
            background = draw(self.cgn, Mechanism.BACKGROUND, rows.background_noise, rows.background_labels)
            yield crop(Layers(mask, texture, background), *rows.offsets)

    def _masks(self, inputs: Inputs, masks: Tensor | None) -> Iterator[Tensor]:
        """Yield the masks of a chunk, each for ``per_shape`` images, in batches of images."""
        pairs = zip(inputs.shape_noise.split(BATCH), inputs.shape_labels.split(BATCH), strict=True)
        batches = (draw(self.cgn, Mechanism.SHAPE, u, y) for u, y in pairs) if masks is None else masks.split(BATCH)
        rest = len(inputs.texture_noise)
        for batch in batches:
            count = min(rest, len(batch) * self.per_shape)
            rest -= count
            yield from (batch[rows] for rows in (torch.arange(count) // self.per_shape).split(BATCH))


def _join(batches: Iterable[tuple[Tensor, ...]], n: int) -> list[Tensor]:
    """Copy batches, of ``n`` rows together, into one tensor for each column: no row is in memory twice."""
    columns, start = list[Tensor](), 0
    for batch in batches:
        columns = columns or [part.new_empty(n, *part.shape[1:]) for part in batch]
        for column, part in zip(columns, batch, strict=True):
            column[start : start + len(part)] = part
        start += len(batch[0])
    return columns


def _blended(batches: Iterator[Layers], images: Tensor | None) -> Iterator[Tensor]:
    """Blend batches as the fast form does, whose bytes they have; into ``images`` if they are given."""
    for number, layers in enumerate(batches):
        own = slice(number * BATCH, number * BATCH + len(layers.texture))
        yield blend(layers, out=torch.empty_like(layers.texture) if images is None else images[own])


def _split(layers: Layers) -> Iterator[Layers]:
    return (Layers(*batch) for batch in zip(*(layer.split(BATCH) for layer in layers), strict=True))
