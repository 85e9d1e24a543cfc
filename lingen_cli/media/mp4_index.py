"""Refuses an mp4 whose index is a bomb, before libav builds it (media.md 0.4).

An index of an mp4 may say in a few bytes that there are millions of samples, and libav makes an
entry of some 40 bytes for each. A sample has at least a byte, so there are never more of them than
the file has bytes.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_SAMPLES = 8_000_000
"""Of all tracks together, sound in single PCM samples aside: two days of images and sound."""
_MAX_BOXES = 1_000_000
_MAX_DEPTH = 12
_MAX_EDITS = 16
_HEADER = 8
_MAX_TABLE = 1 << 24
_CONTAINERS = frozenset(
    {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex", b"moof", b"traf", b"dinf"}
    | {b"udta", b"meta", b"tref", b"wave", b"gmhd"}
)


class IndexBombError(ValueError):
    """An index that says more than the file can hold; the message says what, in a few words."""


@dataclass
class _Track:
    samples: int = 0
    runs: int = 0
    """Samples that its tables of times and offsets count."""
    chunks: int = 0
    chunk_runs: tuple[int, int] = (0, 0)
    """Where the table of samples in a chunk stands."""
    edits: int = 0
    sound: bool = False
    single: bool = False
    """Every sample lasts one tick: PCM, if it is sound, which is indexed by chunks."""
    in_chunks: int = 0
    """Samples of all chunks."""

    @property
    def claimed(self) -> int:
        """Samples, by the table that says most."""
        return max(self.samples, self.runs, self.in_chunks)

    @property
    def entries(self) -> int:
        """Entries of the index that libav makes, at most."""
        one_each = self.chunks if self.sound and self.single else self.claimed
        return one_each * (self.edits if self.edits > _MAX_EDITS else 1)


def check_index(file: BinaryIO) -> None:
    """Walk over the boxes of `file`, which may be anything, and return to its start.

    Raises IndexBombError. Reads headers of boxes, and tables of at most as many bytes as they
    have; memory stays below `_MAX_TABLE`.
    """
    size = file.seek(0, os.SEEK_END)
    try:
        _Walk(file, size).boxes(0, size, 0)
    finally:
        file.seek(0)


class _Walk:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._seen = 0
        self._fragments = 0
        self._tracks = [_Track()]

    def boxes(self, begin: int, end: int, depth: int) -> None:
        """Look at all boxes between two places of the file."""
        while begin + _HEADER <= end:
            self._file.seek(begin)
            header = self._file.read(_HEADER)
            if len(header) < _HEADER:
                return
            length, kind, skip = int.from_bytes(header[:4], "big"), header[4:], _HEADER
            if length == 1:
                length, skip = int.from_bytes(self._file.read(8), "big"), 16
            elif length == 0:
                length = end - begin
            if length < skip:
                return
            self._seen += 1
            if self._seen > _MAX_BOXES:
                raise IndexBombError(f"its index has more than {_MAX_BOXES} boxes")
            self._box(kind, begin + skip, min(begin + length, end), depth)
            begin += length

    def _box(self, kind: bytes, begin: int, end: int, depth: int) -> None:
        if kind == b"cmov":
            raise IndexBombError("its index is compressed")
        if kind == b"trak":
            self._tracks.append(_Track())
        if kind in _CONTAINERS and depth < _MAX_DEPTH:
            self.boxes(begin, end, depth + 1)
        if kind == b"meta":  # in an mp4 a version of 4 bytes is before its boxes, in a mov none
            self.boxes(begin + 4, end, depth + 1)
        track = self._tracks[-1]
        if kind == b"hdlr":
            track.sound = self._bytes(begin + 8) == b"soun"
        elif kind in (b"stsz", b"stz2"):
            track.samples = max(track.samples, self._number(begin + 8))
        elif kind in (b"stts", b"ctts"):
            self._times(kind, track, begin, end)
        elif kind in (b"stco", b"co64"):
            track.chunks = max(track.chunks, self._number(begin + 4))
        elif kind == b"stsc":
            track.chunk_runs = (begin, end)
        elif kind == b"elst":
            track.edits = max(track.edits, self._number(begin + 4))
        elif kind == b"trun":
            self._fragments += self._number(begin + 4)
        else:
            return
        if kind in (b"stco", b"co64", b"stsc"):
            track.in_chunks = max(track.in_chunks, self._in_chunks(track))
        if self._fragments + sum(one.claimed for one in self._tracks) > self._size:
            raise IndexBombError("its index has more samples than the file has bytes")
        if self._fragments + sum(one.entries for one in self._tracks) > MAX_SAMPLES:
            raise IndexBombError(f"its index has more than {MAX_SAMPLES} samples")

    def _times(self, kind: bytes, track: _Track, begin: int, end: int) -> None:
        total, lengths = 0, None
        for part in self._table(begin, end, 2):
            total += sum(part[::2])
            lengths = list(part[1:4:2]) if lengths is None else lengths
        track.runs = max(track.runs, total)
        if kind == b"stts":
            track.single = lengths == [1]

    def _in_chunks(self, track: _Track) -> int:
        total, before, each = 0, 1, 0
        for part in self._table(*track.chunk_runs, 3):
            for first, count in zip(part[::3], part[1::3], strict=True):
                first = min(first, track.chunks + 1)
                total += max(0, first - before) * each
                before, each = max(first, before), count
        return total + max(0, track.chunks + 1 - before) * each

    def _bytes(self, place: int) -> bytes:
        self._file.seek(place)
        return self._file.read(4)

    def _number(self, place: int) -> int:
        return int.from_bytes(self._bytes(place), "big")

    def _table(self, begin: int, end: int, columns: int) -> Iterator[array[int]]:
        """Yield the rows of a table one after the other, some at a time, as far as it is there."""
        row = 4 * columns
        left = min(self._number(begin + 4) if end else 0, max(0, end - begin - 8) // row)
        place = begin + 8
        while left > 0:
            self._file.seek(place)
            data = self._file.read(min(left, _MAX_TABLE // row) * row)
            numbers = array("I", data[: len(data) // row * row])
            if not numbers:
                return
            if sys.byteorder == "little":
                numbers.byteswap()
            yield numbers
            place, left = place + len(data), left - len(numbers) // columns
