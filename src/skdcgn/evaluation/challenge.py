"""A background challenge made of a user's own photographs, in ImageNet-9's layout: ``mixed_rand/val/<class>/x.png``.

With a photograph x, its mask m, and the background b(x), which is x with its object filled in:

    original    x
    only_fg     m x
    no_fg       (1 - m) x
    only_bg_t   b(x)
    mixed_*     m x + (1 - m) b(x')

where x' is another photograph of the same class (``mixed_same``), a photograph of a random class (``mixed_rand``) or
one of the next class (``mixed_next``): Xiao et al., "Noise or Signal", ICLR 2021, section 2. There b is tiled from the
picture outside the object's box; here it is filled in (:mod:`skdcgn.data.inpaint`), so that a shape leaves no trace.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.base.bounds import Count, Seed, Side, Whole
from skdcgn.base.contents import digests, folder_reads
from skdcgn.base.door import read_record
from skdcgn.base.errors import UserError
from skdcgn.base.files import write_bytes, write_json
from skdcgn.base.progress import Tell, Watch, log_progress
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import generator
from skdcgn.cgn.compose import blend
from skdcgn.cgn.mechanism import Layers
from skdcgn.cgn.pictures import encode
from skdcgn.classifiers.ensemble import WORKERS
from skdcgn.data.folders import list_photos, read_picture
from skdcgn.data.inpaint import push_pull
from skdcgn.data.masks import MaskedPhotos, list_masked, read_mask, usable_photos
from skdcgn.data.reads import photo_reads
from skdcgn.evaluation.in9 import CHALLENGE
from skdcgn.training.run_folder import RunFolder

OWN = ("original", "only_fg", "no_fg", "only_bg_t")  # made of one photograph
MIXED = ("mixed_same", "mixed_rand", "mixed_next")
VARIANTS = (*OWN, *MIXED)
BACKGROUNDS = "backgrounds.csv"  # which photograph's background each mixed picture has
BATCH = 64  # photographs between two reports of progress
MARGIN = 1  # pixels around the object that its background does not take over


@dataclass(frozen=True)
class ChallengeConfig:
    """The pixels of a side of the pictures, and the seed that draws the backgrounds."""

    image_size: Side = 128
    seed: Seed = 0


@dataclass(frozen=True)
class ChallengeRecord:
    """``challenge.json``: what the pictures of a challenge were made of.

    Args:
        classes: how many pictures of each variant a class has.
        masks: how many masks there are in each state; only photographs with a usable one are taken.
        without_mask: photographs without a mask.
        reads: sha256 of the photographs, of the masks, and of the names of the classes.
    """

    image_size: Side
    seed: Seed
    variants: tuple[str, ...]
    classes: dict[str, Count]
    masks: dict[str, Whole]
    without_mask: Whole
    reads: dict[str, str]


def write_challenge(
    images: Path, masks: Path, out: Path, config: ChallengeConfig | None = None, *, watch: Watch = log_progress
) -> ChallengeRecord:
    """Write the seven variants of each photograph that has a usable mask; a killed call is continued by the same call.

    Args:
        images: photographs, a sub-folder per class.
        masks: ``masks/<class>/<stem of the photograph>.png``.
        out: folder of the challenge, with a sub-folder per variant.
        config: default: 128 pixels, seed 0.

    Raises:
        UserError: no photograph has a usable mask, two have one name, fewer than two classes, or ``out`` holds another
            challenge.
    """
    config = config or ChallengeConfig()
    every = list_photos(images)
    masked = list_masked(every, masks)
    photos, states = usable_photos(masked)
    reads = {**photo_reads("photographs", images, photos.photos), **folder_reads("masks", masks, photos.masks)}
    record = ChallengeRecord(
        **vars(config),
        variants=VARIANTS,
        classes=_class_counts(photos, images),
        masks={state.value: count for state, count in states.items()},
        without_mask=len(every) - len(masked),
        reads=digests(reads),
    )
    RunFolder(out, config, reads=reads)
    if (out / CHALLENGE).exists():
        return read_record(out / CHALLENGE, ChallengeRecord)
    writer = _Writer(photos, _picture_names(photos), out, config)
    writer.write(watch("challenge", len(VARIANTS) * len(photos.masks)))
    write_json(out / CHALLENGE, to_dict(record))
    return record


def _class_counts(photos: MaskedPhotos, images: Path) -> dict[str, int]:
    """Return how many photographs each class has that has any; raise UserError for fewer than two classes."""
    counts = photos.photos.labels.bincount(minlength=len(photos.photos.names)).tolist()
    classes = {name: count for name, count in zip(photos.photos.names, counts, strict=True) if count}
    if len(classes) < 2:
        raise UserError(f"{images} has usable masks for {len(classes)} of its classes: a challenge needs two or more")
    return classes


def _picture_names(photos: MaskedPhotos) -> list[str]:
    """Return ``<class>/<stem>.png`` of each photograph; raise UserError if two have one name."""
    names = dict[str, str]()
    for file, label in zip(photos.photos.files, photos.photos.labels.tolist(), strict=True):
        name = f"{photos.photos.names[label]}/{Path(file).stem}.png"
        if name in names:
            raise UserError(f"{file} has the name of {names[name]} but for its ending: rename one of them")
        names[name] = file
    return list(names)


def background_sources(labels: Tensor, seed: int) -> dict[str, Tensor]:
    """Draw the row of the photograph whose background each mixed picture has, by variant, each (N,) int64.

    Args:
        labels: (N,) int64, of the photographs. Classes without photographs do not count.
        seed: of the draws.

    A photograph that is the only one of its class has its own background in ``mixed_same``.
    """
    present, own = labels.unique(return_inverse=True)  # own: 0 to K - 1
    counts = own.bincount()
    rand = torch.randint(len(present), own.shape, generator=generator(seed, "challenge", "class"))
    return {
        "mixed_same": _other_rows(own, own, seed, "mixed_same"),
        "mixed_rand": _other_rows(own, rand, seed, "mixed_rand"),
        "mixed_next": _other_rows(own, (own + 1) % len(counts), seed, "mixed_next"),
    }


def _other_rows(own: Tensor, classes: Tensor, seed: int, variant: str) -> Tensor:
    """Draw a row of class ``classes[i]`` for each i, evenly and not i itself where the class has others."""
    order, counts = own.argsort(stable=True), own.bincount()
    first = counts.cumsum(0) - counts
    place = torch.empty_like(own)
    place[order] = torch.arange(len(own)) - first[own[order]]  # of a row among the rows of its class
    draws = torch.rand(own.shape, generator=generator(seed, "challenge", variant), dtype=torch.float64)
    same, size = classes == own, counts[classes]
    others = (size - same.long()).clamp(min=1)
    drawn = (draws * others).long()
    drawn += (same & (size > 1) & (drawn >= place)).long()
    return order[first[classes] + drawn]


class _Writer:
    """Writes the pictures of a challenge that are not there yet."""

    def __init__(self, photos: MaskedPhotos, names: Sequence[str], out: Path, config: ChallengeConfig) -> None:
        self.photos, self.names, self.out, self.size = photos, names, out, config.image_size
        self.sources = background_sources(photos.photos.labels, config.seed)

    def write(self, tell: Tell) -> None:
        """Write first what is made of one photograph, then what takes another's background, then the table of those."""
        rows, done = range(len(self.names)), 0
        with ThreadPoolExecutor(WORKERS) as pool:
            for write, variants in ((self._write_own, OWN), (self._write_mixed, MIXED)):
                for start in range(0, len(rows), BATCH):
                    part = rows[start : start + BATCH]
                    list(pool.map(write, [row for row in part if not self._written(row, variants)]))
                    done += len(part) * len(variants)
                    tell(done)
        lines = [
            f"{variant},{name},{self.names[source]}"
            for variant, rows_of in self.sources.items()
            for name, source in zip(self.names, rows_of.tolist(), strict=True)
        ]
        write_bytes(self.out / BACKGROUNDS, "\n".join(["variant,picture,background", *lines, ""]).encode())

    def path(self, variant: str, row: int) -> Path:
        return self.out / variant / "val" / self.names[row]

    def _written(self, row: int, variants: Sequence[str]) -> bool:
        return all(self.path(variant, row).exists() for variant in variants)

    def _write_own(self, row: int) -> None:
        picture, mask = self._photo(row)
        self._save("original", row, picture)
        self._save("only_fg", row, mix(picture, torch.zeros_like(picture), mask))
        self._save("no_fg", row, mix(torch.zeros_like(picture), picture, mask))
        self._save("only_bg_t", row, fill_background(picture, mask))

    def _write_mixed(self, row: int) -> None:
        picture, mask = self._photo(row)
        for variant, sources in self.sources.items():
            background = read_picture(self.path("only_bg_t", int(sources[row])), self.size)
            self._save(variant, row, mix(picture, background, mask))

    def _photo(self, row: int) -> tuple[Tensor, Tensor]:
        photo, mask = self.photos.photos.files[row], self.photos.masks[row]
        return read_picture(Path(photo), self.size), read_mask(Path(mask), self.size)

    def _save(self, variant: str, row: int, picture: Tensor) -> None:
        write_bytes(self.path(variant, row), encode(picture.permute(1, 2, 0)))


def mix(foreground: Tensor, background: Tensor, mask: Tensor) -> Tensor:
    """Return m x + (1 - m) b of pictures (3, S, S) uint8 and a mask (1, S, S) uint8, rounded to uint8."""
    weight = mask / 255
    return blend(Layers(weight, foreground, background)).round().to(torch.uint8)


def fill_background(picture: Tensor, mask: Tensor) -> Tensor:
    """Return the picture (3, S, S) uint8 with the object of a mask (1, S, S) uint8 filled in from around it."""
    outside = 1 - F.max_pool2d(mask[None].float() / 255, 2 * MARGIN + 1, stride=1, padding=MARGIN)
    filled = push_pull(picture[None].float(), (outside > 0.5).float())[0]
    return filled.round().clamp(0, 255).to(torch.uint8)
