"""Loaded networks that turn a prompt into frames."""
