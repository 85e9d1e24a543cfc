"""Videos of lingen that somebody edited since: they are continued from what is seen now."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lingen_cli.media.reader import frames_at
from lingen_cli.requests.recipe import recipe_from_video
from tests.cli.protocols import Fails, RunHere

COPY = ("-c", "copy", "-map_metadata", "0")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-crf", "12")


@pytest.fixture
def made(lingen_here: RunHere, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A video of 2 s that lingen made, and its latents in the cache."""
    monkeypatch.setenv("LINGEN_CACHE_DIR", "cache")
    new = ("--seconds", "2", "--steps", "1", "--seed", "1", "--weights", tiny_weights)
    result = lingen_here("generate", "a red ball", *new, "-o", "a.mp4")
    assert result.returncode == 0, result.stderr
    return Path("a.mp4")


CHANGES = {
    "trimmed": ("-t", "0.5", *COPY),
    "negated": ("-vf", "negate", *H264),
    "titled": ("-vf", "drawbox=w=20:h=20:color=white:t=fill", *H264),
    "reversed": ("-vf", "reverse", *H264),
    "scaled": ("-vf", "scale=96:96", *H264),
}


@pytest.mark.parametrize("change", [*CHANGES, "retimed"])
def test_it_is_continued_from_its_pixels(
    made: Path,
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    lingen_here: RunHere,
    change: str,
) -> None:
    if change == "retimed":
        ffmpeg("-r", "32", "-i", made, *H264, "n.mp4")
    else:
        ffmpeg("-i", made, *CHANGES[change], "n.mp4")
    assert recipe_from_video(Path("n.mp4"))  # editors keep the tag
    result = lingen_here("extend", "n.mp4", "--seconds", "1", "-o", "x.mp4")
    assert result.returncode == 0, result.stderr
    told = [line for line in result.stderr.splitlines() if "changed since" in line]
    assert len(told) == 1 and "it is continued from its pixels" in told[0]
    assert "cache" not in result.stderr
    recipe = recipe_from_video(Path("x.mp4"))
    assert recipe.base is not None and recipe.base.path.endswith("n.mp4")
    assert (recipe.prompt, recipe.sampling.steps) == ("a red ball", 1)
    at = (recipe.base.frames - 0.5) / recipe.rate
    (last,) = frames_at(Path("x.mp4"), [float(at)], box=(64, 64))
    (old,) = frames_at(Path("n.mp4"), [1000.0], box=(64, 64))
    assert abs(last.astype(float) - old).mean() < 4  # nothing changed before the seam
    assert lingen_here("verify", "x.mp4").returncode == 0
    assert lingen_here("rerun", "x.mp4", "-o", "y.mp4").returncode == 0
    assert Path("x.mp4").read_bytes() == Path("y.mp4").read_bytes()


def test_another_prompt_and_size_may_be_given(
    made: Path, ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]], lingen_here: RunHere
) -> None:
    ffmpeg("-i", made, *CHANGES["trimmed"], "n.mp4")
    options = ("--prompt", "a blue star", "--size", "32", "--seconds", "1")
    result = lingen_here("extend", "n.mp4", *options, "-o", "x.mp4")
    assert result.returncode == 0, result.stderr
    recipe = recipe_from_video(Path("x.mp4"))
    assert (recipe.prompt, recipe.width) == ("a blue star", 32)


@pytest.mark.parametrize("command", ["branch", "retake"])
def test_what_needs_its_latents_names_a_way(
    made: Path,
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    lingen_here: RunHere,
    fails: Fails,
    command: str,
) -> None:
    ffmpeg("-i", made, *CHANGES["negated"], "n.mp4")
    more = ("a star", "--at", "0.5") if command == "branch" else ("--from", "0.5")
    part = "was changed since lingen made it (frames 0 to 31 differ); `lingen extend`"
    fails(lingen_here(command, "n.mp4", *more), 65, part)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_copy_of_the_packets_is_not_changed(
    made: Path,
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    lingen_here: RunHere,
    suffix: str,
) -> None:
    ffmpeg("-i", made, *COPY, f"copy{suffix}")
    result = lingen_here("extend", f"copy{suffix}", "--seconds", "1", "-o", "x.mp4")
    assert result.returncode == 0, result.stderr
    assert "changed" not in result.stderr
    assert recipe_from_video(Path("x.mp4")).base is None


def test_verify_says_the_same(
    made: Path, ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]], lingen_here: RunHere
) -> None:
    for change, part in (("trimmed", "frames, not 32"), ("scaled", "its size is 96x96")):
        ffmpeg("-i", made, *CHANGES[change], "n.mp4")
        result = lingen_here("verify", "n.mp4")
        assert result.returncode == 1 and part in result.stdout
    command = ["ffmpeg", "-v", "error", "-i", str(made), "-f", "null", "-"]
    assert not subprocess.run(command, capture_output=True, check=True).stderr
    assert lingen_here("verify", made).returncode == 0
