"""What is read from a prompt, against the scenes that captions were written for."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import permutations

import pytest

from lingen_playground import (
    Said,
    SaidObject,
    Scene,
    canonical_caption,
    caption,
    natural_prompts,
    object_phrase,
    read_prompt,
    sample_scene,
)

ATTRIBUTES = ("color", "shape", "size", "motion", "direction", "speed")


def wrong(said: Said, scene: Scene) -> list[str]:
    """What is read otherwise than it is, for the best match of the objects."""
    found = []
    for order in permutations(scene.objects):
        pairs = list(zip(said.objects, order, strict=True))
        found.append(
            [
                name
                for one, obj in pairs
                for name in ATTRIBUTES
                if getattr(one, name) not in (None, getattr(obj, name))
            ]
        )
    errors = min(found, key=len)
    if said.background not in (None, scene.background):
        errors.append("background")
    if (said.camera or "still") != scene.camera:
        errors.append("camera")
    return errors


@pytest.mark.parametrize(("natural", "least"), [(0.0, 0.998), (1.0, 0.99)])
def test_prompts_are_read_as_they_were_meant(natural: float, least: float) -> None:
    right = 0
    for seed in range(2000):
        scene = sample_scene(seed, alike=0.3)
        said = read_prompt(caption(scene, seed, natural=natural))
        right += (
            said is not None and len(said.objects) == len(scene.objects) and not wrong(said, scene)
        )
    assert right / 2000 >= least


def test_nothing_is_missed_in_plain_captions() -> None:
    for seed in range(500):
        scene = sample_scene(seed, split="heldout")
        said = read_prompt(canonical_caption(scene))
        assert said is not None and said.background == scene.background
        for one, obj in zip(said.objects, scene.objects, strict=True):
            unsaid = {"size": "medium", "speed": ""}
            for name in ATTRIBUTES:
                assert (getattr(one, name) or unsaid.get(name)) == getattr(obj, name)


def test_prompts_by_hand_are_read_as_they_are_listed() -> None:
    for listed in natural_prompts():
        said = read_prompt(listed.prompt)
        assert said is not None and said.background == listed.background, listed.prompt
        for one, other in zip(said.objects, listed.objects, strict=True):
            for name in ATTRIBUTES[:-1]:
                assert getattr(one, name) == getattr(other, name), listed.prompt


@pytest.mark.parametrize(
    ("prompt", "objects"),
    [
        ("a ball", [SaidObject(shape="ball")]),
        (
            "two balls, one red and one blue, bounce",
            [SaidObject(color, "ball", motion="bounces") for color in ("red", "blue")],
        ),
        ("two BIG stars!", [SaidObject(shape="star", size="large")] * 2),
        (
            "a spinning star and a bouncing red box",
            [
                SaidObject(shape="star", motion="spins"),
                SaidObject("red", "square", None, "bounces"),
            ],
        ),
        (
            "a heart, pink, from left to right, fast",
            [SaidObject("pink", "heart", None, "moves", "right", "quickly")],
        ),
        ("a ball circles while the camera zooms in", [SaidObject(shape="ball", motion="circles")]),
        ("a circle does not move", [SaidObject(shape="ball", motion="still")]),
        (
            "a ring drifts left while a diamond falls",  # the first direction is the ring's
            [SaidObject(shape="ring", motion="moves", direction="left")],
        ),
        (
            "a red ball and a blue star bounce",
            [
                SaidObject("red", "ball", None, "bounces"),
                SaidObject("blue", "star", None, "bounces"),
            ],
        ),
        (
            "a big red ball and a small blue one",
            [SaidObject("red", "ball", "large"), SaidObject("blue", "ball", "small")],
        ),
        ("a ball, red, one blue star", [SaidObject("red", "ball"), SaidObject("blue", "star")]),
        (
            "a ball goes slowly up and down",
            [SaidObject(None, "ball", None, "bounces", None, "slowly")],
        ),
        (
            "a ball in the top left corner",
            [SaidObject(shape="ball", sides=frozenset({"left", "top"}))],
        ),
        (
            "a ball on the right moves left",
            [
                SaidObject(
                    shape="ball", motion="moves", direction="left", sides=frozenset({"right"})
                )
            ],
        ),
        (
            "a blue star at upper right",
            [SaidObject("blue", "star", sides=frozenset({"right", "top"}))],
        ),
        (
            "a ball comes from the left, a star flies in from above",
            [
                SaidObject(shape="ball", motion="moves", direction="right"),
                SaidObject(shape="star", motion="moves", direction="down"),
            ],
        ),
        (
            "a ball moves in the right direction",
            [SaidObject(shape="ball", motion="moves", direction="right")],
        ),
        ("a red circle circles", [SaidObject("red", "ball", motion="circles")]),
        ("a red circle and two", [SaidObject("red", "ball")]),
        (
            "a ball on a white square",  # no background
            [SaidObject(shape="ball"), SaidObject("white", "square")],
        ),
    ],
)
def test_ways_to_say_things(prompt: str, objects: list[SaidObject]) -> None:
    said = read_prompt(prompt)
    assert said is not None and list(said.objects) == objects


@pytest.mark.parametrize(
    ("prompt", "background"),
    [
        ("a red ball, white", "white"),
        ("red ball, bouncing, gray", "grey"),
        ("a ball, white", None),
        ("a white ball", None),
        ("under the stars a red ring", "starry night"),
        ("a red ball, the background is black", "black"),
        ("a red ball on a white wall", "white"),
        ("a red ball bounces on the gray floor", "grey"),
        ("a red ball on a blue wall", None),
    ],
)
def test_backgrounds(prompt: str, background: str | None) -> None:
    said = read_prompt(prompt)
    assert said is not None and said.background == background and len(said.objects) == 1


@pytest.mark.parametrize("prompt", ["", "green grass", "three balls, a box and a star", "a cat"])
def test_prompts_without_one_or_two_objects(prompt: str) -> None:
    assert read_prompt(prompt) is None


def test_phrases_describe_their_object() -> None:
    """The plain phrase says all, the others nothing wrong."""
    for seed in range(300):
        obj = sample_scene(seed, objects=1).objects[0]
        said = read_prompt(object_phrase(obj))
        assert said is not None
        one = said.objects[0]
        assert (one.color, one.shape, one.motion) == (obj.color, obj.shape, obj.motion)
        for still in (False, True):
            said = read_prompt(object_phrase(obj, random.Random(seed), still=still))
            assert said is not None
            for name in ATTRIBUTES:
                assert getattr(said.objects[0], name) in (None, getattr(obj, name))
            assert not still or said.objects[0].motion is None


@pytest.mark.parametrize(
    ("prompt", "described"),
    [
        ("a brown ball moves left", ("brown",)),
        ("a large brown ball", ("brown",)),
        ("a shiny brown large ball", ("shiny", "brown")),
        ("brown ball, white background", ("brown",)),
        ("a shiny red ball", ("shiny",)),
        ("my ball bounces", ()),
        ("a dog chases a ball", ()),
        ("a red ball", ()),
    ],
)
def test_words_of_no_caption_describe_the_noun_that_they_precede(
    prompt: str, described: tuple[str, ...]
) -> None:
    said = read_prompt(prompt)
    assert said is not None and said.objects[0].described == described
    assert said.objects[0].size == ("large" if "large" in prompt else None)
    ignored = read_prompt(prompt, described)
    assert ignored is not None and ignored.objects == (replace(said.objects[0], described=()),)
