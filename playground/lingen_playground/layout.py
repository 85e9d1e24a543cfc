"""Layouts in words: where each object of a clip is in its first frame, and in which part of its
period.

A prompt seldom says where things are, and a model that has to find a place for each while all is
noise may begin one object in two places. In training, captions may end with layout words for each
object in the order of mention: `x3 y9`, the column and the line of its middle in cells of 8 pixels,
and for periodic motions `p0` to `p3`, the quarter of its period. `expand` gives a prompt the
layout of a random scene with as many objects and the same motions.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cache
from typing import Final

import torch

from . import lexicon
from .motion import phase_at
from .render import course_of
from .sample import sample_scene
from .scene import Scene, SceneObject

CELL: Final = 8
"""Pixels of a cell's side."""
_CELLS: Final = 16
_SIZE: Final = 128
_TRIES: Final = 3000


def words_of(thing: SceneObject, x: float, y: float, time: float) -> str:
    """Layout words of an object whose middle is at `x`, `y` pixels in a frame that shows the time
    `time`, in seconds; what is outside of the frame counts as at its edge."""
    column, line = (min(max(int(at // CELL), 0), _CELLS - 1) for at in (x, y))
    phase = phase_at(thing, time)
    words = f"x{column} y{line}"
    return words if phase is None else f"{words} p{int(4 * phase)}"


def layout_of(scene: Scene, time: float, size: int = _SIZE) -> list[str]:
    """Layout words of each object of a scene in a frame of `size` pixels at a time in seconds."""
    times = torch.tensor([time], dtype=torch.float64)
    found = []
    for layer, thing in enumerate(scene.objects):
        course = course_of(scene, layer, times)
        found.append(words_of(thing, float(course.x) * size, float(course.y) * size, time))
    return found


def expand(prompt: str, seed: int) -> str:
    """Add layout words to a prompt: those of a random scene with as many objects and the same
    motions, always the same for a seed. A prompt that has some, or whose objects cannot be counted,
    stays as it is."""
    words = re.findall(r"[a-z0-9]+", prompt.lower())
    if any(word in lexicon.LAYOUT for word in words):
        return prompt
    motions = motions_of(words)
    if motions is None:
        return prompt
    rng = random.Random(f"layout {seed}")
    for _ in range(_TRIES):
        scene = sample_scene(rng.randrange(2**31), objects=len(motions), split="all")
        objects = list(range(len(motions)))
        rng.shuffle(objects)
        pairs = zip(motions, (scene.objects[at] for at in objects), strict=True)
        if scene.camera == "still" and all(m in (None, thing.motion) for m, thing in pairs):
            layout = layout_of(scene, rng.uniform(0, 20))
            return " ".join([prompt, *(layout[at] for at in objects)])
    return prompt


def motions_of(words: Sequence[str]) -> list[str | None] | None:
    """The motion of each object that a prompt names, in the order of mention, None for one that is
    not said; or None where there are not one or two objects."""
    nouns: list[int] = []  # where each object is named
    for at in range(len(words)):
        number = _noun(words, at)
        if number == 1 and _two_colors(words, at):
            number = 2
        nouns += [at] * number
    if len(nouns) not in (1, 2):
        return None
    said = [(at, motion) for at in range(len(words)) if (motion := _motion(words, at))]
    if not said:
        return [None] * len(nouns)
    found: list[str | None] = []
    for place, noun in enumerate(nouns):
        end = nouns[place + 1] if place + 1 < len(nouns) and nouns[place + 1] > noun else len(words)
        own = [motion for at, motion in said if noun <= at < end]
        found.append(own[0] if own else None)
    if found[0] is None and len(found) == 2:  # `a ball and a box bounce`
        found[0] = found[1]
    return found if any(found) else [said[0][1]] * len(found)


def _noun(words: Sequence[str], at: int) -> int:
    """Objects that a word names: 2 in the plural, 0 where it is no noun of an object."""
    word = words[at]
    before = words[at - 1] if at else ""
    earlier = words[at - 2] if at > 1 else ""
    if word in ("circle", "circles", "round") and _circling(words, at):
        return 0
    if word == "stars" and (before in ("the", "of") or earlier in ("under", "in")):
        return 0  # of the night
    if word == "shape" and before in ("heart", "star", "ring", "ball"):
        return 0
    singular, many = _names()
    return 2 if word in many else 1 if word in singular else 0


def _circling(words: Sequence[str], at: int) -> bool:
    """Tell `moves in a circle` and `a ball circles` from `a red circle`."""
    before = words[at - 1] if at else ""
    earlier = words[at - 2] if at > 1 else ""
    if before == "in" or (before == "a" and earlier == "in"):
        return True
    singular, many = _names()
    nouns = (singular | many) - {"circle", "circles"}
    return any(word in nouns for word in words[max(0, at - 3) : at]) and before not in (
        "a",
        "one",
        "and",
        "the",
        "two",
        *_adjectives(),
    )


def _two_colors(words: Sequence[str], at: int) -> bool:
    """Tell `a red and an orange heart`: two objects under one noun."""
    names = _color_words()
    before = [word for word in words[max(0, at - 4) : at] if word not in ("a", "an", "the")]
    return len(before) >= 3 and before[-2] == "and" and before[-1] in names and before[-3] in names


def _motion(words: Sequence[str], at: int) -> str | None:
    """The motion that a word says."""
    word = words[at]
    if word in ("circle", "circles", "round"):
        return "circles" if _circling(words, at) else None
    motion = _verbs().get(word)
    if motion != "moves":
        return motion
    rest = words[at + 1 : at + 5]
    for number, later in enumerate(rest, start=at + 1):
        if later in ("circle", "circles", "round", "around") and _circling(words, number):
            return "circles"
        if later.startswith("zigzag"):
            return "zigzags"
        if _noun(words, number):
            break
    return "circles" if "around" in rest else "moves"


@cache
def _names() -> tuple[frozenset[str], frozenset[str]]:
    """Nouns of objects in the singular and in the plural."""
    tables = (lexicon.SHAPE, lexicon.NATURAL_SHAPE)
    nouns = {name for table in tables for names in table.values() for name in names}
    nouns |= set(lexicon.PLAIN_NOUNS)
    last = {noun.split()[-1] for noun in nouns}
    return frozenset(last), frozenset(map(lexicon.plural, last))


@cache
def _color_words() -> frozenset[str]:
    tables = (lexicon.COLOUR, lexicon.NATURAL_COLOUR)
    return frozenset(word for table in tables for row in table.values() for word in row)


@cache
def _adjectives() -> frozenset[str]:
    tables = (lexicon.SIZE, lexicon.NATURAL_SIZE)
    return _color_words() | {word for table in tables for row in table.values() for word in row}


@cache
def _verbs() -> dict[str, str]:
    """Motions by the forms of their verbs."""
    found: dict[str, str] = {}
    rows: list[tuple[str, Sequence[str]]] = [("moves", head) for head in lexicon.HEADS]
    rows += [("moves", head[:3]) for head in (*lexicon.NATURAL_HEADS, lexicon.ROLL)]
    for table in (lexicon.VERTICAL, lexicon.NATURAL_VERTICAL):
        rows += [("moves", verb) for verbs in table.values() for verb in verbs]
    for motion, deeds in lexicon.DEEDS.items():
        rows += [(motion, deed[:2]) for deed in deeds]
    for motion, forms in lexicon.NATURAL_DEEDS.items():
        rows += [(motion, form[:3]) for form in forms]
    for motion, row in rows:
        for form in row:
            first = re.findall(r"[a-z]+", form)[:1]
            if first and first[0] not in ("does", "not", "is", "are", "that"):
                found.setdefault(first[0], motion)
    asides = {word: motion for motion, words in lexicon.ASIDE.items() for word in words}
    return {**found, **asides, "not": "still"}
