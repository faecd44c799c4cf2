"""Counterfactuals for any training loop of PyTorch, drawn while one trains.

Image i of a data set is a function of (seed, i) alone: images are composed in blocks of ``BLOCK``, block b from the
seed derived from (seed, b). So the sequence of images depends on neither batch size nor workers, and may be entered
anywhere.
"""

from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import KW_ONLY, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from skdcgn.base.bounds import MOST_SEED
from skdcgn.base.errors import UserError, shown
from skdcgn.base.rank import Rank
from skdcgn.base.seeds import derive_seed, seeded
from skdcgn.cgn.classes import Classes, match_classes
from skdcgn.cgn.compose import Counterfactuals, compose
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.cgn.pictures import as_rgb
from skdcgn.cgn.policy import Intervention, parse_policy
from skdcgn.data.loadable import Item, Loadable, check_whole
from skdcgn.data.shares import BLOCK, RankShare, Shuffle, worker_positions
from skdcgn.teachers.load import NamedTeacher
from skdcgn.training.processes import process_count, process_index

SHAPE, ALL = "shape", "all"
TYPES = (torch.float32, torch.uint8)
FINEST = 10**6  # denominator of a share
RENAME = "rename the data set's classes, or pass torch.utils.data.Subset of it, whose labels count as they are"


@runtime_checkable
class NamedClasses(Protocol):
    """A data set that names its classes in the order of its labels, as ImageFolder of torchvision does."""

    classes: Sequence[str]


@dataclass(frozen=True, eq=False)
class CounterfactualDataset(Loadable):
    """Counterfactuals (image, label) for a :class:`torch.utils.data.DataLoader`, drawn while one trains.

    An image is (3, S, S): float32 in [-1, 1], or uint8, 127.5 x + 127.5 rounded. Image i is a function of (seed, i), of
    the CGN, the policy and ``shared_noise`` alone. Every pass yields the same images: for new ones in each epoch leave
    ``length`` out, or iterate over :meth:`skip`.

    Any DataLoader yields the same sequence, whatever its batch size and the number of its workers. **Without**
    ``batch_size`` the first worker draws all images, and the others end at once. **With** the ``batch_size`` of the
    DataLoader, the workers share the batches, best of a multiple of 64 images; a data set cannot see the batch size of
    its DataLoader, and of another the order of the images depends on the number of workers. :meth:`loader` sets both.

    Args:
        cgn: a teacher or a student; or a name, file or folder, as :func:`skdcgn.load_teacher` takes them, which each
            worker that is not forked loads itself.
        length: images of all ranks together; None: without end.
        seed: the same seed gives the same bytes on the same machine.
        policy: interventions, as :func:`skdcgn.compose` takes them.
        batch_size: that of the DataLoader, so that its workers share the work.
        labels: ``shape``: the label is the class to predict, an int. ``all``: a dict of three ints, ``shape``,
            ``texture``, ``background``, of which a DataLoader makes a dict of tensors.
        dtype: ``torch.float32`` or ``torch.uint8``.
        transform: of an image; torch's global random state is set from (seed, i) before each call.
        shared_noise: texture and background take the noise of their shape.
        rank, ranks: which of how many processes this is: each takes equally many images, the remainder is dropped,
            together they take the sequence. None: those of torch.distributed if it is initialised, else 0 of 1.
        start: the first image of this rank's sequence: where a training goes on.

    Raises:
        UserError: an argument is out of its range, an unknown intervention, no such CGN; the line names it.
    """

    cgn: Teacher | str | Path
    _: KW_ONLY
    length: int | None = None
    seed: int = 0
    policy: Sequence[str | Intervention] = ()
    batch_size: int | None = None
    labels: str = SHAPE
    dtype: torch.dtype = torch.float32
    transform: Callable[[Tensor], Tensor] | None = None
    shared_noise: bool = False
    rank: int | None = None
    ranks: int | None = None
    start: int = 0

    def __post_init__(self) -> None:
        check_whole("length", self.length, 1)
        check_whole("seed", self.seed, 0, MOST_SEED)
        check_whole("batch_size", self.batch_size, 1)
        if self.labels not in (SHAPE, ALL):
            raise UserError(f"labels {shown(self.labels)}: use {SHAPE!r} or {ALL!r}")
        if self.dtype not in TYPES:
            raise UserError(f"dtype {shown(self.dtype)}: use torch.float32 or torch.uint8")
        if (self.rank is None) != (self.ranks is None):
            raise UserError("rank and ranks belong together: pass both, or neither")
        if self.rank is None:
            object.__setattr__(self, "rank", process_index())
            object.__setattr__(self, "ranks", process_count())
        self.share.rank.check()
        check_whole("start", self.start, 0, self.share.images)
        object.__setattr__(self, "cgn", self.cgn if isinstance(self.cgn, Teacher) else NamedTeacher(self.cgn))
        parse_policy(self.policy, self.teacher.spec.classes)

    @property
    def teacher(self) -> Teacher:
        """The CGN, loaded."""
        return cast(Teacher, self.cgn)

    def __len__(self) -> int:
        """Return how many images this rank has from ``start`` on; raise TypeError if they do not end."""
        if self.share.images is None:
            raise TypeError("counterfactuals without end have no len(): pass length=")
        return self.share.images - self.start

    def __iter__(self) -> Iterator[Item]:
        return map(self.reader(), worker_positions(self.start, self.share.images, self.batch_size))

    def skip(self, n: int) -> "CounterfactualDataset":
        """Return the data set that begins ``n`` images of this rank later."""
        check_whole("n", n, 0)
        return replace(self, start=self.start + n)

    def mix(self, real_dataset: Dataset[Any], share: float) -> "MixedDataset":
        """Return a data set of both, with ``share`` real images in every stretch; see :class:`MixedDataset`."""
        return MixedDataset(self, real_dataset, share)

    def _in_batches_of(self, size: int) -> "CounterfactualDataset":
        return replace(self, batch_size=size)

    @property
    def share(self) -> RankShare:
        """This rank's part of the sequence."""
        return RankShare(Rank(cast(int, self.rank), cast(int, self.ranks)), self.length)

    def reader(self) -> Callable[[int], Item]:
        """Return ``position -> (image, label)``, which keeps the block of the last image."""
        block, images, labels = -1, torch.empty(0), torch.empty(0)

        def read(position: int) -> Item:
            nonlocal block, images, labels
            number = self.share.place(position)
            if number // BLOCK != block:
                block = number // BLOCK
                images, labels = self._compose(block)
            three = labels[:, number % BLOCK].tolist()
            label = three[0] if self.labels == SHAPE else dict(zip(map(str, Mechanism), three, strict=True))
            return self._transformed(images[number % BLOCK].clone(), number), label

        return read

    def _compose(self, block: int) -> tuple[Tensor, Tensor]:
        """Draw the images (BLOCK, 3, S, S) and the three labels (3, BLOCK) of a block, on the CPU."""
        seed = derive_seed(self.seed, "dataset", block)
        batch = compose(self.teacher, BLOCK, policy=self.policy, shared_noise=self.shared_noise, seed=seed)
        images = as_rgb(batch.images) if self.dtype is torch.uint8 else batch.images
        return images.cpu(), _three_labels(batch).cpu()

    def _transformed(self, image: Tensor, number: int) -> Tensor:
        if self.transform is None:
            return image
        with seeded(self.seed, "transform", number):
            return self.transform(image)


@dataclass(frozen=True, eq=False)
class MixedDataset(Loadable):
    """Counterfactuals and real images, evenly interleaved: of the first n images, floor(share n) are real.

    Real images are shuffled for each pass over them, a function of the seed, and shared among ranks as
    counterfactuals are. Torch's global random state is set before each is read, so that its random crops too are the
    same for any number of workers. The data set ends with its counterfactuals.

    Args:
        counterfactuals: with ``labels="shape"``; seed, rank and batch size are theirs.
        real: a map-style data set of (image, label), images of the counterfactuals' shape and type. If it names its
            ``classes``, its labels are matched with the CGN's by name, else they are the CGN's numbers.
        share: of real images, above 0 and below 1.
        start: the first image of this rank's sequence.

    Raises:
        UserError: an argument is out of its range, other classes than the CGN's; while iterating, an image of another
            shape or type, or a label that is none of the CGN's.
    """

    counterfactuals: CounterfactualDataset
    real: Dataset[Any]
    share: float
    _: KW_ONLY
    start: int = 0
    numbers: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.counterfactuals.labels != SHAPE:
            raise UserError(
                f"labels={self.counterfactuals.labels!r}: real images have one label; mix takes labels='shape'"
            )
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 < self.share < 1:
            raise UserError(f"share {shown(self.share)}: pass the share of real images, above 0 and below 1")
        if isinstance(self.real, IterableDataset) or not isinstance(self.real, Sized):
            raise UserError(f"real_dataset is a {type(self.real).__name__}: pass a map-style Dataset of (image, label)")
        if not len(self.real):
            raise UserError("real_dataset is empty: pass one with images of the CGN's classes")
        check_whole("start", self.start, 0, self._images)
        object.__setattr__(self, "numbers", _numbers(self.counterfactuals.teacher, self.real))

    @property
    def batch_size(self) -> int | None:  # type: ignore[override]
        """That of the counterfactuals."""
        return self.counterfactuals.batch_size

    def __len__(self) -> int:
        """Return how many images this rank has from ``start`` on; raise TypeError if they do not end."""
        if self._images is None:
            raise TypeError("counterfactuals without end have no len(): pass length=")
        return self._images - self.start

    def __iter__(self) -> Iterator[Item]:
        return map(self._reader(), worker_positions(self.start, self._images, self.batch_size))

    def skip(self, n: int) -> "MixedDataset":
        """Return the data set that begins ``n`` images of this rank later."""
        check_whole("n", n, 0)
        return replace(self, start=self.start + n)

    def _in_batches_of(self, size: int) -> "MixedDataset":
        return replace(self, counterfactuals=replace(self.counterfactuals, batch_size=size))

    @property
    def _exact(self) -> Fraction:
        return Fraction(self.share).limit_denominator(FINEST)

    @property
    def _images(self) -> int | None:
        """The images of this rank, from the first; None: they do not end."""
        if self.counterfactuals.length is None:
            return None
        return int(len(self.counterfactuals) / (1 - self._exact))

    def _reader(self) -> Callable[[int], Item]:
        """Return ``position -> (image, label)``."""
        source, exact = self.counterfactuals, self._exact
        read, shuffle = source.reader(), Shuffle(len(cast(Sized, self.real)), source.seed)
        like: Tensor | None = None

        def read_either(position: int) -> Item:
            nonlocal like
            before = position * exact.numerator // exact.denominator  # real images before this one
            if (position + 1) * exact.numerator // exact.denominator == before:
                return read(source.start + position - before)
            if like is None:
                like = read(source.start + position - before - 1)[0]
            return self._read_real(shuffle, source.share.real_draw(before), like)

        return read_either

    def _read_real(self, shuffle: Shuffle, draw: int, like: Tensor) -> Item:
        """Read draw number ``draw`` of the real images, which must be of the shape and type of ``like``."""
        row = shuffle.row(draw)
        with seeded(self.counterfactuals.seed, "real image", draw):
            image, label = self.real[row]
        if not isinstance(image, Tensor) or image.shape != like.shape or image.dtype != like.dtype:
            raise UserError(
                f"image {row} of real_dataset is {_form(image)}, counterfactuals are {_form(like)}: give the data "
                "set, or the counterfactuals, a transform to the same"
            )
        if not 0 <= int(label) < len(self.numbers):
            raise UserError(f"image {row} of real_dataset has label {int(label)}: use 0 to {len(self.numbers) - 1}")
        return image, self.numbers[int(label)]


def _numbers(cgn: Teacher, real: Dataset[Any]) -> tuple[int, ...]:
    """Return the CGN's number of each label of a real data set."""
    own = Classes.of("the CGN", cgn.spec)
    if not isinstance(real, NamedClasses):
        return tuple(range(own.count))
    names = tuple(map(str, real.classes))
    return tuple(match_classes(own, Classes("real_dataset", len(names), names), RENAME, some=True).tolist())


def _form(image: object) -> str:
    if not isinstance(image, Tensor):
        return f"a {type(image).__name__}"
    return f"{tuple(image.shape)} {str(image.dtype).removeprefix('torch.')}"


def _three_labels(batch: Counterfactuals) -> Tensor:
    return torch.stack([batch.shape_labels, batch.texture_labels, batch.background_labels])
