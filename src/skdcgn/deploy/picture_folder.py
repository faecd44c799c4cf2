"""A folder of counterfactuals as numbered pictures, ``000000.png`` and so on, which ``labels.csv`` lists.

The table is written last: a folder with ``labels.csv`` holds all of its pictures and no other numbered one. While they
are written, ``.pictures.json`` lists those that may be there instead, so that the next run knows its own.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from skdcgn.base.door import read_record, read_text
from skdcgn.base.errors import UserError
from skdcgn.base.files import write_bytes, write_json, writing
from skdcgn.base.records import to_dict

TABLE, JOURNAL = "labels.csv", ".pictures.json"
NUMBERED = re.compile(r"\d{6,}\.png")


@dataclass(frozen=True)
class Journal:
    """The numbered pictures that may be in a folder without a table: the first ``count``, and further files."""

    count: int = 0
    files: tuple[str, ...] = ()


def picture_name(index: int) -> str:
    """Return the file name of a picture."""
    return f"{index:06d}.png"


class PictureFolder:
    """The numbered pictures of the folder ``path``: those that its table or its journal lists are its own."""

    def __init__(self, path: Path) -> None:
        journal = path / JOURNAL
        self.path, self._begun = path, read_record(journal, Journal) if journal.exists() else Journal()
        self._listed = _indices([*_names_in_table(path / TABLE), *self._begun.files])

    def refuse_strangers(self) -> None:
        """Raise UserError if the folder holds a numbered picture that is not listed, or a table of somebody else."""
        table = self.path / TABLE
        if table.exists() and not _is_own(table):
            raise UserError(f"{table} was not written by skdcgn generate: choose another --out, or move that file away")
        names = (file.name for file in self.path.iterdir()) if self.path.is_dir() else ()
        for index in sorted(_indices(names) - self._listed):
            if index >= self._begun.count:
                file = self.path / picture_name(index)
                raise UserError(f"{file} is not listed in {table}: choose an empty --out, or move it away")

    def begin(self, count: int) -> None:
        """Note that up to ``count`` pictures of another set may come, and remove the table."""
        self._begun = Journal(max(count, self._begun.count), tuple(map(picture_name, sorted(self._listed))))
        if self._begun != Journal():
            write_json(self.path / JOURNAL, to_dict(self._begun))
        if _is_own(self.path / TABLE):
            remove(self.path / TABLE)

    def end(self, count: int, table: bytes = b"") -> None:
        """Remove the numbered pictures from ``count`` on; write the table, if there is one."""
        for index in chain(range(count, self._begun.count), (index for index in self._listed if index >= count)):
            remove(self.path / picture_name(index))
        if table:
            write_bytes(self.path / TABLE, table)
        remove(self.path / JOURNAL)


def _indices(names: Iterable[str]) -> set[int]:
    return {int(name[:-4]) for name in names if NUMBERED.fullmatch(name)}


def _is_own(table: Path) -> bool:
    return table.is_file() and read_text(table).startswith("file,shape,")


def _names_in_table(table: Path) -> list[str]:
    return [line.split(",", 1)[0] for line in read_text(table).splitlines()] if _is_own(table) else []


def remove(file: Path) -> None:
    """Remove a file; one that does not exist is removed already."""
    with writing(file):
        file.unlink(missing_ok=True)
