"""Job lists: a video a line, as text, JSON lines, CSV or TOML, read whole (reliability.md C11)."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lingen_cli.errors import BadDataError
from lingen_cli.files.open_file import open_file
from lingen_cli.files.printable import printable
from lingen_training.text_file import TextError, decode_text, parse_toml

MAX_BYTES = 16 << 20
MAX_JOBS = 100_000
_MAX_LINE = 256 << 10
"""Bytes: the longest prompts, every character of them escaped."""
_EXACT = ("prompt", "negative")
"""Columns whose cells keep the blanks at their ends."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_NOT_BLANK = re.compile(r"\S")
_COMMA_NUMBER = re.compile(r"-?\d+,\d+")
_NO_NUMBERS = frozenset({"prompt", "negative", "guidance_interval", "id", "output"})
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
    folder: Path | None = None
    """Of the list, in which its files are looked for first."""


def read_jobs(path: Path) -> list[Line]:
    """Every job of a list. Raises BadDataError (65) where the whole is no list, and what
    `open_file` raises."""
    with open_file(path) as file:
        data = file.read(MAX_BYTES + 1)
    shown = printable(path)
    if len(data) > MAX_BYTES:
        raise BadDataError(f"{shown}: larger than {MAX_BYTES >> 20} MB")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise BadDataError(f"{shown}: a job list ends in {', '.join(sorted(_READERS))}")
    try:
        lines = list(reader(data))
    except TextError as error:
        raise BadDataError(f"{shown}:{error.line}: {error}") from None
    if not lines:
        raise BadDataError(f"{shown}: no jobs in it")
    if len(lines) > MAX_JOBS:
        raise BadDataError(f"{shown}: {len(lines)} jobs, at most {MAX_JOBS} go into one list")
    folder = path.parent
    return [replace(line, index=index, folder=folder) for index, line in enumerate(lines, start=1)]


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


def _prompts(data: bytes) -> Iterator[Line]:
    for number, line, problem in _written(decode_text(data)):
        if not line.startswith("#"):
            yield Line(number, {"prompt": line}, problem)


def _json(data: bytes) -> Iterator[Line]:
    """An object a line, or one array of objects."""
    text = decode_text(data)
    if text.lstrip().startswith("["):
        yield from _json_array(text)
        return
    for number, line, problem in _written(text):
        if problem is not None:
            yield Line(number, {}, problem)
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Line(number, {}, f"not JSON: {error}")
            continue
        yield _object(number, values)


def _json_array(text: str) -> Iterator[Line]:
    decoder, place = json.JSONDecoder(), text.index("[") + 1
    while True:
        place = _after_blanks(text, place)
        number = text.count("\n", 0, place) + 1
        if text[place : place + 1] == "]":
            if text[place + 1 :].strip():
                raise TextError(number, "not JSON: something follows the array")
            return
        try:
            values, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise TextError(number, f"not JSON: {error}") from None
        yield _object(number, values)
        place = _after_blanks(text, place)
        if text[place : place + 1] == ",":
            place += 1
        elif text[place : place + 1] != "]":
            number = text.count("\n", 0, place) + 1
            raise TextError(number, "not JSON: a comma or ] is missing")


def _after_blanks(text: str, place: int) -> int:
    found = _NOT_BLANK.search(text, place)
    return len(text) if found is None else found.start()


def _object(number: int, values: Any) -> Line:
    if isinstance(values, dict):
        return Line(number, values)
    return Line(number, {}, "not a JSON object")


def _table(data: bytes) -> Iterator[Line]:
    """Cells between commas, or between semicolons or tabs, as spreadsheets of some countries write
    them, then with commas in numbers."""
    text = decode_text(data)
    head = text.partition("\n")[0]
    mark = next((mark for mark in ",;\t" if mark in head), ",")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=mark)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        if not all(names) or not names or len(set(names)) < len(names):
            raise TextError(1, "every column needs a name of its own")
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
            values = {
                name: cell if name in _EXACT else cell.strip()
                for name, cell in pairs
                if cell.strip()
            }
            if mark != ",":
                values = {name: _with_point(name, cell) for name, cell in values.items()}
            control = any(_CONTROL.search(cell) for cell in cells)
            yield Line(number, values, "control characters" if control else None)
    except csv.Error as error:
        raise TextError(reader.line_num, str(error)) from None


def _with_point(name: str, cell: str) -> str:
    """A number with a decimal comma as one with a point."""
    is_number = _COMMA_NUMBER.fullmatch(cell) and name.replace("-", "_") not in _NO_NUMBERS
    return cell.replace(",", ".") if is_number else cell


def _toml(data: bytes) -> Iterator[Line]:
    toml = parse_toml(data, MAX_BYTES)
    values, text = toml.values, toml.text
    jobs = values.pop("job", [])
    tables = isinstance(jobs, list) and all(isinstance(job, dict) for job in jobs)
    if not tables or any(isinstance(value, dict | list) for value in values.values()):
        raise TextError(1, "a job is a [[job]], and above the first stands what all share")
    places = [text.count("\n", 0, found.start()) + 1 for found in _TABLE.finditer(text)]
    for index, job in enumerate(jobs):
        number = places[index] if len(places) == len(jobs) else index + 1
        yield Line(number, values | job)


_READERS: dict[str, Callable[[bytes], Iterator[Line]]] = {
    ".txt": _prompts,
    ".json": _json,
    ".jsonl": _json,
    ".csv": _table,
    ".toml": _toml,
}
