import io
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest

from lingen_cli.errors import BadDataError, BugError, LingenError, MissingInputError
from lingen_cli.media.images.image_files import fit_image, read_image, scale_image, write_png

PNG = b"\x89PNG\r\n\x1a\n"

Reader = Callable[[bytes], np.ndarray]


def shown(height: int = 32, width: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 5, columns * 5, rows + columns], -1).astype(np.uint8)


def chunk(kind: bytes, body: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum


def png(width: int, height: int, rows: bytes, depth: int = 8, kind: int = 2) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return PNG + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpeg(image: np.ndarray, orientation: int | None = None) -> bytes:
    context = av.CodecContext.create("mjpeg", "w")
    context.height, context.width, context.pix_fmt = *image.shape[:2], "yuvj444p"
    context.time_base, context.qmin, context.qmax = Fraction(1), 1, 1
    frame = av.VideoFrame.from_ndarray(image).reformat(format="yuvj444p")
    data = b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))
    if orientation is None:
        return data
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1" + struct.pack(">H", orientation)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + exif + bytes(6)
    return data[:2] + segment + data[2:]


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    def run(data: bytes) -> np.ndarray:
        (tmp_path / "x.png").write_bytes(data)
        return read_image(tmp_path / "x.png")

    return run


def test_png_comes_back_exactly(tmp_path: Path) -> None:
    image = shown()
    write_png(tmp_path / "a.png", image)
    assert np.array_equal(read_image(tmp_path / "a.png"), image)
    write_png(tmp_path / "b.png", image[:, ::-1])
    assert np.array_equal(read_image(tmp_path / "b.png"), image[:, ::-1])


def test_jpeg_comes_back_nearly(read: Reader) -> None:
    image = shown()
    assert np.abs(read(jpeg(image)).astype(int) - image).mean() < 2


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda a: np.rot90(a)),
        (9, lambda a: a),
    ],
)
def test_photos_come_upright(
    read: Reader, orientation: int, upright: Callable[[np.ndarray], np.ndarray]
) -> None:
    stored = read(jpeg(shown()))
    assert np.array_equal(read(jpeg(shown(), orientation)), upright(stored))


def test_kinds_of_png(read: Reader) -> None:
    deep = read(png(1, 1, b"\0\xff\xff\x80\0\0\0", depth=16))
    assert np.abs(deep[0, 0].astype(int) - (255, 128, 0)).max() <= 1
    assert read(png(2, 1, b"\0\0\xff", kind=0)).tolist() == [[[0] * 3, [255] * 3]]
    see_through = read(png(2, 1, b"\0\xff\0\0\xff\xff\0\0\0", kind=6))
    assert see_through.tolist() == [[[255, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "file is empty"),
        (b"text", "not a PNG, JPEG or WebP image"),
        (b"GIF89a", "not a PNG, JPEG or WebP image"),
        (PNG, "damaged image"),
        (b"\xff\xd8\xff\xe0", "damaged image"),
        (png(2, 2, bytes(14))[:-20], "damaged image"),
        (png(2, 2, bytes(14)).replace(b"IDAT", b"IDAX"), "damaged image"),
        (png(30000, 30000, b""), "image has more than 64 million pixels"),
        (png(0, 5, b""), "damaged image"),
        (jpeg(shown())[:400], "damaged image"),
    ],
    ids=range(10),
)
def test_files_that_are_no_image(read: Reader, data: bytes, message: str) -> None:
    with pytest.raises(BadDataError, match=f"^{message}: .*x.png$"):
        read(data)


def test_flipped_bits_are_noticed(read: Reader) -> None:
    data = bytearray(png(8, 8, bytes(8 * 25)))
    data[data.index(b"IDAT") + 8] ^= 4
    with pytest.raises(BadDataError, match="damaged image"):
        read(bytes(data))


def test_mutated_files_never_surprise(read: Reader) -> None:
    rng = np.random.default_rng(0)
    for seed in (jpeg(shown(), 6), png(48, 32, bytes(32 * 145))):
        for _ in range(150):
            data = bytearray(seed)
            for at in rng.integers(0, len(data), 3):
                data[at] = rng.integers(256)
            try:
                assert read(bytes(data)).ndim == 3
            except LingenError as error:
                assert error.exit_code == 65


def test_a_text_that_unpacks_to_much_is_refused(read: Reader) -> None:
    plain = png(2, 2, bytes(14))
    text = chunk(b"tEXt", b"workflow\0" + b"x" * (2 << 20))
    assert np.array_equal(read(plain[:33] + text + plain[33:]), read(plain))
    bomb = chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(50 << 20)))
    with pytest.raises(BadDataError, match="damaged image"):
        read(plain[:33] + bomb + plain[33:])


def test_deep_gray_palettes_and_webp(read: Reader) -> None:
    deep = read(png(2, 1, b"\0\x80\0\xff\xff", depth=16, kind=0))
    assert deep.tolist() == [[[128] * 3, [255] * 3]]
    for mode, name in (("P", "PNG"), ("RGB", "WEBP"), ("CMYK", "JPEG")):
        data = io.BytesIO()
        PIL.Image.fromarray(shown()).convert(mode).save(data, name, quality=95)
        found = read(data.getvalue())
        assert np.abs(found.astype(int) - shown()).mean() < 25 if mode == "P" else 5


def test_missing_image(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(MissingInputError, match="not a regular file"):
        read_image(tmp_path)


def test_writing_needs_an_rgb_image(tmp_path: Path) -> None:
    with pytest.raises(BugError, match="expected uint8"):
        write_png(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(MissingInputError, match="no such folder"):
        write_png(tmp_path / "none" / "a.png", shown())


def test_fitting_cuts_the_centre() -> None:
    image = np.zeros((30, 90, 3), np.uint8)
    image[:, 30:60] = 255
    assert fit_image(image, 16, 16).min() == 255
    assert fit_image(image.swapaxes(0, 1), 16, 16).min() == 255
    assert fit_image(image, 90, 30).tolist() == image.tolist()


def test_scaling_has_no_aliasing_and_keeps_the_mean() -> None:
    checks = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, -1)
    assert np.abs(scale_image(checks, 32, 32)[2:-2, 2:-2].astype(int) - 127.5).max() < 3
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    for width, height in ((17, 31), (600, 400)):
        small = scale_image(noise, width, height)
        assert small.shape == (height, width, 3)
        assert abs(small.mean() - noise.mean()) < 2


def test_scaling_up_and_down_gives_the_image_back() -> None:
    image = shown(32, 32)
    again = scale_image(scale_image(image, 128, 128), 32, 32)
    assert np.abs(again.astype(int) - image)[2:-2, 2:-2].max() <= 2
