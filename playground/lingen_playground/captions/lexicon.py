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

COLOR: Final[dict[str, Words]] = {
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
IMAGE: Final = ("a picture of", "an image of", "a photo of", "there is", "we see", "this shows")
JOINTS: Final = ("and", "while", "as")
TEMPLATE_WORDS: Final = ("as the camera while with and", "the background is", "there is are")
FUNCTION_WORDS: Final = ("an", "it", "its", "of", "to", "at", "by", "then", "two")


PLAIN_NOUNS: Final = ("thing", "object", "shape")
"""Nouns for an object whose shape goes unsaid."""

NATURAL_COLOR: Final[dict[str, Words]] = {
    name: (name, name, name, *COLOR[name]) for name in COLOR
} | {
    "red": ("red",) * 10 + ("scarlet", "crimson", "bright red"),
    "yellow": ("yellow",) * 8 + ("bright yellow",),
    "green": ("green",) * 8 + ("bright green",),
    "blue": ("blue",) * 8 + ("bright blue",),
    "purple": ("purple",) * 6 + ("violet", "violet"),
    "pink": ("pink",) * 8 + ("bright pink",),
}
NATURAL_SHAPE: Final[dict[str, Words]] = {
    "ball": ("ball",) * 6 + ("circle", "circle", "sphere", "disk", "disc"),
    "square": ("square",) * 4 + ("box",),
    "triangle": ("triangle",),
    "star": ("star",),
    "heart": ("heart",),
    "ring": ("ring",) * 4 + ("hoop", "donut", "doughnut"),
}
NATURAL_SIZE: Final[dict[str, Words]] = {
    "small": ("small", "small", "little", "tiny", "tiny"),
    "medium": ("medium", "medium sized"),
    "large": ("big", "big", "big", "large", "large", "huge", "giant", "enormous"),
}
NATURAL_SPEED: Final[dict[str, Words]] = {
    "slowly": ("slowly", "slowly", "slowly", "slow", "gently", "very slowly"),
    "": ("",),
    "quickly": ("quickly", "quickly", "fast", "fast", "rapidly", "very fast"),
}
NATURAL_WAYS: Final[dict[str, Words]] = {
    "left": (*WAYS["left"], "leftwards", "from right to left"),
    "right": (*WAYS["right"], "rightwards", "from left to right"),
    "up": (*WAYS["up"], "from bottom to top"),
    "down": (*WAYS["down"], "downwards", "from top to bottom"),
}

Forms = tuple[str, str, str, str]
NATURAL_HEADS: Final[tuple[Forms, ...]] = (
    ("move", "moves", "moving", ""),
    ("move", "moves", "moving", ""),
    ("move", "moves", "moving", ""),
    ("go", "goes", "going", ""),
    ("travel", "travels", "traveling", ""),
    ("travel", "travels", "travelling", ""),
    ("glide", "glides", "gliding", ""),
    ("slide", "slides", "sliding", ""),
    ("fly", "flies", "flying", ""),
    ("drift", "drifts", "drifting", ""),
    ("float", "floats", "floating", ""),
)
ROLL: Final[Forms] = ("roll", "rolls", "rolling", "")
ROUND: Final = frozenset({"ball", "ring"})
"""Shapes that roll, if they move sideways."""
NATURAL_VERTICAL: Final[dict[str, tuple[Forms, ...]]] = {
    "up": (
        ("rise", "rises", "rising", ""),
        ("rise", "rises", "rising", "up"),
        ("climb", "climbs", "climbing", ""),
    ),
    "down": (
        ("fall", "falls", "falling", ""),
        ("fall", "falls", "falling", "down"),
        ("sink", "sinks", "sinking", ""),
        ("drop", "drops", "dropping", "down"),
    ),
}
NATURAL_DEEDS: Final[dict[str, tuple[Forms, ...]]] = {
    "bounces": (
        ("bounce", "bounces", "bouncing", ""),
        ("bounce", "bounces", "bouncing", ""),
        ("bounce", "bounces", "bouncing", ""),
        ("bounce", "bounces", "bouncing", "up and down"),
        ("hop", "hops", "hopping", ""),
        ("jump", "jumps", "jumping", ""),
        ("jump", "jumps", "jumping", "up and down"),
    ),
    "circles": (
        ("move", "moves", "moving", "in a circle"),
        ("move", "moves", "moving", "in circles"),
        ("go", "goes", "going", "in circles"),
        ("go", "goes", "going", "around in a circle"),
        ("go", "goes", "going", "round and round"),
        ("fly", "flies", "flying", "in circles"),
        ("circle", "circles", "circling", ""),
        ("circle", "circles", "circling", "around"),
        ("orbit", "orbits", "orbiting", ""),
    ),
    "zigzags": (
        ("zigzag", "zigzags", "zigzagging", ""),
        ("zigzag", "zigzags", "zigzagging", ""),
        ("move", "moves", "moving", "in a zigzag"),
        ("go", "goes", "going", "in zigzags"),
    ),
    "spins": (
        ("spin", "spins", "spinning", ""),
        ("spin", "spins", "spinning", ""),
        ("spin", "spins", "spinning", "around"),
        ("spin", "spins", "spinning", "in place"),
        ("rotate", "rotates", "rotating", ""),
        ("turn", "turns", "turning", "around"),
        ("twirl", "twirls", "twirling", ""),
    ),
    "grows": (
        ("grow and shrink", "grows and shrinks", "growing and shrinking", ""),
        ("grow and shrink", "grows and shrinks", "growing and shrinking", ""),
        ("pulse", "pulses", "pulsing", ""),
        ("pulsate", "pulsates", "pulsating", ""),
        ("get bigger and smaller", "gets bigger and smaller", "getting bigger and smaller", ""),
        ("change size", "changes size", "changing size", ""),
    ),
    "still": (
        ("stay still", "stays still", "staying still", ""),
        ("stand still", "stands still", "standing still", ""),
        ("sit still", "sits still", "sitting still", ""),
        ("rest", "rests", "resting", ""),
        ("do not move", "does not move", "not moving", ""),
        ("stay in place", "stays in place", "staying in place", ""),
    ),
}
"""Bare form, third person, participle and what follows, as people write them."""
ASIDE: Final[dict[str, Words]] = {"spins": ("rotating",), "still": ("still", "motionless")}
"""Participles and adjectives that stand by themselves between commas."""

NATURAL_PLACE: Final[dict[str, Words]] = {
    "white": ("on white", "on a white background", "in front of white"),
    "black": ("on black", "on a black background", "in front of black"),
    "grey": ("on grey", "on gray", "on a gray background", "on a grey background"),
    "blue sky": (
        "in the sky",
        "in the sky",
        "in the blue sky",
        "in a blue sky",
        "in a cloudy sky",
        "against the sky",
        "among the clouds",
    ),
    "green grass": (
        "on grass",
        "on the grass",
        "on green grass",
        "on a lawn",
        "on the lawn",
        "in a meadow",
        "in a green field",
        "on a grassy field",
    ),
    "yellow sand": (
        "on sand",
        "on the sand",
        "on yellow sand",
        "on the beach",
        "at the beach",
        "on a sandy beach",
        "in the desert",
        "in the sand",
    ),
    "starry night": (
        "at night",
        "in the night sky",
        "in the night sky",
        "in a starry sky",
        "under the stars",
        "in space",
        "in outer space",
        "on a starry night",
    ),
}
NATURAL_GROUND: Final[dict[str, Words]] = {
    "white": ("white background", "plain white background", "white"),
    "black": ("black background", "plain black background", "black"),
    "grey": ("gray background", "grey background", "plain gray background", "grey", "gray"),
    "blue sky": ("blue sky", "blue sky", "sky", "sky background", "cloudy sky"),
    "green grass": ("green grass", "green grass", "grass", "meadow", "lawn", "grass background"),
    "yellow sand": ("yellow sand", "sand", "beach", "sandy beach", "desert", "sand background"),
    "starry night": ("night sky", "starry night", "starry sky", "space", "night", "outer space"),
}
"""Backgrounds as an item of a list."""

ASKING: Final = (
    "a video of",
    "a video of",
    "video of",
    "a clip of",
    "an animation of",
    "a short video of",
    "make a video of",
    "please make a video of",
    "create a video of",
    "generate a video of",
    "show me",
    "please show",
    "i want to see",
    "can you make a video of",
)
ASKING_FOR_IMAGES: Final = (
    "a picture of",
    "an image of",
    "picture of",
    "draw",
    "please draw",
    "make a picture of",
    "create an image of",
    "generate a picture of",
    "show me",
    "i want to see",
)
CAMERA_NOTES: Final[dict[str, Words]] = {
    "pans left": ("camera pans left", "camera panning left", "pan left", "camera pan to the left"),
    "pans right": (
        "camera pans right",
        "camera panning right",
        "pan right",
        "camera pan to the right",
    ),
    "zooms in": ("camera zooms in", "zoom in", "zooming in", "camera zoom in"),
    "zooms out": ("camera zooms out", "zoom out", "zooming out", "camera zoom out"),
}
_NATURAL_TEMPLATES: Final = ("two both one and with that is are which colored please",)


def join(*parts: str) -> str:
    """Those parts that are not empty, with spaces between."""
    return " ".join(part for part in parts if part)


def with_article(article: str, noun: str) -> str:
    """A noun with an article before it, "a" as it sounds."""
    if article == "a" and noun[0] in "aeiou":
        article = "an"
    return join(article, noun)


def plural(noun: str) -> str:
    """More than one of it."""
    return noun + ("es" if noun.endswith(("x", "s")) else "s")


@cache
def vocabulary() -> Words:
    """All words that captions can hold and a few function words: sorted, lower case."""
    tables = (
        NATURAL_COLOR,
        NATURAL_SHAPE,
        NATURAL_SIZE,
        NATURAL_SPEED,
        NATURAL_WAYS,
        NATURAL_PLACE,
        NATURAL_GROUND,
        ASIDE,
        CAMERA_NOTES,
    )
    phrases = [*chain.from_iterable(chain.from_iterable(table.values()) for table in tables)]
    for verbs in (*NATURAL_VERTICAL.values(), *NATURAL_DEEDS.values(), NATURAL_HEADS, (ROLL,)):
        phrases.extend(chain.from_iterable(verbs))
    nouns = (*PLAIN_NOUNS, *chain.from_iterable(NATURAL_SHAPE.values()))
    phrases += [*nouns, *map(plural, nouns), *ASKING, *ASKING_FOR_IMAGES, *_NATURAL_TEMPLATES]
    found = {word for phrase in phrases for word in words(phrase)}
    return tuple(sorted(found | set(plain_vocabulary())))


@cache
def plain_vocabulary() -> Words:
    """The words of `vocabulary` without those that only natural captions hold."""
    tables = (COLOR, SHAPE, SIZE, SPEED, WAYS, PLACE, GROUND)
    phrases = [*chain.from_iterable(chain.from_iterable(table.values()) for table in tables)]
    for verbs in (*VERTICAL.values(), *DEEDS.values(), *CAMERA.values(), HEADS):
        phrases.extend(chain.from_iterable(verbs))
    phrases += [*ARTICLES, *VIDEO, *IMAGE, *JOINTS, *TEMPLATE_WORDS, *FUNCTION_WORDS]
    return tuple(sorted({word for phrase in phrases for word in words(phrase)}))


@cache
def synonyms() -> dict[str, Words]:
    """Words of `plain_vocabulary` that mean about the same as a word of `vocabulary` outside it:
    those that stand beside it in a table."""
    plain = set(plain_vocabulary())
    rows: list[Words] = [(*NATURAL_COLOR[name], *COLOR[name]) for name in COLOR]
    for natural, table in (
        (NATURAL_SHAPE, SHAPE),
        (NATURAL_SIZE, SIZE),
        (NATURAL_SPEED, SPEED),
        (NATURAL_WAYS, WAYS),
    ):
        rows += [(*natural[name], *table[name]) for name in table]
    rows += [(*PLAIN_NOUNS, *SHAPE)]
    for verbs in (*NATURAL_VERTICAL.values(), *NATURAL_DEEDS.values(), (*NATURAL_HEADS, ROLL)):
        rows += [tuple(verb[form] for verb in verbs) for form in range(3)]
    rows += [("meadow", "lawn", "field", "grassy", "grass"), ("desert", "beach", "sand")]
    rows += [("space", "outer", "night"), ("clouds", "cloudy", "sky")]
    found: dict[str, Words] = {}
    for row in rows:
        single = dict.fromkeys(phrase for phrase in row if phrase.isalpha())
        known = tuple(word for word in single if word in plain)
        found |= {word: known for word in single if word not in plain and known}
    return found


def words(text: str) -> list[str]:
    """The words of a text, lower case, without punctuation."""
    return re.findall(r"[a-z]+", text.lower())
