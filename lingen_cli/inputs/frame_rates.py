"""From the length and frame rate that were asked for to the frames that the model makes.

A model draws motion at its own rate (16 frames per second). A video at another rate shows the same
motion at the same speed: each of its frames is the model's frame nearest in time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from lingen_cli.errors import BugError, InvalidOptionError

if TYPE_CHECKING:
    import numpy as np

MAX_SECONDS = 3600.0
_LAST_MOMENT = 1_000_000
_EXACT_RATE = 1_000_000
_NUMBER = r"(\d{1,6}(?:\.\d{1,6})?)"
_MOMENT = re.compile(rf"(?:(\d{{1,4}})h)?(?:(\d{{1,4}})m)?(?:{_NUMBER}s?)?", re.ASCII)
_CLOCK = re.compile(rf"(?:(\d{{1,4}}):)?(\d{{1,4}}):{_NUMBER}", re.ASCII)


def parse_rate(value: float | str) -> Fraction:
    """`24`, `29.97` or `24000/1001` as frames per second. Raises InvalidOptionError (2)."""
    message = f"--fps must be a number from 1 to 240 such as 24 or 24000/1001, not {value!r}"
    try:
        rate = Fraction(str(value).strip()).limit_denominator(1001)
    except (ValueError, ZeroDivisionError) as error:
        raise InvalidOptionError(message) from error
    if not 1 <= rate <= 240 or rate.numerator > _EXACT_RATE:
        raise InvalidOptionError(message)
    return rate


def parse_moment(text: str, name: str) -> Fraction:
    """`23`, `23.5s`, `1:05`, `1:02:03` or `1m5s` in seconds. Raises InvalidOptionError (2)."""
    found = _MOMENT.fullmatch(text.strip()) or _CLOCK.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise InvalidOptionError(
            f"{name} must be a time such as 23, 23.5s, 1:05 or 1m5s, not {text[:40]!r}"
        )
    hours, minutes, seconds = (Fraction(part or 0) for part in found.groups())
    moment = 3600 * hours + 60 * minutes + seconds
    if moment > _LAST_MOMENT:
        raise InvalidOptionError(f"{name} must be at most {_LAST_MOMENT} seconds, not {text!r}")
    return moment


def parse_lengths(text: str, name: str) -> list[float]:
    """`4,10,17`: some lengths in seconds. Raises InvalidOptionError (2)."""
    try:
        found = [float(one) for one in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < one <= MAX_SECONDS for one in found):
        raise InvalidOptionError(
            f"{name} must be seconds between commas, each above 0 and at most {MAX_SECONDS:g}, "
            f"not {text[:40]!r}"
        )
    return found


def frame_count(
    rate: Fraction,
    *,
    minutes: float | str | None = None,
    seconds: float | str | None = None,
    frames: int | None = None,
    default_seconds: float,
) -> int:
    """Count the frames of a video. At most one of the three lengths may be given; text may name its
    unit (`90s`, `1m30s`, `1:30`).

    Raises InvalidOptionError (2) for more than one, and for lengths that are not above 0, not
    finite, or beyond an hour.
    """
    lengths: dict[str, float | str | None] = {
        "--minutes": minutes,
        "--seconds": seconds,
        "--frames": frames,
    }
    given = {name: value for name, value in lengths.items() if value is not None}
    if len(given) > 1:
        raise InvalidOptionError(f"{' and '.join(given)} say the same thing; give one of them")
    if frames is not None:
        if not 1 <= frames <= MAX_SECONDS * rate:
            most = math.floor(MAX_SECONDS * rate)
            raise InvalidOptionError(f"--frames must be from 1 to {most}, not {frames}")
        return frames
    name, value = next(iter(given.items()), ("seconds", default_seconds))
    unit = 60 if minutes is not None else 1
    length = unit * _in_units(value, name, unit)
    if not 0 < length <= MAX_SECONDS:  # also refuses nan
        raise InvalidOptionError(
            f"{name} must be above 0 and at most {MAX_SECONDS / unit:g}, not {value}"
        )
    return max(1, round(Fraction(length) * rate))


def _in_units(value: float | str, name: str, unit: int) -> float:
    """A length in units of so many seconds; a bare number is one of units."""
    try:
        return float(value)
    except ValueError:
        return float(parse_moment(str(value), name) / unit)


@dataclass(frozen=True)
class Grid:
    """Mapping from frames of a video to those of the model, both at constant rates.

    It is the one nearest in time. Where the first `old` frames are those of another video, the
    last of them is a frame of the model's, the last of a whole `group` that one latent frame stands
    for, and the new frames are counted from it; the numbers of the earliest frames may be negative.
    """

    rate: Fraction
    model_rate: Fraction
    old: int = 0
    group: int = 8

    def source(self, frame: int) -> int:
        """The model's frame behind frame `frame`."""
        per = self.model_rate / self.rate
        past = max(0, self.old - 1)
        steps = (2 * (frame - past) * per.numerator + per.denominator) // (2 * per.denominator)
        return steps + math.floor(past * per) // self.group * self.group

    def moment(self, number: int) -> Fraction:
        """The time in seconds of the model's frame `number`."""
        past = max(0, self.old - 1)
        return past / self.rate + (number - self.source(past)) / self.model_rate


def picked(chunks: Iterable[Any], wanted: list[int]) -> Iterator[np.ndarray[Any, Any]]:
    """The frames `wanted` (never falling) out of consecutive chunks (T, H, W, 3), chunk by chunk.

    Raises BugError when the chunks end before the last wanted frame.
    """
    import numpy as np

    start = position = 0
    for chunk in chunks:
        frames = np.asarray(chunk)
        end = start + len(frames)
        stop = position
        while stop < len(wanted) and wanted[stop] < end:
            stop += 1
        if stop > position:
            yield frames[[number - start for number in wanted[position:stop]]]
        start, position = end, stop
    if position < len(wanted):
        raise BugError(f"the decoder made {start} frames, {wanted[-1] + 1} were needed")
