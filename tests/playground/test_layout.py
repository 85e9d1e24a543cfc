"""Plans of layouts: scenes that show what a prompt says, and where their objects are."""

from __future__ import annotations

import pytest
import torch

from lingen_playground import (
    Said,
    SaidObject,
    as_frames,
    canonical_caption,
    course_of,
    natural_prompts,
    read_prompt,
    render,
    sample_scene,
    scene_for,
)
from lingen_playground.layout_planner import Place, PlannedObject, places_in, plan_objects
from lingen_playground.scenes.palette import COLORS, visible

PROMPT = "a large red ball bounces quickly and a blue star moves left on green grass"


def test_a_scene_shows_what_is_said() -> None:
    asked = [
        said
        for seed in range(150)
        if (said := read_prompt(canonical_caption(sample_scene(seed, split="heldout"))))
    ]
    for said in (*asked, *natural_prompts()):
        for seed in range(3):
            scene = scene_for(said, seed)
            assert scene.camera == (said.camera or "still")
            assert said.background in (None, scene.background)
            for one, obj in zip(said.objects, scene.objects, strict=True):
                for name in ("color", "shape", "size", "motion", "direction", "speed"):
                    assert getattr(one, name) in (None, getattr(obj, name)), said.prompt
                if one.color is None:
                    assert visible(obj.color, scene.background)


def test_what_goes_unsaid_is_usual() -> None:
    said = Said("a ball and a star", (SaidObject(shape="ball"), SaidObject(shape="star")))
    scenes = [scene_for(said, seed) for seed in range(60)]
    objects = [obj for scene in scenes for obj in scene.objects]
    assert {obj.size for obj in objects} == {"medium"}
    assert {obj.speed for obj in objects} == {""}
    assert {scene.camera for scene in scenes} == {"still"}
    assert len({obj.motion for obj in objects}) == 7
    assert len({obj.color for obj in objects}) == 9
    assert len({scene.background for scene in scenes}) == 7
    assert all(obj.motion != "spins" for obj in objects if obj.shape == "ball")


@pytest.mark.parametrize(
    ("prompt", "axis"),
    [
        ("a red ball above a blue square", 1),
        ("a blue square below a red ball", 1),
        ("a red ball spins to the left of a blue square that bounces", 0),
        ("a blue square on the right of a red ball", 0),
        ("a red ball next to a blue square", 0),
        ("a red ball on the left and a blue square on the right", 0),
    ],
)
def test_objects_are_where_a_prompt_says(prompt: str, axis: int) -> None:
    for seed in range(20):
        planned = plan_objects(prompt, seed, [0.0, 20.0, 60.0])
        assert planned is not None
        places = {one.phrase.split()[0]: one.discs[:, axis] for one in planned.objects}
        assert (places["red"] < places["blue"]).all()


def test_an_object_begins_at_the_side_that_a_prompt_names() -> None:
    for seed in range(20):
        planned = plan_objects("a small star in the lower left corner", seed, [0.0, 60.0])
        assert planned is not None and planned.objects[0].phrase.endswith("staying still")
        x, y = planned.objects[0].discs[:, 0], planned.objects[0].discs[:, 1]
        assert (x < 0.5).all() and (y > 0.5).all()
        (ball,) = plan_objects("a ball on the right moves left", seed, [0.0]).objects  # type: ignore[union-attr]
        assert float(ball.discs[0, 0]) > 0.5 and ball.phrase.endswith("moving left")


@pytest.mark.parametrize(
    ("prompt", "middle"),
    [
        ("a red ball in the middle of the frame", (0, 1)),
        ("a large red ball spins at the center", (0, 1)),
        ("a red ball circles in the centre", (0, 1)),
        ("a red ball in the bottom middle", (0,)),
        ("a red ball moves left in the middle", (1,)),
        ("a red ball in the middle and a blue star on the left", (0, 1)),
        ("a blue star and a red ball in the middle", (0, 1)),
        ("a blue star on the right and a red ball in the middle", (0, 1)),
        ("a blue ball at the bottom and a red star in the middle", (0, 1)),
    ],
)
def test_what_is_in_the_middle_stays_there_alone(prompt: str, middle: tuple[int, ...]) -> None:
    for seed in range(20):
        planned = plan_objects(prompt, seed, [float(time) for time in range(0, 90, 3)])
        assert planned is not None
        for one in planned.objects:
            places = one.discs[:, :2].mean(0)
            if "red" in one.phrase:
                for axis in middle:
                    assert abs(float(places[axis]) - 0.5) < 0.1, (seed, places)
            if one.phrase.endswith("still"):
                assert 0.1 < float(one.discs[:, :2].min()) <= float(one.discs[:, :2].max()) < 0.9
        if len(planned.objects) == 2:
            red, blue = (obj.discs for obj in planned.objects)
            apart = (red[:, :2] - blue[:, :2]).norm(dim=1)
            assert (apart > 0.9 * (red[:, 2] + blue[:, 2])).all()


def test_two_in_the_middle_stand_side_by_side() -> None:
    planned = plan_objects("two balls in the middle", 3, [0.0, 40.0])
    assert planned is not None
    one, other = (obj.discs for obj in planned.objects)
    assert ((one[:, :2] - other[:, :2]).norm(dim=1) > one[:, 2] + other[:, 2]).all()
    assert abs(float(one[0, 0] + other[0, 0]) / 2 - 0.5) < 0.1


def test_plans_follow_the_courses_of_a_scene() -> None:
    said = read_prompt(PROMPT)
    assert said is not None
    scene = scene_for(said, 5)
    planned = plan_objects(PROMPT, 5, [0.0, 4.5, 160.5])
    assert planned is not None
    assert [one.phrase for one in planned.objects] == [
        "large red ball bouncing quickly",
        "blue star moving left",
    ]
    times = torch.tensor([0.0, 4.5, 160.5], dtype=torch.float64) / 16
    for layer, one in enumerate(planned.objects):
        course = course_of(scene, layer, times)
        torch.testing.assert_close(
            one.discs, torch.stack((course.x, course.y, course.radius, course.angle), -1)
        )


def test_plans_are_repeatable_and_differ_by_seed() -> None:
    first, again = (plan_objects(PROMPT, 1, [0.0, 4.5]) for _ in range(2))
    assert first is not None and again is not None
    for one, other in zip(first.objects, again.objects, strict=True):
        torch.testing.assert_close(one.discs, other.discs)
    places = set()
    for seed in range(20):
        planned = plan_objects(PROMPT, seed, [0.0])
        assert planned is not None
        places.add(tuple(planned.objects[0].discs[0].tolist()))
    assert len(places) > 15
    longer = plan_objects(PROMPT, 1, [0.0, 4.5, 12.5])
    assert longer is not None
    torch.testing.assert_close(longer.objects[1].discs[:2], first.objects[1].discs)


def test_what_is_described_alike_goes_on_from_its_place() -> None:
    """A red ball that bounced at the left now moves: from there, and in the end on a straight way.
    The star is new, and on its own way from the first."""
    frames = [12.5 + 8 * number for number in range(9)]
    prompt = "a red ball moves down and a blue star spins"
    before = [Place("red ball bouncing", 0.2, 0.4, 0.18)]
    planned = plan_objects(prompt, 4, frames, before)
    assert planned is not None
    ball, star = planned.objects
    assert planned.prompt == prompt
    torch.testing.assert_close(ball.discs[0, :2], torch.tensor([0.2, 0.4], dtype=torch.float64))
    torch.testing.assert_close(ball.discs[:, 2], torch.full((9,), 0.18, dtype=torch.float64))
    steps = ball.discs[4:, :2].diff(dim=0)
    assert steps[:, 0].abs().max() < 1e-9
    assert star.discs[:, :2].diff(dim=0).abs().max() < 1e-9
    alone = plan_objects(prompt, 4, frames)
    assert alone is not None and not torch.equal(alone.objects[0].discs, ball.discs)


def test_objects_are_found_in_an_image() -> None:
    found = 0
    for seed in range(40):
        scene = sample_scene(seed, camera="still")
        image = as_frames(render([scene], 1, 128)[0])[0]
        places = {one.phrase: one for one in places_in(image)}
        for layer, obj in enumerate(scene.objects):
            course = course_of(scene, layer, torch.zeros(1, dtype=torch.float64))
            x, y, radius = (float(one[0]) for one in (course.x, course.y, course.radius))
            inside = all(radius * 1.4 < at < 1 - radius * 1.4 for at in (x, y))
            place = places.get(f"{obj.color} {obj.shape}")
            if not inside or place is None:
                continue
            assert abs(place.x - x) < 0.02 and abs(place.y - y) < 0.02
            assert abs(place.radius - radius) < 0.015
            found += 1
    assert found > 30


def test_a_background_that_goes_unsaid_is_added_to_the_prompt() -> None:
    for seed in range(10):
        planned = plan_objects("A red ball bounces!", seed, [0.0])
        assert planned is not None
        said = read_prompt(planned.prompt)
        assert said is not None and said.background is not None
        assert said.background == scene_for(Said("", said.objects), seed).background
        assert planned.prompt.startswith("A red ball bounces ")
    planned = plan_objects(PROMPT, 1, [0.0])
    assert planned is not None and planned.prompt == PROMPT


def test_other_prompts_have_no_plan() -> None:
    for prompt in ("", "green grass", "three balls, a box and a star"):
        assert plan_objects(prompt, 0, [0.0]) is None


def test_a_word_of_no_caption_stands_in_the_phrase_for_the_color() -> None:
    frames = [0.0, 8.0]
    (brown,) = planned_for("a large brown ball moves left", frames)
    assert brown.phrase == "large brown ball moving left"
    (both,) = planned_for("a shiny red ball moves left", frames)
    assert both.phrase == "shiny red ball moving left"
    plan = plan_objects("a large brown ball moves left", 3, frames, ignored={"brown"})
    assert plan is not None
    color = plan.objects[0].phrase.split()[1]
    assert color in COLORS
    assert torch.equal(plan.objects[0].discs, brown.discs)


def planned_for(prompt: str, frames: list[float]) -> tuple[PlannedObject, ...]:
    plan = plan_objects(prompt, 3, frames)
    assert plan is not None
    return plan.objects


def test_an_object_of_a_new_color_goes_on_from_its_place() -> None:
    (first,) = planned_for("a brown ball moves left", [0.0])
    x, y, radius, _ = first.discs[0].tolist()
    place = Place(first.phrase, x, y, radius)
    plan = plan_objects("a brown ball moves right", 9, [0.0, 8.0], [place])
    assert plan is not None
    assert plan.objects[0].discs[0, :3].tolist() == pytest.approx([x, y, radius])
