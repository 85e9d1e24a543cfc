"""Videos and images in a folder, with what is known about each, and what cannot be used and why."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lingen_cli.datasets.captions import TABLES, caption_beside, checked, read_tables
from lingen_cli.errors import BadDataError, LingenError, MissingInputError
from lingen_cli.files.printable import printable
from lingen_cli.usage.completion import VIDEOS

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp"})


@dataclass(frozen=True)
class Clip:
    """A file with a caption: `seconds` is None for an image, `width` and `height` are as seen."""

    path: Path
    caption: str
    width: int
    height: int
    seconds: float | None
    fingerprint: str
    """Hash that tells files apart: of the size, and of the first and the last MiB."""


@dataclass(frozen=True)
class Footage:
    """Files of a folder that can be trained on, and a line for every one that cannot."""

    folder: Path
    clips: tuple[Clip, ...]
    problems: tuple[str, ...]
    files: int
    """Videos and images that were looked at."""

    @property
    def fingerprint(self) -> str:
        """Hash of all clips and captions: clips that were encoded of other ones are stale."""
        rows = (f"{one.fingerprint} {one.caption}" for one in self.clips)
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]

    @property
    def duplicates(self) -> list[list[Clip]]:
        """Clips whose files are the same."""
        groups: dict[str, list[Clip]] = {}
        for clip in self.clips:
            groups.setdefault(clip.fingerprint, []).append(clip)
        return [group for group in groups.values() if len(group) > 1]


def read_footage(
    folder: Path, on_file: Callable[[int, int], None] = lambda done, total: None
) -> Footage:
    """Look at every video and image in `folder` and below; hidden files are passed over.

    A caption is a text file of the same name beside the file, or a row of one of `TABLES` in
    `folder`. Decodes one frame of each video, so memory does not grow with their length. `on_file`
    is told how many of how many files have been looked at. Raises MissingInputError (66) without
    such a folder, and BadDataError (65) for one that holds no video or image at all.
    """
    if not folder.is_dir():
        raise MissingInputError(f"no such folder: {printable(folder)}")
    captions, problems = read_tables(folder)
    files = list(_files(folder))
    if not files:
        raise BadDataError(f"no videos or images in {printable(folder)}")
    clips = []
    for number, path in enumerate(files, start=1):
        try:
            clips.append(_clip(path, captions.get(path)))
        except LingenError as error:
            problems.append(str(error))
        on_file(number, len(files))
    missing = sorted(captions.keys() - set(files))
    problems += [f"no such file, but it has a caption: {printable(one)}" for one in missing]
    return Footage(folder, tuple(clips), tuple(problems), len(files))


def _files(folder: Path) -> Iterator[Path]:
    for where, inside, names in os.walk(folder):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        for name in sorted(
            [*names, *inside]
        ):  # a folder of such a name is reported, and looked into
            path = Path(where, name)
            if not name.startswith(".") and path.suffix.lower() in VIDEOS | IMAGES:
                yield path


def _clip(path: Path, listed: str | None) -> Clip:
    from lingen_cli.media.probe import fingerprint, video_info

    known = fingerprint(path)  # also refuses what is empty or no regular file
    caption = caption_beside(path)
    if caption is None and listed is not None:
        caption = checked(listed, path)
    if caption is None:
        beside, tables = printable(path.with_suffix(".txt").name), " or ".join(TABLES[:2])
        raise BadDataError(f"no caption, write {beside} beside it or {tables}: {printable(path)}")
    if path.suffix.lower() in IMAGES:
        from lingen_cli.media.images.image_files import read_image

        height, width = read_image(path).shape[:2]
        return Clip(path, caption, width, height, None, known)
    info = video_info(path)
    if info.duration is None:
        raise BadDataError(f"video of unknown length, remux it with ffmpeg: {printable(path)}")
    return Clip(path, caption, info.width, info.height, info.duration, known)
