"""Requests for videos, checked and turned into jobs; recipes, which are jobs written down."""
