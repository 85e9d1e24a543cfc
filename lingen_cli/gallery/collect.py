"""Videos of a gallery: found in folders, and read as far as a page needs them."""

from __future__ import annotations

import base64
import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from lingen_cli.errors import LingenError, MissingInputError
from lingen_cli.files.printable import printable
from lingen_cli.usage.completion import VIDEOS

if TYPE_CHECKING:
    from lingen_cli.media.images.orientation import Image

_BOX = (256, 256)
"""Largest size of a thumbnail in pixels."""
_PLAYED = VIDEOS - {".gif"}
"""Suffixes of files that a browser may play in a `video` element."""
Kind = Literal["lingen", "other", "broken"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A video on the page."""

    name: str
    url: str
    """From the folder of the page."""
    kind: Kind
    """Made by lingen, by something else, or unreadable."""
    problem: str = ""
    prompt: str = ""
    model: str = ""
    seed: str = ""
    steps: str = ""
    guidance: str = ""
    seconds: float = 0.0
    size: str = ""
    bytes: int = 0
    changed: float = 0.0
    """Seconds since 1970."""
    command: str = ""
    """Makes it again."""
    thumbnail: str = ""
    """A data URL."""


def find_videos(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the named files, and the videos in the named folders and below them, in order of their
    names; hidden folders are passed over. Raises MissingInputError (66) for a path that is not
    there."""
    seen: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found = sorted(_below(path), key=str)
        elif path.exists():
            found = [path]
        else:
            raise MissingInputError(f"no such file or folder: {printable(path)}")
        for one in found:
            if (whole := one.resolve()) not in seen:
                seen.add(whole)
                yield one


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if Path(name).suffix.lower() in _PLAYED and not name.startswith("."):
                yield Path(root) / name


def read_entry(path: Path, page_folder: Path) -> Entry:
    """Read a video; one that cannot be read says why."""
    stat = path.stat()
    facts: dict[str, Any] = {
        "name": path.name,
        "url": quote(os.path.relpath(path, page_folder).replace(os.sep, "/")),
        "bytes": stat.st_size,
        "changed": stat.st_mtime,
    }
    try:
        return Entry(**facts, **_read(path))
    except LingenError as error:
        return Entry(**facts, kind="broken", problem=str(error))


def _read(path: Path) -> dict[str, Any]:
    from lingen_cli.media.metadata import read_recipe
    from lingen_cli.media.probe import video_info
    from lingen_cli.media.reader import frames_at
    from lingen_cli.requests.recipe import sampling_in

    info, recipe = video_info(path), read_recipe(path)
    seconds = info.duration or 0.0
    frame = next(iter(frames_at(path, [seconds / 3], box=_BOX)), None)
    facts: dict[str, Any] = {
        "kind": "other" if recipe is None else "lingen",
        "seconds": round(seconds, 3),
        "size": f"{info.width}x{info.height}",
        "thumbnail": "" if frame is None else data_url(frame),
    }
    if recipe is not None:
        said = recipe | sampling_in(recipe)
        shown = ("prompt", "model", "seed", "steps", "guidance")
        facts |= {name: "" if said.get(name) is None else str(said[name]) for name in shown}
        facts["command"] = shlex.join(["lingen", "rerun", str(path)])
    return facts


def data_url(image: Image) -> str:
    """An image (H, W, 3) uint8 as a data URL of a JPEG."""
    import av

    high, wide = (side - side % 2 for side in image.shape[:2])
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = wide, high, "yuvj420p"
    codec.options = {"q:v": "4"}
    codec.flags |= 0x0002  # a fixed quality
    codec.global_quality = 4 * 118
    frame = av.VideoFrame.from_ndarray(image[:high, :wide].copy(), "rgb24")
    packets = [*codec.encode(frame.reformat(format="yuvj420p", threads=1)), *codec.encode(None)]
    data = b"".join(bytes(packet) for packet in packets)
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
