"""Clips of an evaluation as videos, and their gallery."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from lingen_cli.errors import OutputExistsError
from lingen_cli.files.names import slug
from lingen_cli.files.printable import printable
from lingen_cli.files.work_folder import check_target
from lingen_cli.gallery.collect import Entry, read_entry
from lingen_cli.gallery.page import write_page

if TYPE_CHECKING:
    from lingen_training.evaluation.quality_table import Clip


class ClipFolder:
    """Folder beside an evaluation's output with a video for each clip, and a page that shows them.

    Raises OutputExistsError (73) where either is there, unless `overwrite` allows that.
    """

    def __init__(self, output: Path, *, overwrite: bool) -> None:
        self.folder, self.page = output.with_suffix(""), output.with_suffix(".html")
        self._overwrite = overwrite
        self._clips: list[tuple[Path, str, Clip]] = []
        check_target(self.page, overwrite)
        if not overwrite and self.folder.exists():
            raise OutputExistsError(
                f"is there already, as a folder for the clips: {printable(self.folder)}; name "
                "another output, or leave the clips out with --no-gallery"
            )

    def write_page(self) -> None:
        """Write the page of all clips that there are. Raises WriteFailedError (74)."""
        if self._clips:
            entries = (self._entry(*one) for one in self._clips)
            write_page(entries, self.page, self.folder.name, overwrite=True)

    def keep(self, model: str, clip: Clip) -> None:
        """Write a clip of a model."""
        from lingen_cli.media.writer import VideoWriter
        from lingen_playground import FPS

        folder = self.folder / slug(model)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{len(self._clips) + 1:04d}-{slug(clip.prompt)}.mp4"
        height, width = clip.video.shape[1:3]
        with VideoWriter(path, width=width, height=height, fps=Fraction(FPS)) as writer:
            writer.write(clip.video.numpy())
        clip = replace(clip, video=clip.video[:0])  # a long one takes a lot of memory
        self._clips.append((path, model, clip))

    def _entry(self, path: Path, model: str, clip: Clip) -> Entry:
        entry = read_entry(path, self.page.parent)
        verdict = f"wrong: {', '.join(clip.wrong)}" if clip.wrong else "right"
        return replace(entry, kind="lingen", prompt=clip.prompt, model=model, problem=verdict)
