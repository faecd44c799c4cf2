"""Weights and cards of the teachers that the package knows by name."""
