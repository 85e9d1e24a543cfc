"""Layout files: what they hold, what is refused, and `lingen layout`, which writes one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.errors import BadDataError, MissingInputError
from lingen_cli.inputs.layout_file import DrawnLayout, read_layout
from tests.cli.protocols import RunHere

BALL: dict[str, Any] = {
    "phrase": "red ball moving right",
    "path": [
        {"seconds": 0, "x": 0.1, "y": 0.5, "radius": 0.15, "angle": 0},
        {"seconds": 4, "x": 0.9, "y": 0.25, "radius": 0.15, "angle": 90},
    ],
}


def written(tmp_path: Path, value: Any) -> Path:
    path = tmp_path / "layout.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_times_are_turned_into_frames_of_the_model(tmp_path: Path) -> None:
    layout = read_layout(written(tmp_path, {"objects": [BALL]})).at_rate(16)
    (ball,) = layout.objects
    assert ball.phrase == "red ball moving right"
    assert [key.frame for key in ball.path] == [0, 64]
    middle = ball.at(32)
    assert (middle.x, middle.y, middle.angle) == pytest.approx((0.5, 0.375, 45))
    assert DrawnLayout.of(layout, 16).model_dump(mode="json") == {"objects": [BALL]}


def changed(**values: Any) -> dict[str, Any]:
    return {"objects": [BALL | values]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "not valid JSON"),
        ([], "the layout"),
        ({}, "objects: Field required"),
        ({"objects": []}, "objects: "),
        ({"objects": [BALL], "size": 1}, "size: Extra inputs"),
        (changed(phrase=""), "objects.0.phrase: Value error, phrase is empty"),
        (changed(phrase="a\u0007"), "phrase has a control character"),
        (changed(path=[]), "objects.0.path: "),
        (changed(path=BALL["path"][::-1]), "objects.0: Value error, the keyframes of a path need"),
        (changed(path=[BALL["path"][0] | {"radius": 0}]), "objects.0.path.0.radius: "),
        (changed(path=[BALL["path"][0] | {"x": "left"}]), "objects.0.path.0.x: "),
        (changed(path=[BALL["path"][0] | {"seconds": -1}]), "objects.0.path.0.seconds: "),
        ('{"objects": [{"phrase": "a", "path": [{"seconds": NaN}]}]}', "objects.0.path.0.seconds"),
        ({"objects": [BALL] * 17}, "objects: "),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(BadDataError) as caught:
        read_layout(written(tmp_path, value))
    assert message in str(caught.value)
    assert "layout.json: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        read_layout(tmp_path / "none.json")


def test_the_plan_of_a_prompt_is_printed_as_such_a_file(
    lingen_here: RunHere, tmp_path: Path
) -> None:
    prompt = "a red ball moves right and a small blue star spins on green grass"
    first, again = (lingen_here("layout", prompt, "--seed", 3, "--seconds", 2) for _ in range(2))
    assert first.returncode == 0 and first.stdout == again.stdout
    layout = read_layout(written(tmp_path, first.stdout))
    assert [one.phrase for one in layout.objects] == [
        "red ball moving right",
        "small blue star spinning in place",
    ]
    ball, star = layout.objects
    assert ball.path[0].seconds == 0 and ball.path[-1].seconds == pytest.approx(2)
    steps = [b.x - a.x for a, b in zip(ball.path, ball.path[1:], strict=False)]
    assert sum(step > 0 for step in steps) >= len(steps) - 1  # once it may come in again
    assert len({(key.x, key.y) for key in star.path}) == 1
    assert len({key.angle for key in star.path}) == len(star.path)


def test_the_middle_is_read_though_no_encoder_knows_it(lingen_here: RunHere) -> None:
    found = lingen_here("layout", "a red ball in the middle of the screen", "--seconds", 1)
    assert found.returncode == 0, found.stderr
    (ball,) = json.loads(found.stdout)["objects"]
    assert ball["phrase"] == "red ball staying still"
    assert all(abs(at[axis] - 0.5) < 0.05 for at in ball["path"] for axis in "xy")


def test_prompts_that_cannot_be_planned_are_refused(lingen_here: RunHere) -> None:
    found = lingen_here("layout", "a cat")
    assert found.returncode == 65
    assert "one or two things it knows" in found.stderr
    found = lingen_here("layout", "a red ball", "--model", "wan-1.3b")
    assert found.returncode == 2 and "plans no layouts" in found.stderr
