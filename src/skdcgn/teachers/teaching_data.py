"""Pictures that a teacher learns from: glyphs in a biased appearance, or a user's own folder."""

import logging
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from skdcgn.base.config import TeachConfig
from skdcgn.base.contents import NOTHING, Reads
from skdcgn.base.errors import UserError
from skdcgn.cgn.mechanism import Spec
from skdcgn.data.appearances import paint
from skdcgn.data.folders import list_photos, load_pictures
from skdcgn.data.glyphs import SIZE, load_glyphs, vary
from skdcgn.data.images import LabelledImages
from skdcgn.data.masks import list_masked, list_usable, load_masked, mask_reads
from skdcgn.data.reads import glyph_reads, photo_reads, texture_reads
from skdcgn.features.reads import feature_reads

logger = logging.getLogger(__name__)


class TeachingData(NamedTuple):
    """Pictures to learn from and what they are compared with.

    Args:
        pictures: (N, 3, H, W), uint8 or in [-1, 1].
        real: real masks (M, 1, H, W) to compare with; the pictures if there are none.
        spec: of the CGN. Its textures tile unless masks are given: a random crop is what keeps an object that no mask
            shows out of textures.
        masks: (N, 1, H, W) uint8 of the pictures; None: the CGN finds them.
    """

    pictures: LabelledImages
    real: LabelledImages
    spec: Spec
    masks: Tensor | None = None


def load_teaching_data(config: TeachConfig, data_root: Path | None) -> TeachingData:
    """Load the pictures of a configuration.

    Raises:
        UserError: no such glyphs, appearance, textures or folder, or glyphs at another size than their own.
    """
    if config.masks is not None and config.images is None:
        raise UserError(f"{config.masks} are masks of pictures, and glyphs have their own: pass --images too")
    if config.images is None:
        return _painted_glyphs(config, data_root)
    if config.masks is None:
        return _own_pictures(config, Path(config.images))
    return _masked_pictures(config, Path(config.images), Path(config.masks))


def teaching_reads(config: TeachConfig, data_root: Path | None) -> Reads:
    """Return the contents of all that the training of a configuration reads."""
    features = feature_reads(config.features) if config.perceptual else NOTHING
    if config.images:
        return {**_picture_reads(Path(config.images), config.masks), **features}
    textures = texture_reads(Path(config.textures) if config.textures else None)
    return {**glyph_reads(config.glyphs, ("train",), data_root), **textures, **features}


def _picture_reads(folder: Path, masks: str | None) -> Reads:
    photos = list_photos(folder)
    if masks is None:
        return photo_reads("images", folder, photos)
    masked = list_masked(photos, Path(masks))
    return {**photo_reads("images", folder, masked.photos), **mask_reads(Path(masks), masked)}


def _own_pictures(config: TeachConfig, folder: Path) -> TeachingData:
    pictures = load_pictures(folder, config.image_size)
    return TeachingData(pictures, pictures, _own_spec(pictures))


def _masked_pictures(config: TeachConfig, folder: Path, masks: Path) -> TeachingData:
    pictures, read = load_masked(list_usable(folder, masks), config.image_size)
    real = LabelledImages(read.float() / 255, pictures.labels, pictures.names)
    return TeachingData(pictures, real, _own_spec(pictures, tiles=False), read)


def _own_spec(pictures: LabelledImages, *, tiles: bool = True) -> Spec:
    logger.info("classes: " + ", ".join(f"{index} {name}" for index, name in enumerate(pictures.names)))
    return Spec(pictures.image_size, classes=len(pictures.names), names=pictures.names, tiles=tiles)


def _painted_glyphs(config: TeachConfig, data_root: Path | None) -> TeachingData:
    if config.image_size != SIZE:
        raise UserError(f"glyphs are {SIZE} pixels wide, not {config.image_size}: leave --image-size out")
    glyphs = load_glyphs(config.glyphs, "train", data_root)
    textures = Path(config.textures) if config.textures else None
    variants = vary(glyphs, config.variants, config.seed)
    pictures = paint(variants, config.appearance, correlated=True, seed=config.seed, textures=textures)
    return TeachingData(pictures, glyphs, Spec(names=glyphs.names))
