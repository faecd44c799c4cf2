"""A background challenge made of a user's own photographs, in ImageNet-9's layout: ``mixed_rand/val/<class>/x.png``.

With a photograph x, its mask m, its object t(x) and its background b(x), each spread over the whole picture
(:mod:`skdcgn.teachers.photo_layers`):

    original    x
    only_fg     m t(x)
    no_fg       (1 - m) x
    only_bg_t   b(x)
    mixed_*     m t(x) + (1 - m) b(x')

where x' is another photograph of the same class (``mixed_same``), a photograph of a random class (``mixed_rand``) or
one of the next class (``mixed_next``): Xiao et al., "Noise or Signal", ICLR 2021, section 2. There b is tiled from the
picture outside the object's box; here the object is filled in, so that its shape leaves no trace, and along the edge of
a mask t has no colours of the background.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.bounds import Count, Seed, Side, Whole
from skdcgn.base.contents import digests, folder_reads
from skdcgn.base.door import read_record
from skdcgn.base.errors import UserError
from skdcgn.base.files import write_bytes, write_json
from skdcgn.base.photo_layers import BackgroundFill, TextureFill
from skdcgn.base.progress import Tell, Watch, log_progress
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import generator
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers
from skdcgn.cgn.pictures import as_rgb, encode
from skdcgn.classifiers.ensemble import WORKERS
from skdcgn.data.folders import as_unit, list_photos, read_picture
from skdcgn.data.masks import MaskedPhotos, list_masked, read_mask, usable_photos
from skdcgn.data.reads import photo_reads
from skdcgn.evaluation.in9 import CHALLENGE
from skdcgn.teachers.photo_layers import photo_layers
from skdcgn.training.run_folder import RunFolder

OWN = ("original", "only_fg", "no_fg", "only_bg_t")  # made of one photograph
MIXED = ("mixed_same", "mixed_rand", "mixed_next")
VARIANTS = (*OWN, *MIXED)
BACKGROUNDS = "backgrounds.csv"  # which photograph's background each mixed picture has
BATCH = 64  # photographs between two reports of progress


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
    places = (draws * others).long()
    places += (same & (size > 1) & (places >= place)).long()
    return order[first[classes] + places]


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
        picture, layers = self._photo(row)
        black = torch.full_like(picture, -1)
        self._save("original", row, picture)
        self._save("only_fg", row, blend(layers._replace(background=black)))
        self._save("no_fg", row, blend(Layers(layers.mask, black, picture)))
        self._save("only_bg_t", row, layers.background)

    def _write_mixed(self, row: int) -> None:
        _, layers = self._photo(row)
        for variant, sources in self.sources.items():
            background = as_unit(read_picture(self.path("only_bg_t", int(sources[row])), self.size))
            self._save(variant, row, blend(layers._replace(background=background[None])))

    def _photo(self, row: int) -> tuple[Tensor, Layers]:
        """Return a photograph (1, 3, S, S) in [-1, 1] and its layers."""
        photo, mask = Path(self.photos.photos.files[row]), Path(self.photos.masks[row])
        picture, cut = as_unit(read_picture(photo, self.size))[None], read_mask(mask, self.size)[None] / 255
        return picture, photo_layers(picture, cut, TextureFill.INPAINT, BackgroundFill.INPAINT)

    def _save(self, variant: str, row: int, picture: Tensor) -> None:
        write_bytes(self.path(variant, row), encode(as_rgb(picture)[0].permute(1, 2, 0)))
