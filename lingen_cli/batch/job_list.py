"""Job lists: a video a line, as text, JSON lines, CSV or TOML, read whole (reliability.md C11)."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lingen_cli.errors import BadDataError
from lingen_cli.files.open_file import open_file
from lingen_cli.files.printable import printable

MAX_BYTES = 16 << 20
MAX_JOBS = 100_000
_MAX_LINE = 8 << 10
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_TABLE = re.compile(r"^[ \t]*\[\[\s*job\s*\]\]", re.MULTILINE)


@dataclass(frozen=True)
class Line:
    """Line of a job list: options by their names, or, in `problem`, why it cannot be read.

    `number` is where it stands in the file, `index` which of all jobs it is, from 1 on.
    """

    number: int
    values: Mapping[str, Any]
    problem: str | None = None
    index: int = 0


def read_jobs(path: Path) -> list[Line]:
    """Every job of a list. Raises BadDataError (65) where the whole is no list, and what
    `open_file` raises."""
    with open_file(path) as file:
        data = file.read(MAX_BYTES + 1)
    shown = printable(path)
    if len(data) > MAX_BYTES:
        raise BadDataError(f"{shown}: larger than {MAX_BYTES >> 20} MB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise BadDataError(f"{shown}:{number}: not UTF-8") from None
    readers = {".jsonl": _json_lines, ".csv": _table, ".toml": _toml, ".txt": _prompts}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadDataError(f"{shown}: a job list ends in {', '.join(sorted(readers))}")
    lines = list(reader(text.replace("\r\n", "\n"), shown))
    if not lines:
        raise BadDataError(f"{shown}: no jobs in it")
    if len(lines) > MAX_JOBS:
        raise BadDataError(f"{shown}: {len(lines)} jobs, at most {MAX_JOBS} go into one list")
    return [replace(line, index=index) for index, line in enumerate(lines, start=1)]


def _written(text: str) -> Iterator[tuple[int, str, str | None]]:
    """Number, text and problem of every line that holds something."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        problem = None
        if _CONTROL.search(line):
            problem = "control characters"
        elif len(line.encode("utf-8", "surrogatepass")) > _MAX_LINE:
            problem = f"longer than {_MAX_LINE >> 10} kB"
        yield number, line.strip(), problem


def _prompts(text: str, shown: str) -> Iterator[Line]:
    for number, line, problem in _written(text):
        if not line.startswith("#"):
            yield Line(number, {"prompt": line}, problem)


def _json_lines(text: str, shown: str) -> Iterator[Line]:
    for number, line, problem in _written(text):
        if problem is not None:
            yield Line(number, {}, problem)
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Line(number, {}, f"not JSON: {error}")
            continue
        if isinstance(values, dict):
            yield Line(number, values)
        else:
            yield Line(number, {}, "not a JSON object")


def _table(text: str, shown: str) -> Iterator[Line]:
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        names = next(reader, [])
        if not names or any(not name.strip() for name in names) or len(set(names)) < len(names):
            raise BadDataError(f"{shown}:1: every column needs a name of its own")
        before = reader.line_num
        for cells in reader:
            number, before = before + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(names):
                problem = f"{len(cells)} cells under {len(names)} columns"
                yield Line(number, {}, problem)
                continue
            pairs = zip(names, cells, strict=True)
            values = {name.strip(): cell.strip() for name, cell in pairs if cell.strip()}
            control = any(_CONTROL.search(cell) for cell in cells)
            yield Line(number, values, "control characters" if control else None)
    except csv.Error as error:
        raise BadDataError(f"{shown}:{reader.line_num}: {error}") from None


def _toml(text: str, shown: str) -> Iterator[Line]:
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadDataError(f"{shown}: not valid TOML: {error}") from None
    jobs = values.pop("job", [])
    tables = isinstance(jobs, list) and all(isinstance(job, dict) for job in jobs)
    if not tables or any(isinstance(value, dict | list) for value in values.values()):
        raise BadDataError(
            f"{shown}: a job is a [[job]], and above the first stands what all share"
        )
    places = [text.count("\n", 0, found.start()) + 1 for found in _TABLE.finditer(text)]
    for index, job in enumerate(jobs):
        number = places[index] if len(places) == len(jobs) else index + 1
        yield Line(number, values | job)
