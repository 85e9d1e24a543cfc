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
from lingen_cli.requests.context import Context


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
        sampling = sampling_given(request.sampling)
        return cls(
            prompt=request.prompt,
            sampling=sampling,
            crossfade=crossfade,
            draws_seed=str(request.sampling.get("seed")) == str(RANDOM),
        )


@dataclass(frozen=True, kw_only=True)
class Length:
    """Length that is added; at most one is given, and `default` counts where none is."""

    seconds: float | str | None = None
    minutes: float | str | None = None
    to: str | None = None
    """Length of the whole video."""
    default: float

    @classmethod
    def of(cls, request: LongerRequest, context: Context) -> Self:
        """Take it from a request. Raises InvalidOptionError (2) for values out of range."""
        default = context.settings.seconds
        return cls(seconds=request.seconds, minutes=request.minutes, to=request.to, default=default)


def more_frames(length: Length, before: int, rate: Fraction, foreign: int) -> int:
    """Frames to add to the `before` that are there, of which lingen did not make `foreign`.

    Raises InvalidOptionError (2).
    """
    if length.to is None:
        frames = frame_count(
            rate,
            minutes=length.minutes,
            seconds=length.seconds,
            default_seconds=length.default,
        )
    elif length.seconds is not None or length.minutes is not None:
        raise InvalidOptionError("--to and a length say the same thing; give one of them")
    else:
        frames = round(parse_moment(length.to, "--to") * rate) - before
        if frames < 1:
            raise InvalidOptionError(
                f"--to must be above the {float(before / rate):g} s that are there, "
                f"not {length.to!r}"
            )
    if before - foreign + frames > int(MAX_SECONDS * rate):
        raise InvalidOptionError(f"lingen would make more than {MAX_SECONDS / 3600:g} hour of it")
    return frames
