"""Classifiers: the small CNN, the mask filter, backbones and the invariant ensemble."""
