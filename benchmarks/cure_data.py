"""Digits whose colours tell their class, as data of the comparison of cures; the records that both data sets share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cure_groups import groups_of
from skdcgn.base.seeds import derive_seed, generator
from skdcgn.cgn.compose import compose
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers, Teacher
from skdcgn.classifiers.small_cnn import Classifier
from skdcgn.data.appearances import APPEARANCES, CLASSES, Labels
from skdcgn.data.folders import as_unit
from skdcgn.data.glyphs import load_glyphs
from skdcgn.data.images import LabelledImages

TRAIN, HELD_OUT, TEST = 10_000, 2_000, 5_000  # glyphs of MNIST
HELD_OUT_FROM = 40_000  # the first held-out glyph
HELD_OUT_SHARE = 0.5  # of held-out pictures, whose shortcut agrees
LEAST_CONTRAST = 0.1  # squared distance of two colours in [-1, 1]^3 that tell an outline
DIGITS_BUDGET = 20_000
FRAME = 2  # pixels: no glyph of MNIST is that near the edge of its picture

Composed = tuple[Tensor, Tensor]  # images (N, 3, S, S) in [-1, 1] and classes (N,)
Source = Callable[[int, int], Composed]  # number of pictures, seed -> composed pictures
Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Pictures:
    """Pictures (N, 3, S, S) uint8, their classes (N,), and whether the shortcut agrees with the class (N,) bool."""

    images: Tensor
    labels: Tensor
    agrees: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def groups(self) -> Tensor:
        """The group (N,) of each picture."""
        return groups_of(self.labels, self.agrees)

    def rows(self, rows: Tensor | slice) -> "Pictures":
        """Return some of the pictures."""
        return Pictures(self.images[rows], self.labels[rows], self.agrees[rows])


class Network(nn.Module):
    """A body from images (B, 3, S, S) in [-1, 1] to features (B, D), and a linear head."""

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(images.contiguous(memory_format=torch.channels_last)))
        return logits


@dataclass(frozen=True, eq=False)
class Task:
    """A data set, a network and a budget.

    Args:
        name: of the data set.
        share: of the training pictures, whose shortcut agrees with their class.
        train, held_out: of these, half of ``held_out`` are counter-examples.
        oracle: training pictures whose shortcut is random.
        agreeing, decorrelated: test pictures whose shortcut agrees, and whose shortcut is random.
        network: makes a network with random weights.
        augment: changes a batch of training pictures at random.
        budget, tuning_budget: pictures that pass the network forward and backward, and that do when settings are tried.
        sources: of composed pictures, by name: ``paste``, ``cgn`` and perhaps ``student``.
        cgn: of the training pictures.
        vary: the mechanisms that :func:`skdcgn.cure` varies; None: those that its audit finds.
    """

    name: str
    share: float
    train: Pictures
    held_out: Pictures
    oracle: Pictures
    agreeing: Pictures
    decorrelated: Pictures
    network: Callable[[], Network]
    augment: Augment
    budget: int
    tuning_budget: int
    sources: Mapping[str, Source]
    cgn: Teacher
    vary: tuple[str, ...] | None = None

    @property
    def counter_examples(self) -> bool:
        """Whether a training picture contradicts the shortcut."""
        return self.share < 1


def bf16() -> torch.autocast:
    """Return the context in which networks compute in bfloat16 on the CPU; weights may change inside it."""
    return torch.autocast("cpu", torch.bfloat16, cache_enabled=False)


def from_cgn(cgn: Teacher, policy: tuple[str, ...] = ()) -> Source:
    """Return the counterfactuals of a CGN as a source."""

    def compose_with_labels(n: int, seed: int) -> Composed:
        with bf16():
            composed = compose(cgn, n, policy=policy, seed=seed)
        return composed.images.float(), composed.shape_labels

    return compose_with_labels


def other_classes(labels: Tensor, rng: torch.Generator) -> Tensor:
    """Return a class (N,) for each class (N,), uniform among the others."""
    return (labels + torch.randint(1, CLASSES, labels.shape, generator=rng)) % CLASSES


def painted(glyphs: LabelledImages, objects: Tensor, grounds: Tensor, rng: torch.Generator) -> Pictures:
    """Paint glyphs in the object and background colours of classes (N,); a shortcut agrees if both colours do."""
    coat, ground = APPEARANCES["double-colored"](Labels(objects, grounds), glyphs.image_size, None, rng)
    images = (255 * blend(Layers(glyphs.images, coat, ground))).round().to(torch.uint8)
    return Pictures(images, glyphs.labels, (objects == glyphs.labels) & (grounds == glyphs.labels))


def tied(glyphs: LabelledImages, share: float, rng: torch.Generator) -> Pictures:
    """Paint a share of glyphs in their class's colours, the others in colours of two other classes."""
    own = torch.rand(len(glyphs), generator=rng) < share
    objects, grounds = (torch.where(own, glyphs.labels, other_classes(glyphs.labels, rng)) for _ in range(2))
    return painted(glyphs, objects, grounds, rng)


def untied(glyphs: LabelledImages, rng: torch.Generator) -> Pictures:
    """Paint glyphs in the colours of two random classes."""
    objects, grounds = torch.randint(CLASSES, (2, len(glyphs)), generator=rng)
    return painted(glyphs, objects, grounds, rng)


def recombined_digits(train: Pictures) -> Source:
    """Return digits with the outline, the object colour and the background colour of three training pictures.

    The outline is where the colour is nearer to the digit's than to the frame's: each picture has two flat colours,
    and its frame shows one of them. Pictures of one colour are left out.
    """
    images = as_unit(train.images)
    ground = images[:, :, :FRAME].mean((2, 3), keepdim=True)
    distance = (images - ground).square().sum(1, keepdim=True)
    contrast = distance.amax((2, 3), keepdim=True)
    masks = (distance > contrast / 4).float()
    coat = (masks * images).sum((2, 3), keepdim=True) / masks.sum((2, 3), keepdim=True).clamp(min=1)
    visible = torch.nonzero(contrast.flatten() > LEAST_CONTRAST)[:, 0]

    def draw(n: int, seed: int) -> Composed:
        numbers = torch.randint(len(visible), (3, n), generator=generator(seed, "recombine"))
        shape, texture, background = visible[numbers]
        return blend(Layers(masks[shape], coat[texture], ground[background])), train.labels[shape]

    return draw


def digit_network() -> Network:
    """Return the project's small CNN with He's initial weights."""
    classifier = Classifier(CLASSES)
    classifier.start_by_he()
    return Network(classifier.body, classifier.head)


def unchanged(images: Tensor, rng: torch.Generator) -> Tensor:
    """Return a batch as it is."""
    return images


def digits(share: float, seed: int, cgns: Mapping[str, Teacher], data_root: Path | None, budget: int) -> Task:
    """Return double-colored MNIST; ``seed`` chooses counter-examples and colours of training and held-out pictures."""
    glyphs, tests = load_glyphs("mnist", "train", data_root), load_glyphs("mnist", "test", data_root)
    own, test = glyphs.rows(slice(TRAIN)), tests.rows(slice(TEST))
    held_out = glyphs.rows(slice(HELD_OUT_FROM, HELD_OUT_FROM + HELD_OUT))
    train = tied(own, share, generator(seed, "train", str(share)))
    return Task(
        name="digits",
        share=share,
        train=train,
        held_out=tied(held_out, HELD_OUT_SHARE, generator(seed, "held out")),
        oracle=untied(own, generator(seed, "oracle")),
        agreeing=tied(test, 1, generator(0, "agreeing")),
        decorrelated=untied(test, generator(0, "decorrelated")),
        network=digit_network,
        augment=unchanged,
        budget=budget,
        tuning_budget=budget,
        sources={"paste": recombined_digits(train)} | {name: from_cgn(cgn) for name, cgn in cgns.items()},
        cgn=cgns["cgn"],
    )


def composed_batches(source: Source, count: int, seed: int, at_once: int = 512) -> Callable[[], Composed]:
    """Return a function whose every call returns the next ``count`` pictures of a source, composed many at once."""
    waiting = list[tuple[Tensor, Tensor]]()
    chunk = max(1, at_once // max(count, 1)) * count
    calls = iter(range(2**62))

    def following() -> Composed:
        if not waiting:
            images, labels = source(chunk, derive_seed(seed, "composed", next(calls)))
            waiting.extend(zip(images.split(count), labels.split(count), strict=True))
        return waiting.pop(0)

    return following
