"""Weights of other diffusion transformers as a start for LinGen."""
