"""`lingen generate -o -`: the video on standard output, while it is sampled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from lingen_cli.media.metadata import read_recipe
from tests.cli.forked import Forked
from tests.cli.protocols import Fails, RunHere


@pytest.fixture
def command(tiny_weights: Path) -> Callable[..., list[object]]:
    """Return a function that gives a command line, with a fixed seed."""

    def build(*options: object) -> list[object]:
        start = ["generate", "a red ball", "--seed", 1, "--size", 64, "--weights", tiny_weights]
        return [*start, *options]

    return build


def images(path: str) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray() for frame in container.decode(video=0)])


@pytest.mark.parametrize(
    "length", [("--frames", 1), ("--frames", 57, "--fps", 24), ("--seconds", 70)]
)
def test_what_is_streamed_is_what_a_file_has(
    clean_environment: Path,
    command: Callable[..., list[object]],
    lingen_here: RunHere,
    length: tuple[object, ...],
) -> None:
    options = ("--steps", 2, *length)
    with Forked(*command(*options, "-o", "-")) as process:
        streamed, err = process.communicate()
    assert process.returncode == 0, err
    assert lingen_here(*command(*options, "-o", "file.mp4")).returncode == 0
    Path("streamed.mp4").write_bytes(streamed)
    assert b"moof" in streamed
    with av.open("streamed.mp4") as one, av.open("file.mp4") as other:
        rates = [source.streams.video[0].average_rate for source in (one, other)]
    assert rates[0] == rates[1]
    # A file begins a new piece every 15 s, which changes the encoding a little.
    found, whole = images("streamed.mp4").astype(int), images("file.mp4").astype(int)
    assert found.shape == whole.shape
    assert np.abs(found - whole).mean() < 1
    recipes: list[Any] = [read_recipe(Path(name)) for name in ("streamed.mp4", "file.mp4")]
    for recipe in recipes:
        recipe.pop("latents", None)
        recipe.pop("frame_hashes", None)
    assert recipes[0] == recipes[1]
    assert sorted(path.name for path in clean_environment.iterdir()) == [
        "file.mp4",
        "streamed.mp4",
    ]


def test_it_begins_before_the_end(
    clean_environment: Path, command: Callable[..., list[object]]
) -> None:
    options = ("--steps", 5, "--seconds", 180, "-o", "-", "--events", "events.jsonl")
    with Forked(*command(*options)) as process:
        first = process.stdout.read(20_000)
        events = Path("events.jsonl").read_text(encoding="utf-8").splitlines()
        data = first + process.stdout.read()
    assert process.returncode == 0
    last = json.loads(events[-1])
    assert (last["event"], last["phase"]) == ("progress", "sample")
    assert last["done"] < last["total"]
    end = json.loads(Path("events.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert (end["output"], end["frames"]) == ("-", 2880)
    assert end["sha256"] == hashlib.sha256(data).hexdigest()


def test_a_reader_that_goes_away(
    clean_environment: Path, command: Callable[..., list[object]]
) -> None:
    options = command("--steps", 2, "--seconds", 120, "-o", "-")
    with Forked(*options) as process:
        process.stdout.read(5000)
        process.stdout.close()
        _, err = process.communicate()
    assert process.returncode == 74
    assert [line for line in err.splitlines() if "error" in line] == [
        "lingen: error: cannot write to standard output: its reader went away"
    ]


def test_events_need_another_place(
    lingen_here: RunHere, fails: Fails, command: Callable[..., list[object]]
) -> None:
    result = lingen_here(*command("-o", "-", "--json"))
    assert result.returncode == 2
    assert "put the events into a file" in result.stderr


@pytest.mark.parametrize("name", ["extend", "rerun"])
def test_only_new_videos_are_streamed(
    lingen_here: RunHere, fails: Fails, command: Callable[..., list[object]], name: str
) -> None:
    assert lingen_here(*command("--frames", 9, "--steps", 1, "-o", "a.mp4")).returncode == 0
    fails(lingen_here(name, "a.mp4", "-o", "-"), 2, "only `lingen generate`")
