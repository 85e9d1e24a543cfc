"""Still pictures: reading untrusted PNG and JPEG, writing PNG, fitting to a size."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from lingen_cli.errors import BadDataError, BugError
from lingen_cli.files.open_file import open_file
from lingen_cli.files.printable import printable
from lingen_cli.files.write_errors import write_error
from lingen_cli.media.images.image_headers import JPEG, PNG, jpeg_header, png_essentials
from lingen_cli.media.images.orientation import Image, Orientation

MAX_BYTES = 64 << 20
MAX_PIXELS = 64_000_000
_EXIF = {
    1: Orientation(),
    2: Orientation(mirror_x=True),
    3: Orientation(mirror_x=True, mirror_y=True),
    4: Orientation(mirror_y=True),
    5: Orientation(swap=True),
    6: Orientation(swap=True, mirror_x=True),
    7: Orientation(swap=True, mirror_x=True, mirror_y=True),
    8: Orientation(swap=True, mirror_y=True),
}


def read_image(path: Path) -> Image:
    """A PNG or JPEG file as upright RGB, uint8 (H, W, 3); transparent parts appear white.

    The content decides, not the name. Raises MissingInputError (66), PermissionDeniedError (77) and
    BadDataError (65): empty, another format, damaged or cut off, more than `MAX_BYTES` or
    `MAX_PIXELS`.
    """
    shown = printable(path)
    with open_file(path) as file:
        try:
            data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise BadDataError(f"cannot read ({error.strerror}): {shown}") from error
    if len(data) > MAX_BYTES:
        raise BadDataError(f"picture file is larger than {MAX_BYTES >> 20} MiB: {shown}")
    orientation = _EXIF[1]
    try:
        if data.startswith(PNG):
            codec, (size, data) = "png", png_essentials(data)
        elif data.startswith(JPEG):
            codec, (size, turn) = "mjpeg", jpeg_header(data)
            orientation = _EXIF[turn]
        else:
            raise BadDataError(f"not a PNG or JPEG picture: {shown}")
        if size[0] * size[1] > MAX_PIXELS:
            raise BadDataError(f"picture size {size[0]}x{size[1]} is above the limit: {shown}")
        return orientation.apply(_rgb(_decode(codec, data)))
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise BadDataError(f"damaged picture: {shown}") from error


def write_png(path: Path, image: Image) -> None:
    """Write uint8 (H, W, 3). Raises WriteFailedError (74) and PermissionDeniedError (77)."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise BugError(f"picture is {image.dtype} of shape {image.shape}, expected uint8 (H, W, 3)")
    context = av.CodecContext.create("png", "w")
    assert isinstance(context, VideoCodecContext)
    context.height, context.width = image.shape[:2]
    context.pix_fmt = "rgb24"
    context.time_base = Fraction(1)  # a picture has no rate, but encoders insist
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    data = b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))
    try:
        path.write_bytes(data)
    except OSError as error:
        raise write_error(error, path) from error


def fit_image(image: Image, width: int, height: int) -> Image:
    """Cut the largest centred part with the proportions width:height and scale it, antialiased."""
    rows, columns = image.shape[:2]
    cut_width = min(columns, max(1, round(rows * width / height)))
    cut_height = min(rows, max(1, round(columns * height / width)))
    top, left = (rows - cut_height) // 2, (columns - cut_width) // 2
    return scale_image(image[top : top + cut_height, left : left + cut_width], width, height)


def scale_image(image: Image, width: int, height: int) -> Image:
    """Scale uint8 (H, W, 3) to (height, width, 3); the filter is as wide as the step."""
    across = _weights(image.shape[1], width).T
    narrow = np.stack(
        [np.tensordot(image[..., c].astype(np.float32), across, 1) for c in range(3)], -1
    )
    scaled = np.tensordot(_weights(image.shape[0], height), narrow, 1)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _weights(source: int, target: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(target, source) matrix; every row sums to 1."""
    step = source / target
    centres = (np.arange(target) + 0.5) * step - 0.5
    distance = np.abs(np.arange(source)[None, :] - centres[:, None])
    weights = np.maximum(0.0, 1.0 - distance / max(step, 1.0))
    normalised: np.ndarray[Any, np.dtype[np.float32]] = weights / weights.sum(1, keepdims=True)
    return normalised.astype(np.float32)


def _decode(codec: str, data: bytes) -> VideoFrame:
    context = av.CodecContext.create(codec, "r")
    # Without "explode" a picture that was cut off comes back with its lower part grey, and no
    # error.
    context.options = {
        "max_pixels": str(MAX_PIXELS),
        "err_detect": "crccheck+bitstream+buffer+explode",
    }
    context.thread_count = 1
    assert isinstance(context, VideoCodecContext)
    frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    if not frames:
        raise ValueError("no picture in the file")
    return frames[0]


def _rgb(frame: VideoFrame) -> Image:
    transparent = any(component.is_alpha for component in frame.format.components)
    if not transparent and frame.format.name != "pal8":  # a palette may hold transparent colours
        return frame.reformat(format="rgb24", threads=1).to_ndarray().astype(np.uint8, copy=False)
    rgba = frame.reformat(format="rgba", threads=1).to_ndarray().astype(np.uint16)
    alpha = rgba[..., 3:]
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
