"""Weights on disk, and the networks that are built from them."""
