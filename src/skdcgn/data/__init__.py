"""Glyphs x appearances: the biased data sets and their decorrelated counterparts."""

from skdcgn.data.appearances import APPEARANCES, Dataset, paint
from skdcgn.data.glyphs import Glyphs, load_glyphs, vary

__all__ = ["APPEARANCES", "Dataset", "Glyphs", "load_glyphs", "paint", "vary"]
