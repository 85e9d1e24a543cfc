"""The page of a gallery: one file with everything in it but the videos."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files

from lingen_cli.gallery.collect import Entry


def page_of(entries: Sequence[Entry], title: str) -> str:
    """HTML that shows these videos; nothing in them is taken for markup."""
    rows = [asdict(entry) | {"number": number} for number, entry in enumerate(entries)]
    # Inside a script element, only `</script` and `<!--` mean anything; JSON may write < otherwise.
    data = json.dumps(rows, separators=(",", ":")).replace("<", "\\u003c")
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    head, tail = template.split("{{data}}")
    name = html.escape(title)
    return head.replace("{{title}}", name) + data + tail.replace("{{title}}", name)
