"""Scenes: their records, how they are drawn by seed, and the motion of what is in them."""
