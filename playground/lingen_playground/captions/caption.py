"""Scenes to English sentences: the plain one, and a great many others that mean the same."""

from __future__ import annotations

import random
from typing import Final

from lingen_playground.captions import lexicon
from lingen_playground.captions.lexicon import join, with_article
from lingen_playground.captions.natural import natural_caption
from lingen_playground.scenes.scene import Scene, SceneObject

_MENTION_STILL_CAMERA: Final = 0.12
_DROP_ZIGZAG_WAY: Final = 0.25
_PARTICIPLE: Final = 0.35
_LEAD_IN: Final = 0.5
_PLACE_FIRST: Final = 0.25
_PLACE_APART: Final = 0.12


def canonical_caption(scene: Scene) -> str:
    """The plain caption, the same for every scene that looks the same: used in evaluation.

    Medium size, medium speed and a still camera go without saying, as in most other captions.
    """
    deeds = []
    for obj in scene.objects:
        verb, _, tail = lexicon.DEEDS[obj.motion][0] if obj.motion != "moves" else _MOVES
        way = obj.direction or ""
        noun = with_article("a", join(lexicon.SIZE[obj.size][0], obj.color, obj.shape))
        deeds.append(join(noun, verb, tail, way, obj.speed))
    sentence = join(" and ".join(deeds), lexicon.PLACE[scene.background][0])
    if scene.camera != "still":
        sentence += f" while the camera {lexicon.CAMERA[scene.camera][0][0]}"
    return sentence


_MOVES: Final[lexicon.Verb] = ("moves", "moving", "")


def caption(
    scene: Scene,
    seed: int,
    *,
    still: bool = False,
    place: bool = True,
    natural: float = 0.0,
) -> str:
    """One of many English captions of a scene, fixed by the seed.

    `still` is for clips of one frame: nothing is said about motion or camera. Without `place`,
    nothing is said about the background. `natural` is the share of captions that are written as
    people write prompts: most say less. All words are in `lexicon.vocabulary()`.
    """
    rng = random.Random(f"caption {seed}")
    as_people_do = natural > 0 and rng.random() < natural
    objects = list(scene.objects)
    rng.shuffle(objects)
    if as_people_do:
        return natural_caption(rng, objects, scene, still=still, place=place)
    say = _image if still else _video
    sentence = say(rng, objects, scene, place)
    if rng.random() < 0.6:
        sentence = sentence[0].upper() + sentence[1:]
    return sentence + ("." if rng.random() < 0.5 else "")


def object_phrase(
    obj: SceneObject, rng: random.Random | None = None, *, still: bool = False, color: str = ""
) -> str:
    """Describe what an object is and, unless `still`, does: `large red ball moving left
    quickly`, with other words for its `color`, if given. With a generator in other words, of which
    some are left out."""
    if rng is None:
        verb = _MOVES if obj.motion == "moves" else lexicon.DEEDS[obj.motion][0]
        what = join(lexicon.SIZE[obj.size][0], color or obj.color, obj.shape)
        return what if still else join(what, *verb[1:], obj.direction or "", obj.speed)
    parts = [
        rng.choice(lexicon.SIZE[obj.size]) if rng.random() < 0.8 else "",
        rng.choice(lexicon.COLOR[obj.color]) if rng.random() < 0.92 else "",
        rng.choice(lexicon.SHAPE[obj.shape]) if rng.random() < 0.97 else "shape",
    ]
    if not still and rng.random() < 0.8:
        verb = (*rng.choice(lexicon.HEADS), "")
        if obj.motion != "moves":
            verb = rng.choice(lexicon.DEEDS[obj.motion])
        way = rng.choice(lexicon.WAYS[obj.direction]) if obj.direction else ""
        parts += [*verb[1:], way, rng.choice(lexicon.SPEED[obj.speed])]
    return join(*parts)


def _image(rng: random.Random, objects: list[SceneObject], scene: Scene, placed: bool) -> str:
    what = " and ".join(_noun(rng, obj) for obj in objects)
    if not placed:
        return what if rng.random() < 0.5 else f"{rng.choice(lexicon.IMAGE)} {what}"
    place = rng.choice(lexicon.PLACE[scene.background])
    draw = rng.random()
    if draw < 0.6:
        return f"{what} {place}"
    if draw < 0.8:
        return f"{rng.choice(lexicon.IMAGE)} {what} {place}"
    if draw < 0.9:
        return f"{place} {'there is' if len(objects) == 1 else 'there are'} {what}"
    return f"{what}, the background is {rng.choice(lexicon.GROUND[scene.background])}"


def _video(rng: random.Random, objects: list[SceneObject], scene: Scene, placed: bool) -> str:
    participle = rng.random() < _PARTICIPLE
    clauses = [join(_noun(rng, obj), _deed(rng, obj, participle)) for obj in objects]
    joint = "and" if participle or rng.random() < 0.6 else rng.choice(lexicon.JOINTS)
    what = f" {joint} ".join(clauses)
    place = rng.choice(lexicon.PLACE[scene.background])
    if not placed:
        lead = participle and rng.random() < _LEAD_IN
        sentence = f"{rng.choice(lexicon.VIDEO)} {what}" if lead else what
    elif participle and rng.random() < _LEAD_IN:
        sentence = f"{rng.choice(lexicon.VIDEO)} {what} {place}"
    elif rng.random() < _PLACE_FIRST:
        sentence = f"{place}, {what}"
    elif rng.random() < _PLACE_APART:
        sentence = f"{what}, the background is {rng.choice(lexicon.GROUND[scene.background])}"
    elif len(objects) == 1 and rng.random() < _PLACE_APART:
        obj = objects[0]
        sentence = join(_noun(rng, obj), place, _deed(rng, obj, participle))
    else:
        sentence = f"{what} {place}"
    return _with_camera(rng, sentence, scene.camera)


def _with_camera(rng: random.Random, sentence: str, camera: str) -> str:
    """With a word about the camera, unless it is still."""
    if camera == "still" and rng.random() >= _MENTION_STILL_CAMERA:
        return sentence
    does, doing = rng.choice(lexicon.CAMERA[camera])
    return rng.choice(
        (
            f"{sentence} while the camera {does}",
            f"{sentence} while the camera {does}",
            f"{sentence}, the camera {does}",
            f"{sentence} and the camera {does}",
            f"{sentence} with the camera {doing}",
            f"as the camera {does}, {sentence}",
            f"the camera {does} while {sentence}",
            f"{sentence}. the camera {does}",
        )
    )


def _noun(rng: random.Random, obj: SceneObject) -> str:
    size = rng.choice(lexicon.SIZE[obj.size])
    color, shape = rng.choice(lexicon.COLOR[obj.color]), rng.choice(lexicon.SHAPE[obj.shape])
    return with_article(rng.choice(lexicon.ARTICLES), join(size, color, shape))


def _deed(rng: random.Random, obj: SceneObject, participle: bool) -> str:
    """What an object does: verb, how it goes on, and an adverb in one of three places."""
    way = rng.choice(lexicon.WAYS[obj.direction]) if obj.direction else ""
    if obj.motion == "moves":
        head = (*rng.choice(lexicon.HEADS), way)
        if obj.direction in lexicon.VERTICAL and rng.random() < 0.25:
            head = (*rng.choice(lexicon.VERTICAL[obj.direction]), "")
    else:
        head = rng.choice(lexicon.DEEDS[obj.motion])
        if obj.motion == "zigzags" and rng.random() >= _DROP_ZIGZAG_WAY:
            head = (head[0], head[1], join(head[2], way))
    verb, tail = head[1 if participle else 0], head[2]
    how = rng.choice(lexicon.SPEED[obj.speed])
    spots = [(verb, tail, how), (verb, how, tail)]
    if how not in lexicon.AFTER_VERB_ONLY:
        spots.append((how, verb, tail))
    return join(*rng.choice(spots))
