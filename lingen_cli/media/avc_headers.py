"""H.264 parameter sets as mp4 keeps them (ISO/IEC 14496-15, 5.3.3: AVCDecoderConfigurationRecord).

Two encoders' packets can stand in one track when the record holds the parameter sets of both, under
numbers that differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_MAX_NUMBER = 31
_LENGTH_BYTES = 4
_HIGH_PROFILES = frozenset({100, 110, 122, 144})
"""Profiles whose record ends with the chroma format and the bit depths."""


class HeaderError(ValueError):
    """A record that cannot be read or joined; the message says why, in a few words."""


@dataclass(frozen=True)
class AvcHeaders:
    """`start` is profile, compatibility and level; `end` what follows the parameter sets."""

    start: bytes
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]
    end: bytes

    @classmethod
    def parse(cls, record: bytes) -> AvcHeaders:
        """Raises HeaderError for anything but a whole record with packet lengths of 4 bytes."""
        if len(record) < 7 or record[0] != 1:
            raise HeaderError("its headers are not those of an mp4")
        if record[4] & 3 != _LENGTH_BYTES - 1:
            raise HeaderError("its packets have short lengths")
        sps, at = _sets(record, 6, record[5] & 31)
        if at >= len(record):
            raise HeaderError("its headers are damaged")
        pps, at = _sets(record, at + 1, record[at])
        if not sps or not pps:
            raise HeaderError("its headers are not in one place")
        return cls(record[1:4], sps, pps, record[at:])

    def to_bytes(self) -> bytes:
        """The record."""
        parts = [b"\1", self.start, bytes([0xFC | _LENGTH_BYTES - 1, 0xE0 | len(self.sps)])]
        parts += [len(one).to_bytes(2, "big") + one for one in self.sps]
        parts.append(bytes([len(self.pps)]))
        parts += [len(one).to_bytes(2, "big") + one for one in self.pps]
        return b"".join([*parts, self.end])

    def free_number(self) -> int:
        """A number from 1 to 31 that no parameter set has. Raises HeaderError if all are taken."""
        taken = self._numbers()
        for number in range(1, _MAX_NUMBER + 1):
            if number not in taken:
                return number
        raise HeaderError("all its header numbers are taken")

    def joined(self, other: AvcHeaders) -> AvcHeaders:
        """The record of a track that begins with this one's packets and goes on with the other's.

        Raises HeaderError where both give one number to different parameter sets.
        """
        sps = tuple(one for one in other.sps if one not in self.sps)
        pps = tuple(one for one in other.pps if one not in self.pps)
        if not sps and not pps:
            return self
        if self._numbers() & replace(other, sps=sps, pps=pps)._numbers():
            raise HeaderError("two parts have other headers under one number")
        if len(self.sps) + len(sps) > _MAX_NUMBER:
            raise HeaderError("too many headers")
        profile, compatible, level = zip(self.start, other.start, strict=True)
        start = bytes([max(profile), compatible[0] & compatible[1], max(level)])
        end = (self.end or other.end) if max(profile) in _HIGH_PROFILES else b""
        return AvcHeaders(start, self.sps + sps, self.pps + pps, end)

    def _numbers(self) -> set[int]:
        return {_number(one[4:]) for one in self.sps} | {_number(one[1:]) for one in self.pps}


def _sets(record: bytes, at: int, count: int) -> tuple[tuple[bytes, ...], int]:
    found = []
    for _ in range(count):
        size = int.from_bytes(record[at : at + 2], "big")
        one = record[at + 2 : at + 2 + size]
        if size < 2 or len(one) < size:
            raise HeaderError("its headers are damaged")
        found.append(one)
        at += 2 + size
    return tuple(found), at


def _number(data: bytes) -> int:
    """The Exp-Golomb number that `data` begins with (H.264, 9.1)."""
    bits = "".join(f"{byte:08b}" for byte in data[:8])
    zeros = bits.find("1")
    if zeros < 0 or 2 * zeros + 1 > len(bits):
        raise HeaderError("its headers are damaged")
    return int(bits[zeros : 2 * zeros + 1], 2) - 1
