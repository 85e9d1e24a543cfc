"""`lingen extend` and `lingen continue`: latents kept, packets copied, every part repeatable."""

import json
import os
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from torch import Tensor

from lingen_cli.generation import latent_cache
from lingen_cli.media.verify_video import verify_video
from lingen_cli.requests.edits import Added, Retaken
from lingen_cli.requests.recipe import recipe_from_video
from lingen_models.sampling.params import SamplingParams
from lingen_plugins.manager import PluginManager
from lingen_plugins.registry import Registry
from tests.cli.protocols import Fails, RunHere

SMALL = ("--size", "32", "--steps", "2")


@pytest.fixture
def generate(
    lingen_here: RunHere,
    tiny_weights: Path,
    clean_environment: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Path]:
    """Make a small video with the tiny model; the cache is a folder of this test."""
    monkeypatch.setenv(latent_cache.FOLDER_VARIABLE, str(clean_environment / "cache"))

    def run(*options: object, name: str = "first.mp4", prompt: str = "a red ball") -> Path:
        result = lingen_here(
            "generate",
            prompt,
            "--weights",
            tiny_weights,
            "--seed",
            "3",
            *SMALL,
            *options,
            "-o",
            name,
        )
        assert result.returncode == 0, result.stderr
        return Path(name)

    return run


@pytest.fixture
def extend(lingen_here: RunHere) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `lingen extend`, which must work."""

    def run(*arguments: object, command: str = "extend") -> subprocess.CompletedProcess[str]:
        result = lingen_here(command, *arguments)
        assert result.returncode == 0, result.stderr
        return result

    return run


def packets(path: Path | str) -> list[bytes]:
    """The image packets of a file, and what each shows."""
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(video=0) if p.dts is not None]


def images_in(path: Path | str) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_the_old_part_stays_as_it_is(
    generate: Callable[..., Path], extend: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    first = generate("--frames", "20")
    before = first.read_bytes()
    result = extend("first.mp4", "--seconds", "1")
    assert result.stdout == "first-longer.mp4\n"
    assert "warning" not in result.stderr
    assert first.read_bytes() == before
    longer = Path("first-longer.mp4")
    verify_video(longer, frames=36, width=32, height=32, fps=Fraction(16))
    assert packets(longer)[:20] == packets(first)
    one, two = latents(first), latents(longer)
    assert one.shape[2] == 4  # 25 frames, of which the video shows 20
    assert two.shape[2] == 6
    assert two[:, :, :4].equal(one)


@pytest.mark.parametrize(
    ("frames", "fps"),
    [
        *((frames, "16") for frames in (1, 8, 9, 10, 17, 40)),
        *((frames, fps) for frames in (1, 10, 40) for fps in ("24", "10")),
    ],
)
def test_rerun_of_the_longer_video_gives_the_same_bytes(
    generate: Callable[..., Path],
    extend: Callable[..., subprocess.CompletedProcess[str]],
    frames: int,
    fps: str,
) -> None:
    generate("--frames", frames, "--fps", fps)
    extend("first.mp4", "--seconds", "0.7", "-o", "second.mp4")
    extend("second.mp4", "a red ball", "--seconds", "1.3", "-o", "third.mp4", command="continue")
    extend("third.mp4", "-o", "again.mp4", command="rerun")
    assert Path("again.mp4").read_bytes() == Path("third.mp4").read_bytes()


def test_the_recipe_tells_every_part(
    generate: Callable[..., Path], extend: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    generate("--frames", "20", "--negative", "a star")
    extend("first.mp4", "--to", "2", "-o", "second.mp4")
    extend(
        *("second.mp4", "a ball", "--seconds", "1", "--seed", "9", "--steps", "1"),
        *("--guidance", "2", "--sampler", "euler", "-o", "third.mp4"),
        command="continue",
    )
    recipe = recipe_from_video(Path("third.mp4"))
    assert (recipe.prompt, recipe.frames) == ("a red ball", 20)
    one, two = recipe.edits
    assert isinstance(one, Added) and isinstance(two, Added)
    assert (one.prompt, one.frames, two.prompt, two.frames) == ("a red ball", 12, "a ball", 16)
    assert one.sampling == recipe.sampling
    assert (one.sampling.negative_prompt, one.sampling.seed) == ("a star", 3)
    assert two.windows == (33, 9)
    assert two.sampling == SamplingParams(
        steps=1, guidance_scale=2.0, sampler="euler", negative_prompt="a star", seed=9
    )


def test_the_first_image_is_not_needed_again(
    generate: Callable[..., Path], extend: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    import numpy as np

    from lingen_cli.media.images.image_files import write_png

    write_png(Path("begin.png"), np.full((40, 60, 3), 200, np.uint8))
    generate("--frames", "20", "--image", "begin.png")
    Path("begin.png").rename("elsewhere.png")
    extend("first.mp4", "--seconds", "1", "-o", "longer.mp4")
    extend("longer.mp4", "--image", "elsewhere.png", "-o", "again.mp4", command="rerun")
    assert len(images_in("again.mp4")) == 36
    assert packets("again.mp4") == packets("longer.mp4")


def test_without_the_cache_the_end_is_encoded(
    generate: Callable[..., Path], extend: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    first = generate("--frames", "20")
    assert json.loads(extend("list", "--json", command="cache").stdout)
    assert "removed the latents of 1 videos" in extend("prune", "--all", command="cache").stderr
    assert extend("list", command="cache").stdout == ""
    result = extend("first.mp4", "--seconds", "1")
    assert "its end is encoded from pixels" in result.stderr
    longer = Path("first-longer.mp4")
    verify_video(longer, frames=36, width=32, height=32, fps=Fraction(16))
    assert packets(longer)[:20] == packets(first)
    assert recipe_from_video(longer).latents is None
    assert extend("first-longer.mp4", "--seconds", "1").returncode == 0  # and on from there


def test_a_video_that_was_encoded_again_is_continued_from_its_pixels(
    generate: Callable[..., Path], extend: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    first = generate("--frames", "20")
    shown = images_in(first)
    with av.open("first.mp4") as source, av.open("other.mp4", "w") as target:
        stream = target.add_stream("libx264", rate=16, options={"crf": "10", "profile": "baseline"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        target.metadata["comment"] = source.metadata["comment"]
        for frame in source.decode(video=0):
            target.mux(stream.encode(frame.reformat(format="yuv420p")))
        target.mux(stream.encode(None))
    result = extend("other.mp4", "--seconds", "1", "-o", "longer.mp4")
    assert "was changed since lingen made it (frames 0 to 19 differ)" in result.stderr
    assert "encoded again" not in result.stderr
    assert len(images_in("longer.mp4")) == 36
    for before, after in zip(shown, images_in("longer.mp4"), strict=False):
        assert abs(before.astype(int) - after).mean() < 6


def test_many_windows_and_a_late_start(
    generate: Callable[..., Path],
    extend: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten windows after a first stretch: noise, positions and decoding know where they are."""
    from lingen_plugins import registry as plugins

    generate("--frames", "40")
    real = plugins.collect

    def collect(manager: PluginManager | None) -> Registry:
        registry = real(manager)
        for variant in registry.model_variants.values():
            object.__setattr__(variant, "windows", (4, 2))
        return registry

    monkeypatch.setattr("lingen_cli.zoo.locate.collect", collect)
    extend("first.mp4", "--seconds", "10", "-o", "long.mp4")
    extend("long.mp4", "-o", "again.mp4", command="rerun")
    (edit,) = recipe_from_video(Path("long.mp4")).edits
    assert isinstance(edit, Added) and edit.windows == (4, 2)
    assert Path("again.mp4").read_bytes() == Path("long.mp4").read_bytes()


def test_a_cache_that_cannot_be_written_loses_no_video(
    generate: Callable[..., Path],
    extend: Callable[..., subprocess.CompletedProcess[str]],
    clean_environment: Path,
) -> None:
    Path("cache").write_text("not a folder")
    generate("--frames", "9")
    assert Path("first.mp4").exists()


def test_a_damaged_cache_is_not_used(
    generate: Callable[..., Path], extend: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    first = generate("--frames", "9")
    (entry,) = latent_cache.entries()
    data = bytearray(entry.path.read_bytes())
    data[-1] ^= 1
    entry.path.write_bytes(data)
    digest = recipe_from_video(first).latents
    assert digest is not None and latent_cache.load(digest) is None
    assert not entry.path.exists()


def test_the_cache_forgets_what_was_used_longest_ago(
    generate: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        generate("--frames", 9 + 8 * number, name=f"{number}.mp4")
    found = latent_cache.entries()
    for age, entry in enumerate(found):
        os.utime(entry.path, (1e9 - age, 1e9 - age))
    kept = latent_cache.entries()[0]
    gone = latent_cache.prune(kept.size)
    assert len(gone) == 2
    assert [entry.digest for entry in latent_cache.entries()] == [kept.digest]


def latents(path: str | Path) -> Tensor:
    digest = recipe_from_video(Path(path)).latents
    assert digest is not None
    found = latent_cache.load(digest)
    assert found is not None
    return found


def test_a_retake_changes_nothing_else(
    generate: Callable[..., Path], extend: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    generate("--seconds", "5")
    extend("first.mp4", "--seconds", "2", "-o", "longer.mp4")
    extend("longer.mp4", "--from", "2s", "--to", "0:03", "-o", "new.mp4", command="retake")
    before, after = latents("longer.mp4"), latents("new.mp4")
    same = (before == after).flatten(3).all(-1)[0].all(0).tolist()
    assert same == [not 4 <= number <= 6 for number in range(15)]  # frames 25 to 48
    verify_video(Path("new.mp4"), frames=112, width=32, height=32, fps=Fraction(16))
    untouched = (images_in(name)[16].astype(int) for name in ("new.mp4", "longer.mp4"))
    assert abs(next(untouched) - next(untouched)).mean() < 1  # x264 looks ahead
    (_, edit) = recipe_from_video(Path("new.mp4")).edits
    assert isinstance(edit, Retaken)
    assert (edit.kind, edit.begin, edit.frames) == ("retake", 32, 16)
    assert edit.sampling.seed != 3  # the old seed would give the old part again
    extend("new.mp4", "--seconds", "1", "-o", "end.mp4")
    extend("end.mp4", "-o", "again.mp4", command="rerun")
    assert Path("again.mp4").read_bytes() == Path("end.mp4").read_bytes()


@pytest.mark.parametrize(("begin", "end"), [("0", "1"), ("0.5", None), ("0", None), ("2.9", "3")])
def test_retakes_at_the_ends(
    generate: Callable[..., Path],
    extend: Callable[..., subprocess.CompletedProcess[str]],
    begin: str,
    end: str | None,
) -> None:
    generate("--seconds", "3")
    to = [] if end is None else ["--to", end]
    extend("first.mp4", "--from", begin, *to, "--seed", "8", "-o", "new.mp4", command="retake")
    assert latents("new.mp4").shape == latents("first.mp4").shape
    assert not latents("new.mp4").equal(latents("first.mp4"))
    extend("new.mp4", "-o", "again.mp4", command="rerun")
    assert Path("again.mp4").read_bytes() == Path("new.mp4").read_bytes()


def test_a_branch_is_the_same_up_to_its_moment(
    generate: Callable[..., Path], extend: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    generate("--seconds", "3")
    extend("first.mp4", "--seconds", "2", "-o", "longer.mp4")
    result = extend("longer.mp4", "a ball", "--at", "2", "--to", "3.5", command="branch")
    assert result.stdout == "longer-branch.mp4\n"
    verify_video(Path("longer-branch.mp4"), frames=56, width=32, height=32, fps=Fraction(16))
    before, after = latents("longer.mp4"), latents("longer-branch.mp4")
    assert after.shape[2] == 8
    assert after[:, :, :5].equal(before[:, :, :5])
    assert not after[:, :, 5:].equal(before[:, :, 5:8])
    extend("longer-branch.mp4", "-o", "again.mp4", command="rerun")
    assert Path("again.mp4").read_bytes() == Path("longer-branch.mp4").read_bytes()


def test_edits_need_the_latents(
    generate: Callable[..., Path],
    extend: Callable[..., subprocess.CompletedProcess[str]],
    lingen_here: RunHere,
    fails: Fails,
) -> None:
    generate("--seconds", "2")
    extend("prune", "--all", command="cache")
    fails(lingen_here("retake", "first.mp4", "--from", "1"), 69, "lingen rerun")
    fails(lingen_here("branch", "first.mp4", "a ball", "--at", "1"), 69, "lingen rerun")
    extend("first.mp4", command="rerun")
    assert Path("first-again.mp4").read_bytes() == Path("first.mp4").read_bytes()
    extend("first.mp4", "--from", "1", command="retake")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["retake", "first.mp4", "--from", "2"], "a stretch of the video's 1.25 s"),
        (["retake", "first.mp4", "--from", "1", "--to", "1"], "a stretch of"),
        (["retake", "first.mp4", "--from", "1", "--to", "0.5"], "a stretch of"),
        (["retake", "first.mp4", "--from", "-1"], "--from must be a time"),
        (["retake", "first.mp4", "--from", ""], "--from must be a time"),
        (["retake", "first.mp4"], "--from"),
        (["branch", "first.mp4", "a ball", "--at", "0"], "--at must be inside"),
        (["branch", "first.mp4", "a ball", "--at", "1.25"], "--at must be inside"),
        (["branch", "first.mp4", "a ball", "--at", "1", "--to", "0:01"], "--to must be above"),
        (["branch", "first.mp4", "", "--at", "1"], "prompt is empty"),
    ],
)
def test_bad_moments(
    generate: Callable[..., Path],
    lingen_here: RunHere,
    fails: Fails,
    arguments: list[str],
    part: str,
) -> None:
    generate("--frames", "20")
    fails(lingen_here(*arguments), 2, part)


@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        (["--seconds", "0"], 2, "--seconds must be above 0"),
        (["--seconds", "nan"], 2, "--seconds must be above 0"),
        (["--to", "1"], 2, "--to must be above the 1.25 s that are there"),
        (["--to", "nan"], 2, "--to must be a time such as"),
        (["--to", "5", "--seconds", "2"], 2, "say the same thing"),
        (["--seconds", "2", "--minutes", "1"], 2, "say the same thing"),
        (["--minutes", "60"], 2, "more than 1 hour"),
        (["--prompt", " "], 2, "prompt is empty"),
        (["--sampler", "eulr"], 2, "did you mean 'euler'?"),
        (["-o", "first.mp4"], 73, "first.mp4"),
        (["-o", "x.avi"], 2, ".mp4"),
    ],
)
def test_bad_wishes(
    generate: Callable[..., Path],
    lingen_here: RunHere,
    fails: Fails,
    clean_environment: Path,
    options: list[str],
    code: int,
    part: str,
) -> None:
    first = generate("--frames", "20")
    before = first.read_bytes()
    fails(lingen_here("extend", "first.mp4", *options), code, part)
    assert first.read_bytes() == before
    assert {path.name for path in clean_environment.iterdir()} == {"first.mp4", "cache"}


def test_bad_videos(generate: Callable[..., Path], lingen_here: RunHere, fails: Fails) -> None:
    first = generate("--frames", "20")
    fails(lingen_here("extend", "missing.mp4"), 66, "no such file")
    Path("text.mp4").write_text("hello")
    fails(lingen_here("extend", "text.mp4"), 65, "not a supported video file")
    Path("empty.mp4").touch()
    fails(lingen_here("extend", "empty.mp4"), 65, "file is empty")
    fails(lingen_here("extend", "."), 66, "not a regular file")
    assert first.exists()


def test_a_crossfade_changes_the_way_and_repeats(
    generate: Callable[..., Path], extend: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    generate("--frames", "20")
    new = ("a ball", "--seconds", "3", "--seed", "5")
    extend("first.mp4", *new, "--crossfade", "1", "-o", "fade.mp4", command="continue")
    (edit,) = recipe_from_video(Path("fade.mp4")).edits
    assert isinstance(edit, Added) and edit.crossfade == 1
    extend("fade.mp4", "-o", "again.mp4", command="rerun")
    assert Path("again.mp4").read_bytes() == Path("fade.mp4").read_bytes()


def test_a_crossfade_is_a_number(
    generate: Callable[..., Path], lingen_here: RunHere, fails: Fails
) -> None:
    generate("--frames", "20")
    fails(lingen_here("continue", "first.mp4", "a ball", "--crossfade", "nan"), 2, "--crossfade")
    fails(lingen_here("continue", "first.mp4", "a ball", "--crossfade", "-1"), 2, "crossfade")
