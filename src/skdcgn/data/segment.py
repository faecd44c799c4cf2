"""Masks of the photographs of a folder of classes, written as :mod:`skdcgn.data.masks` reads them.

Batches are the same in every run, so that a mask has the same bytes whichever process makes it. A mask that lies there
is kept, unless its photograph has changed since.
"""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from skdcgn.base.bounds import Side
from skdcgn.base.door import is_file, read_record
from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256, write_bytes, write_json
from skdcgn.base.progress import Watch, log_progress
from skdcgn.base.rank import Rank
from skdcgn.base.records import to_dict
from skdcgn.data.contact import CONTACT, write_contact_sheet
from skdcgn.data.decoding import opened
from skdcgn.data.folders import READERS, list_photos
from skdcgn.data.images import PhotoFiles
from skdcgn.data.mask_sources import SIZE, Drawn, MaskSource
from skdcgn.data.masks import MaskedPhotos, MaskState, mask_file, mask_states, masked_photos

BATCH = 8  # photographs
RECORD, MARK = "segment.json", "photograph"  # file in the folder of masks; key of a PNG's text


@dataclass(frozen=True)
class MaskRecord:
    """What the masks of a folder were made by: its name, its sha256, the pixels of a mask's longer side."""

    source: str
    sha256: str
    size: Side


class Segmentation(NamedTuple):
    """The photographs whose masks are usable, the number of masks in each state, and of photographs without one."""

    usable: MaskedPhotos
    states: dict[MaskState, int]
    without: int

    def __str__(self) -> str:
        """Return one line, as ``2,000 photographs: 1,500 usable masks; left out: 200 empty, 130 full, ...``."""
        states = [f"{count:,} {state}" for state, count in self.states.items() if state is not MaskState.USABLE]
        left_out = [*states, *([f"{self.without:,} without a mask"] if self.without else [])]
        count = sum(self.states.values()) + self.without
        return f"{count:,} photographs: {len(self.usable):,} usable masks; left out: {', '.join(left_out)}"


def segment(
    folder: Path,
    out: Path,
    source: MaskSource,
    *,
    size: int = SIZE,
    rank: Rank = Rank(),  # noqa: B008  # immutable
    watch: Watch = log_progress,
) -> Segmentation:
    """Write the mask of every photograph of a folder of classes, and a contact sheet.

    Args:
        folder: one sub-folder of photographs per class.
        out: folder of the masks, ``out/<class>/<name of the photograph>.png``.
        source: of the masks.
        size: pixels of a mask's longer side.
        rank: of this process, which takes every ``ranks``-th batch; ``out`` may be shared by many.

    Raises:
        UserError: ``out`` lies in ``folder``, holds other masks or those of another source or size; two photographs
            of a class have one name; a photograph cannot be read.
    """
    rank.check()
    photos = list_photos(folder)
    files = mask_files(folder, photos, out)
    _begin(out, files, MaskRecord(source.name, source.digest, size))
    rows = [row for row in range(len(files)) if row // BATCH % rank.ranks == rank.own]
    with ThreadPoolExecutor(READERS) as pool:
        current = pool.map(_is_current, [photos.files[row] for row in rows], [files[row] for row in rows])
        stale = {row for row, is_current in zip(rows, current, strict=True) if not is_current}
        tell = watch("segment", len(rows))
        tell(len(rows) - len(stale))
        batches = [list(batch) for _, batch in groupby(rows, lambda row: row // BATCH)]
        unfinished = [batch for batch in batches if not stale.isdisjoint(batch)]
        for batch, drawn in _read_ahead(unfinished, lambda row: source.read(photos.files[row]), pool):
            for row, mask in _draw(source, size, zip(batch, drawn, strict=True)):
                if row in stale:
                    write_bytes(files[row], _png(mask, _mark(photos.files[row])))
            stale -= set(batch)
            tell(len(rows) - len(stale))
    return summarise(photos, out)


def mask_files(folder: Path, photos: PhotoFiles, out: Path) -> list[Path]:
    """Return where the mask of each photograph is written; raise UserError if two share a file, or with photographs."""
    if out.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{out} lies in {folder}, whose sub-folders are classes: choose another --out")
    files: dict[Path, str] = {}
    for photo in photos.files:
        other = files.setdefault(mask_file(out, photo), photo)
        if other != photo:
            raise UserError(f"{other} and {photo} would share one mask: rename one")
    return list(files)


def _begin(out: Path, files: Sequence[Path], record: MaskRecord) -> None:
    """Note what the masks are made by; raise UserError if the folder holds others."""
    path = out / RECORD
    if is_file(path):
        earlier = read_record(path, MaskRecord)
        if earlier != record:
            raise UserError(
                f"{out} holds masks by {earlier.source} of {earlier.size} pixels, not by {record.source} of "
                f"{record.size} (or its files changed): choose another --out"
            )
        return
    other = next((file for file in files if file.exists()), None)
    if other:
        raise UserError(f"{other} was not written by skdcgn segment: choose another --out")
    write_json(path, to_dict(record))


def _is_current(photo: str, file: Path) -> bool:
    """Tell whether a mask lies there and is of this photograph; one without a mark was retouched, and is kept."""
    if not is_file(file):
        return False
    with opened(file) as image:
        return image.info.get(MARK, mark := _mark(photo)) == mark


def _mark(photo: str) -> str:
    return sha256(Path(photo))[:16]


def _read_ahead(
    batches: Sequence[list[int]], read: Callable[[int], Drawn | None], pool: Executor
) -> Iterator[tuple[list[int], list[Drawn | None]]]:
    """Yield each batch and what was read of it, while threads read the next one."""
    begun: deque[tuple[list[int], list[Future[Drawn | None]]]] = deque()
    for batch in (*batches, []):
        begun.append((batch, [pool.submit(read, row) for row in batch]))
        if len(begun) > 1:
            rows, futures = begun.popleft()
            yield rows, [future.result() for future in futures]


def _draw(source: MaskSource, size: int, batch: Iterable[tuple[int, Drawn | None]]) -> list[tuple[int, Image.Image]]:
    """Return the rows of a batch that have a mask, and the masks."""
    there = [(row, drawn) for row, drawn in batch if drawn]
    masks = source.draw([drawn.picture for _, drawn in there])
    sizes = [fitted(drawn.size, size) for _, drawn in there]
    return [
        (row, mask.resize(shape, Image.Resampling.BILINEAR))
        for (row, _), mask, shape in zip(there, masks, sizes, strict=True)
    ]


def fitted(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return width and height of the same ratio whose longer one is ``longest``."""
    width, height = (max(1, round(length * longest / max(size))) for length in size)
    return width, height


def _png(mask: Image.Image, mark: str) -> bytes:
    text, buffer = PngInfo(), io.BytesIO()
    text.add_text(MARK, mark)
    mask.save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def summarise(photos: PhotoFiles, masks: Path) -> Segmentation:
    """Count the masks in each state, and write the contact sheet."""
    masked = masked_photos(photos, masks)
    states = mask_states(masked)
    write_contact_sheet(masks / CONTACT, masked, states)
    return Segmentation(
        masked.rows([row for row, state in enumerate(states) if state is MaskState.USABLE]),
        {state: states.count(state) for state in MaskState},
        len(photos) - len(masked),
    )
