"""The outer structure of PNG and JPEG files, looked at before a decoder sees them."""

import zlib
from collections.abc import Iterator
from typing import Literal

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
# Enough to draw the picture. The rest is dropped unread: texts and profiles may unpack to
# gigabytes.
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, in all its kinds
_JPEG_SCAN, _JPEG_EXIF = 0xDA, 0xE1
_EXIF_ORIENTATION = 0x0112


def png_essentials(data: bytes) -> tuple[tuple[int, int], bytes]:
    """(width, height), and the file with only picture data. Raises ValueError when damaged."""
    size, kept, at = None, [PNG], len(PNG)
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        if end > len(data):
            raise ValueError("a chunk ends behind the end of the file")
        kind, body = data[at + 4 : at + 8], data[at + 8 : end - 4]
        if kind in _PNG_KEPT:
            if zlib.crc32(kind + body) != int.from_bytes(data[end - 4 : end], "big"):
                raise ValueError("checksum of a chunk is wrong")
            kept.append(data[at:end])
        if kind == b"IHDR" and length == 13:
            size = (int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big"))
        if kind == b"IEND" and size:
            return size, b"".join(kept)
        at = end
    raise ValueError("the end is missing")


def jpeg_header(data: bytes) -> tuple[tuple[int, int], int]:
    """(width, height) as stored, and the EXIF orientation. Raises ValueError without a size."""
    orientation = 1
    for marker, body in _jpeg_segments(data):
        if marker == _JPEG_EXIF and body.startswith(b"Exif\0\0"):
            orientation = _exif_orientation(body[6:])
        elif marker in _JPEG_SIZES and len(body) >= 5:
            size = (int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big"))
            return size, orientation
    raise ValueError("no picture size")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker == _JPEG_SCAN:
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            return
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length


def _exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory, 1 (upright) when it is absent or makes no sense."""
    if tiff[:4] == b"II*\0":
        order: Literal["little", "big"] = "little"
    elif tiff[:4] == b"MM\0*":
        order = "big"
    else:
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    start = number(4, 4)
    for entry in range(min(number(start, 2), 512)):
        at = start + 2 + 12 * entry
        if number(at, 2) == _EXIF_ORIENTATION:
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
