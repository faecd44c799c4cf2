"""Frozen networks: features for losses and for distances."""
