"""Data sets for a :class:`torch.utils.data.DataLoader`: their loader, and the check of their numbers."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from skdcgn.base.bounds import MOST_COUNT
from skdcgn.base.errors import UserError, shown
from skdcgn.data.blocks import Item, Row, collate_rows


class Loadable(IterableDataset[Item]):
    """A data set whose DataLoader takes the batches that its workers share."""

    batch_size: int | None

    def loader(self, workers: int = 0, *, batch_size: int | None = None, **options: Any) -> DataLoader[Item]:
        """Return a DataLoader whose ``workers`` processes share the work batch by batch.

        Without a transform and a ``collate_fn`` of your own, batches are cut out of the blocks that are composed at
        once, which is faster for small images; they are the same ones.

        Args:
            workers: processes beside this one; 0: images are composed in this one.
            batch_size: images of a batch; None: that of the data set.
            options: further arguments of :class:`torch.utils.data.DataLoader`.

        Raises:
            UserError: no batch size, another than the data set's, or an option that an endless sequence has no use for.
        """
        size = batch_size if self.batch_size is None else self.batch_size
        if size is None or batch_size not in (None, size):
            raise UserError(f"loader: batch_size is {batch_size}, that of the data set {self.batch_size}: pass one")
        if surplus := {"shuffle", "sampler", "batch_sampler", "num_workers", "dataset"} & options.keys():
            raise UserError(
                f"loader takes no {min(surplus)}: images come in random order; workers are its first argument"
            )
        own = self._in_batches_of(size)
        dataset: IterableDataset[Any] = own
        if self._in_blocks and options.get("collate_fn") is None:
            dataset, options = _Rows(own), options | {"collate_fn": collate_rows}
        return DataLoader(dataset, batch_size=size, num_workers=workers, **options)

    @abstractmethod
    def _in_batches_of(self, size: int) -> "Loadable":
        """Return the same data set with this batch size."""

    @property
    @abstractmethod
    def _in_blocks(self) -> bool:
        """Whether batches may be cut out of blocks: no image is transformed."""

    @abstractmethod
    def rows(self) -> Iterator[Row | Item]:
        """Yield the images and labels of :meth:`__iter__` as rows of blocks, where they have one."""

    @abstractmethod
    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class _Rows(IterableDataset[Row | Item]):
    """The rows of a data set, for its loader."""

    dataset: Loadable

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Row | Item]:
        return self.dataset.rows()


def check_whole(name: str, value: int | None, least: int, most: int | None = MOST_COUNT) -> None:
    """Raise UserError unless a value is a whole number from ``least`` to ``most``, or None."""
    top = MOST_COUNT if most is None else most
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not least <= value <= top):
        raise UserError(f"{name} is {shown(value)}: pass a whole number from {least} to {top}")
