"""Frozen networks that look at images: features for losses and for distances."""
