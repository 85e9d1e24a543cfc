"""Judging videos by their pixels."""
