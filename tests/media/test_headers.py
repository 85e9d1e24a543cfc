"""Parameter sets: read, joined under other numbers, refused when they are damaged."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lingen_cli.media.avc_headers import AvcHeaders, HeaderError
from lingen_cli.media.writer import VideoWriter

Record = Callable[..., bytes]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """The record of a small video whose parameter sets have a number."""

    def make(number: int, width: int = 64) -> bytes:
        path = tmp_path / f"{number}-{width}.mp4"
        with VideoWriter(
            path, width=width, height=48, fps=Fraction(16), preset="fast", headers=number
        ) as writer:
            writer.write(np.zeros((2, 48, width, 3), np.uint8))
        with av.open(str(path)) as container:
            return bytes(container.streams.video[0].codec_context.extradata or b"")

    return make


@pytest.mark.parametrize(("number", "free"), [(0, 1), (1, 2), (7, 1), (31, 1)])
def test_a_record_comes_back_as_it_was(record: Record, number: int, free: int) -> None:
    raw = record(number)
    headers = AvcHeaders.parse(raw)
    assert headers.to_bytes() == raw
    assert (len(headers.sps), len(headers.pps)) == (1, 1)
    assert headers.end  # the chroma format of profile High
    assert headers.free_number() == free


def test_two_records_become_one(record: Record) -> None:
    first, second = (AvcHeaders.parse(record(number)) for number in (0, 1))
    both = first.joined(second)
    assert both.sps == (*first.sps, *second.sps)
    assert both.pps == (*first.pps, *second.pps)
    assert AvcHeaders.parse(both.to_bytes()) == both
    assert both.joined(second) == both
    assert both.joined(first) == both
    assert both.free_number() == 2


def test_one_number_for_two_is_refused(record: Record) -> None:
    first, other = AvcHeaders.parse(record(0)), AvcHeaders.parse(record(0, width=80))
    with pytest.raises(HeaderError, match="under one number"):
        first.joined(other)


def test_baseline_gets_the_profile_of_what_follows(record: Record) -> None:
    high = AvcHeaders.parse(record(1))
    plain = AvcHeaders(bytes([66, 0xC0, 51]), AvcHeaders.parse(record(0)).sps, (b"\x68\xce",), b"")
    both = plain.joined(high)
    assert both.start[0] == high.start[0] == 100
    assert both.start[2] == 51
    assert both.end == high.end


def test_every_cut_is_refused_and_no_flip_is_a_surprise(record: Record) -> None:
    raw = record(3)
    whole = len(raw) - len(AvcHeaders.parse(raw).end)
    for end in range(whole):
        with pytest.raises(HeaderError):
            AvcHeaders.parse(raw[:end])
    for at in range(len(raw)):
        for bit in range(8):
            flipped = raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]
            try:
                AvcHeaders.parse(flipped).free_number()
            except HeaderError:
                continue


def test_all_numbers_taken(record: Record) -> None:
    headers = AvcHeaders.parse(record(0))
    for number in range(1, 31):
        headers = headers.joined(AvcHeaders.parse(record(number)))
    assert headers.free_number() == 31
    full = headers.joined(AvcHeaders.parse(record(31))) if len(headers.sps) < 31 else headers
    assert len(full.sps) == 31
    with pytest.raises(HeaderError, match="too many headers"):
        full.joined(AvcHeaders.parse(record(31)))
