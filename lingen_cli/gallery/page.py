"""The page of a gallery: one file with everything in it but the videos."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

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
    head, tail = around_data("page.html", title)
    yield head + "["
    for number, entry in enumerate(entries):
        yield ("," if number else "") + embedded(asdict(entry) | {"number": number})
    yield "]" + tail


def around_data(template: str, title: str) -> tuple[str, str]:
    """Return what a page has before and after its data, in JSON: a template of this package with
    the style and the script that all pages share."""
    folder = files(__package__)
    parts = {
        mark: folder.joinpath(name).read_text(encoding="utf-8")
        for mark, name in (("{{style}}", "style.css"), ("{{script}}", "parts.js"))
    }
    parts["{{title}}"] = html.escape(title)
    head, tail = folder.joinpath(template).read_text(encoding="utf-8").split("{{data}}")
    for mark, text in parts.items():
        head, tail = head.replace(mark, text), tail.replace(mark, text)
    return head, tail


def embedded(data: Any) -> str:
    """Return data as JSON for a script element: inside one only `</script` and `<!--` mean
    anything, and JSON can do without."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
