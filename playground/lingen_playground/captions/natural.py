"""Captions as people write prompts: short, in fragments, with plurals, and with much left unsaid.

What a caption does not say, the clip shows all the same, drawn by chance; what it says is true.
Only a camera that moves is always named.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lingen_playground.captions import lexicon
from lingen_playground.captions.lexicon import join, plural, with_article
from lingen_playground.scenes.scene import Scene, SceneObject

_BARE, _THIRD, _PARTICIPLE = 0, 1, 2
_ARTICLES: Final = ("a", "a", "a", "a", "a", "a", "a", "", "", "", "one", "the")
_LIST_ARTICLES: Final = ("", "", "", "a")


@dataclass(frozen=True)
class _Telling:
    """Attributes that a caption says."""

    color: bool
    shape: bool
    size: bool
    motion: bool
    way: bool
    speed: bool


@dataclass(frozen=True)
class _Group:
    """One object, or two under one noun. `after` is what is said behind the noun: `that is red`,
    or with a comma, `, red`."""

    objects: Sequence[SceneObject]
    noun: str
    after: str = ""


def natural_caption(
    rng: random.Random, objects: list[SceneObject], scene: Scene, *, still: bool, place: bool
) -> str:
    """A caption of a scene as a person may write it, that names its objects in the order of
    `objects`: of a clip, or if `still` of an image, with or, without `place`, never with its
    background. All words are in `lexicon.vocabulary()`."""
    telling = _Telling(
        color=rng.random() < 0.82,
        shape=rng.random() < 0.92,
        size=rng.random() < 0.4,
        motion=not still and rng.random() < 0.85,
        way=rng.random() < 0.85,
        speed=rng.random() < 0.3,
    )
    placed = place and rng.random() < 0.55
    if rng.random() < 0.22:
        sentence = _list(rng, objects, telling, scene.background if placed else None)
    else:
        sentence = _sentence(rng, objects, telling, scene.background if placed else None, still)
    if not still and scene.camera != "still":
        sentence = _with_camera(rng, sentence, scene.camera)
    return _typed(rng, sentence)


def _list(
    rng: random.Random, objects: list[SceneObject], telling: _Telling, ground: str | None
) -> str:
    """`red ball, bouncing, green grass`."""
    items = []
    for group in _groups(rng, objects, telling, _LIST_ARTICLES):
        items.append(group.noun + group.after)
        motion = _common(group.objects, "motion")
        if telling.motion and motion in lexicon.ASIDE and rng.random() < 0.5:
            items.append(rng.choice(lexicon.ASIDE[motion]))
        elif telling.motion and (deed := _deed(rng, group.objects, telling, _PARTICIPLE)):
            if group.after or rng.random() < 0.4:
                items.append(deed)
            else:
                items[-1] = join(items[-1], deed)
    if ground is not None:
        items.append(rng.choice(lexicon.NATURAL_GROUND[ground]))
    return ", ".join(items)


def _sentence(
    rng: random.Random,
    objects: list[SceneObject],
    telling: _Telling,
    ground: str | None,
    still: bool,
) -> str:
    draw = rng.random()
    form = _THIRD if draw < 0.45 else _PARTICIPLE
    clauses = []
    for group in _groups(rng, objects, telling, _ARTICLES):
        deed = _deed(rng, group.objects, telling, form) if telling.motion else ""
        clauses.append(_clause(rng, group, deed, form, relative=draw > 0.9))
    joint = " and " if form == _THIRD else rng.choice((" and ", " and ", " with ", ", "))
    what = joint.join(clauses)
    asking = form == _PARTICIPLE and rng.random() < 0.35
    if asking:
        what = f"{rng.choice(lexicon.ASKING_FOR_IMAGES if still else lexicon.ASKING)} {what}"
    if ground is None:
        return what
    place = rng.choice(lexicon.NATURAL_PLACE[ground])
    draw = rng.random()
    if draw < 0.8 or (asking and draw > 0.9):
        return f"{what} {place}"
    if draw < 0.9:
        return f"{what}, {rng.choice(lexicon.NATURAL_GROUND[ground])}"
    return f"{place}{rng.choice((', ', ' '))}{what}"


def _clause(rng: random.Random, group: _Group, deed: str, form: int, *, relative: bool) -> str:
    """A noun and what it does: `a red ball bounces`, `a ball, red, bouncing`, `a ball that is red
    and bouncing`."""
    noun = group.noun + group.after
    if not deed:
        return noun
    if group.after.startswith(","):
        return f"{noun}, {deed}"
    if group.after:
        return f"{noun} and {deed}" if form == _PARTICIPLE else f"{noun} {deed}"
    many = len(group.objects) > 1
    if relative:
        return f"{noun} that {'are' if many else 'is'} {deed}"
    if many and form == _PARTICIPLE and rng.random() < 0.2:
        return f"{noun}, both {deed}"
    return f"{noun} {deed}"


def _groups(
    rng: random.Random,
    objects: list[SceneObject],
    telling: _Telling,
    articles: Sequence[str],
) -> list[_Group]:
    """One group under a plural where it says what is true of both, else one for each object."""
    if len(objects) == 1:
        return [_single(rng, objects[0], telling, articles)]
    one_motion = not telling.motion or _common(objects, "motion") is not None
    if one_motion and (_common(objects, "shape") or not telling.shape) and rng.random() < 0.8:
        return [_pair(rng, objects, telling)]
    singles = [_single(rng, obj, telling, articles) for obj in objects]
    if one_motion and telling.motion and rng.random() < 0.5:
        noun = " and ".join(group.noun for group in singles)
        return [_Group(objects, noun)] if not any(group.after for group in singles) else singles
    return singles


def _single(
    rng: random.Random, obj: SceneObject, telling: _Telling, articles: Sequence[str]
) -> _Group:
    size, color = _adjectives(rng, [obj], telling)
    shape = _shape(rng, obj, telling)
    article = rng.choice(articles)
    if not (size or color) or rng.random() < 0.85:
        return _Group([obj], with_article(article, join(size, color, shape)))
    both = " and ".join(part for part in (size, color) if part)
    after = [f", {both}", f" that is {both}", f" which is {both}"]
    if color and not size:
        after.append(f" colored {color}")
    return _Group([obj], with_article(article, shape), rng.choice(after))


def _pair(rng: random.Random, objects: list[SceneObject], telling: _Telling) -> _Group:
    """`two balls`, with what both have in common, or with the color of each."""
    size, color = _adjectives(rng, objects, telling)
    shape = _shape(rng, objects[0], telling)
    if color or not telling.color:
        if color and rng.random() < 0.12:
            after = rng.choice((f", both {color}", f" that are {color}"))
            return _Group(objects, join("two", size, plural(shape)), after)
        return _Group(objects, join("two", size, color, plural(shape)))
    first, second = (rng.choice(lexicon.NATURAL_COLOR[obj.color]) for obj in objects)
    draw = rng.random()
    if draw < 0.4:
        after = f", one {first} and one {second}"
        return _Group(objects, join("two", size, plural(shape)), after)
    if draw < 0.6:
        return _Group(objects, join(size, first, "and", second, plural(shape)))
    if draw < 0.8:
        one = with_article("a", first)
        return _Group(objects, f"{one} and {with_article('a', join(second, shape))}")
    return _Group(objects, join("two", size, plural(shape)))


def _adjectives(
    rng: random.Random, objects: Sequence[SceneObject], telling: _Telling
) -> tuple[str, str]:
    """Size and color, as far as they are said and all have the same. A medium size seldom is."""
    size, color = _common(objects, "size"), _common(objects, "color")
    if not telling.size or (size == "medium" and rng.random() < 0.75):
        size = None
    return (
        rng.choice(lexicon.NATURAL_SIZE[size]) if size else "",
        rng.choice(lexicon.NATURAL_COLOR[color]) if color and telling.color else "",
    )


def _shape(rng: random.Random, obj: SceneObject, telling: _Telling) -> str:
    return rng.choice(lexicon.NATURAL_SHAPE[obj.shape] if telling.shape else lexicon.PLAIN_NOUNS)


def _deed(rng: random.Random, objects: Sequence[SceneObject], telling: _Telling, form: int) -> str:
    """What all of them do, in one form of the verb; two in the third person have the bare form.

    Empty where they do different things.
    """
    motion, way = _common(objects, "motion"), _common(objects, "direction")
    if motion is None:
        return ""
    verbs = lexicon.NATURAL_DEEDS.get(motion, lexicon.NATURAL_HEADS)
    words = rng.choice(lexicon.NATURAL_WAYS[way]) if way and telling.way else ""
    if motion == "moves":
        if words and way in lexicon.NATURAL_VERTICAL and rng.random() < 0.35:
            verbs, words = lexicon.NATURAL_VERTICAL[way], ""
        elif way in ("left", "right") and all(obj.shape in lexicon.ROUND for obj in objects):
            verbs = (*verbs, lexicon.ROLL, lexicon.ROLL, lexicon.ROLL)
    elif motion == "zigzags" and rng.random() < 0.6:
        words = ""
    verb = rng.choice(verbs)
    how = ""
    speed = _common(objects, "speed")
    if speed and telling.speed:
        how = rng.choice(lexicon.NATURAL_SPEED[speed])
    plain = _BARE if form == _THIRD and len(objects) > 1 else form
    if how.endswith("ly") and rng.random() < 0.3:
        return join(how, verb[plain], verb[3], words)
    return join(verb[plain], verb[3], words, how)


def _common(objects: Sequence[SceneObject], attribute: str) -> str | None:
    """The value that all have, None where they differ (or where it is None)."""
    values = {getattr(obj, attribute) for obj in objects}
    return values.pop() if len(values) == 1 else None


def _with_camera(rng: random.Random, sentence: str, camera: str) -> str:
    draw = rng.random()
    if draw < 0.5:
        return f"{sentence}, {rng.choice(lexicon.CAMERA_NOTES[camera])}"
    does, doing = rng.choice(lexicon.CAMERA[camera])
    if draw < 0.8:
        return f"{sentence} while the camera {does}"
    return f"{sentence}, the camera {doing}"


def _typed(rng: random.Random, sentence: str) -> str:
    """With capitals and punctuation, or without."""
    draw = rng.random()
    if draw < 0.35:
        sentence = sentence[0].upper() + sentence[1:]
    elif draw < 0.38:
        sentence = sentence.upper()
    draw = rng.random()
    if draw < 0.05:
        return sentence + ", please"
    return sentence + ("." if draw < 0.35 else "!" if draw < 0.38 else "")
