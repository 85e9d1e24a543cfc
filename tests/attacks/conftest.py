"""Fixtures of the command line and of videos."""

from tests.cli.conftest import clean_environment, lingen_here, with_recipe
from tests.media.conftest import ffmpeg, make_video

__all__ = ["clean_environment", "ffmpeg", "lingen_here", "make_video", "with_recipe"]
