"""Clips, captions and layouts to train on."""
