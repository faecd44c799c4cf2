"""Glyphs x appearances: the biased data sets and their decorrelated counterparts."""

from skdcgn.data.appearances import APPEARANCES, Dataset, paint
from skdcgn.data.folders import Pictures, as_unit, load_pictures
from skdcgn.data.glyphs import Glyphs, load_glyphs, vary

__all__ = ["APPEARANCES", "Dataset", "Glyphs", "Pictures", "as_unit", "load_glyphs", "load_pictures", "paint", "vary"]
