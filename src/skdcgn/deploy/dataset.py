"""Counterfactuals for any training loop of PyTorch, drawn while one trains.

Image i of a data set is a function of (seed, i) alone: images are composed in blocks of ``BLOCK``, block b from the
seed derived from (seed, b). So the sequence of images depends on neither batch size nor workers, and may be entered
anywhere.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from skdcgn.base.bounds import MOST_SEED
from skdcgn.base.errors import UserError, shown
from skdcgn.base.rank import Rank
from skdcgn.base.seeds import derive_seed, seeded
from skdcgn.cgn.compose import compose
from skdcgn.cgn.drawer import AtPresent
from skdcgn.cgn.mechanism import Teacher
from skdcgn.cgn.pictures import as_rgb
from skdcgn.cgn.policy import Intervention, parse_policy
from skdcgn.data.blocks import Block, Item, Row
from skdcgn.data.loadable import Loadable, check_whole
from skdcgn.data.real_images import RealImages
from skdcgn.data.shares import BLOCK, RankShare, worker_positions
from skdcgn.teachers.load import NamedTeacher
from skdcgn.training.processes import process_count, process_index

R = TypeVar("R", Row, Item)
SHAPE, ALL = "shape", "all"
TYPES = (torch.float32, torch.uint8)
FINEST = 10**6  # denominator of a share


@dataclass(frozen=True, eq=False)
class CounterfactualDataset(Loadable):
    """Counterfactuals (image, label) for a :class:`torch.utils.data.DataLoader`, drawn while one trains.

    An image is (3, S, S): float32 in [-1, 1], or uint8, 127.5 x + 127.5 rounded. Image i is a function of (seed, i), of
    the CGN as it is when a pass begins, the policy and ``shared_noise`` alone. Every pass yields the same images: for
    new ones in each epoch leave ``length`` out, or iterate over :meth:`skip`.

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

    def rows(self) -> Iterator[Row]:
        return map(self.row_reader(), worker_positions(self.start, self.share.images, self.batch_size))

    def skip(self, n: int) -> "CounterfactualDataset":
        """Return the data set that begins ``n`` images of this rank later."""
        check_whole("n", n, 0)
        return replace(self, start=self.start + n)

    def mix(self, real_dataset: Dataset[Any], share: float) -> "MixedDataset":
        """Return a data set of both, with ``share`` real images in every stretch; see :class:`MixedDataset`."""
        return MixedDataset(self, real_dataset, share)

    def _in_batches_of(self, size: int) -> "CounterfactualDataset":
        AtPresent(self.teacher)  # a worker that is forked later finds its drawer
        return replace(self, batch_size=size)

    @property
    def share(self) -> RankShare:
        """This rank's part of the sequence."""
        return RankShare(Rank(cast(int, self.rank), cast(int, self.ranks)), self.length)

    @property
    def _in_blocks(self) -> bool:
        return self.transform is None

    def reader(self) -> Callable[[int], Item]:
        """Return ``position -> (image, label)``, which keeps the block of the last image."""
        read, share = self.row_reader(), self.share

        def read_item(position: int) -> Item:
            block, row = read(position)
            image, label = block.item(row)
            return self._transformed(image, share.place(position)), label

        return read_item

    def row_reader(self) -> Callable[[int], Row]:
        """Return ``position -> (block, row)``, which keeps the last block."""
        cgn, share = AtPresent(self.teacher), self.share
        number, block = -1, Block(torch.empty(0), torch.empty(0))

        def read(position: int) -> Row:
            nonlocal number, block
            own, row = divmod(share.place(position), BLOCK)
            if own != number:
                number, block = own, self._compose(cgn, own)
            return block, row

        return read

    def _compose(self, cgn: Teacher, number: int) -> Block:
        """Draw the block of this number, on the CPU."""
        seed = derive_seed(self.seed, "dataset", number)
        batch = compose(cgn, BLOCK, policy=self.policy, shared_noise=self.shared_noise, seed=seed)
        images = as_rgb(batch.images) if self.dtype is torch.uint8 else batch.images
        labels = [batch.shape_labels, batch.texture_labels, batch.background_labels]
        return Block(images.cpu(), torch.stack(labels[:1] if self.labels == SHAPE else labels).cpu())

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
    real_images: RealImages = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.counterfactuals.labels != SHAPE:
            raise UserError(
                f"labels={self.counterfactuals.labels!r}: real images have one label; mix takes labels='shape'"
            )
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 < self.share < 1:
            raise UserError(f"share {shown(self.share)}: pass the share of real images, above 0 and below 1")
        images = RealImages.of(self.real, self.counterfactuals.teacher, self.counterfactuals.seed)
        check_whole("start", self.start, 0, self._images)
        object.__setattr__(self, "real_images", images)

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
        reader = self._reader(self.counterfactuals.reader())
        return map(reader, worker_positions(self.start, self._images, self.batch_size))

    def rows(self) -> Iterator[Row | Item]:
        reader = self._reader(self.counterfactuals.row_reader())
        return map(reader, worker_positions(self.start, self._images, self.batch_size))

    @property
    def _in_blocks(self) -> bool:
        return self.counterfactuals.transform is None

    def skip(self, n: int) -> "MixedDataset":
        """Return the data set that begins ``n`` images of this rank later."""
        check_whole("n", n, 0)
        return replace(self, start=self.start + n)

    def _in_batches_of(self, size: int) -> "MixedDataset":
        return replace(self, counterfactuals=self.counterfactuals._in_batches_of(size))

    @property
    def _exact(self) -> Fraction:
        return Fraction(self.share).limit_denominator(FINEST)

    @property
    def _images(self) -> int | None:
        """The images of this rank, from the first; None: they do not end."""
        if self.counterfactuals.length is None:
            return None
        return int(len(self.counterfactuals) / (1 - self._exact))

    def _reader(self, read: Callable[[int], R]) -> Callable[[int], R | Item]:
        """Return what reads the image at a position, by ``read`` if it is a counterfactual."""
        source, exact = self.counterfactuals, self._exact
        shuffle = self.real_images.shuffle()
        like: Tensor | None = None

        def read_either(position: int) -> R | Item:
            nonlocal like
            before = position * exact.numerator // exact.denominator  # real images before this one
            if (position + 1) * exact.numerator // exact.denominator == before:
                return read(source.start + position - before)
            if like is None:
                first = read(source.start + position - before - 1)[0]
                like = first.images[0] if isinstance(first, Block) else first
            draw = source.share.real_draw(before)
            return self.real_images.read(shuffle.row(draw), draw, like)

        return read_either
