"""Captions of the files in a folder: text files beside them, or one table of all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from lingen_cli.errors import BadDataError, LingenError
from lingen_cli.files.open_file import open_file
from lingen_cli.files.printable import printable
from lingen_cli.files.tar_members import InputFile
from lingen_training.text_file import TextError, decode_text

TABLES = ("captions.jsonl", "captions.csv", "metadata.jsonl", "metadata.csv")
_FILE_KEYS = ("file_name", "file", "path", "video", "image")
_CAPTION_KEYS = ("caption", "text", "prompt")
_MAX_BYTES = 64 << 20
_MAX_CAPTION = 2000


def read_tables(folder: Path) -> tuple[dict[Path, str], list[str]]:
    """Read the tables of a folder, where there are any: the caption of each file, and a line for
    every row that cannot be used."""
    captions: dict[Path, str] = {}
    problems: list[str] = []
    for name in TABLES:
        path = folder / name
        if not path.exists():
            continue
        try:
            text = _text(path)
            rows = list(_json_lines(text) if path.suffix == ".jsonl" else _csv_rows(text))
        except (LingenError, csv.Error) as error:
            problems.append(str(error))
            continue
        for number, row in rows:
            where = f"{printable(path)}:{number}"
            if isinstance(row, str):
                problems.append(f"{where}: {row}")
                continue
            file = next((row[key] for key in _FILE_KEYS if row.get(key)), None)
            caption = next((row[key] for key in _CAPTION_KEYS if row.get(key)), None)
            if not isinstance(file, str) or not isinstance(caption, str):
                problems.append(
                    f"{where}: needs a file ({', '.join(_FILE_KEYS)}) and a caption "
                    f"({', '.join(_CAPTION_KEYS)})"
                )
            else:
                captions[folder / file] = caption
    return captions, problems


def caption_beside(path: Path) -> str | None:
    """Read the caption in `clip.txt` beside `clip.mp4`; None without one. Raises as
    `read_caption`."""
    beside = path.with_suffix(".txt")
    return read_caption(beside) if beside.is_file() else None


def read_caption(path: InputFile) -> str:
    """Read a file that holds a caption, as text or in a JSON object.

    Raises BadDataError (65) for one that is no text, empty, too long, or not in the object.
    """
    caption: object = _text(path)
    if Path(path).suffix.lower() == ".json":
        row = _json(str(caption))
        if isinstance(row, str):
            raise BadDataError(f"{printable(path)}: {row}")
        caption = next((row[key] for key in _CAPTION_KEYS if row.get(key)), None)
        if not isinstance(caption, str):
            raise BadDataError(f"no caption ({', '.join(_CAPTION_KEYS)}): {printable(path)}")
    return checked(str(caption), path)


def checked(caption: str, where: InputFile) -> str:
    """Return a caption on one line. Raises BadDataError (65) for an empty or a very long one."""
    words = " ".join(caption.split())
    if not words:
        raise BadDataError(f"empty caption: {printable(where)}")
    if len(words) > _MAX_CAPTION:
        raise BadDataError(f"caption longer than {_MAX_CAPTION} characters: {printable(where)}")
    return words


def _text(path: InputFile) -> str:
    with open_file(path) as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise BadDataError(f"larger than {_MAX_BYTES >> 20} MB: {printable(path)}")
    try:
        return decode_text(data)
    except TextError as error:
        raise BadDataError(f"{printable(path)}:{error.line}: {error}") from None


def _json_lines(text: str) -> Iterator[tuple[int, Mapping[str, object] | str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        yield number, _json(line)


def _json(text: str) -> Mapping[str, object] | str:
    """The object in a JSON text, or what is wrong with it."""
    try:
        row = json.loads(text)
    except ValueError as error:
        return f"not JSON: {error}"
    except RecursionError:
        return "not JSON: nested too deeply"
    return row if isinstance(row, dict) else "not a JSON object"


def _csv_rows(text: str) -> Iterator[tuple[int, Mapping[str, object] | str]]:
    table = csv.DictReader(io.StringIO(text))
    for row in table:
        yield table.line_num, {str(key).strip().lower(): value for key, value in row.items()}
