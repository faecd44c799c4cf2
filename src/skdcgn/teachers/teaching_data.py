"""Pictures that a teacher learns from: glyphs in a biased appearance, or a user's own folder."""

import logging
from pathlib import Path
from typing import NamedTuple

from skdcgn.base.config import TeachConfig
from skdcgn.base.contents import NOTHING, Reads
from skdcgn.base.errors import UserError
from skdcgn.cgn.mechanism import Spec
from skdcgn.data.appearances import paint
from skdcgn.data.folders import list_photos, load_pictures
from skdcgn.data.glyphs import SIZE, load_glyphs, vary
from skdcgn.data.images import LabelledImages
from skdcgn.data.reads import glyph_reads, photo_reads, texture_reads
from skdcgn.features.reads import feature_reads

logger = logging.getLogger(__name__)


class TeachingData(NamedTuple):
    """Pictures to learn from, uint8 or in [-1, 1], and real masks to compare with; the pictures if no masks exist."""

    pictures: LabelledImages
    real: LabelledImages
    spec: Spec


def load_teaching_data(config: TeachConfig, data_root: Path | None) -> TeachingData:
    """Load the pictures of a configuration.

    Raises:
        UserError: no such glyphs, appearance, textures or folder, or glyphs at another size than their own.
    """
    return _own_pictures(config, Path(config.images)) if config.images else _painted_glyphs(config, data_root)


def teaching_reads(config: TeachConfig, data_root: Path | None) -> Reads:
    """Return the contents of all that the training of a configuration reads."""
    features = feature_reads(config.features) if config.perceptual else NOTHING
    if config.images:
        return {**photo_reads("images", Path(config.images), list_photos(Path(config.images))), **features}
    textures = texture_reads(Path(config.textures) if config.textures else None)
    return {**glyph_reads(config.glyphs, ("train",), data_root), **textures, **features}


def _own_pictures(config: TeachConfig, folder: Path) -> TeachingData:
    pictures = load_pictures(folder, config.image_size)
    logger.info("classes: " + ", ".join(f"{index} {name}" for index, name in enumerate(pictures.names)))
    return TeachingData(pictures, pictures, Spec(config.image_size, classes=len(pictures.names), names=pictures.names))


def _painted_glyphs(config: TeachConfig, data_root: Path | None) -> TeachingData:
    if config.image_size != SIZE:
        raise UserError(f"glyphs are {SIZE} pixels wide, not {config.image_size}: leave --image-size out")
    glyphs = load_glyphs(config.glyphs, "train", data_root)
    textures = Path(config.textures) if config.textures else None
    variants = vary(glyphs, config.variants, config.seed)
    pictures = paint(variants, config.appearance, correlated=True, seed=config.seed, textures=textures)
    return TeachingData(pictures, glyphs, Spec(names=glyphs.names))
