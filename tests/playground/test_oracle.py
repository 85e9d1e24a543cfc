"""The oracle: right about real renders, also soft ones, and not about other scenes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lingen_models.networks.word_encoder import known_form, split_words
from lingen_playground import (
    Said,
    SaidObject,
    Scene,
    SceneObject,
    as_frames,
    combinations,
    consistency,
    judge,
    judge_said,
    measure,
    natural_prompts,
    render,
    sample_scene,
    vocabulary,
)
from lingen_playground.scenes.palette import (
    BACKGROUNDS,
    COLORS,
    DIRECTIONS,
    MOTIONS,
    SHAPES,
    SIZES,
    UNSPINNABLE,
    distinct,
    visible,
)
from lingen_playground.scenes.shapes import BOUND

ATTRIBUTES = ("color", "background", "direction", "shape", "size", "motion", "count")


def film(scene: Scene, seconds: float = 3, start: float = 0.0, *, size: int = 96) -> torch.Tensor:
    return as_frames(render([scene], int(16 * seconds), size, start=start)[0])


def failures(video: torch.Tensor, scene: Scene) -> list[str]:
    verdict = judge(video, scene)
    return [name for name in ATTRIBUTES if getattr(verdict, name) is False]


def alone(**changes: object) -> Scene:
    plain = SceneObject("red", "ball", "medium", "moves", "left", "", 0.6, 0.5, 0.0, 0.0)
    return Scene((replace(plain, **changes),), "white", "still", 1)  # type: ignore[arg-type]


def test_real_renders_pass() -> None:
    scenes = [sample_scene(seed, split="heldout") for seed in range(100, 108)]
    wrong = [failures(film(scene), scene) for scene in scenes]
    assert sum("motion" in names for names in wrong) <= 1
    assert not any(set(names) - {"motion"} for names in wrong), wrong


def test_every_shape_and_color_is_known_in_a_still() -> None:
    colors = tuple(COLORS)
    for index, shape in enumerate(SHAPES * 2):
        color = colors[index % len(colors)]
        ground = next(name for name in BACKGROUNDS if visible(color, name))
        scene = replace(alone(shape=shape, color=color, x=0.5), background=ground)
        (seen,) = measure(as_frames(render([scene], 1, 64)[0])).objects
        assert (seen.shape, seen.color, seen.size) == (shape, color, "medium")


def test_soft_and_noisy_video_passes() -> None:
    scene = alone(shape="star", x=0.5)
    clip = render([scene], 32, 128)[0].permute(1, 0, 2, 3)
    soft = F.interpolate(F.interpolate(clip, size=52, mode="area"), size=128, mode="bilinear")
    noise = torch.randn(soft.shape, generator=torch.Generator().manual_seed(1))
    video = as_frames((0.95 * soft + 0.05 * noise).permute(1, 0, 2, 3))
    assert failures(video, scene) == []


@pytest.mark.parametrize(
    ("attribute", "asked"),
    [
        ("color", {"color": "orange"}),
        ("shape", {"shape": "square"}),
        ("shape", {"shape": "ring"}),
        ("size", {"size": "small"}),
        ("size", {"size": "large"}),
        ("direction", {"direction": "right"}),
        ("direction", {"direction": "up"}),
    ],
)
def test_what_was_not_asked_for_fails(attribute: str, asked: dict[str, str]) -> None:
    assert failures(film(alone()), alone(**asked)) == [attribute]


def test_another_motion_or_background_fails() -> None:
    video = film(alone())
    assert "motion" in failures(video, alone(motion="still", direction=None))
    assert failures(video, replace(alone(), background="yellow sand")) == ["background"]


def test_nothing_asked_no_direction_judged() -> None:
    scene = alone(motion="still", direction=None)
    assert judge(film(scene), scene).direction is None


def test_an_empty_or_torn_video_is_no_object() -> None:
    empty = torch.full((8, 64, 64, 3), 250, dtype=torch.uint8)
    seen = {"color", "direction", "shape", "size", "motion", "count"}
    assert set(failures(empty, alone())) == seen
    torn = empty.clone()
    torn[:, 28:36, 4:60] = torch.tensor(COLORS["red"], dtype=torch.uint8)
    assert "shape" in failures(torn, alone())


def test_both_objects_must_be_right() -> None:
    scene = sample_scene(8, objects=2)
    first, second = scene.objects
    wrong = next(name for name in SHAPES if name not in (first.shape, second.shape))
    asked = replace(scene, objects=(first, replace(second, shape=wrong)))
    assert "shape" in failures(film(scene), asked)


def beside(scene: Scene, **changes: object) -> Scene:
    """A scene of one object with another below it."""
    (obj,) = scene.objects
    above, below = replace(obj, y=0.25), replace(obj, y=0.75)
    return replace(scene, objects=(above, replace(below, **changes)))  # type: ignore[arg-type]


def test_an_object_that_appears_twice_is_one_too_many() -> None:
    double = film(beside(alone(shape="star")))
    assert "count" in failures(double, alone(shape="star", y=0.25))
    assert "count" in failures(film(alone()), beside(alone(), color="blue"))
    third = beside(alone(size="small"), color="blue")
    extra = replace(
        third, objects=(*third.objects, replace(third.objects[0], color="green", y=0.5))
    )
    assert "count" in failures(film(extra), third)


def test_two_of_one_color_are_told_apart_by_their_place() -> None:
    scene = beside(alone(size="small"), size="medium", direction="right", shape="star")
    video = film(scene)
    assert failures(video, scene) == []
    swapped = replace(scene, objects=scene.objects[::-1])
    assert failures(video, swapped) == []
    one, other = scene.objects
    wrong = replace(scene, objects=(one, replace(other, shape="square")))
    assert failures(video, wrong) == ["shape"]
    assert failures(video, beside(alone(size="small"))) == ["direction", "shape", "size"]
    assert failures(video, replace(scene, objects=(one, replace(other, color="blue")))) != []


def test_twins_are_judged_like_others() -> None:
    scenes = [sample_scene(seed, split="all", objects=2, alike=1.0) for seed in range(200)]
    twins = [scene for scene in scenes if len({one.color for one in scene.objects}) == 1][:8]
    assert [failures(film(scene, size=128), scene) for scene in twins] == [[]] * 8


def scene_of(said: Said, seed: int = 0) -> Scene:
    """A scene of which all is true that a prompt says."""
    both = len(said.objects) == 2
    deeds = {(one.motion, one.direction) for one in said.objects}
    ground = said.background or next(
        name
        for name in BACKGROUNDS
        if all(one.color is None or visible(one.color, name) for one in said.objects)
    )
    for number in range(seed, seed + 20_000):
        scene = sample_scene(
            number,
            split="all",
            objects=len(said.objects),
            background=ground,
            camera="still",
            alike=1.0 if both and len(deeds) == 1 else 0.0,
        )
        objects = tuple(
            replace(
                obj,
                color=one.color or obj.color,
                shape=one.shape or obj.shape,
                size=one.size or obj.size,
            )
            for obj, one in zip(scene.objects, said.objects, strict=True)
        )
        deeds_there = {(obj.motion, obj.direction) for obj in objects}
        told = all(
            one.motion in (None, obj.motion) and one.direction in (None, obj.direction)
            for obj, one in zip(objects, said.objects, strict=True)
        )
        seen = all(visible(obj.color, ground) for obj in objects)
        colors = {obj.color for obj in objects}
        apart = len(colors) < 2 or distinct(*colors)
        roomy = all(BOUND[obj.shape] * obj.radius < (0.2 if both else 0.34) for obj in objects)
        wide = both and {"circles", "zigzags"} & {deed for deed, _ in deeds_there}
        spun = any(one.motion == "spins" and one.shape in UNSPINNABLE for one in objects)
        if told and seen and apart and roomy and not wide and not spun:
            return replace(scene, objects=objects)
    raise AssertionError(said)


def said_failures(video: torch.Tensor, said: Said) -> list[str]:
    verdict = judge_said(video, said)
    marks = ("color", "shape", "size", "motion", "direction", "background")
    return [name for name in (*marks, "one_background", "count") if getattr(verdict, name) is False]


def test_the_natural_prompts() -> None:
    listed = natural_prompts()
    assert len(listed) == len({said.prompt for said in listed}) == 60
    known = {word for said in listed for word in split_words(said.prompt)}
    assert {word for word in known if known_form(word, vocabulary()) is None} == set()
    one = [said.objects[0] for said in listed if len(said.objects) == 1]
    full = {(x.color, x.shape, f"moves {x.direction}" if x.direction else x.motion) for x in one}
    assert len(full & set(combinations())) >= 20
    for said in listed:
        assert said.background in (None, *BACKGROUNDS)
        for obj in said.objects:
            assert not said.background or visible(obj.color or "red", said.background)
            for value, names in (
                (obj.color, COLORS),
                (obj.shape, SHAPES),
                (obj.size, SIZES),
                (obj.motion, MOTIONS),
                (obj.direction, DIRECTIONS),
            ):
                assert value is None or value in names


@pytest.mark.parametrize("said", natural_prompts()[::5], ids=lambda said: said.prompt)
def test_real_renders_do_what_prompts_say(said: Said) -> None:
    assert said_failures(film(scene_of(said), size=128), said) == []


def test_what_prompts_say_is_asked_for_and_nothing_else() -> None:
    video = film(alone())
    red = SaidObject(color="red")
    for said, wrong in (
        (Said("", (red,)), []),
        (Said("", (SaidObject(),), "white"), []),
        (Said("", (SaidObject(color="blue"),), "white"), ["color"]),
        (Said("", (SaidObject(shape="star"),), "black"), ["shape", "background"]),
        (Said("", (SaidObject(size="large"),)), ["size"]),
        (Said("", (SaidObject(motion="bounces"),)), ["motion"]),
        (Said("", (SaidObject("red", "ball", "medium", "moves", "up"),)), ["direction"]),
        (Said("", (red, red)), ["color", "count"]),
        (Said("", (SaidObject(), SaidObject())), ["count"]),
    ):
        assert said_failures(video, said) == wrong, said
    verdict = judge_said(video, Said("", (red,)))
    assert verdict.color is True
    assert (verdict.shape, verdict.motion, verdict.background) == (None, None, None)


def test_two_of_which_only_some_is_said() -> None:
    video = film(beside(alone(size="small"), color="blue", shape="star", direction="right"))
    star, red = SaidObject(shape="star"), SaidObject(color="red")
    assert said_failures(video, Said("", (star, red))) == []
    assert said_failures(video, Said("", (red, star))) == []
    assert said_failures(video, Said("", (star, star))) == ["shape"]
    assert said_failures(video, Said("", (SaidObject("red", "star"), star))) == ["shape"]
    assert said_failures(video, Said("", (star,))) in (["shape", "count"], ["count"])


def test_two_backgrounds_are_not_one() -> None:
    grass = film(replace(alone(size="small"), background="green grass"))
    sand = film(replace(alone(size="small"), background="yellow sand"))
    halves = torch.cat((grass[:, :, :48], sand[:, :, 48:]), dim=2)
    said = Said("", (SaidObject(color="red"),))
    assert "one_background" in said_failures(halves, said)
    assert said_failures(grass, said) == []
    then = torch.cat((grass[:24], sand[24:]))
    assert "one_background" in said_failures(then, said)
    strange = grass.clone()
    strange[:, :, ::2] = torch.tensor((200, 0, 255), dtype=torch.uint8)
    assert "one_background" in said_failures(strange, said)


def test_consistency_over_a_minute() -> None:
    scene = alone(motion="circles", direction=None, reach=0.2, x=0.5)
    other = replace(scene, objects=(replace(scene.objects[0], color="blue", size="large"),))
    first = film(scene, 2)
    same = consistency(first, film(scene, 2, start=58), scene)
    assert same.color and same.size
    changed = consistency(first, film(other, 2, start=58), scene)
    assert not changed.color and not changed.size


def test_floats_and_bytes_measure_alike() -> None:
    clip = render([alone()], 8, 96)[0]
    assert (
        measure(clip.permute(1, 2, 3, 0)).objects[0].shape
        == measure(as_frames(clip)).objects[0].shape
    )
    with pytest.raises(ValueError, match=r"\(T, H, W, 3\)"):
        measure(clip)
