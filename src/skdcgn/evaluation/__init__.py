"""Measuring: CGNs, students and classifiers, by the statistics of :mod:`skdcgn.metrics`."""
