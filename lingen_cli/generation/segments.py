"""The encoded pieces of a video, kept in the journal as they are finished (reliability.md C2)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from lingen_cli.files.sealed import SUM, sealed, unsealed
from lingen_cli.media.frame_hashes import FrameHash, hash_frames
from lingen_models.checkpoints.whole_file import sync, write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lingen_cli.generation.journal import Journal

PIECE = 240
"""Frames after which a new piece begins, about; an encoder begins anew as often by itself."""


def in_pieces(bounds: Sequence[int]) -> list[int]:
    """`bounds`, and between each two of them more, at equal distances of about `PIECE` frames."""
    found = [bounds[0]]
    for begin, end in pairwise(bounds):
        count = max(1, round((end - begin) / PIECE))
        found += [begin + (end - begin) * number // count for number in range(1, count + 1)]
    return found


@dataclass(frozen=True)
class Segment:
    """A finished piece: its file, and the hashes of its images and packets."""

    path: Path
    hashed: FrameHash


class _Note(BaseModel):
    """What stands beside a piece in the journal; without it the piece does not count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str
    latents: str
    """The hash of those it was decoded from."""
    av: str
    file: str
    """SHA-256."""
    hashed: FrameHash


class Segments:
    """Finds pieces that a run before has encoded, and keeps those of this one.

    What is found was made from the same latents with the same PyAV.
    """

    def __init__(self, journal: Journal, latents: str) -> None:
        self._journal, self._latents = journal, latents
        self._av = version("av")

    def find(self, begin: int, end: int) -> Segment | None:
        """The piece of the frames `begin` to `end`, if it is there and whole."""
        path = self._path(begin, end)
        try:
            facts = unsealed(path.with_suffix(".json").read_bytes())
            del facts[SUM]
            note = _Note.model_validate(facts)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except (OSError, ValueError):  # pydantic's errors are among them
            return None
        requested = (begin, end), self._note(note.hashed, digest)
        if requested != ((note.hashed.begin, note.hashed.end), note):
            return None
        return Segment(path, note.hashed)

    def keep(self, file: Path, begin: int, end: int) -> Segment:
        """`file` as the piece of the frames `begin` to `end`, in the journal if there is one."""
        segment = Segment(file, hash_frames(file, begin, end))
        if not self._journal.flush():
            return segment
        path = self._path(begin, end)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        note = self._note(segment.hashed, digest)
        with contextlib.suppress(OSError):  # then it is encoded again after a stop
            path.parent.mkdir(exist_ok=True)
            sync(file)
            part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
            os.link(file, part)
            os.replace(part, path)
            write_whole(path.with_suffix(".json"), sealed(note.model_dump()))
        return segment

    def _note(self, hashed: FrameHash, digest: str) -> _Note:
        return _Note(
            job=self._journal.job,
            latents=self._latents,
            av=self._av,
            file=digest,
            hashed=hashed,
        )

    def _path(self, begin: int, end: int) -> Path:
        return self._journal.folder / "pieces" / f"{begin}-{end}.mp4"
