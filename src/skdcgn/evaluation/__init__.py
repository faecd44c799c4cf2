"""Measurements of CGNs, students and classifiers, by the statistics of :mod:`skdcgn.metrics`."""
