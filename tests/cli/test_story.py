"""Stories: what a file of shots may say, what is wrong and where, and the video it makes."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from lingen_cli.inputs.story import StoryError, read_story, subtitles
from lingen_cli.requests.edits import Added
from lingen_cli.requests.recipe import recipe_from_video
from tests.cli.protocols import Fails, RunHere

STORY = """
[[shot]]
prompt = "a red ball"
seconds = 1

[[shot]]
prompt = "a ball"
to = "0:02.5"
transition = "cut"

[[shot]]
from = "2.5s"
to = 3
prompt = "red"
"""


@pytest.fixture
def story(clean_environment: Path) -> Callable[..., Path]:
    """Write a story and return its path."""

    def write(text: str = STORY) -> Path:
        path = Path("story.toml")
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_shots_follow_each_other(story: Callable[..., Path]) -> None:
    shots = read_story(story())
    assert [(shot.begin, shot.end) for shot in shots] == [
        (0, 1),
        (1, Fraction(5, 2)),
        (Fraction(5, 2), 3),
    ]
    assert [shot.cut for shot in shots] == [False, True, False]
    assert [shot.line for shot in shots] == [2, 6, 11]


def test_cut_can_be_the_rule(story: Callable[..., Path]) -> None:
    shots = read_story(story('transition = "cut"\n' + STORY))
    assert [shot.cut for shot in shots] == [False, True, True]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("# nothing", ["story.toml:1: shot: is missing"]),
        ("shot = []", ["story.toml:1: a story has at least one"]),
        ("[[shot]\n", ["story.toml:1: not valid TOML"]),
        ("shot = 3\n", ["story.toml:1: shot"]),
        ('[[shot]]\nprompt = "a"\n', ["story.toml:2: shot 1: has no length"]),
        ('[[shot]]\nprompt = " "\nseconds = 1\n', ["story.toml:2: shot 1: prompt is empty"]),
        ('[[shot]]\nprompt = "a"\nseconds = 0\n', ["story.toml:3: shot 1: seconds"]),
        ('[[shot]]\nprompt = "a"\nseconds = nan\n', ["story.toml:3: shot 1: seconds"]),
        ('[[shot]]\nprompt = "a"\nto = "x"\n', ["story.toml:3: shot 1: to must be a time"]),
        (
            '[[shot]]\nprompt = "a"\nend = 3\n',
            ["story.toml:3: shot 1: end: unknown key; known: prompt, seconds, from, to"],
        ),
        (STORY + "speed = 2\n", ["story.toml:15: shot 3: speed: unknown key; "]),
        (
            STORY.replace("2.5s", "2"),
            ["story.toml:12: shot 3: begins at 2 s, the shot before ends at 2.5 s: an overlap"],
        ),
        (
            STORY.replace("2.5s", "2.75"),
            ["story.toml:12: shot 3: begins at 2.75 s, the shot before ends at 2.5 s: a gap"],
        ),
        (STORY.replace("to = 3", "to = 2"), ["story.toml:13: shot 3: ends at 2 s, before"]),
        (STORY + "seconds = 1\n", ["story.toml:15: shot 3: 1 s from 2.5 s do not end at 3 s"]),
        ("seconds = 4\n" + STORY, ["story.toml:1: the shots last 3 s, not 4 s"]),
        (
            STORY.replace("to = 3", 'to = "2h"'),
            ["story.toml:1: the shots last 7200 s, at most 3600"],
        ),
    ],
)
def test_problems_are_named_with_their_line(
    story: Callable[..., Path], text: str, problems: list[str]
) -> None:
    path = story(text)
    with pytest.raises(StoryError) as found:
        read_story(path)
    assert len(found.value.problems) == len(problems)
    for line, expected in zip(found.value.problems, problems, strict=True):
        assert line.startswith(expected)


def test_several_problems_at_once(
    story: Callable[..., Path], lingen_here: RunHere, fails: Fails
) -> None:
    path = story(
        STORY.replace("2.5s", "2").replace("seconds = 1", "seconds = 0.5").replace('"red"', '""')
    )
    result = lingen_here("story", "check", path)
    assert result.returncode == 65
    assert "story.toml:14: shot 3: prompt is empty" in result.stderr
    fails(lingen_here("generate", "--story", path), 65, "(and 1 more: lingen story check)")


@pytest.mark.parametrize(("content", "line"), [(b"\xff\n", 1), (b"# a\n# b\n\xff", 3)])
def test_no_text(
    clean_environment: Path, lingen_here: RunHere, fails: Fails, content: bytes, line: int
) -> None:
    Path("story.toml").write_bytes(content)
    fails(lingen_here("story", "check", "story.toml"), 65, f"story.toml:{line}: not valid UTF-8")


def test_check_prints_the_shots_and_names_unknown_words(
    story: Callable[..., Path], lingen_here: RunHere
) -> None:
    path = story(STORY.replace('"a ball"', '"a zebra"'))
    result = lingen_here("story", "check", path)
    assert result.returncode == 0
    assert "story.toml:6: lingen-mini does not know 'zebra'" in result.stderr
    assert [line.split()[:3] for line in result.stdout.splitlines()] == [
        ["SHOT", "FROM", "TO"],
        ["1", "0.00", "1.00"],
        ["2", "1.00", "2.50"],
        ["3", "2.50", "3.00"],
    ]
    record = json.loads(lingen_here("story", "check", path, "--json").stdout)
    assert record["unknown_words"] == 1
    assert record["shots"][1]["cut"] is True


@pytest.mark.parametrize(
    "options", [("a ball",), ("--seconds", "3"), ("--minutes", "1"), ("--frames", "3")]
)
def test_a_story_says_it_all(
    story: Callable[..., Path], lingen_here: RunHere, fails: Fails, options: tuple[str, ...]
) -> None:
    fails(lingen_here("generate", "--story", story(), *options), 2, "--story says")


def test_neither_prompt_nor_story(lingen_here: RunHere, fails: Fails) -> None:
    fails(lingen_here("generate"), 2, "a PROMPT, or --story FILE")


def test_a_story_becomes_a_video(
    story: Callable[..., Path], lingen_here: RunHere, tiny_weights: Path, fails: Fails
) -> None:
    small = ("--size", "32", "--steps", "1", "--seed", "3", "--weights", tiny_weights)
    result = lingen_here("generate", "--story", story(), *small)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "story.mp4\n"
    recipe = recipe_from_video(Path("story.mp4"))
    assert (recipe.prompt, recipe.frames) == ("a red ball", 16)
    added = [edit for edit in recipe.edits if isinstance(edit, Added)]
    assert len(added) == len(recipe.edits)
    assert [(edit.prompt, edit.frames, edit.cut) for edit in added] == [
        ("a ball", 24, True),
        ("red", 8, False),
    ]
    with av.open("story.mp4") as container:
        assert container.streams.video[0].frames == 48
        marks: list[Any] = list(container.chapters())
        chapters = [
            (
                one["metadata"]["title"],
                one["start"] * one["time_base"],
                one["end"] * one["time_base"],
            )
            for one in marks
        ]
    assert chapters == [("a red ball", 0, 1), ("a ball", 1, 2.5), ("red", 2.5, 3)]
    assert Path("story.srt").read_text() == (
        "1\n00:00:00,000 --> 00:00:01,000\na red ball\n\n"
        "2\n00:00:01,000 --> 00:00:02,500\na ball\n\n"
        "3\n00:00:02,500 --> 00:00:03,000\nred\n"
    )
    assert lingen_here("rerun", "story.mp4", "-o", "again.mp4").returncode == 0
    assert Path("again.mp4").read_bytes() == Path("story.mp4").read_bytes()
    Path("story.mp4").unlink()
    assert lingen_here("generate", "--story", "story.toml", *small).stdout == "story-2.mp4\n"
    Path("story.srt").write_text("mine")
    named = lingen_here("generate", "--story", "story.toml", *small, "-o", "story.mp4")
    fails(named, 73, "story.srt")


def test_clock() -> None:
    assert subtitles([(Fraction(3599), Fraction(36001, 10), "x")]) == (
        "1\n00:59:59,000 --> 01:00:00,100\nx\n"
    )
