"""Layout words against renders, and prompts that are given a layout."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import torch

from lingen_playground import (
    canonical_caption,
    caption,
    course_of,
    natural_prompts,
    render,
    sample_scene,
    vocabulary,
)
from lingen_playground.layout import CELL, expand, layout_of, motions_of, words_of
from lingen_playground.lexicon import LAYOUT
from lingen_playground.motion import phase_at
from lingen_playground.palette import COLOURS


def split(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def test_the_words_are_in_the_vocabulary() -> None:
    assert set(LAYOUT) <= set(vocabulary())
    for seed in range(50):
        for words in layout_of(sample_scene(seed), 1.5):
            assert set(words.split()) <= set(LAYOUT)


def test_cells_are_where_the_object_is_rendered() -> None:
    checked = 0
    for seed in range(60):
        scene = sample_scene(seed, objects=1, camera="still", background="grey")
        thing = scene.objects[0]
        if thing.shape not in ("ball", "square"):
            continue
        frame = render([scene], 1, 128, start=2.0)[0, :, 0]
        color = torch.tensor(COLOURS[thing.colour]) / 127.5 - 1
        mask = (frame - color[:, None, None]).abs().amax(0) < 0.1
        lines, columns = mask.nonzero().float().mean(0).tolist()
        x, y, *_ = layout_of(scene, 2.0)[0].split()
        edge = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
        if not edge:
            assert abs(int(x[1:]) * CELL + CELL / 2 - columns) <= CELL / 2 + 1
            assert abs(int(y[1:]) * CELL + CELL / 2 - lines) <= CELL / 2 + 1
            checked += 1
    assert checked > 8


def test_phases_are_those_of_the_course() -> None:
    """A bouncing object is at its lowest at phase 0 and at its highest at one half."""
    found = 0
    for seed in range(200):
        scene = sample_scene(seed, objects=1, camera="still")
        thing = scene.objects[0]
        if thing.motion != "bounces":
            continue
        times = torch.arange(0, 4, 1 / 64, dtype=torch.float64)
        y = course_of(scene, 0, times).y
        phase = phase_at(thing, float(times[int(y.argmin())]))
        assert phase is not None
        assert 0.4 < phase < 0.6
        found += 1
    assert found > 5
    still = next(
        thing
        for seed in range(200)
        for thing in sample_scene(seed).objects
        if thing.motion == "still"
    )
    assert phase_at(still, 3.0) is None


def test_outside_counts_as_the_edge() -> None:
    thing = sample_scene(0).objects[0]
    assert words_of(thing, -20, 500, 0.0).split()[:2] == ["x0", "y15"]
    assert words_of(thing, 127.9, 8.0, 0.0).split()[:2] == ["x15", "y1"]


@pytest.mark.parametrize(("natural", "least"), [(0.0, 0.995), (1.0, 0.985)])
def test_prompts_are_read_as_they_were_meant(natural: float, least: float) -> None:
    """Motions in the order of mention; one that goes unsaid is None."""
    right = Counter[bool]()
    for seed in range(2000):
        scene = sample_scene(seed, alike=0.3)
        marks = [f"x{at}" for at in range(len(scene.objects))]
        words = split(caption(scene, seed, natural=natural, layout=marks))
        meant = [scene.objects[int(word[1:])].motion for word in words if word in marks]
        found = motions_of([word for word in words if word not in marks])
        right[
            found is not None
            and len(found) == len(meant)
            and all(one in (None, other) for one, other in zip(found, meant, strict=True))
        ] += 1
    assert right[True] / 2000 >= least


def test_plain_and_natural_prompts_are_counted() -> None:
    for seed in range(500):
        scene = sample_scene(seed, split="heldout")
        motions = [thing.motion for thing in scene.objects]
        assert motions_of(split(canonical_caption(scene))) == motions
    for said in natural_prompts():
        found = motions_of(split(said.prompt))
        assert found is not None
        assert len(found) == len(said.objects), said.prompt


def test_expanding_is_repeatable_and_fits_the_prompt() -> None:
    prompt = "a red ball bounces and a blue star spins on green grass"
    layouts = {expand(prompt, seed) for seed in range(20)}
    assert len(layouts) > 15
    for layout in layouts:
        assert re.fullmatch(re.escape(prompt) + r"( x\d+ y\d+ p[0-3]){2}", layout)
    assert expand(prompt, 3) == expand(prompt, 3)
    assert re.fullmatch(r"two red balls( x\d+ y\d+( p\d)?){2}", expand("two red balls", 1))


@pytest.mark.parametrize(
    "prompt", ["", "green grass", "three balls and a box and a star", "a red ball x3 y4"]
)
def test_other_prompts_stay_as_they_are(prompt: str) -> None:
    assert expand(prompt, 0) == prompt
