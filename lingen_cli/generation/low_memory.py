"""Ladder of ways to need less memory when it runs out, each slower than the one before.

Each pipeline has its own steps (`VideoPipeline.less`). None changes what is asked of the networks:
not the size, the length, the number of steps or the precision.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

from lingen_cli.exit_codes import is_out_of_memory
from lingen_cli.terminal.progress import Progress
from lingen_models.pipelines.protocol import VideoPipeline

Made = TypeVar("Made")


def with_less_if_needed(
    pipe: VideoPipeline, progress: Progress, attempt: Callable[[], Made]
) -> Made:
    """Return what `attempt` gives; where memory runs out, it is made again with `pipe` needing
    less.

    Each step is a warning, and `pipe` stays there. After the last one the error is raised
    as it is (71).
    """
    while True:
        try:
            return attempt()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            failure = error.with_traceback(None)  # which holds all that the attempt had in memory
        _let_go()
        done = pipe.less()
        if done is None:
            raise failure
        progress.warn(f"out of memory; {done}, and it goes on")
        _let_go()


def _let_go() -> None:
    """Give back what nobody holds any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
