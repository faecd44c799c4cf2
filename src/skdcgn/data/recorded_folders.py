"""Recordings that are folders of picture files, with a table of labels or a sub-folder per class."""

import logging
from pathlib import Path

import torch

from skdcgn.base.door import is_file, is_folder
from skdcgn.base.errors import UserError
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.data.folders import class_folders, find_pictures
from skdcgn.data.recorded_labels import LabelRow
from skdcgn.data.recorded_pictures import picture_files
from skdcgn.data.recorded_rows import WHOLE, RecordedRows, label_table, must_be_complete

logger = logging.getLogger(__name__)
TableRows = dict[Mechanism, list[tuple[int, str, str]]]  # row of the table, file, label


def folder_rows(folder: Path, labels: Path | None, size: int | None) -> dict[Mechanism, RecordedRows]:
    """Return the rows of each mechanism.

    Args:
        folder: of the pictures.
        labels: a table ``file,label[,mechanism]``; None: each mechanism's folder has a sub-folder per class.
        size: pixels of a side that pictures are resized to; None: as they are.

    Raises:
        UserError: a mechanism, a label or a picture is missing or doubled, or pictures have several sizes.
    """
    table = None if labels is None else label_table(labels)
    table_rows = _rows_of_classes(folder) if labels is None or table is None else _rows_of_table(folder, table, labels)
    must_be_complete(folder, {m for m, rows in table_rows.items() if rows})
    readers = picture_files({m: [file for _, file, _ in rows] for m, rows in table_rows.items()}, size)
    return {
        m: RecordedRows(
            pictures=readers[m],
            words=[word for *_, word in rows],
            places=torch.tensor([place for place, *_ in rows]),
            table=len(rows) if table is None else len(table),
        )
        for m, rows in table_rows.items()
    }


def _rows_of_classes(folder: Path) -> TableRows:
    return {m: [(place, *row) for place, row in enumerate(_in_classes(folder / m))] for m in _mechanism_folders(folder)}


def _mechanism_folders(folder: Path) -> list[Mechanism]:
    folders = [m for m in Mechanism if is_folder(folder / m)]
    must_be_complete(folder, set(folders))
    return folders


def _in_classes(folder: Path) -> list[tuple[str, str]]:
    """Return the pictures of each sub-folder with its name."""
    names = class_folders(folder)
    if not names:
        raise UserError(f"{folder} has no sub-folder per class: pass a table file,label by --labels")
    return [(file, name) for name in names for file in find_pictures(folder / name)]


def _rows_of_table(folder: Path, table: list[LabelRow], labels: Path) -> TableRows:
    """Return the rows of each mechanism; raise UserError for a label without a picture, or two of one picture."""
    table_rows: TableRows = {m: [] for m in Mechanism}
    seen = set[tuple[Mechanism, str]]()
    for place, row in enumerate(table):
        if row.file is None:
            raise UserError(f"{labels} names no files: write a line file,label for each picture of {folder}")
        for mechanism, file in _pictures_of_row(folder, row, labels):
            if (mechanism, file) in seen:
                raise UserError(f"{labels} has two rows of the {mechanism} {row.file}: remove one")
            seen.add((mechanism, file))
            table_rows[mechanism].append((place, file, row.label))
    _warn_of_unlabelled(folder, {file for _, file in seen}, labels)
    return table_rows


def _warn_of_unlabelled(folder: Path, labelled: set[str], labels: Path) -> None:
    for mechanism in Mechanism:
        if is_folder(folder / mechanism):
            others = [file for file in find_pictures(folder / mechanism) if file not in labelled]
            if others:
                logger.warning(f"{labels} has no label of {len(others):,} pictures, which are left out, as {others[0]}")


def _pictures_of_row(folder: Path, row: LabelRow, labels: Path) -> list[tuple[Mechanism, str]]:
    path = Path(row.file or "")
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{labels}: {path} is no file inside {folder}: write paths relative to it")
    if row.mechanism:
        places = [folder / row.mechanism / path, folder / path]
        files = [(row.mechanism, str(place)) for place in places if is_file(place)][:1]
    elif path.parts and path.parts[0] in list(Mechanism):
        files = [(Mechanism(path.parts[0]), str(folder / path))] if is_file(folder / path) else []
    else:
        files = [(m, str(folder / m / path)) for m in Mechanism if is_file(folder / m / path)]
        if not files and is_file(folder / path):
            raise UserError(f"{folder} holds {WHOLE}, or add a column mechanism to {labels}")
        if missing := [m for m in Mechanism if files and m not in dict(files)]:
            raise UserError(f"{labels} has a label of {path}, and {folder} has no {missing[0]} of that name: add it")
    if not files:
        raise UserError(f"{labels} has a label of {path}, and {folder} has no such picture: add it, or remove the row")
    return files
