"""Prompts that people write and what they say, read from the one file that lists them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class SaidObject:
    """Attributes of one object that a prompt says, in the names of `palette`; None is left open."""

    color: str | None = None
    shape: str | None = None
    size: str | None = None
    motion: str | None = None
    direction: str | None = None
    speed: str | None = None
    described: tuple[str, ...] = ()
    """Words of its noun phrase that captions of the playground do not have."""
    sides: frozenset[str] = frozenset()
    """Sides of the frame at which it begins: one or two of left, right, top and bottom."""


@dataclass(frozen=True)
class Said:
    """A prompt, and what it says: of each of its objects, of the background and of the camera.
    Of two objects `relation` says where the first begins, seen from the second: above, below,
    beside, left or right."""

    prompt: str
    objects: tuple[SaidObject, ...]
    background: str | None = None
    camera: str | None = None
    relation: str | None = None


@cache
def natural_prompts() -> tuple[Said, ...]:
    """Prompts for evaluation, written by hand, in file order."""
    text = files(__package__).joinpath("natural_prompts.toml").read_text(encoding="utf-8")
    return tuple(
        Said(
            row["text"],
            tuple(SaidObject(**obj) for obj in row["objects"]),
            row.get("background"),
        )
        for row in tomllib.loads(text)["prompt"]
    )
