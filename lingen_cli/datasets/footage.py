"""Videos and images in a folder and in the tars there, with what is known about each, and what
cannot be used and why."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lingen_cli.datasets.captions import TABLES, checked, read_caption, read_tables
from lingen_cli.errors import BadDataError, LingenError, MissingInputError
from lingen_cli.files.open_file import open_file
from lingen_cli.files.printable import printable
from lingen_cli.files.tar_members import InputFile, TarMember, is_tar, list_members
from lingen_cli.usage.completion import VIDEOS

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
FPS = 16
"""Frames per second of everything that is trained on."""
_CAPTIONS = (".txt", ".json")
"""Suffixes of files that hold one caption."""


@dataclass(frozen=True)
class Clip:
    """A file with a caption: `seconds` is None for an image, `width` and `height` are as seen."""

    path: InputFile
    caption: str
    width: int
    height: int
    seconds: float | None
    fingerprint: str
    """Hash that tells files apart: of the size, and of the first and the last MiB."""

    def name_in(self, folder: Path) -> str:
        """Name of its file, from `folder` on."""
        return Path(self.path).relative_to(folder).as_posix()


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

    A tar is read as a folder of its files would be, and `folder` may be one. A caption is a text
    file of the same name beside the file, a row of one of `TABLES` in `folder`, or in a JSON object
    beside the file. Decodes one frame of each video, so memory does not grow with their length.
    `on_file` is told how many of how many files have been looked at. Raises MissingInputError (66)
    without such a folder, and BadDataError (65) for one that holds no video or image at all.
    """
    if not folder.is_dir() and not (folder.is_file() and is_tar(folder.name)):
        raise MissingInputError(f"no such folder: {printable(folder)}")
    captions, problems = read_tables(folder)
    files = list(_files(folder, problems))
    if not files:
        why = f": {problems[0]}" if problems else ""
        raise BadDataError(f"no videos or images in {printable(folder)}{why}")
    clips = []
    for number, (path, beside) in enumerate(files, start=1):
        try:
            clips.append(_clip(path, beside, captions.get(Path(path))))
        except LingenError as error:
            problems.append(str(error))
        on_file(number, len(files))
    missing = sorted(captions.keys() - {Path(path) for path, _ in files})
    problems += [f"no such file, but it has a caption: {printable(one)}" for one in missing]
    return Footage(folder, tuple(clips), tuple(problems), len(files))


_Captions = Mapping[str, InputFile]
"""Files with the caption of a file, by their suffixes."""


def _files(folder: Path, problems: list[str]) -> Iterator[tuple[InputFile, _Captions]]:
    """Yield all videos and images, and where captions of them are."""
    for path in _walk(folder) if folder.is_dir() else [folder]:
        if is_tar(path.name):
            try:
                yield from _members(path, problems)
            except LingenError as error:
                problems.append(str(error))
        else:
            beside = {suffix: path.with_suffix(suffix) for suffix in _CAPTIONS}
            yield path, {suffix: one for suffix, one in beside.items() if one.is_file()}


def _members(path: Path, problems: list[str]) -> Iterator[tuple[InputFile, _Captions]]:
    """Yield the videos and images of a tar, as in a shard of webdataset: files whose names are the
    same up to the first dot belong together."""
    with open_file(path) as file:
        members, found = list_members(path, file)
    problems += found
    captions: dict[PurePosixPath, dict[str, InputFile]] = {}
    videos: list[tuple[TarMember, PurePosixPath]] = []
    for member in members:
        name = PurePosixPath(member.name)
        stem, _, ending = name.name.partition(".")
        sample = name.with_name(stem)
        if name.suffix.lower() in VIDEOS | IMAGES:
            videos.append((member, sample))
        elif f".{ending.lower()}" in _CAPTIONS:
            captions.setdefault(sample, {})[f".{ending.lower()}"] = member
    for member, sample in videos:
        yield member, captions.get(sample, {})
    for sample in sorted(captions.keys() - {sample for _, sample in videos}):
        for one in captions[sample].values():
            problems.append(f"caption without a video or an image: {printable(one)}")


def _walk(folder: Path) -> Iterator[Path]:
    """Yield all videos, images and tars in a folder and below."""
    for where, inside, names in os.walk(folder):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        # A folder of such a name is reported, and looked into.
        for name in sorted([*names, *inside]):
            path = Path(where, name)
            if name.startswith("."):
                continue
            if path.suffix.lower() in VIDEOS | IMAGES or is_tar(name):
                yield path


def _clip(path: InputFile, beside: _Captions, listed: str | None) -> Clip:
    from lingen_cli.media.probe import fingerprint, video_info

    known = fingerprint(path)  # also refuses what is empty or no regular file
    text, record = map(beside.get, _CAPTIONS)
    if text is None and listed is not None:
        caption = checked(listed, path)
    elif (file := text or record) is not None:
        caption = read_caption(file)
    else:
        name, tables = Path(path).name, " or ".join(TABLES[:2])
        stem = name.partition(".")[0] if isinstance(path, TarMember) else Path(path).stem
        raise BadDataError(
            f"no caption, write {printable(stem)}.txt beside it or {tables}: {printable(path)}"
        )
    if Path(path).suffix.lower() in IMAGES:
        from lingen_cli.media.images.image_files import read_image

        height, width = read_image(path).shape[:2]
        return Clip(path, caption, width, height, None, known)
    info = video_info(path)
    if info.duration is None:
        raise BadDataError(f"video of unknown length, remux it with ffmpeg: {printable(path)}")
    return Clip(path, caption, info.width, info.height, info.duration, known)
