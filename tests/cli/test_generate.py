"""The whole path with a tiny, untrained model: prompt in, verified video out."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import pytest

from lingen_cli.media.metadata import read_recipe
from lingen_cli.requests.edits import Added
from lingen_cli.requests.recipe import recipe_from_video
from lingen_models.sampling.params import SamplingParams
from tests.cli.forked import Forked
from tests.cli.protocols import Fails, RunHere

SMALL = ("--size", "32", "--frames", "9", "--steps", "2")


@pytest.fixture
def generate(
    lingen_here: RunHere, tiny_weights: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(
        *arguments: object,
        prompt: str = "a red ball",
        small: Sequence[str] = SMALL,
    ) -> subprocess.CompletedProcess[str]:
        return lingen_here("generate", prompt, "--weights", tiny_weights, *small, *arguments)

    return run


def video_stream(path: str) -> Any:
    if shutil.which("ffprobe") is None:
        pytest.skip("ffprobe, an independent reader, is not installed")
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path)]
    (stream,) = json.loads(subprocess.check_output(command))["streams"]
    return stream


def test_a_video_is_published_under_a_readable_name(
    generate: Callable[..., subprocess.CompletedProcess[str]], clean_environment: Path
) -> None:
    result = generate()
    assert (result.returncode, result.stdout) == (0, "a-red-ball.mp4\n")
    assert [path.name for path in clean_environment.iterdir()] == ["a-red-ball.mp4"]
    stream = video_stream("a-red-ball.mp4")
    assert (stream["codec_name"], stream["pix_fmt"]) == ("h264", "yuv420p")
    assert (stream["width"], stream["height"]) == (32, 32)
    assert (stream["nb_read_frames"], stream["r_frame_rate"]) == ("9", "16/1")
    assert float(stream["duration"]) == 9 / 16


def test_names_are_never_taken_twice(
    generate: Callable[..., subprocess.CompletedProcess[str]], clean_environment: Path
) -> None:
    names = [generate("-q").stdout.strip() for _ in range(3)]
    assert names == ["a-red-ball.mp4", "a-red-ball-2.mp4", "a-red-ball-3.mp4"]


def test_same_seed_same_bytes_and_another_seed_another_video(
    generate: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    for name, seed in (("one", 7), ("two", 7), ("three", 8)):
        assert generate("--seed", seed, "-o", f"{name}.mp4").returncode == 0
    one, two, three = (Path(f"{n}.mp4").read_bytes() for n in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_a_random_seed_is_told_and_recorded(
    generate: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    result = generate()
    recipe = recipe_from_video(Path("a-red-ball.mp4"))
    assert f"seed {recipe.sampling.seed}" in result.stderr


def test_the_recipe_says_everything(
    generate: Callable[..., subprocess.CompletedProcess[str]], tiny_weights: Path
) -> None:
    generate("--seed", 3, "--negative", "a star", "--guidance", "2", "-o", "x.mp4")
    recipe = recipe_from_video(Path("x.mp4"))
    assert (recipe.prompt, recipe.frames, recipe.fps) == ("a red ball", 9, "16")
    assert (recipe.width, recipe.height) == (32, 32)
    assert recipe.sampling == SamplingParams(
        steps=2,
        guidance_scale=2.0,
        sampler="dpm-multistep",
        negative_prompt="a star",
        seed=3,
    )
    assert (recipe.model, recipe.weights_folder) == ("lingen-mini", str(tiny_weights))
    assert set(recipe.weights) == {"denoiser", "autoencoder", "text_encoder"}
    assert set(recipe.versions) == {"lingen", "torch", "av", "python"}


def test_a_distilled_model_brings_its_steps(lingen_here: RunHere, tiny_weights: Path) -> None:
    """Few, and unguided, without a flag."""
    make = ("generate", "a red ball", "--size", 32, "--frames", 9, "--weights", tiny_weights)
    result = lingen_here(*make, "--model", "lingen-mini-4step", "-o", "x.mp4")
    assert result.returncode == 0, result.stderr
    recipe = recipe_from_video(Path("x.mp4"))
    sampling = recipe.sampling
    assert (sampling.steps, sampling.guidance_scale, sampling.sampler) == (4, 1.0, "euler-shifted")


def test_rerun_makes_the_same_bytes(
    generate: Callable[..., subprocess.CompletedProcess[str]], lingen_here: RunHere
) -> None:
    generate("--seed", 3, "-o", "first.mp4")
    result = lingen_here("rerun", "first.mp4")
    assert (result.returncode, result.stdout) == (0, "first-again.mp4\n")
    assert "warning" not in result.stderr
    assert Path("first-again.mp4").read_bytes() == Path("first.mp4").read_bytes()


def test_a_video_with_a_recipe_of_format_1(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    lingen_here: RunHere,
    with_recipe: Callable[[Path, Path, Mapping[str, Any]], Path],
    format_1: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> None:
    """It is made again with the same frames, and can be extended."""
    generate("--seed", 3, "--guidance-interval", "0.1,0.8", "--negative", "a star", "-o", "new.mp4")
    found = read_recipe(Path("new.mp4"))
    assert found is not None
    with_recipe(Path("new.mp4"), Path("old.mp4"), format_1(found))
    result = lingen_here("rerun", "old.mp4", "-o", "again.mp4")
    assert result.returncode == 0, result.stderr
    assert Path("again.mp4").read_bytes() == Path("new.mp4").read_bytes()
    result = lingen_here("extend", "old.mp4", "--seconds", "1", "-o", "longer.mp4")
    assert result.returncode == 0, result.stderr
    recipe = recipe_from_video(Path("longer.mp4"))
    (edit,) = recipe.edits
    assert isinstance(edit, Added) and edit.sampling == recipe.sampling
    assert recipe.sampling.guidance_interval == (0.1, 0.8)


@pytest.fixture
def moved_weights(tiny_weights: Path, tmp_path: Path) -> Path:
    """As `tiny_weights`, with a denoiser that asks for something: a fresh one does not."""
    import torch

    from lingen_models.checkpoints.safetensors import load_tensors, read_metadata, save_tensors

    folder = shutil.copytree(tiny_weights, tmp_path / "moved")
    path = folder / "denoiser.safetensors"
    torch.manual_seed(1)
    tensors = {k: one + 0.2 * torch.randn_like(one) for k, one in load_tensors(path)[0].items()}
    save_tensors(path, tensors, {"lingen": json.dumps(read_metadata(path))})
    return folder


@pytest.mark.parametrize(
    ("option", "same", "other"),
    [("guidance-interval", "0.05,1", "0.05,0.3"), ("step-cache", "0.0", "9.0")],
)
def test_what_changes_the_steps_is_recorded_and_rerun(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    lingen_here: RunHere,
    moved_weights: Path,
    option: str,
    same: str,
    other: str,
) -> None:
    hashes, wishes = [], {"plain": (), "same": (same,), "other": (other,)}
    for name, value in wishes.items():
        more = (f"--{option}", *value) if value else ()
        small = ("--seed", 3, "--steps", 4, "--weights", moved_weights, "-o", f"{name}.mp4")
        result = generate(*small, *more)
        assert result.returncode == 0, result.stderr
        hashes.append(recipe_from_video(Path(f"{name}.mp4")).frame_hashes)
    assert hashes[0] == hashes[1] != hashes[2]
    result = lingen_here("rerun", "other.mp4", "-o", "again.mp4")
    assert result.returncode == 0, result.stderr
    assert Path("again.mp4").read_bytes() == Path("other.mp4").read_bytes()


def test_rerun_keeps_the_sampler(
    generate: Callable[..., subprocess.CompletedProcess[str]], lingen_here: RunHere
) -> None:
    generate("--seed", 3, "--sampler", "euler", "-o", "first.mp4")
    generate("--seed", 3, "-o", "default.mp4")
    assert recipe_from_video(Path("first.mp4")).sampling.sampler == "euler"
    assert lingen_here("rerun", "first.mp4").returncode == 0
    assert Path("first-again.mp4").read_bytes() == Path("first.mp4").read_bytes()
    assert Path("default.mp4").read_bytes() != Path("first.mp4").read_bytes()


def test_rerun_tells_what_is_different(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    lingen_here: RunHere,
    tiny_weights: Path,
    tmp_path: Path,
) -> None:
    from lingen_models.checkpoints.safetensors import load_tensors, save_tensors

    generate("--seed", 3, "-o", "first.mp4")
    other = tmp_path / "other"
    shutil.copytree(tiny_weights, other)
    tensors, metadata = load_tensors(other / "denoiser.safetensors")
    tensors["patch_out.bias"] += 1
    save_tensors(other / "denoiser.safetensors", tensors, metadata)
    result = lingen_here("rerun", "first.mp4", "--weights", other, "-o", "second.mp4")
    assert result.returncode == 0
    assert "warning: the denoiser weights are not those" in result.stderr
    assert Path("second.mp4").read_bytes() != Path("first.mp4").read_bytes()


def test_a_video_of_somebody_else_cannot_be_rerun(
    generate: Callable[..., subprocess.CompletedProcess[str]], lingen_here: RunHere, fails: Fails
) -> None:
    import av

    generate("-o", "ours.mp4")
    with av.open("ours.mp4") as source, av.open("theirs.mp4", "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    fails(lingen_here("rerun", "theirs.mp4"), 65, "no recipe in theirs.mp4")


@pytest.mark.parametrize(("fps", "rate"), [("24", "24/1"), ("8", "8/1"), ("30000/1001", None)])
def test_another_frame_rate_keeps_the_length(
    generate: Callable[..., subprocess.CompletedProcess[str]], fps: str, rate: str | None
) -> None:
    length = ("--size", "32", "--seconds", "1", "--steps", "1")
    assert generate("--fps", fps, "-o", "x.mp4", small=length).returncode == 0
    stream = video_stream("x.mp4")
    assert stream["r_frame_rate"] == (rate or fps)
    assert float(stream["duration"]) == pytest.approx(1, abs=0.002)


def test_an_image_begins_the_video(
    generate: Callable[..., subprocess.CompletedProcess[str]], lingen_here: RunHere
) -> None:
    import numpy as np

    from lingen_cli.media.images.image_files import write_png

    shown = np.zeros((40, 60, 3), np.uint8)
    shown[:, 30:] = 255
    write_png(Path("first.png"), shown)
    assert generate("--image", "first.png", "--seed", "1", "-o", "a.mp4").returncode == 0
    assert generate("--seed", "1", "-o", "b.mp4").returncode == 0
    assert Path("a.mp4").read_bytes() != Path("b.mp4").read_bytes()
    recipe = recipe_from_video(Path("a.mp4"))
    assert recipe.image is not None
    assert recipe.image.path == str(Path("first.png").absolute())
    assert lingen_here("rerun", "a.mp4", "-o", "c.mp4").returncode == 0
    assert Path("c.mp4").read_bytes() == Path("a.mp4").read_bytes()


@pytest.mark.parametrize("seconds", ["2", "70"])  # in one piece, and window by window
def test_an_image_ends_the_video(
    generate: Callable[..., subprocess.CompletedProcess[str]], lingen_here: RunHere, seconds: str
) -> None:
    import numpy as np

    from lingen_cli.media.images.image_files import write_png

    write_png(Path("last.png"), np.full((40, 60, 3), 200, np.uint8))
    small = ("--size", "16", "--seconds", seconds, "--steps", "1", "--seed", "1")
    assert generate("--last-image", "last.png", "-o", "a.mp4", small=small).returncode == 0
    assert generate("-o", "b.mp4", small=small).returncode == 0
    with_it, without = (list(decoded(name)) for name in ("a.mp4", "b.mp4"))
    changed = [not np.array_equal(a, b) for a, b in zip(with_it, without, strict=True)]
    assert all(changed[-7:])
    recipe = recipe_from_video(Path("a.mp4"))
    assert recipe.last_image is not None and recipe.image is None
    assert lingen_here("rerun", "a.mp4", "-o", "c.mp4").returncode == 0
    assert Path("c.mp4").read_bytes() == Path("a.mp4").read_bytes()


def test_one_frame_has_no_last_image(
    generate: Callable[..., subprocess.CompletedProcess[str]], fails: Fails
) -> None:
    fails(generate("--last-image", "x.png", "--frames", "1", small=()), 2, "at least 2 frames")


def decoded(name: str) -> Iterator[Any]:
    with av.open(name) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def test_words_that_are_read_as_others_are_named(
    generate: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    result = generate(prompt="a red balloon")
    assert "lingen: lingen-mini reads 'balloon' as 'ball'\n" in result.stderr
    assert "warning" not in result.stderr


def test_unknown_words_are_named(generate: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = generate(prompt="a red zebra", small=SMALL)
    (line,) = [line for line in result.stderr.splitlines() if "does not know" in line]
    assert "'zebra'" in line and "'red'" not in line
    assert "warning" not in generate("-q", prompt="a zebra").stderr


def test_quiet_prints_the_path_only(
    generate: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    result = generate("-q")
    assert (result.stdout, result.stderr) == ("a-red-ball.mp4\n", "")


def test_overwrite(generate: Callable[..., subprocess.CompletedProcess[str]], fails: Fails) -> None:
    Path("x.mp4").write_text("old")
    fails(generate("-o", "x.mp4"), 73, "already exists")
    assert generate("-o", "x.mp4", "--overwrite").returncode == 0
    assert recipe_from_video(Path("x.mp4")).prompt == "a red ball"


def test_the_same_command_again_does_nothing(
    generate: Callable[..., subprocess.CompletedProcess[str]], fails: Fails
) -> None:
    assert generate("-o", "x.mp4", "--seed", "5").returncode == 0
    before = Path("x.mp4").stat()
    again = generate("-o", "x.mp4", "--seed", "5")
    assert (again.returncode, again.stdout) == (0, "x.mp4\n")
    assert "made already: x.mp4" in again.stderr
    assert Path("x.mp4").stat().st_mtime_ns == before.st_mtime_ns
    fails(generate("-o", "x.mp4", "--seed", "6"), 73, "already exists")
    assert generate("-o", "x.mp4", "--seed", "5", "--overwrite").returncode == 0
    assert Path("x.mp4").stat().st_mtime_ns != before.st_mtime_ns


def test_events_of_a_success(generate: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    import hashlib

    result = generate("--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert all(event["v"] == 1 for event in events)
    assert [events[0]["event"], events[-1]["event"]] == ["start", "end"]
    phases = dict.fromkeys(e["phase"] for e in events if e["event"] == "progress")
    assert list(phases) == ["load", "sample", "decode and write", "verify"]
    end = events[-1]
    assert (end["code"], end["output"], end["frames"]) == (0, "a-red-ball.mp4", 9)
    assert end["sha256"] == hashlib.sha256(Path("a-red-ball.mp4").read_bytes()).hexdigest()


def test_events_of_a_failure(generate: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    Path("x.mp4").write_text("old")
    assert generate("-o", "x.mp4", "--events", "log.jsonl").returncode == 73
    events = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["error", "end"]
    assert [event["code"] for event in events] == [73, 73]
    assert events[1]["output"] is None


def test_a_gpu_that_is_not_there(
    generate: Callable[..., subprocess.CompletedProcess[str]], fails: Fails
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    fails(generate("--device", "cuda"), 69, "device cuda is not available; use --device cpu")


def test_events_have_one_place(
    generate: Callable[..., subprocess.CompletedProcess[str]], fails: Fails
) -> None:
    fails(generate("--json", "--events", "file"), 2, "contradicts")
    fails(generate("--events", "nowhere/file"), 66, "nowhere")


def test_a_preview_is_drawn_when_forced(
    generate: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\N{UPPER HALF BLOCK}" not in generate("--preview").stderr
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\N{UPPER HALF BLOCK}" in generate("--preview").stderr
    assert generate("--preview", "-q").stderr == ""


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (MemoryError(), 71, "out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 71, "--size"),
        (RuntimeError("boom"), 70, "internal error: RuntimeError: boom"),
        (OSError(28, "No space left on device"), 74, "disk full"),
    ],
)
def test_accidents_while_sampling(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    fails: Fails,
    clean_environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: int,
    part: str,
) -> None:
    from lingen_models.pipelines.text_to_video import TextToVideo

    def sample(self: Any, *arguments: object, **options: Any) -> None:
        raise error

    monkeypatch.setattr(TextToVideo, "sample", sample)
    fails(generate(), code, part)
    assert list(clean_environment.iterdir()) == []


def test_a_video_that_cannot_be_verified_is_not_published(
    generate: Callable[..., subprocess.CompletedProcess[str]], fails: Fails, clean_environment: Path
) -> None:
    import lingen_cli.media.verify_video as verify
    from lingen_cli.errors import WriteFailedError

    def broken(path: Path, **expected: Any) -> None:
        assert path.is_file() and expected["frames"] == 9
        raise WriteFailedError("written video has 8 frames instead of 9")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "verify_video", broken)
        fails(generate("-o", "x.mp4"), 74, "8 frames instead of 9")
    assert list(clean_environment.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_signals_leave_what_was_sampled(
    clean_environment: Path,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
) -> None:
    monkeypatch.setenv("LINGEN_JOURNAL_SECONDS", "3600")  # a machine may be slow
    # A thousand steps would take minutes; the signal arrives after the second.
    options = ("--weights", tiny_weights, "--size", 64, "--seconds", 60, "--steps", 1000)
    with Forked("generate", "a red ball", "--json", *options) as process:
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "progress" and event["phase"] == "sample" and event["done"] == 2:
                break
        process.send_signal(number)
        sent = time.monotonic()
        out, err = process.communicate()
    assert process.returncode == code, err
    assert time.monotonic() - sent < 30
    assert "Traceback" not in err and "stopping after this step" in err
    assert json.loads(out.splitlines()[-1])["code"] == code
    assert "what was sampled is kept; to go on: lingen resume a-red-ball.mp4" in err
    assert [path.name for path in clean_environment.iterdir()] == [".a-red-ball.mp4.lingen"]
