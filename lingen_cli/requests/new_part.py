"""A part that is added to a video: how long it is, and how it is sampled."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Self

from lingen_cli.errors import InvalidOptionError
from lingen_cli.inputs.frame_rates import MAX_SECONDS, frame_count, parse_moment
from lingen_cli.inputs.request import (
    BranchRequest,
    ExtendRequest,
    LongerRequest,
    RetakeRequest,
)
from lingen_cli.inputs.settings import RANDOM, SamplingOverrides, sampling_given


@dataclass(frozen=True, kw_only=True)
class NewPart:
    """Sampling of a new part; None is as the end of the video was."""

    prompt: str | None = None
    sampling: SamplingOverrides = field(default_factory=SamplingOverrides)
    crossfade: float = 0.0
    """Seconds in which the prompt before gives way to this one."""
    draws_seed: bool = False
    """The seed is to be another one than before, whatever it is."""

    @classmethod
    def of(cls, request: ExtendRequest | BranchRequest | RetakeRequest) -> Self:
        """Take it from a request. Raises InvalidOptionError (2) for values out of range."""
        crossfade = 0.0 if isinstance(request, RetakeRequest) else request.crossfade
        if not 0 <= crossfade <= MAX_SECONDS:  # nan, too
            raise InvalidOptionError(
                f"--crossfade must be from 0 to {MAX_SECONDS:g} seconds, not {crossfade:g}"
            )
        return cls(
            prompt=request.prompt,
            sampling=sampling_given(request.sampling),
            crossfade=crossfade,
            draws_seed=str(request.sampling.get("seed")) == str(RANDOM),
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
