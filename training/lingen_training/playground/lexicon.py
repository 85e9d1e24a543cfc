"""Every word that a caption can hold. Captions are put together from these tables alone.

Where a table lists several ways to say a thing, the first is the plain one, and repeated entries
are said more often.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import chain
from typing import Final

Words = tuple[str, ...]

COLOUR: Final[dict[str, Words]] = {
    "red": ("red", "red", "red", "red", "scarlet"),
    "orange": ("orange",),
    "yellow": ("yellow",),
    "green": ("green",),
    "blue": ("blue",),
    "purple": ("purple", "purple", "purple", "violet"),
    "pink": ("pink",),
    "white": ("white",),
    "black": ("black",),
}
SHAPE: Final[dict[str, Words]] = {
    "ball": ("ball", "ball", "ball", "circle", "disk", "sphere"),
    "square": ("square", "square", "square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "heart": ("heart",),
    "ring": ("ring", "ring", "ring", "hoop", "donut"),
}
SIZE: Final[dict[str, Words]] = {
    "small": ("small", "small", "small", "little", "tiny"),
    "medium": ("", "", "", "medium"),
    "large": ("large", "large", "big", "big", "huge"),
}
SPEED: Final[dict[str, Words]] = {
    "slowly": ("slowly", "slowly", "slowly", "gently"),
    "": ("",),
    "quickly": ("quickly", "quickly", "fast", "rapidly"),
}
AFTER_VERB_ONLY: Final = frozenset({"fast"})
"""Adverbs that do not stand before their verb."""

HEADS: Final = (
    ("moves", "moving"),
    ("moves", "moving"),
    ("moves", "moving"),
    ("goes", "going"),
    ("travels", "traveling"),
    ("glides", "gliding"),
    ("slides", "sliding"),
    ("flies", "flying"),
)
"""Verbs of motion: third person and participle."""
WAYS: Final[dict[str, Words]] = {
    "left": ("left", "left", "to the left", "to the left", "towards the left", "leftward"),
    "right": ("right", "right", "to the right", "to the right", "towards the right", "rightward"),
    "up": ("up", "up", "upward", "upwards", "to the top"),
    "down": ("down", "down", "downward", "downwards", "to the bottom"),
}
VERTICAL: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "up": (("rises", "rising"),),
    "down": (("falls", "falling"), ("sinks", "sinking")),
}
"""Verbs that hold their direction."""

Verb = tuple[str, str, str]
DEEDS: Final[dict[str, tuple[Verb, ...]]] = {
    "bounces": (
        ("bounces", "bouncing", ""),
        ("bounces", "bouncing", ""),
        ("bounces", "bouncing", "up and down"),
        ("hops", "hopping", "up and down"),
        ("jumps", "jumping", "up and down"),
    ),
    "circles": (
        ("moves", "moving", "in a circle"),
        ("moves", "moving", "in circles"),
        ("goes", "going", "around in a circle"),
        ("goes", "going", "around in circles"),
        ("flies", "flying", "in a circle"),
        ("circles", "circling", ""),
        ("circles", "circling", "around"),
    ),
    "zigzags": (
        ("zigzags", "zigzagging", ""),
        ("zigzags", "zigzagging", ""),
        ("moves", "moving", "in a zigzag"),
        ("moves", "moving", "in zigzags"),
    ),
    "spins": (
        ("spins", "spinning", "in place"),
        ("spins", "spinning", "in place"),
        ("spins", "spinning", ""),
        ("spins", "spinning", "on the spot"),
        ("rotates", "rotating", "in place"),
        ("rotates", "rotating", ""),
        ("turns", "turning", "around itself"),
    ),
    "grows": (
        ("grows and shrinks", "growing and shrinking", ""),
        ("grows and shrinks", "growing and shrinking", ""),
        ("shrinks and grows", "shrinking and growing", ""),
        ("pulses", "pulsing", ""),
        ("gets bigger and smaller", "getting bigger and smaller", ""),
    ),
    "still": (
        ("stays still", "staying still", ""),
        ("stays still", "staying still", ""),
        ("stands still", "standing still", ""),
        ("rests", "resting", ""),
        ("does not move", "not moving", ""),
        ("stays in place", "staying in place", ""),
    ),
}
"""Third person, participle and what follows; an adverb may stand between the two."""


def _plain(*names: str) -> Words:
    forms = (
        "on a {} background",
        "on {}",
        "against a {} background",
        "in front of a {} background",
    )
    return tuple(form.format(name) for form in forms for name in names)


PLACE: Final[dict[str, Words]] = {
    "white": _plain("white"),
    "black": _plain("black"),
    "grey": _plain("grey", "gray"),
    "blue sky": (
        "against a blue sky",
        "in the blue sky",
        "in a blue sky",
        "in front of a blue sky",
        "in the sky",
    ),
    "green grass": (
        "on green grass",
        "on green grass",
        "on the green grass",
        "over green grass",
        "on grass",
        "on a green lawn",
    ),
    "yellow sand": (
        "on yellow sand",
        "on yellow sand",
        "on the yellow sand",
        "over yellow sand",
        "on sand",
        "on a sandy beach",
    ),
    "starry night": (
        "against a starry night",
        "in the starry night",
        "in a starry night sky",
        "in front of a starry night sky",
        "at night under the stars",
    ),
}
GROUND: Final[dict[str, Words]] = {
    "white": ("white",),
    "black": ("black",),
    "grey": ("grey", "gray"),
    "blue sky": ("a blue sky", "blue sky"),
    "green grass": ("green grass", "grass"),
    "yellow sand": ("yellow sand", "sand"),
    "starry night": ("a starry night", "a starry night sky"),
}
"""What stands after `the background is`."""

CAMERA: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "still": (
        ("is still", "still"),
        ("stays still", "staying still"),
        ("does not move", "not moving"),
    ),
    "pans left": (("pans left", "panning left"), ("pans to the left", "panning to the left")),
    "pans right": (("pans right", "panning right"), ("pans to the right", "panning to the right")),
    "zooms in": (("zooms in", "zooming in"),),
    "zooms out": (("zooms out", "zooming out"),),
}
"""What stands after `the camera`: as a clause, and after `with`."""

ARTICLES: Final = ("a", "a", "a", "a", "a", "a", "a", "a", "a", "one", "the", "")
VIDEO: Final = ("a video of", "a clip of", "an animation of", "there is", "we see", "this shows")
PICTURE: Final = ("a picture of", "an image of", "a photo of", "there is", "we see", "this shows")
JOINTS: Final = ("and", "while", "as")
TEMPLATE_WORDS: Final = ("as the camera while with and", "the background is", "there is are")
FUNCTION_WORDS: Final = ("an", "it", "its", "of", "to", "at", "by", "then", "two")


@cache
def vocabulary() -> Words:
    """All words that captions can hold and a few function words: sorted, lower case."""
    tables = (COLOUR, SHAPE, SIZE, SPEED, WAYS, PLACE, GROUND)
    phrases = [*chain.from_iterable(chain.from_iterable(table.values()) for table in tables)]
    for verbs in (*VERTICAL.values(), *DEEDS.values(), *CAMERA.values(), HEADS):
        phrases.extend(chain.from_iterable(verbs))
    phrases += [*ARTICLES, *VIDEO, *PICTURE, *JOINTS, *TEMPLATE_WORDS, *FUNCTION_WORDS]
    return tuple(sorted({word for phrase in phrases for word in words(phrase)}))


def words(text: str) -> list[str]:
    """The words of a text, lower case, without punctuation."""
    return re.findall(r"[a-z]+", text.lower())
