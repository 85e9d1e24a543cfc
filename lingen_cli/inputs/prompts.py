"""Limits of a prompt."""

from __future__ import annotations

import re
import unicodedata

from lingen_cli.errors import InvalidOptionError
from lingen_models.sampling.params import MAX_PROMPT_CHARACTERS

MAX_CHARACTERS = 2000
"""Of a prompt for lingen's own models, which read it on one line."""
_UNPRINTABLE = ("Cc", "Cs")
_BLANKS = re.compile(r"[\t\n\v\f\r\x85]+")


def on_one_line(text: str) -> str:
    """Return `text` without blanks at its ends; tabs and line ends are spaces."""
    return _BLANKS.sub(" ", text).strip(" ")


def check_prompt(
    text: str, *, name: str = "prompt", may_be_empty: bool = False, exact: bool = False
) -> str:
    """Return `text` as `on_one_line` does, at most MAX_CHARACTERS; an `exact` one as it is, at most
    MAX_PROMPT_CHARACTERS, line breaks and all.

    Raises InvalidOptionError (2) when it is empty, too long, or holds control characters or bytes
    that are not UTF-8.
    """
    plain = text if exact else on_one_line(text)
    if not plain.strip() and not may_be_empty:
        raise InvalidOptionError(f"{name} is empty; say what the video shows")
    most = MAX_PROMPT_CHARACTERS if exact else MAX_CHARACTERS
    if len(plain) > most:
        raise InvalidOptionError(f"{name} has {len(plain)} characters; at most {most} are read")
    for place, character in enumerate(plain, start=1):
        blank = _BLANKS.fullmatch(character)
        if unicodedata.category(character) in _UNPRINTABLE and not blank:
            raise InvalidOptionError(
                f"{name} has a control character (U+{ord(character):04X}) at position {place}"
            )
    return plain
