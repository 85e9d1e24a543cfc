"""The page of a gallery: one file with everything in it but the videos."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

from lingen_cli.errors import MissingInputError
from lingen_cli.files.work_folder import WorkFolder
from lingen_cli.gallery.collect import Entry, find_videos, read_entry


@dataclass
class Written:
    """Counts of what is on a page."""

    videos: int = 0
    broken: int = 0


def write_gallery(paths: Iterable[Path], output: Path, title: str, *, overwrite: bool) -> Written:
    """Write a page of the videos in files and folders; returns how many are on it.

    Videos are read and written one after the other, so that memory does not grow with them. Raises
    MissingInputError (66) for paths that are not there or no videos, OutputExistsError (73),
    WriteFailedError (74).
    """
    entries = (read_entry(path, output.parent) for path in find_videos(paths))
    return write_page(entries, output, title, overwrite=overwrite)


def write_page(entries: Iterable[Entry], output: Path, title: str, *, overwrite: bool) -> Written:
    """Write a page of entries, whose addresses are from its folder. Raises as `write_gallery`."""
    written = Written()

    def counted() -> Iterator[Entry]:
        for entry in entries:
            written.videos += 1
            written.broken += entry.kind == "broken"
            yield entry

    with WorkFolder(output, overwrite=overwrite) as work:
        temporary = work.temporary(".html")
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(html_of(counted(), title))
        if not written.videos:
            raise MissingInputError("no videos there; name a folder or files")
        work.publish(temporary)
    return written


def html_of(entries: Iterable[Entry], title: str) -> Iterator[str]:
    """Yield HTML that shows these videos, piece by piece; nothing in them is taken for markup."""
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    head, tail = template.replace("{{title}}", html.escape(title)).split("{{data}}")
    yield head + "["
    for number, entry in enumerate(entries):
        row = json.dumps(asdict(entry) | {"number": number}, separators=(",", ":"))
        # Inside a script element only `</script` and `<!--` mean anything, and JSON can do without.
        yield ("," if number else "") + row.replace("<", "\\u003c")
    yield "]" + tail
