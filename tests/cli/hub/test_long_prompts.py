"""Prompts of several lines and many characters: as they are for models from elsewhere."""

import csv
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.protocols import Fails, RunHere

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("diffusers") is None,
        reason="needs diffusers: pip install 'lingen[hub]'",
    ),
    # What diffusers 0.42 does with numpy 2 in its schedulers warns of later versions.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]
WISH = ("--size", "32", "--frames", "5", "--steps", "2", "--seed", "3")
LINES = '{"scene": "a red cat runs",\r\n\n\t"then": "it sleeps"}\n'
LONG = ("a red cat runs\n" * 1000)[:10_000]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Prompts that a pipeline was called with."""
    import diffusers

    prompts: list[str] = []
    encode = diffusers.WanPipeline.encode_prompt

    def told(self: Any, prompt: Any, *more: Any, **named: Any) -> Any:
        prompts.append(prompt)
        return encode(self, prompt, *more, **named)

    monkeypatch.setattr(diffusers.WanPipeline, "encode_prompt", told)
    return prompts


def recipe_of(name: object) -> Any:
    from lingen_cli.requests.recipe import recipe_from_video

    return recipe_from_video(Path(str(name)))


@pytest.mark.parametrize("prompt", [LINES, LONG], ids=["lines", "long"])
def test_they_are_kept_exactly(
    hub: RunHere, twin: Callable[[str], Path], read: list[str], prompt: str
) -> None:
    start = ("generate", prompt, "--model", twin("wan"), *WISH)
    result = hub(*start, "--negative", "blurry\ndark", "-o", "v.mp4")
    assert result.returncode == 0, result.stderr
    recipe = recipe_of("v.mp4")
    assert recipe.prompt == prompt == read[-1]
    assert recipe.sampling.negative_prompt == "blurry\ndark"
    assert hub("rerun", "v.mp4", "-o", "again.mp4").returncode == 0
    assert read[-1] == prompt
    assert Path("again.mp4").read_bytes() == Path("v.mp4").read_bytes()
    assert hub("verify", "v.mp4").returncode == 0
    shown = hub("show", "v.mp4")
    assert shown.returncode == 0 and "\\n" in shown.stdout


def test_lists_keep_them_exactly(hub: RunHere, twin: Callable[[str], Path]) -> None:
    line = {"model": str(twin("wan")), "size": "32", "frames": "5", "steps": "2", "seed": "3"}
    Path("one.jsonl").write_text(json.dumps(line | {"prompt": LINES}) + "\n")
    with open("two.csv", "w", newline="") as file:
        rows = csv.DictWriter(file, ["prompt", *line])
        rows.writeheader()
        rows.writerow(line | {"prompt": LINES})
    Path("three.jsonl").write_text(json.dumps(line | {"prompt": "ü" * 10_000}) + "\n")
    text = LINES.replace("\r\n", "\n")  # line ends of a text file are one
    for name, prompt in (("one.jsonl", LINES), ("two.csv", text), ("three.jsonl", "ü" * 10_000)):
        folder = Path(name).stem
        result = hub("batch", name, "-o", folder)
        assert result.returncode == 0, result.stderr
        (video,) = Path(folder).glob("*.mp4")
        assert recipe_of(video).prompt == prompt


def test_stories_keep_them_and_their_subtitles_have_a_line(
    hub: RunHere, tiny_skyreels: Path, fails: Fails
) -> None:
    shots = [("a red cat\n\nruns", 0.2), (LONG, 0.2)]
    text = "".join(
        f"[[shot]]\nprompt = {json.dumps(prompt)}\nseconds = {seconds}\n\n"
        for prompt, seconds in shots
    )
    Path("story.toml").write_text(text)
    start = ("generate", "--story", "story.toml", "--size", "32", "--steps", "2", "--seed", "3")
    skyreels = ("--model", "skyreels-v2-1.3b", "--weights", tiny_skyreels, "--accept-license")
    result = hub(*start, *skyreels, "-o", "v.mp4")
    assert result.returncode == 0, result.stderr
    recipe = recipe_of("v.mp4")
    assert [recipe.prompt, *(one.prompt for one in recipe.edits)] == [shots[0][0], LONG]
    blocks = Path("v.srt").read_text().strip().split("\n\n")
    assert [len(one.splitlines()) for one in blocks] == [3, 3]
    assert blocks[0].splitlines()[2] == "a red cat runs"
    assert hub("story", "check", "story.toml").returncode == 0
    result = hub(*start, "-o", "w.mp4")
    fails(result, 2, "line 5 of the story: prompt has 9999 characters; at most 2000 are read")


def test_limits(hub: RunHere, twin: Callable[[str], Path], fails: Fails) -> None:
    wan = ("--model", twin("wan"), *WISH, "-o", "v.mp4")
    fails(hub("generate", "x" * 10_001, *wan), 2, "has 10001 characters; at most 10000 are read")
    fails(hub("generate", "a cat\x1b", *wan), 2, "control character (U+001B) at position 6")
    fails(hub("generate", "a", "--negative", "x" * 2001), 2, "--negative has 2001 characters")
    fails(hub("generate", LONG), 2, "prompt has 9999 characters; at most 2000 are read")
    story = "".join(
        f"[[shot]]\nprompt = {json.dumps('ü' * 9999)}\nseconds = 1\n" for _ in range(12)
    )
    Path("story.toml").write_text(story)
    given = ("generate", "--story", "story.toml", "--model", "skyreels-v2-1.3b")
    fails(hub(*given), 2, "the prompts of 12 parts take", "characters of the recipe")
