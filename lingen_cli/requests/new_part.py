"""A part that is added to a video: how long it is, and how it begins."""

from __future__ import annotations

from fractions import Fraction

from lingen_cli.errors import InvalidOptionError
from lingen_cli.inputs.frame_rates import MAX_SECONDS, frame_count, parse_moment
from lingen_cli.inputs.request import LongerRequest


def check_crossfade(request: LongerRequest) -> None:
    """Raise InvalidOptionError (2) for a crossfade that is out of range."""
    if not 0 <= request.crossfade <= MAX_SECONDS:  # nan, too
        raise InvalidOptionError(
            f"--crossfade must be from 0 to {MAX_SECONDS:g} seconds, not {request.crossfade:g}"
        )


def more_frames(
    request: LongerRequest, default_seconds: float, before: int, rate: Fraction, foreign: int
) -> int:
    """Frames to add to the `before` that are there, of which lingen did not make `foreign`.

    Raises InvalidOptionError (2).
    """
    if request.to is None:
        frames = frame_count(
            rate,
            minutes=request.minutes,
            seconds=request.seconds,
            default_seconds=default_seconds,
        )
    elif request.seconds is not None or request.minutes is not None:
        raise InvalidOptionError("--to and a length say the same thing; give one of them")
    else:
        frames = round(parse_moment(request.to, "--to") * rate) - before
        if frames < 1:
            raise InvalidOptionError(
                f"--to must be above the {float(before / rate):g} s that are there, "
                f"not {request.to!r}"
            )
    if before - foreign + frames > int(MAX_SECONDS * rate):
        raise InvalidOptionError(f"lingen would make more than {MAX_SECONDS / 3600:g} hour of it")
    return frames
