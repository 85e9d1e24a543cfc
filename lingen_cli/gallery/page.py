"""The page of a gallery: one file with everything in it but the videos."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from lingen_cli.errors import MissingInputError
from lingen_cli.files.work_folder import WorkFolder
from lingen_cli.gallery.collect import Entry, find_videos, read_entry


def write_gallery(
    paths: Iterable[Path], output: Path, title: str, *, overwrite: bool
) -> list[Entry]:
    """Write a page of the videos in files and folders; returns what is on it.

    Raises MissingInputError (66) for paths that are not there or no videos, OutputExistsError (73),
    WriteFailedError (74).
    """
    entries = [read_entry(path, output.parent) for path in find_videos(paths)]
    if not entries:
        raise MissingInputError("no videos there; name a folder or files")
    with WorkFolder(output, overwrite=overwrite) as work:
        temporary = work.temporary(".html")
        temporary.write_text(page_of(entries, title), encoding="utf-8")
        work.publish(temporary)
    return entries


def page_of(entries: Sequence[Entry], title: str) -> str:
    """HTML that shows these videos; nothing in them is taken for markup."""
    rows = [asdict(entry) | {"number": number} for number, entry in enumerate(entries)]
    # Inside a script element, only `</script` and `<!--` mean anything; JSON may write < otherwise.
    data = json.dumps(rows, separators=(",", ":")).replace("<", "\\u003c")
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    head, tail = template.split("{{data}}")
    name = html.escape(title)
    return head.replace("{{title}}", name) + data + tail.replace("{{title}}", name)
