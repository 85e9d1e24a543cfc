"""Worlds to learn from and the programme that learns from them."""
