"""`lingen extend`, `continue`, `branch` and `retake`: on from a finished video."""

from __future__ import annotations

from lingen_cli.commands.options import grouped_options
from lingen_cli.inputs.request import (
    BranchRequest,
    ContinueRequest,
    ExtendRequest,
    Report,
    RetakeRequest,
)


@grouped_options
def extend(request: ExtendRequest, report: Report) -> None:
    """Make a video longer, and print the path of the new one; the old one is not touched.

    It may be any video. One that lingen did not make needs a --prompt, keeps its size, its rate
    and, up to where it ended, its sound. Sampling options that are not given are those of the end
    of the video.
    """
    from lingen_cli.generation.run_job import make

    make(request, report)


@grouped_options
def continue_(request: ContinueRequest, report: Report) -> None:
    """Continue a video with another prompt, and print the path of the new one."""
    from lingen_cli.generation.run_job import make

    make(request, report)


@grouped_options
def branch(request: BranchRequest, report: Report) -> None:
    """Start a new version of a video from a given moment, and print its path.

    Sampling options that are not given are those of the end of the video.
    """
    from lingen_cli.generation.run_job import make

    make(request, report)


@grouped_options
def retake(request: RetakeRequest, report: Report) -> None:
    """Regenerate one section of a video; everything before and after it is kept.

    Sampling options that are not given are those of the end of the video; the seed is random if
    neither it nor a prompt is given.
    """
    from lingen_cli.generation.run_job import make

    make(request, report)
