"""Text that users write in files: its encodings, and TOML, with the line of what is wrong.

Settings, stories, job lists and recipes of trainings are all read here.
"""

from __future__ import annotations

import codecs
import re
import tomllib
from dataclasses import dataclass
from typing import Any

MAX_TOML_BYTES = 1 << 20
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LONG_NUMBER = re.compile(r"\d[\d_]{4000,}")


class TextError(ValueError):
    """Text that cannot be read; the message says why, `line` where."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


@dataclass(frozen=True)
class Toml:
    """Values of a TOML file, and its text, in which keys can be looked for."""

    values: dict[str, Any]
    text: str


def decode_text(data: bytes) -> str:
    """Text of a file, every line end as `\\n`: UTF-8, with a byte order mark or without, or UTF-16
    with one.

    Raises TextError.
    """
    encoding = "utf-16" if data.startswith(_UTF_16) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "ignore")
        name = "UTF-16" if encoding == "utf-16" else "UTF-8"
        raise TextError(_lines(before), f"not valid {name}: save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_toml(data: bytes, limit: int = MAX_TOML_BYTES) -> Toml:
    """The values of a TOML file of at most `limit` bytes. Raises TextError."""
    if len(data) > limit:
        raise TextError(1, f"larger than {limit} bytes")
    text = decode_text(data)
    try:
        return Toml(tomllib.loads(text), text)
    except RecursionError:
        raise TextError(_lines(text), "not valid TOML: too many brackets in brackets") from None
    except ValueError as error:  # beside TOMLDecodeError: a number with thousands of digits
        found = re.search(r"line (\d+)", str(error))
        if found is not None:
            line = int(found[1])
        elif number := _LONG_NUMBER.search(text):
            line = _lines(text[: number.start()])
        else:
            line = _lines(text)
        raise TextError(line, f"not valid TOML: {error}") from None


def _lines(text: str) -> int:
    """The number of the line that `text` ends on."""
    return text.count("\n") + 1
