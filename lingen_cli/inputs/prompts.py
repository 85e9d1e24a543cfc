"""Limits of a prompt."""

from __future__ import annotations

import unicodedata

from lingen_cli.errors import InvalidOptionError
from lingen_models.sampling.params import MAX_PROMPT_CHARACTERS

MAX_CHARACTERS = MAX_PROMPT_CHARACTERS
_UNPRINTABLE = ("Cc", "Cs")


def check_prompt(text: str, *, name: str = "prompt", may_be_empty: bool = False) -> str:
    """Return `text` without blanks at its ends.

    Raises InvalidOptionError (2) when it is empty, longer than MAX_CHARACTERS, or holds control
    characters or bytes that are not UTF-8.
    """
    plain = text.strip(" ")
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
