from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from lingen_cli.errors import BugError, InvalidOptionError
from lingen_cli.inputs.frame_rates import Grid, frame_count, parse_moment, parse_rate, picked


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("16", 16),
        (24, 24),
        (29.97, Fraction(2997, 100)),
        ("24000/1001", Fraction(24000, 1001)),
        ("12.5", Fraction(25, 2)),
        (240, 240),
    ],
)
def test_rates(text: str | float, rate: int | Fraction) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e9", "abc", "1/0", "", "241", "0.1"])
def test_impossible_rates(text: str) -> None:
    with pytest.raises(InvalidOptionError, match="--fps must be"):
        parse_rate(text)


def test_lengths() -> None:
    sixteen = Fraction(16)
    assert frame_count(sixteen, default_seconds=4.0) == 64
    assert frame_count(sixteen, minutes=1, default_seconds=4.0) == 960
    assert frame_count(sixteen, seconds=2.5, default_seconds=4.0) == 40
    assert frame_count(sixteen, frames=1, default_seconds=4.0) == 1
    assert frame_count(sixteen, seconds=0.001, default_seconds=4.0) == 1
    assert frame_count(Fraction(24000, 1001), seconds=10, default_seconds=4.0) == 240
    assert frame_count(sixteen, minutes=60, default_seconds=4.0) == 57_600
    for text in ("90s", "1m30s", "1:30"):
        assert frame_count(sixteen, minutes=text, default_seconds=4.0) == 1440
        assert frame_count(sixteen, seconds=text, default_seconds=4.0) == 1440
    assert frame_count(sixteen, minutes="1.5", default_seconds=4.0) == 1440
    assert frame_count(sixteen, seconds="1.5", default_seconds=4.0) == 24
    with pytest.raises(InvalidOptionError, match="--minutes must be a time such as 23"):
        frame_count(sixteen, minutes="soon", default_seconds=4.0)


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ({"minutes": 0}, "--minutes must be above 0 and at most 60"),
        ({"minutes": -1}, "--minutes"),
        ({"minutes": float("nan")}, "--minutes"),
        ({"minutes": float("inf")}, "--minutes"),
        ({"minutes": 61}, "--minutes"),
        ({"seconds": 0}, "--seconds must be above 0 and at most 3600"),
        ({"seconds": 3601}, "--seconds"),
        ({"frames": 0}, "--frames must be from 1 to 57600"),
        ({"frames": 57_601}, "--frames"),
        ({"minutes": 1, "frames": 3}, "--minutes and --frames say the same thing"),
    ],
)
def test_impossible_lengths(length: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        frame_count(Fraction(16), default_seconds=4.0, **length)


@pytest.mark.parametrize("rate", [Fraction(16), Fraction(24), Fraction(8), Fraction(24000, 1001)])
def test_every_frame_shows_the_nearest_moment_of_the_model(rate: Fraction) -> None:
    grid = Grid(rate, Fraction(16))
    source = [grid.source(number) for number in range(50)]
    assert all(grid.moment(model) == Fraction(model, 16) for model in source)
    for number, model_frame in enumerate(source):
        assert abs(model_frame / Fraction(16) - number / rate) <= Fraction(1, 32)
    if rate == 16:
        assert source == list(range(50))


@pytest.mark.parametrize("rate", [Fraction(16), Fraction(30), Fraction(24000, 1001), Fraction(1)])
@pytest.mark.parametrize("old", [1, 2, 60, 215_999])
def test_after_another_video_frames_are_counted_from_its_last(rate: Fraction, old: int) -> None:
    grid = Grid(rate, Fraction(16), old)
    last = grid.source(old - 1)
    assert last % 8 == 0
    assert 0 <= last <= 16 * old / rate
    assert grid.moment(last) == (old - 1) / rate
    for number in range(old, old + 40):
        shown = grid.moment(grid.source(number))
        assert abs(shown - number / rate) <= Fraction(1, 32)


@pytest.mark.parametrize("chunk", [1, 3, 8, 100])
@pytest.mark.parametrize("rate", [8, 16, 24, 60])
def test_frames_are_picked_from_chunks(chunk: int, rate: int) -> None:
    grid = Grid(Fraction(rate), Fraction(16))
    source = [grid.source(number) for number in range(40)]
    video = np.arange(source[-1] + 1)[:, None] * np.ones((1, 2), int)
    chunks = (video[start : start + chunk] for start in range(0, len(video), chunk))
    assert np.array_equal(np.concatenate(list(picked(chunks, source))), video[source])


def test_a_decoder_that_stops_early_is_a_bug() -> None:
    with pytest.raises(BugError, match="made 4 frames, 10 were needed"):
        list(picked([np.zeros((4, 1, 1, 3))], list(range(10))))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("23", 23), ("23.5s", 23.5), ("0", 0), ("1:05", 65), ("1:02:03.25", 3723.25)),
        *(("1m5s", 65), ("1h", 3600), ("2m", 120), (" 7 ", 7)),
    ],
)
def test_moments(text: str, seconds: float) -> None:
    assert parse_moment(text, "--at") == seconds


def test_moments_far_away() -> None:
    assert parse_moment("277h", "--at") == 997_200
    with pytest.raises(InvalidOptionError, match="at most 1000000"):
        parse_moment("278h", "--at")


@pytest.mark.parametrize(
    "text", ["", "s", "-1", "nan", "inf", "1e3", "1:2:3:4", "5 s", "\u0665", "m"]
)
def test_wrong_moments(text: str) -> None:
    with pytest.raises(InvalidOptionError, match="--at must be a time"):
        parse_moment(text, "--at")
