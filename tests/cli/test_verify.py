"""`lingen verify`: a video against the hashes of its frames."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import av
import pytest

from lingen_cli.media.metadata import read_recipe
from tests.cli.protocols import Fails, RunHere


@pytest.fixture
def video(clean_environment: Path, lingen_here: RunHere, tiny_weights: Path) -> Callable[..., Path]:
    """Return a function that makes a video of a few frames, or more, called a.mp4."""

    def make(*options: object) -> Path:
        result = lingen_here(
            *("generate", "a red ball", "--steps", 2, "--size", 64, "--seed", 1),
            *("--weights", tiny_weights, "-o", "a.mp4", *(options or ("--frames", 9))),
        )
        assert result.returncode == 0, result.stderr
        return Path("a.mp4")

    return make


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True)


def test_a_video_as_it_was_made(video: Callable[..., Path], lingen_here: RunHere) -> None:
    result = lingen_here("verify", video())
    assert (result.returncode, result.stdout) == (
        0,
        "a.mp4: 9 of 9 frames are as lingen made them\n",
    )


def test_long_videos_have_a_hash_for_every_few_seconds(
    video: Callable[..., Path], lingen_here: RunHere
) -> None:
    recipe: Any = read_recipe(video("--frames", 700))
    hashes = recipe["frame_hashes"]
    assert [(one["begin"], one["end"]) for one in hashes] == [(0, 233), (233, 466), (466, 700)]
    assert lingen_here("verify", "a.mp4").returncode == 0
    extended = lingen_here("extend", "a.mp4", "--seconds", 1, "-o", "b.mp4")
    assert extended.returncode == 0, extended.stderr
    longer: Any = read_recipe(Path("b.mp4"))
    assert longer["frame_hashes"][:3] == hashes
    assert "716 of 716" in lingen_here("verify", "b.mp4").stdout


def test_another_container_is_the_same_video(
    video: Callable[..., Path], lingen_here: RunHere
) -> None:
    ffmpeg("-i", video(), "-c", "copy", "a.mkv")
    assert lingen_here("verify", "a.mkv").returncode == 0


def test_what_was_changed_is_found(
    video: Callable[..., Path], lingen_here: RunHere, fails: Fails
) -> None:
    video()
    ffmpeg("-i", "a.mp4", "-map_metadata", "0", "-crf", "40", "-c:v", "libx264", "again.mp4")
    ffmpeg("-i", "a.mp4", "-c", "copy", "-frames:v", "5", "cut.mp4")
    result = lingen_here("verify", "--json", "a.mp4", "again.mp4", "cut.mp4")
    assert result.returncode == 1
    assert "2 of 3 videos are not as lingen made them" in result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["passed"] for one in found] == [True, False, False]
    assert found[1]["problems"] == ["frames 0 to 8 differ"]
    assert found[2]["problems"][0] == "it has 5 frames, not 9"


def test_a_damaged_file(video: Callable[..., Path], lingen_here: RunHere) -> None:
    data = bytearray(video("--frames", 60).read_bytes())
    begin = data.index(b"mdat") + 2000
    data[begin : begin + 400] = bytes(400)
    Path("a.mp4").write_bytes(data)
    result = lingen_here("verify", "a.mp4")
    assert result.returncode == 1
    assert "differ" in result.stdout or "decoded" in result.stdout


def test_without_hashes_there_is_nothing_to_compare(
    video: Callable[..., Path],
    lingen_here: RunHere,
    fails: Fails,
    with_recipe: Callable[[Path, Path, Mapping[str, Any]], Path],
) -> None:
    facts = read_recipe(video())
    assert facts is not None
    del facts["frame_hashes"]
    with_recipe(Path("a.mp4"), Path("old.mp4"), facts)
    fails(lingen_here("verify", "old.mp4"), 65, "no hashes of its frames")


def test_a_video_without_metadata(
    video: Callable[..., Path], lingen_here: RunHere, fails: Fails
) -> None:
    video("--frames", 9, "--no-metadata")
    assert read_recipe(Path("a.mp4")) is None
    with av.open("a.mp4") as source:
        assert not {"comment", "title"} & set(source.metadata)
    fails(lingen_here("verify", "a.mp4"), 65, "no recipe in a.mp4")
