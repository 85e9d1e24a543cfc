"""Lines on which the tables and keys of a TOML file stand; tomllib does not say."""

from __future__ import annotations

import re
from collections.abc import Sequence

Place = tuple[int | str, ...]
_HEAD = re.compile(r"\s*(\[\[?)\s*([^\]#]+?)\s*\]\]?")
_KEY = re.compile(r"\s*([A-Za-z0-9_\"'][A-Za-z0-9_.\"' -]*?)\s*=")


class TomlLines:
    """Lines of a text by place: `("stage", 1, "steps")` is a key of the second `[[stage]]`."""

    def __init__(self, text: str) -> None:
        self._found: dict[Place, int] = {}
        self._counts: dict[Place, int] = {}
        table: Place = ()
        for number, line in enumerate(text.split("\n"), start=1):
            if head := _HEAD.match(line):
                table = self._table(_names(head[2]), array=head[1] == "[[")
                self._found.setdefault(table, number)
            elif key := _KEY.match(line):
                self._found.setdefault((*table, *_names(key[1])), number)

    def _table(self, names: Sequence[str], *, array: bool) -> Place:
        place: Place = ()
        for name in names[:-1]:
            place = (*place, name)
            if place in self._counts:
                place = (*place, self._counts[place] - 1)
        place = (*place, names[-1])
        if not array:
            return place
        self._counts[place] = self._counts.get(place, 0) + 1
        return (*place, self._counts[place] - 1)

    def of(self, place: Sequence[int | str]) -> int:
        """The line of a key, or of the nearest table about it; 1 where there is none."""
        parts = tuple(place)
        while parts:
            if parts in self._found:
                return self._found[parts]
            parts = parts[:-1]
        return 1


def _names(dotted: str) -> list[str]:
    return [name.strip().strip("\"'") for name in dotted.split(".")]
