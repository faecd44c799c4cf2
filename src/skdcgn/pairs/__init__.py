"""Pairs (noise, label, image): asking a teacher for them, and keeping them."""
