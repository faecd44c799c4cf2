"""Recordings that are folders of picture files, with a table of labels or a sub-folder per class."""

from pathlib import Path

import torch

from skdcgn.base.door import is_file, is_folder
from skdcgn.base.errors import UserError
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.data.folders import class_folders, find_pictures
from skdcgn.data.recorded_labels import LabelRow
from skdcgn.data.recorded_pictures import picture_files
from skdcgn.data.recorded_rows import WHOLE, RecordedRows, label_table, must_be_complete

Chosen = dict[Mechanism, list[tuple[int, str, str]]]  # row of the table, file, label


def folder_rows(folder: Path, labels: Path | None, size: int | None) -> dict[Mechanism, RecordedRows]:
    if labels is None:
        table = [row for m in _mechanism_folders(folder) for row in _class_rows(folder, m)]
        own = {m: [row for row in table if row.mechanism is m] for m in Mechanism}
        chosen = {m: [(place, _file(row), row.label) for place, row in enumerate(rows)] for m, rows in own.items()}
        counts = {m: len(rows) for m, rows in own.items()}
    else:
        chosen = _rows_of_table(folder, label_table(labels), labels)
        counts = dict.fromkeys(Mechanism, len(label_table(labels)))
    must_be_complete(folder, {m for m, rows in chosen.items() if rows})
    readers = picture_files({m: [file for _, file, _ in rows] for m, rows in chosen.items()}, size)
    return {
        m: RecordedRows(readers[m], [word for *_, word in rows], torch.tensor([row[0] for row in rows]), counts[m])
        for m, rows in chosen.items()
    }


def _file(row: LabelRow) -> str:
    assert row.file is not None  # rows of folders have one
    return row.file


def _mechanism_folders(folder: Path) -> list[Mechanism]:
    folders = [m for m in Mechanism if is_folder(folder / m)]
    must_be_complete(folder, set(folders))
    return folders


def _class_rows(folder: Path, mechanism: Mechanism) -> list[LabelRow]:
    names = class_folders(folder / mechanism)
    if not names:
        raise UserError(f"{folder / mechanism} has no sub-folder per class: pass a table file,label by --labels")
    return [LabelRow(name, file, mechanism) for name in names for file in find_pictures(folder / mechanism / name)]


def _rows_of_table(folder: Path, table: list[LabelRow], labels: Path) -> Chosen:
    """Return the rows of each mechanism; raise UserError for a label without a picture, or two of one picture."""
    chosen: Chosen = {m: [] for m in Mechanism}
    seen = set[tuple[Mechanism, str]]()
    for place, row in enumerate(table):
        if row.file is None:
            raise UserError(f"{labels} names no files: write a line file,label for each picture of {folder}")
        for mechanism, file in _pictures_of_row(folder, row, labels):
            if (mechanism, file) in seen:
                raise UserError(f"{labels} has two rows of the {mechanism} {row.file}: remove one")
            seen.add((mechanism, file))
            chosen[mechanism].append((place, file, row.label))
    return chosen


def _pictures_of_row(folder: Path, row: LabelRow, labels: Path) -> list[tuple[Mechanism, str]]:
    path = Path(_file(row))
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{labels}: {path} is no file inside {folder}: write paths relative to it")
    if row.mechanism:
        places = [folder / row.mechanism / path, folder / path]
        files = [(row.mechanism, str(place)) for place in places if is_file(place)][:1]
    elif path.parts[0] in list(Mechanism):
        files = [(Mechanism(path.parts[0]), str(folder / path))] if is_file(folder / path) else []
    else:
        files = [(m, str(folder / m / path)) for m in Mechanism if is_file(folder / m / path)]
        if not files and is_file(folder / path):
            raise UserError(f"{folder} holds {WHOLE}, or add a column mechanism to {labels}")
        files = files if len(files) in (0, len(Mechanism)) else []
    if not files:
        raise UserError(f"{labels} has a label of {path}, and {folder} has no such picture: add it, or remove the row")
    return files
