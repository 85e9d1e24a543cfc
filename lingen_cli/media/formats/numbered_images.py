"""A video as a folder of numbered PNG files; the first of them holds the tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from lingen_cli.errors import LingenError
from lingen_cli.files.numbered import images_at, name_of
from lingen_cli.media.images.image_files import as_png, check_png, read_image, scale_image
from lingen_cli.media.images.orientation import Image
from lingen_cli.media.probe import VideoInfo
from lingen_cli.media.reader import fit_box


def write_images(
    images: Iterable[Image], tags: Mapping[str, str], folder: Path, pattern: str
) -> None:
    """Write uint8 (H, W, 3) each, numbered from 1, as ffmpeg does."""
    for number, image in enumerate(images, start=1):
        data = as_png(image, tags if number == 1 else None)
        (folder / name_of(pattern, number)).write_bytes(data)


def are_whole(folder: Path, pattern: str, frames: int) -> bool:
    """Tell whether the images of so many frames are there, undamaged, and nothing else is."""
    names = {name_of(pattern, number) for number in range(1, frames + 1)}
    try:
        if names != {path.name for path in folder.iterdir()}:
            return False
        for name in names:
            check_png(folder / name)
    except (LingenError, OSError):
        return False
    return True


def image_info(numbered: Sequence[Path], recipe: Mapping[str, object] | None) -> VideoInfo:
    """Size and number of images, which are a video at the rate that a recipe names.

    Raises as `read_image`.
    """
    height, width = read_image(numbered[0]).shape[:2]
    rate = _rate_in(recipe)
    return VideoInfo(
        width=width,
        height=height,
        fps=rate,
        frames=len(numbered),
        duration=None if rate is None else float(len(numbered) / rate),
        rotation=0,
        codec="png",
    )


def some_of(path: Path, count: int, box: tuple[int, int]) -> list[Image]:
    """Read `count` images at even distances, each scaled down to fit `box` (width, height).

    Raises as `read_image`.
    """
    numbered, found = images_at(path), []
    for index in range(count):
        image = read_image(numbered[int((index + 0.5) * len(numbered) / count)])
        found.append(scale_image(image, *fit_box(image.shape[1], image.shape[0], box)))
    return found


def _rate_in(recipe: Mapping[str, object] | None) -> Fraction | None:
    """Frames per second; anybody may have written the recipe."""
    try:
        rate = Fraction(str((recipe or {}).get("fps")))
    except (ValueError, ZeroDivisionError):
        return None
    return rate if rate > 0 else None
