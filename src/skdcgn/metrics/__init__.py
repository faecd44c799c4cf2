"""Metrics: features -> statistics -> number; and what a classifier and a CGN do when one mechanism's label varies."""

from skdcgn.metrics.distances import (
    density_coverage,
    frechet_distance,
    intra_class_frechet,
    kernel_distance,
    precision_recall,
)
from skdcgn.metrics.extractors import Extractor, load_extractor
from skdcgn.metrics.measure import Measured, compare_with_pairs, frechet, measure, moments
from skdcgn.metrics.moments import Moments, Scores
from skdcgn.metrics.pixels import Paired, class_diversity, label_means, nearest_iou, paired, paired_l1

__all__ = [
    "Extractor",
    "Measured",
    "Moments",
    "Paired",
    "Scores",
    "class_diversity",
    "compare_with_pairs",
    "density_coverage",
    "frechet",
    "frechet_distance",
    "intra_class_frechet",
    "kernel_distance",
    "label_means",
    "load_extractor",
    "measure",
    "moments",
    "nearest_iou",
    "paired",
    "paired_l1",
    "precision_recall",
]
