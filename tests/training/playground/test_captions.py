"""Captions: closed vocabulary, varied, and true to the scene."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from lingen_training.playground import (
    Scene,
    SceneObject,
    canonical_caption,
    caption,
    sample_scene,
    vocabulary,
)
from lingen_training.playground.lexicon import (
    CAMERA,
    COLOUR,
    DEEDS,
    GROUND,
    HEADS,
    PLACE,
    SHAPE,
    SIZE,
    SPEED,
    VERTICAL,
    words,
)

SCENES = [sample_scene(seed, split="all") for seed in range(2000)]


def test_every_word_is_in_the_vocabulary() -> None:
    known = set(vocabulary())
    for seed, scene in enumerate(SCENES):
        for text in (
            caption(scene, seed),
            caption(scene, seed, still=True),
            canonical_caption(scene),
        ):
            assert set(words(text)) <= known, text


def test_the_vocabulary_is_sorted_plain_and_mostly_used() -> None:
    known = vocabulary()
    assert list(known) == sorted(set(known))
    assert all(word.isalpha() and word.islower() for word in known)
    used = {word for seed, scene in enumerate(SCENES) for word in words(caption(scene, seed))}
    assert len(used) > 0.9 * len(known)


def test_a_seed_gives_one_caption_and_seeds_vary() -> None:
    for scene in SCENES[:20]:
        assert caption(scene, 4) == caption(scene, 4)
        assert len({caption(scene, seed).lower() for seed in range(40)}) > 25


def test_every_object_is_named_with_its_colour_shape_and_size() -> None:
    for seed, scene in enumerate(SCENES):
        for text in (caption(scene, seed), caption(scene, seed, still=True)):
            said = words(text)
            for thing in scene.objects:
                assert set(COLOUR[thing.colour]) & set(said), text
                assert set(SHAPE[thing.shape]) & set(said), text
                assert thing.size == "medium" or set(SIZE[thing.size]) & set(said), text


def test_motion_speed_place_and_camera_are_said() -> None:
    for seed, scene in enumerate(SCENES):
        text = caption(scene, seed)
        said = set(words(text))
        grounds = {word for phrase in PLACE[scene.background] for word in words(phrase)}
        assert said & grounds - {"a", "on", "in", "the"}
        assert scene.camera == "still" or any(
            does in text.lower() or doing in text.lower() for does, doing in CAMERA[scene.camera]
        )
        for thing in scene.objects:
            verbs = (*HEADS, *VERTICAL.get(thing.direction or "", ()), *DEEDS.get(thing.motion, ()))
            assert any(set(words(form)) <= said for verb in verbs for form in verb[:2])
            assert not thing.speed or said & set(SPEED[thing.speed])


def test_without_a_place_the_background_stays_unsaid() -> None:
    """And all else is said; nor is a part of a place left hanging."""
    places = {phrase for phrases in (*PLACE.values(), *GROUND.values()) for phrase in phrases}
    told = {"background", "grass", "sand", "sky", "night", "starry"}
    for seed, scene in enumerate(SCENES):
        for still in (False, True):
            text = caption(scene, seed, still=still, place=False)
            assert not set(words(text)) & told, text
            assert not any(text.lower().rstrip(".").endswith(f" {place}") for place in places), text
            for thing in scene.objects:
                assert set(COLOUR[thing.colour]) & set(words(text))
                assert set(SHAPE[thing.shape]) & set(words(text))


def test_images_say_nothing_about_time() -> None:
    for seed, scene in enumerate(SCENES[:500]):
        said = set(words(caption(scene, seed, still=True)))
        assert not said & {"moves", "moving", "slowly", "quickly", "camera", "video", "clip"}


def test_an_stands_before_vowels_only() -> None:
    for seed, scene in enumerate(SCENES):
        said = words(caption(scene, seed))
        for article, noun in pairwise(said):
            if article in ("a", "an"):
                assert (article == "an") == (noun[0] in "aeiou")


def test_the_plain_caption() -> None:
    ball = SceneObject("red", "ball", "medium", "bounces", None, "", 0.5, 0.9, 0.5, 0.0)
    star = SceneObject("orange", "star", "large", "moves", "left", "slowly", 0.5, 0.5, 0.0, 0.0)
    scene = Scene((ball,), "green grass", "still", 1)
    assert canonical_caption(scene) == "a red ball bounces on green grass"
    assert (
        canonical_caption(replace(scene, objects=(ball, star), camera="pans right"))
        == "a red ball bounces and a large orange star moves left slowly on green grass"
        " while the camera pans right"
    )
    small = replace(star, size="medium", motion="still", direction=None, speed="")
    assert (
        canonical_caption(replace(scene, objects=(small,)))
        == "an orange star stays still on green grass"
    )
