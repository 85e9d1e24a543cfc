"""Tokens, FLOPs, memory, disk and time of a training, before it begins."""
