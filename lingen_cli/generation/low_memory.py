"""Ladder of ways to need less memory when it runs out, each slower than the one before.

None changes what is asked of the networks: not the size, the length, the steps or the precision.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from lingen_cli.exit_codes import is_out_of_memory

if TYPE_CHECKING:
    from lingen_cli.terminal.progress import Progress
    from lingen_models.pipelines.protocol import VideoPipeline

Made = TypeVar("Made")


@dataclass(frozen=True)
class _Rung:
    what: str
    """What is done to need less."""
    step: Callable[[], None]


def with_less_if_needed(
    pipe: VideoPipeline, progress: Progress, attempt: Callable[[], Made]
) -> Made:
    """Return what `attempt` gives; where memory runs out, it is made again with `pipe` needing
    less.

    Each rung of the ladder is told as a warning, and `pipe` stays there. Below the last one the
    error is raised as it is (71).
    """
    for rung in _ladder(pipe):
        try:
            return attempt()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Outside of `except`: the error held everything that the attempt had in memory.
        progress.warn(f"out of memory; {rung.what}, and it goes on")
        rung.step()
        _let_go()
    return attempt()


def _ladder(pipe: VideoPipeline) -> Iterator[_Rung]:
    """What can still be done; asked again after each step."""
    if not pipe.frugal:
        yield _Rung("the networks get smaller parts at a time", pipe.save_memory)
    if pipe.device.type != "cpu":
        yield _Rung("text and pixels move to the CPU", pipe.offload)
        yield _Rung("everything moves to the CPU", lambda: pipe.move("cpu"))


def _let_go() -> None:
    """Give back what nobody holds any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
