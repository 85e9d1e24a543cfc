"""Limits of a prompt."""

from __future__ import annotations

import re
import unicodedata

from lingen_cli.errors import InvalidOptionError
from lingen_models.sampling.params import MAX_PROMPT_CHARACTERS

MAX_CHARACTERS = MAX_PROMPT_CHARACTERS
_UNPRINTABLE = ("Cc", "Cs")
_BLANKS = re.compile(r"[\t\n\v\f\r\x85]+")


def check_prompt(text: str, *, name: str = "prompt", may_be_empty: bool = False) -> str:
    """Return `text` on one line, without blanks at its ends: tabs and line ends are spaces.

    Raises InvalidOptionError (2) when it is empty, longer than MAX_CHARACTERS, or holds control
    characters or bytes that are not UTF-8.
    """
    plain = _BLANKS.sub(" ", text).strip(" ")
    if not plain.strip() and not may_be_empty:
        raise InvalidOptionError(f"{name} is empty; say what the video shows")
    if len(plain) > MAX_CHARACTERS:
        raise InvalidOptionError(
            f"{name} has {len(plain)} characters; at most {MAX_CHARACTERS} are read"
        )
    for place, character in enumerate(plain, start=1):
        if unicodedata.category(character) in _UNPRINTABLE:
            raise InvalidOptionError(
                f"{name} has a control character (U+{ord(character):04X}) at position {place}"
            )
    return plain
