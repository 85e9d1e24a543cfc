"""Videos from prompts in Python, as the `lingen` command makes them.

    import lingen

    pipe = lingen.load("lingen-mini")
    video = pipe.generate("a red ball bounces on green grass", seconds=4)
    video.save("ball.mp4")

Importing this package imports no torch; `load` does.
"""

from __future__ import annotations

from lingen.pipeline import Pipeline, Video, load
from lingen_cli import __version__
from lingen_cli.errors import LingenError

__all__ = ["LingenError", "Pipeline", "Video", "__version__", "load"]
