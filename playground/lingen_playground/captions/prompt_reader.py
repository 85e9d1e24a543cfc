"""Prompts read without a model: what they say of objects, the background and the camera."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from lingen_playground.captions import lexicon
from lingen_playground.captions.natural_prompts import Said, SaidObject

_PLAIN_GROUND = re.compile(r", (white|black|grey|gray)(?=[ .!]*$|, please)")
_PLAIN_PLACE = re.compile(
    r"\b(?:on|against|over|in front of) (?:an?|the) (white|black|grey|gray) (\w+)"
)
"""A place of a plain color, if its noun is no object: `on a white wall`."""
_POSITION = re.compile(
    r"\b(?:at|in|near|on) (?:the )?"
    r"((?:(?:bottom|center|centre|left|lower|middle|right|top|upper) ?)+)"
    r"(?:corner|edge|half|place|side)?\b(?! ?direction)"
)
"""Where an object is, not where it goes."""
_SIDES = {"lower": "bottom", "upper": "top", "center": "middle", "centre": "middle"}
_FROM = {
    "left": "right",
    "right": "left",
    "top": "down",
    "above|over": "down",
    "bottom": "up",
    "below|under": "up",
}
"""Directions of what comes from somewhere: `from the left` it goes right."""
_RELATIONS = {
    r"(?<!from )(?:above|over)|on top of": "above",
    r"(?<!from )(?:below|beneath|under|underneath)": "below",
    r"beside|near|next to|by": "beside",
    r"(?:(?:at|on|to) the )?left of": "left",
    r"(?:(?:at|on|to) the )?right of": "right",
}
_GREY = {"gray": "grey"}
_TIED = frozenset({"and", "a", "an", "the", "one"})
"""Words between two colors that share a noun."""
_BEFORE_ADJECTIVES = frozenset({"a", "an", "the", "one", "two"})
_DETERMINERS = frozenset(
    {"each", "every", "her", "his", "its", "my", "our", "some", "their", "your"}
)


def _meanings(*tables: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Each way to say a thing, and its name."""
    return {way: name for table in tables for name, ways in table.items() for way in ways}


def _last_words(*tables: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The last word of each way to say a thing, such as `red` of `bright red`, and its name."""
    return {way.split()[-1]: name for way, name in _meanings(*tables).items() if way}


def _longest_first(phrases: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(phrases.items(), key=lambda pair: -len(pair[0])))


def _ways() -> dict[str, str]:
    """Phrases of a direction: `from right to left` comes before `right`."""
    found = _meanings(lexicon.WAYS, lexicon.NATURAL_WAYS)
    for table in (lexicon.VERTICAL, lexicon.NATURAL_VERTICAL):
        found |= {
            form: name
            for name, verbs in table.items()
            for verb in verbs
            for form in verb[:3]
            if form
        }
    found |= {f"from (?:the )?(?:{side})": way for side, way in _FROM.items()}
    return _longest_first(found)


def _cameras() -> dict[str, str]:
    """Phrases about the camera."""
    found = {
        f"camera {form}": camera
        for camera, pairs in lexicon.CAMERA.items()
        for pair in pairs
        for form in pair
    }
    return _longest_first(found | _meanings(lexicon.CAMERA_NOTES))


def _grounds() -> dict[str, str]:
    """Phrases about the background; bare names of colors are none."""
    named = _meanings(lexicon.GROUND).items()
    found = {f"the background is {name}": ground for name, ground in named}
    found |= _meanings(lexicon.PLACE, lexicon.NATURAL_PLACE, lexicon.NATURAL_GROUND)
    for name in ("white", "black", "grey", "gray"):
        found.pop(name, None)
    return _longest_first(found)


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
    return {**found, **_meanings(lexicon.ASIDE), "not": "still"}


_CAPTIONED = frozenset(lexicon.vocabulary())
"""Words of the captions."""
_SINGULARS: dict[str, str | None] = {
    **dict.fromkeys(lexicon.PLAIN_NOUNS),
    **_last_words(lexicon.SHAPE, lexicon.NATURAL_SHAPE),
}
"""Nouns of objects, and the shape that each names; None for `thing`."""
_PLURALS = {lexicon.plural(name): shape for name, shape in _SINGULARS.items()}
_NOUNS = _SINGULARS | _PLURALS
_COLORS = _last_words(lexicon.COLOR, lexicon.NATURAL_COLOR)
_SIZES = _last_words(lexicon.SIZE, lexicon.NATURAL_SIZE) | {"medium": "medium"}
del _SIZES["sized"]
_SPEEDS = _last_words(lexicon.SPEED, lexicon.NATURAL_SPEED)
_ADJECTIVES = frozenset(_COLORS) | frozenset(_SIZES)
_WAYS, _CAMERAS, _GROUNDS, _VERBS = _ways(), _cameras(), _grounds(), _verbs()


@dataclass
class _Noun:
    """A noun of one object, or of two: the words `begin` to `at` are its noun phrase, and what is
    said of it follows until `end`."""

    at: int
    count: int
    begin: int = 0
    end: int = 0
    colors: list[str] = field(default_factory=list)
    sizes: list[str] = field(default_factory=list)
    described: list[str] = field(default_factory=list)
    motion: str | None = None
    direction: str | None = None
    speed: str | None = None
    sides: frozenset[str] = frozenset()


def read_prompt(prompt: str, ignored: Collection[str] = ()) -> Said | None:
    """Read a prompt of one or two objects; None where there are none, or more. What it leaves open
    is None in the result; of two objects under one verb, both do it. Words that are `ignored`, in
    lower case, may be anything."""
    text = unicodedata.normalize("NFKC", prompt).casefold()
    text, camera = _taken(text, _CAMERAS)
    text, background = _taken(text, _GROUNDS)
    if background is None:
        text, background = _plain_place(text)
    text, relation = _taken(text, _RELATIONS)
    words, starts = _split(text, ignored)
    nouns = [_Noun(at, count) for at in range(len(words)) if (count := _count(words, at))]
    if sum(noun.count for noun in nouns) not in (1, 2):
        return None
    _bound(words, starts, nouns)
    plain = _PLAIN_GROUND.search(text)
    for noun in nouns:
        _describe(words, noun)
    if background is None and plain is not None and _is_ground(words, nouns[-1], plain[1]):
        background = _GREY.get(plain[1], plain[1])
    for a, b in pairwise(nouns):  # `a ball and a box bounce`
        joined = set(words[a.at + 1 : b.begin]) <= _TIED
        if a.motion is None and b.motion is not None and joined:
            a.motion, a.direction, a.speed = b.motion, b.direction, b.speed
    if sum(noun.count for noun in nouns) == 1:
        nouns[0].sides = _sides(" ".join(words))
        relation = None
    return Said(prompt, tuple(_objects(words, nouns)), background, camera, relation)


def _taken(text: str, phrases: Mapping[str, str]) -> tuple[str, str | None]:
    """The text without the first of these phrases, the longest first, and what that means."""
    for phrase, meaning in phrases.items():
        found, count = re.subn(rf"\b(?:{phrase})\b", ", ", text)
        if count:
            return found, meaning
    return text, None


def _plain_place(text: str) -> tuple[str, str | None]:
    """The text without a place of a plain color that captions do not name, and the background."""
    for found in _PLAIN_PLACE.finditer(text):
        color, noun = found.groups()
        if noun not in _CAPTIONED:
            return f"{text[: found.start()]}, {text[found.end() :]}", _GREY.get(color, color)
    return text, None


def _split(text: str, ignored: Collection[str]) -> tuple[list[str], set[int]]:
    """Words, and the numbers of those that follow a comma or a full stop."""
    words: list[str] = []
    nouns: list[str] = []
    starts = set()
    for found in re.findall(r"[^\W_]+|[,.;:]", text):
        if found.isalnum():
            stands_for_noun = words and words[-1] in _ADJECTIVES and len(words) not in starts
            if found == "one" and nouns and stands_for_noun:
                words.append(nouns[-1])  # `a red ball and a blue one`
            elif found not in ignored:
                words.append(found)
                if found in _SINGULARS:
                    nouns.append(found)
        else:
            starts.add(len(words))
    return words, starts


def _bound(words: Sequence[str], starts: set[int], nouns: list[_Noun]) -> None:
    """Find where the phrase of each noun begins, and where that of the next ends what it says."""
    for noun in nouns:
        begin = noun.at
        while begin > 0 and begin not in starts and _belongs(words, begin - 1, noun, starts):
            begin -= 1
        noun.begin = begin
    for noun, later in pairwise(nouns):
        noun.end = max(later.begin, noun.at + 1)
    nouns[-1].end = len(words)


def _belongs(words: Sequence[str], at: int, noun: _Noun, starts: set[int]) -> bool:
    """Whether a word before a noun, of which the next belongs to it, is a part of its phrase."""
    word = words[at]
    if word in _ADJECTIVES or word in ("sized", "bright") or _describes(words, at, starts):
        return True
    if word in ("slow", "fast") or (_motion_word(words, at) and word.endswith("ing")):
        return True
    tied = word in _TIED and noun.count == 2 and words[noun.at - 1] in _COLORS
    before = [one for one in words[max(0, at - 3) : at] if one not in _TIED]
    return tied and bool(before) and before[-1] in _COLORS


def _describes(words: Sequence[str], at: int, starts: set[int]) -> bool:
    """Tell whether a word that captions do not have is an adjective: `brown` in `a large brown
    ball`."""
    word = words[at]
    if word in _CAPTIONED or word in _DETERMINERS or not word.isalpha():
        return False
    if at == 0 or at in starts:
        return True
    before = words[at - 1]
    return (
        before in _BEFORE_ADJECTIVES
        or before in _ADJECTIVES
        or (before not in _CAPTIONED and _describes(words, at - 1, starts))
    )


def _describe(words: Sequence[str], noun: _Noun) -> None:
    """Fill in what the words of a noun say."""
    span = [at for at in range(noun.begin, noun.end) if at != noun.at]
    noun.colors = [_COLORS[words[at]] for at in span if words[at] in _COLORS]
    noun.sizes = [_SIZES[words[at]] for at in span if words[at] in _SIZES]
    phrase = words[noun.begin : noun.at]
    noun.described = [one for one in phrase if one not in _CAPTIONED and one not in _ADJECTIVES]
    noun.motion = next((motion for at in span if (motion := _motion_word(words, at))), None)
    after = words[noun.at + 1 : noun.end]
    text = " ".join(after)
    noun.sides = _sides(text)
    if noun.motion in ("moves", "zigzags", None):
        noun.direction = _direction(_POSITION.sub("", text))
    if noun.direction is not None and noun.motion is None:
        noun.motion = "moves"
    noun.speed = next((_SPEEDS[words[at]] for at in span if words[at] in _SPEEDS), None)


def _sides(text: str) -> frozenset[str]:
    """The sides of the frame that a text names as a place."""
    found = _POSITION.search(text)
    return frozenset(_SIDES.get(side, side) for side in found[1].split()) if found else frozenset()


def _direction(text: str) -> str | None:
    """The first direction that a text names, by the longest phrase that begins there."""
    found = [
        (place.start(), -len(way), meaning)
        for way, meaning in _WAYS.items()
        if (place := re.search(rf"\b{way}\b", text))
    ]
    return min(found)[2] if found else None


def _is_ground(words: Sequence[str], noun: _Noun, color: str) -> bool:
    """Whether a color that ends a list is the background: the noun has one, or another word stands
    between them. If so, the noun loses it."""
    last = max(at for at, word in enumerate(words) if word == color)
    if last <= noun.at or (len(noun.colors) < 2 and last == noun.at + 1 and color != "grey"):
        return False
    if color in noun.colors:
        noun.colors.remove(color)
    return True


def _objects(words: Sequence[str], nouns: Sequence[_Noun]) -> Iterator[SaidObject]:
    for noun in nouns:
        for number in range(noun.count):
            yield SaidObject(
                color=_own(noun.colors, number),
                shape=_NOUNS[words[noun.at]],
                size=_own(noun.sizes, number),
                motion=noun.motion,
                direction=noun.direction,
                speed=noun.speed,
                described=tuple(noun.described),
                sides=noun.sides,
            )


def _own(values: Sequence[str], number: int) -> str | None:
    """The value of an object of a group: each has its own, or all have one."""
    return values[min(number, len(values) - 1)] if values else None


def _count(words: Sequence[str], at: int) -> int:
    """Objects that a word names: 2 in the plural, 0 where it is no noun of an object."""
    word = words[at]
    before = words[at - 1] if at else ""
    if word not in _NOUNS or (word in ("circle", "circles") and _circling(words, at)):
        return 0
    if word == "shape" and before in _NOUNS:  # `a heart shape`
        return 0
    return 2 if word in _PLURALS or _two_colors(words, at) else 1


def _circling(words: Sequence[str], at: int) -> bool:
    """Tell `moves in a circle` and `a ball circles` from `a red circle`."""
    before = words[at - 1] if at else ""
    earlier = words[at - 2] if at > 1 else ""
    if before == "in" or (before == "a" and earlier == "in"):
        return True
    if before == "circle" and words[at] == "circles":
        return True
    nouns = set(_NOUNS) - {"circle", "circles"}
    return any(word in nouns for word in words[max(0, at - 3) : at]) and before not in (
        "a",
        "one",
        "and",
        "the",
        "two",
        *_ADJECTIVES,
    )


def _two_colors(words: Sequence[str], at: int) -> bool:
    """Tell `a red and an orange heart`: two objects under one noun."""
    before = [word for word in words[max(0, at - 4) : at] if word not in ("a", "an", "the")]
    return len(before) >= 3 and before[-2] == "and" and {before[-1], before[-3]} <= _COLORS.keys()


def _motion_word(words: Sequence[str], at: int) -> str | None:
    """The motion that a word says."""
    word = words[at]
    if word in ("circle", "circles"):
        return "circles" if _circling(words, at) else None
    motion = _VERBS.get(word)
    if motion != "moves":
        return motion
    rest = words[at + 1 : at + 5]
    if "up and down" in " ".join(rest):
        return "bounces"
    for number, later in enumerate(rest, start=at + 1):
        if later in ("round", "around"):
            return "circles"
        if later in ("circle", "circles") and _circling(words, number):
            return "circles"
        if later.startswith("zigzag"):
            return "zigzags"
        if _count(words, number):
            break
    return "moves"
