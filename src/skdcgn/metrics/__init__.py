"""Metrics: features -> statistics -> number; and what a classifier and a CGN do when one mechanism's label varies."""

from skdcgn.metrics.attribution import (
    Quality,
    Sensitivity,
    Trial,
    composition,
    confusion,
    effectiveness,
    hold_trial,
    minimality,
    quality,
    sensitivity,
    train_judges,
)
from skdcgn.metrics.distances import (
    density_coverage,
    frechet_distance,
    intra_class_frechet,
    kernel_distance,
    precision_recall,
)
from skdcgn.metrics.extractors import Extractor, load_extractor
from skdcgn.metrics.measure import Measured, compare_with_pairs, frechet, measure, measure_cgn, moments
from skdcgn.metrics.moments import Moments, Scores
from skdcgn.metrics.pixels import Paired, class_diversity, label_means, nearest_iou, paired, paired_l1

__all__ = [
    "Extractor",
    "Measured",
    "Moments",
    "Paired",
    "Quality",
    "Scores",
    "Sensitivity",
    "Trial",
    "class_diversity",
    "compare_with_pairs",
    "composition",
    "confusion",
    "density_coverage",
    "effectiveness",
    "frechet",
    "frechet_distance",
    "hold_trial",
    "intra_class_frechet",
    "kernel_distance",
    "label_means",
    "load_extractor",
    "measure",
    "measure_cgn",
    "minimality",
    "moments",
    "nearest_iou",
    "paired",
    "paired_l1",
    "precision_recall",
    "quality",
    "sensitivity",
    "train_judges",
]
