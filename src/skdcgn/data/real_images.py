"""Real images of a user's own data set, shuffled for each pass, with their labels as a CGN numbers them."""

from collections.abc import Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import seeded
from skdcgn.cgn.classes import Classes, match_classes
from skdcgn.cgn.mechanism import Teacher
from skdcgn.data.blocks import Item
from skdcgn.data.shares import Shuffle

RENAME = "rename the data set's classes, or pass torch.utils.data.Subset of it, whose labels count as they are"


@runtime_checkable
class NamedClasses(Protocol):
    """A data set that names its classes in the order of its labels, as ImageFolder of torchvision does."""

    classes: Sequence[str]


@dataclass(frozen=True, eq=False)
class RealImages:
    """The draws of a map-style data set of (image, label); draw d is a function of the seed and d.

    Raises:
        UserError: it is no map-style data set, is empty, or has other classes than the CGN.
    """

    dataset: Dataset[Any]
    seed: int
    numbers: tuple[int, ...] = field(repr=False)
    """The CGN's number of each label."""

    @classmethod
    def of(cls, dataset: Dataset[Any], cgn: Teacher, seed: int) -> "RealImages":
        if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
            raise UserError(f"real_dataset is a {type(dataset).__name__}: pass a map-style Dataset of (image, label)")
        if not len(dataset):
            raise UserError("real_dataset is empty: pass one with images of the CGN's classes")
        return cls(dataset, seed, _numbers(cgn, dataset))

    def shuffle(self) -> Shuffle:
        """Return the order of the draws."""
        return Shuffle(len(cast(Sized, self.dataset)), self.seed)

    def read(self, row: int, draw: int, like: Tensor) -> Item:
        """Return a row of the data set as draw number ``draw``; it must be of the shape and type of ``like``."""
        with seeded(self.seed, "real image", draw):
            image, label = self.dataset[row]
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
