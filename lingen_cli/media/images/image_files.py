"""Single images: reading untrusted PNG, JPEG and WebP, writing PNG, fitting to a size."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL.Image
from PIL import ImageOps
from PIL.PngImagePlugin import PngInfo

from lingen_cli.errors import BadDataError, BugError
from lingen_cli.files.open_file import open_file
from lingen_cli.files.printable import printable
from lingen_cli.files.tar_members import InputFile
from lingen_cli.files.work_folder import WorkFolder
from lingen_cli.files.write_errors import write_errors
from lingen_cli.media.images.orientation import Image

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_BYTES = 64 << 20
MAX_PIXELS = 64_000_000
_FILTER = PIL.Image.Resampling.BILINEAR
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, MemoryError)
"""Errors of Pillow's decoders for damaged files."""


def read_image(path: InputFile) -> Image:
    """Read a PNG, JPEG or WebP file as upright RGB, uint8 (H, W, 3); transparent parts are white.

    The content decides, not the name; of an animation the first frame is read. Raises
    MissingInputError (66), PermissionDeniedError (77) and BadDataError (65): empty, another format,
    damaged or cut off, more than `MAX_BYTES` or `MAX_PIXELS`.
    """
    shown = printable(path)
    with open_file(path) as file:
        try:
            data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise BadDataError(f"cannot read ({error.strerror}): {shown}") from error
    if len(data) > MAX_BYTES:
        raise BadDataError(f"image file is larger than {MAX_BYTES >> 20} MiB: {shown}")
    if not _known(data):
        raise BadDataError(f"not a PNG, JPEG or WebP image: {shown}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about damage; MAX_PIXELS is checked here
            with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise PIL.Image.DecompressionBombError
                image.verify()  # checksums; the image has to be opened anew
            with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return _rgb(ImageOps.exif_transpose(image))
    except PIL.Image.DecompressionBombError as error:
        most = MAX_PIXELS // 1_000_000
        raise BadDataError(f"image has more than {most} million pixels: {shown}") from error
    except _DAMAGE as error:
        raise BadDataError(f"damaged image: {shown}") from error


def _known(data: bytes) -> bool:
    return data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or (
        data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    )


def _rgb(image: PIL.Image.Image) -> Image:
    if image.mode.startswith("I"):  # 16 bits of gray, which Pillow would clip to 8
        gray = np.asarray(image).astype(np.int64) >> 8
        return np.repeat(gray.clip(0, 255).astype(np.uint8)[..., None], 3, -1)
    if image.has_transparency_data:
        white = PIL.Image.new("RGBA", image.size, "white")
        image = PIL.Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert("RGB")).copy()


def as_png(image: Image, texts: Mapping[str, str] | None = None) -> bytes:
    """Encode uint8 (H, W, 3) as PNG, with `texts` by their keywords."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise BugError(f"image is {image.dtype} of shape {image.shape}, expected uint8 (H, W, 3)")
    data, chunks = io.BytesIO(), PngInfo()
    for key, text in (texts or {}).items():
        chunks.add_itxt(key.title(), text)
    PIL.Image.fromarray(np.ascontiguousarray(image)).save(data, "PNG", pnginfo=chunks)
    return data.getvalue()


def read_texts(path: Path) -> dict[str, str]:
    """Read the texts of a PNG by their keywords in lower case, up to the first pixels.

    Raises as `read_image`.
    """
    with _png(path) as image:
        return {key.lower(): str(text) for key, text in image.info.items() if isinstance(key, str)}


def check_png(path: Path) -> None:
    """Raise as `read_image` for a PNG that is damaged or cut off; its pixels are not decoded."""
    with _png(path) as image:
        image.verify()


@contextmanager
def _png(path: Path) -> Iterator[PIL.Image.Image]:
    shown = printable(path)
    with open_file(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with PIL.Image.open(file, formats=("PNG",)) as image:
                yield image
        except (*_DAMAGE, PIL.Image.DecompressionBombError) as error:
            raise BadDataError(f"damaged image, or no PNG: {shown}") from error


def write_png(path: Path, image: Image) -> None:
    """Write uint8 (H, W, 3). Raises WriteFailedError (74) and PermissionDeniedError (77)."""
    data = as_png(image)
    with write_errors(path):
        path.write_bytes(data)


def publish_png(path: Path, image: Image, overwrite: bool) -> None:
    """Write a PNG that appears whole or not at all. Raises as `WorkFolder` and `write_png`."""
    with WorkFolder(path, overwrite=overwrite) as work:
        temporary = work.temporary(".png")
        write_png(temporary, image)
        work.publish(temporary)


def fit_image(image: Image, width: int, height: int) -> Image:
    """Cut the largest centred part with the proportions width:height and scale it, antialiased."""
    rows, columns = image.shape[:2]
    cut_width = min(columns, max(1, round(rows * width / height)))
    cut_height = min(rows, max(1, round(columns * height / width)))
    top, left = (rows - cut_height) // 2, (columns - cut_width) // 2
    return scale_image(image[top : top + cut_height, left : left + cut_width], width, height)


def scale_image(image: Image, width: int, height: int) -> Image:
    """Scale uint8 (H, W, 3) to (height, width, 3), antialiased."""
    whole = PIL.Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(whole.resize((width, height), _FILTER)).copy()
