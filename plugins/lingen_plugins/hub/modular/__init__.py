"""Modular pipelines of `diffusers`: blocks that pass a state on, in place of one class."""
