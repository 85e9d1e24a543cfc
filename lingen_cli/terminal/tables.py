"""Tables: columns of plain text, for people and for `cut` and `awk` alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size


def columns(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Rows of cells in columns, two blanks apart, below a head in capitals if there is one."""
    lines = [[one.upper() for one in head]] if head else []
    lines += [list(row) for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(set_cell_size, line, widths)).rstrip() for line in lines)


def aligned(markdown: str) -> str:
    """Markdown whose tables have cells of equal width; all else stays as it is."""
    found: list[str] = []
    table: list[list[str]] = []
    for line in [*markdown.split("\n"), ""]:
        if line.startswith("|"):
            table.append([cell.strip() for cell in line.strip().strip("|").split("|")])
            continue
        found += _aligned_rows(table)
        table = []
        found.append(line)
    return "\n".join(found[:-1])


def _aligned_rows(table: list[list[str]]) -> list[str]:
    if not table:
        return []
    most = max(map(len, table))
    rows = [row + [""] * (most - len(row)) for row in table]
    plain = [row for row in rows if not all(re.fullmatch(":?-+:?", cell) for cell in row)]
    widths = [max(3, *(cell_len(row[place]) for row in plain)) for place in range(most)]
    return [
        "| "
        + " | ".join(
            "-" * width if row not in plain else set_cell_size(cell, width)
            for cell, width in zip(row, widths, strict=True)
        )
        + " |"
        for row in rows
    ]
