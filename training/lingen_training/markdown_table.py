"""Tables in markdown. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table_of(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of these cells, without a line end behind its last row."""
    lines = [_line(head), "|---" * len(head) + "|"]
    return "\n".join([*lines, *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)
