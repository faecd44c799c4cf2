"""The composer: ``x = m * t + (1 - m) * b`` (Sauer & Geiger 2021, Eq. 2), written here and nowhere else.

Labels of the three mechanisms are drawn independently, so that the composed image is a counterfactual. Textures and
backgrounds that tile (:class:`~skdcgn.cgn.mechanism.Spec`) are tiled and cropped at random here, never inside a
mechanism, which stays a function of (u, y). Photographs do not tile, and are composed as their mechanisms draw them.

A policy (:mod:`skdcgn.cgn.policy`) may change labels, then the noise and labels of a texture or background, once the
noise of the shape is final, and then layers, after they are cropped. Its changes of labels and noise use random
generators of their own: noise and crops do not depend on the policy, and neither does an image whose labels and noise
the policy keeps.

Images are composed in batches, so that memory does not grow with their number; random numbers belong to chunks of
``CHUNK`` images. Layers are drawn a batch at a time, with two exceptions: ``accept`` takes all masks of a chunk, and a
policy that changes layers takes all layers of a chunk (28 bytes per pixel and image: 0.1 GB at 32 pixels a side, 7.5 GB
at 256, and as much again while it changes them).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn.inputs import Inputs, Query, sample_crops
from skdcgn.cgn.mechanism import Layers, Mechanism, Teacher, check_answer
from skdcgn.cgn.pictures import as_html, as_rgb
from skdcgn.cgn.policy import Intervention, Policy, parse_policy

BATCH = 256  # images per query, and at most in a batch
CHUNK = 4096  # images per chunk; chunk i has a random generator of its own
TRIES = 10  # per mask, until ``accept`` takes it
SHOWN, SMALL = 20, 64  # images in a notebook; pixels of a side up to which they are enlarged

Accept = Callable[[Tensor, Tensor], Tensor]  # masks (B, 1, H, W), labels (B,) -> (B,) bool


def blend(layers: Layers) -> Tensor:
    """x = m * t + (1 - m) * b."""
    return layers.mask * layers.texture + (1 - layers.mask) * layers.background  # (B, 3, H, W)


def tile_crop(pictures: Tensor, offsets: Tensor) -> Tensor:
    """Tile (B, 3, H, W) 2 x 2 and cut the H x W window with its corner at ``offsets`` (B, 2), row and column."""
    height, width = pictures.shape[-2:]
    rows = (offsets[:, 0, None] + torch.arange(height, device=pictures.device)) % height  # (B, H)
    columns = (offsets[:, 1, None] + torch.arange(width, device=pictures.device)) % width  # (B, W)
    places = (width * rows[:, :, None] + columns[:, None, :]).flatten(1)  # (B, H W)
    return pictures.flatten(2).gather(2, places[:, None].expand(-1, pictures.shape[1], -1)).view_as(pictures)


def crop(layers: Layers, *offsets: Tensor) -> Layers:
    """Tile texture and background and cut a window of each, at two ``offsets`` (B, 2); the mask stays.

    Without offsets, of pictures that do not tile, all layers stay.
    """
    if not offsets:
        return layers
    return Layers(layers.mask, *(tile_crop(x, o) for x, o in zip(layers[1:], offsets, strict=True)))


class Composition(nn.Module):
    """A CGN and its composer as one function, which can be compiled and exported.

    Args:
        cgn: ``(mechanism, noise (B, Z), labels (B,)) -> (B, C, H, W)``.
    """

    def __init__(self, cgn: Callable[[Mechanism, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.cgn = cgn

    def forward(self, *inputs: Tensor) -> Tensor:
        """Draw counterfactuals (B, 3, H, W) in [-1, 1] from the tensors of :class:`~skdcgn.cgn.inputs.Inputs`."""
        return blend(crop(self.layers(*inputs[:6]), *inputs[6:]))

    def layers(self, *inputs: Tensor) -> Layers:
        """Draw the layers from three noises and three labels, as the mechanisms draw them: nothing is cropped."""
        return Layers(*(self.cgn(m, u, y) for m, u, y in zip(Mechanism, inputs[:3], inputs[3:], strict=True)))


@dataclass(frozen=True)
class Counterfactuals:
    """Composed images (N, 3, H, W) in [-1, 1] and the three labels (N,) int64 of each.

    Texture and background labels are those of the layers. The shape's label is the class to predict: the mask's, unless
    a policy relabels the shape.
    """

    images: Tensor
    shape_labels: Tensor
    texture_labels: Tensor
    background_labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        height, width = self.images.shape[-2:]
        return f"Counterfactuals({len(self):,} images of {height} x {width} pixels, each with three labels)"

    def _repr_html_(self) -> str:
        """Show the first images with their labels in a notebook."""
        labels = zip(
            self.shape_labels.tolist(), self.texture_labels.tolist(), self.background_labels.tolist(), strict=True
        )
        captions = [" / ".join(map(str, three)) for three in labels][:SHOWN]
        scale = 2 if self.images.shape[-1] <= SMALL else 1
        title = f"{len(self):,} counterfactuals (labels: shape / texture / background)"
        return as_html(as_rgb(self.images[:SHOWN]).cpu(), captions, title, scale)

    def to_dict(self) -> dict[str, Tensor]:
        """Return the four tensors by name, as they are stored in safetensors."""
        return {
            "images": self.images,
            "shape_labels": self.shape_labels,
            "texture_labels": self.texture_labels,
            "background_labels": self.background_labels,
        }


def draw(cgn: Teacher, mechanism: Mechanism, noise: Tensor, labels: Tensor, *, batch_size: int = BATCH) -> Tensor:
    """Query in batches without gradients; return the checked answers (N, C, H, W).

    Raises:
        UserError: an answer has another shape, is not finite or out of range.
    """
    batches = zip(noise.split(batch_size), labels.split(batch_size), strict=True)
    with torch.inference_mode():
        answers = [check_answer(cgn.spec, mechanism, cgn.query(mechanism, u, y), len(y)) for u, y in batches]
    return torch.cat(answers)  # outside, so that the result may be changed in place


def compose(
    cgn: Teacher,
    n: int,
    *,
    per_shape: int = 1,
    policy: Sequence[str | Intervention] = (),
    accept: Accept | None = None,
    shared_noise: bool = False,
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
        seed: the same seed gives the same bytes on the same machine.

    Raises:
        UserError: ``cgn`` is a name, ``n`` or ``per_shape`` is below 1, or an intervention is unknown.
    """
    batches = compose_batches(
        cgn, n, per_shape=per_shape, policy=policy, accept=accept, shared_noise=shared_noise, seed=seed
    )
    return Counterfactuals(*_join((tuple(batch.to_dict().values()) for batch in batches), n))


def compose_batches(
    cgn: Teacher,
    n: int,
    *,
    per_shape: int = 1,
    policy: Sequence[str | Intervention] = (),
    accept: Accept | None = None,
    shared_noise: bool = False,
    seed: int = 0,
) -> Iterator[Counterfactuals]:
    """Yield the counterfactuals that :func:`compose` returns, in batches of at most ``BATCH``.

    Batches come in the order of the images. Memory does not grow with ``n``.

    Args:
        cgn, n, per_shape, policy, accept, shared_noise, seed: as :func:`compose` takes them.

    Raises:
        UserError: as :func:`compose` does, before the first batch.
    """
    if isinstance(cgn, str | Path):
        raise UserError(f"compose draws from a CGN, and {str(cgn)!r} is a name: pass load_teacher({str(cgn)!r})")
    if n < 1 or per_shape < 1:
        raise UserError(f"n is {n} and per_shape is {per_shape}: both must be at least 1")
    parsed = parse_policy(policy, cgn.spec.classes, tiles=cgn.spec.tiles)
    recipe = _Recipe(cgn, per_shape, parsed, accept, shared_noise, seed)
    size = max(1, CHUNK // per_shape) * per_shape
    chunks = enumerate(range(0, n, size))
    return chain.from_iterable(recipe.chunk(index, min(size, n - start)) for index, start in chunks)


@dataclass(frozen=True)
class _Recipe:
    """How each chunk is composed: the arguments of :func:`compose_batches`, checked."""

    cgn: Teacher
    per_shape: int
    policy: Policy
    accept: Accept | None
    shared_noise: bool
    seed: int

    def chunk(self, index: int, n: int) -> Iterator[Counterfactuals]:
        """Compose chunk ``index``, of ``n`` images, in batches."""
        rng = generator(self.seed, "compose", index)
        inputs, labels = self._inputs(index, n, rng)  # labels (N,) of the shapes, to predict
        masks, inputs = self._accepted(self.accept, inputs, rng) if self.accept else (None, inputs)
        inputs = self._follow_shapes(inputs, index)
        batches = self._layers(inputs, masks)
        if self.policy.on_layers:
            batches = _split(self.policy.layers(Layers(*_join(batches, n)), rng))
        for layers, start in zip(batches, range(0, n, BATCH), strict=True):
            rows = slice(start, start + BATCH)
            yield Counterfactuals(
                blend(layers), labels[rows], inputs.texture_labels[rows], inputs.background_labels[rows]
            )

    def _inputs(self, index: int, n: int, rng: torch.Generator) -> tuple[Inputs, Tensor]:
        """Draw the inputs of a chunk, with a shape for ``per_shape`` images each, and its labels to predict."""
        spec, labels, noise = self.cgn.spec, [], []
        for count in (-(-n // self.per_shape), n, n):
            labels.append(torch.randint(spec.classes, (count,), generator=rng))
            noise.append(spec.sample_noise(count, rng))
        shape = labels[0][torch.arange(n) // self.per_shape]
        labels = [
            self.policy.labels(mechanism, own, of_shape, generator(self.seed, "labels", mechanism, index))
            for mechanism, own, of_shape in zip(Mechanism, labels, (labels[0], shape, shape), strict=True)
        ]
        return Inputs(*noise, *labels, *sample_crops(spec, n, rng)), shape

    def _accepted(self, accept: Accept, inputs: Inputs, rng: torch.Generator) -> tuple[Tensor, Inputs]:
        """Draw the masks of a chunk (M, 1, H, W) until ``accept`` takes them; return them and inputs of their noise."""
        noise, labels = inputs.query(Mechanism.SHAPE)
        masks, final = draw(self.cgn, Mechanism.SHAPE, noise, labels), Query(noise.clone(), labels)
        _redraw(self.cgn, masks, final, accept, rng)
        return masks, inputs.with_query(Mechanism.SHAPE, final)

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


def _split(layers: Layers) -> Iterator[Layers]:
    return (Layers(*batch) for batch in zip(*(layer.split(BATCH) for layer in layers), strict=True))


def _redraw(cgn: Teacher, masks: Tensor, query: Query, accept: Accept, rng: torch.Generator) -> None:
    """Draw the masks that are not accepted again, with other noise, both in place; those of the last try stay."""
    noise, labels = query
    rows = torch.arange(len(labels))
    for _ in range(TRIES):
        rows = rows[~accept(masks[rows], labels[rows])]
        if not len(rows):
            return
        noise[rows] = cgn.spec.sample_noise(len(rows), rng)
        masks[rows] = draw(cgn, Mechanism.SHAPE, noise[rows], labels[rows])
