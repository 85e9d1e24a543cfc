"""Hints for names that are not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.7) -> str | None:
    """The known name that `name` was probably meant to be: the first that it begins, else the one
    that is spelt most alike."""
    names, plain = list(known), name.lower()
    begun = [one for one in names if len(plain) > 2 and one.lower().startswith(plain)]
    return next(iter(begun or get_close_matches(plain, names, n=1, cutoff=cutoff)), None)


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.7) -> str:
    """The end of a message about an unknown name: the nearest one, else all."""
    names = list(known)
    near = nearest(name, names, cutoff=cutoff)
    return f"known: {', '.join(names) or 'none'}" if near is None else f"did you mean {near!r}?"
