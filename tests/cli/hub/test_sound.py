"""Sound that a model makes with its video: LTX-2, its pipeline, from an image, and modular."""

import importlib.util
import json
import shutil
import signal
import subprocess
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.forked import Forked
from tests.cli.hub.test_by_signature_runs import killed
from tests.cli.hub.test_fit import Card
from tests.cli.protocols import Collect, Fails, RunHere

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("diffusers") is None
        or importlib.util.find_spec("diffusers.pipelines.ltx2") is None,
        reason="needs diffusers with LTX-2: pip install 'lingen[hub]'",
    ),
    # What diffusers 0.42 does with numpy 2 in its schedulers warns of later versions.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
WISH = ("--size", "32", "--frames", "25", "--steps", "2", "--seed", "3")
RATE = 8000


@pytest.fixture
def command(hub: RunHere, twin: Callable[[str], Path]) -> tuple[object, ...]:
    """The command that makes 25 frames, at 24 per second, with the twin of LTX-2."""
    return ("generate", "a red cat", "--model", twin("ltx-2"), *WISH)


@pytest.fixture
def waves(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Samples (channels, n) that are given to the encoder of sound, as they come."""
    from lingen_cli.media.tracks import sound

    found, encode = [], sound.encode_sound

    def kept(samples: np.ndarray, rate: int, seconds: Fraction) -> Any:
        assert rate == RATE
        found.append(samples)
        return encode(samples, rate, seconds)

    monkeypatch.setattr(sound, "encode_sound", kept)
    return found


def recipe_of(name: object) -> Any:
    from lingen_cli.requests.recipe import recipe_from_video

    return recipe_from_video(Path(str(name)))


def tracks(probe: Any) -> list[tuple[str, str]]:
    return [(one["codec_type"], one["codec_name"]) for one in probe["streams"]]


def called(folder: Path, video: str, frames: int, fps: float = 24.0, **more: Any) -> Any:
    """Frames uint8 and samples (channels, n) of the pipeline in a folder, called directly."""
    import diffusers
    import torch

    recipe = recipe_of(video)
    name = json.loads((folder / "model_index.json").read_text())["_class_name"]
    pipe = getattr(diffusers, name).from_pretrained(folder, dtype=getattr(torch, recipe.dtype))
    pipe.set_progress_bar_config(disable=True)
    asked = {
        "prompt": recipe.prompt,
        "negative_prompt": recipe.sampling.negative_prompt,
        "num_frames": frames,
        "frame_rate": fps,
        "height": 32,
        "width": 32,
        "num_inference_steps": 2,
        "guidance_scale": recipe.sampling.guidance_scale,
        "generator": torch.Generator().manual_seed(3),
        "output_type": "np",
    }
    output = pipe(**asked | more)
    images = (np.asarray(output.frames[0]) * 255).round().astype(np.uint8)
    return images, output.audio[0].float().numpy()


def test_frames_and_samples_are_those_of_diffusers(
    hub: RunHere,
    command: tuple[object, ...],
    twin: Callable[[str], Path],
    written: Collect,
    waves: list[Any],
    probe_file: Callable[..., Any],
) -> None:
    with written() as frames:
        result = hub(*command, "-o", "v.mp4")
    assert result.returncode == 0, result.stderr
    images, samples = called(twin("ltx-2"), "v.mp4", 25)
    (wave,) = waves
    assert np.array_equal(frames.all, images) and np.array_equal(wave, samples)
    assert wave.std() > 0 and wave.shape[0] == 2
    probe = probe_file(Path("v.mp4"))
    assert tracks(probe) == [("video", "h264"), ("audio", "aac")]
    sound = probe["streams"][1]
    assert (sound["sample_rate"], sound["channels"]) == (str(RATE), 2)
    assert float(sound["duration"]) == pytest.approx(25 / 24, abs=1e-3)
    assert float(sound["start_time"]) == 0
    recipe = recipe_of("v.mp4")
    assert recipe.sound and recipe.sound_packets
    assert {"audio_vae", "vocoder", "connectors"} <= set(recipe.weights)
    assert "aac, 8000 Hz, stereo" in hub("show", "v.mp4").stdout
    shown = json.loads(hub("show", "v.mp4", "--json").stdout)["video"]
    assert shown["sound"] == "aac, 8000 Hz, stereo"


def test_what_is_heard_is_what_was_made(
    hub: RunHere, command: tuple[object, ...], waves: list[Any], ffmpeg: Callable[..., Any]
) -> None:
    """A loud tone in place of the noise of a random network comes back from the file."""
    from lingen_plugins.hub.families import ltx_sound

    tone = np.sin(np.arange(RATE * 2) / RATE * 2 * np.pi * 440, dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        import torch

        patch.setattr(ltx_sound, "waveform", lambda *_: torch.from_numpy(np.stack([tone, -tone])))
        assert hub(*command, "-o", "v.mp4").returncode == 0
    command_line = ["ffmpeg", "-v", "error", "-i", "v.mp4", "-f", "f32le", "-"]
    heard = np.frombuffer(
        subprocess.run(command_line, capture_output=True, check=True).stdout, "<f4"
    ).reshape(-1, 2)
    assert 0 <= len(heard) - round(RATE * 25 / 24) < 1024  # the last block of AAC is whole
    middle = slice(1000, 8000)
    assert np.corrcoef(heard[middle, 0], tone[: len(heard)][middle])[0, 1] > 0.98
    assert np.corrcoef(heard[middle, 1], tone[: len(heard)][middle])[0, 1] < -0.98


@pytest.mark.parametrize("place", ["sampling", "decoding", "joining"])
def test_it_is_killed_and_ends_in_the_same_bytes(
    hub: RunHere, command: tuple[object, ...], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    import diffusers

    from lingen_cli.generation import encode
    from lingen_plugins.hub.by_signature import BySignature

    assert hub(*command, "-o", "whole.mp4").returncode == 0
    monkeypatch.setenv("LINGEN_JOURNAL_SECONDS", "0")
    where: tuple[Any, str] = {
        "sampling": (BySignature, "_checked"),
        "decoding": (encode, "_write"),
        "joining": (encode, "encoded_sound"),
    }[place]
    stopped = killed((*map(str, command), "-o", "v.mp4"), *where)
    assert stopped == -signal.SIGKILL and not Path("v.mp4").exists()
    if place == "sampling":
        assert hub(*command, "-o", "v.mp4").returncode == 0
    else:
        monkeypatch.setattr(  # all is sampled: none of it is done again
            diffusers.DiffusionPipeline,
            "progress_bar",
            lambda *_, **__: pytest.fail("sampled again"),
        )
        assert hub("resume", "v.mp4").returncode == 0
    assert Path("v.mp4").read_bytes() == Path("whole.mp4").read_bytes()


def test_it_is_made_again_and_verified(
    hub: RunHere,
    command: tuple[object, ...],
    fails: Fails,
    ffmpeg: Callable[..., Any],
    probe_file: Callable[..., Any],
) -> None:
    assert hub(*command, "-o", "v.mp4").returncode == 0
    assert "made already" in hub(*command, "-o", "v.mp4").stderr
    result = hub("rerun", "v.mp4", "-o", "again.mp4")
    assert result.returncode == 0 and "warning" not in result.stderr
    assert Path("again.mp4").read_bytes() == Path("v.mp4").read_bytes()
    assert "as lingen made them, and so is the sound" in hub("verify", "v.mp4").stdout
    tone = ("-f", "lavfi", "-i", "sine=f=440:r=8000:d=1")
    ffmpeg("-i", "v.mp4", "-c", "copy", "-an", "silent.mp4")
    ffmpeg("-i", "v.mp4", *tone, "-map", "0:v", "-map", "1", "-c:v", "copy", "music.mp4")
    for name in ("silent.mp4", "music.mp4"):
        result = hub("verify", name)
        assert result.returncode == 1 and "its sound is missing" in result.stdout
        result = hub("rerun", name, "-o", f"again-{name}")
        assert result.returncode == 0 and "was changed since lingen made it" in result.stderr
        assert not recipe_of(f"again-{name}").sound
        assert hub("verify", f"again-{name}").returncode == 0
        found = tracks(probe_file(Path(f"again-{name}")))
        assert found == tracks(probe_file(Path(name)))  # a user's own sound, or none, stays


def test_without_sound(
    hub: RunHere,
    command: tuple[object, ...],
    fails: Fails,
    waves: list[Any],
    probe_file: Callable[..., Any],
) -> None:
    assert hub(*command, "--no-sound", "-o", "v.mp4").returncode == 0
    assert tracks(probe_file(Path("v.mp4"))) == [("video", "h264")] and not waves
    assert not recipe_of("v.mp4").sound and recipe_of("v.mp4").sound_packets is None
    assert hub("rerun", "v.mp4", "-o", "again.mp4").returncode == 0
    assert Path("again.mp4").read_bytes() == Path("v.mp4").read_bytes()
    assert hub(*command, "-o", "w.mp4").returncode == 0
    assert recipe_of("w.mp4").frame_hashes == recipe_of("v.mp4").frame_hashes
    fails(hub(*command, "-o", "v.mp4"), 73, "v.mp4")  # another video, not that one again
    line = {"prompt": "a red cat", "model": str(command[3]), "size": "32", "frames": 25}
    line |= {"steps": 2, "seed": 3, "no_sound": True}
    Path("jobs.jsonl").write_text(json.dumps(line) + "\n")
    assert hub("batch", "jobs.jsonl", "-o", "out").returncode == 0
    (made,) = Path("out").glob("*.mp4")
    assert made.read_bytes() == Path("v.mp4").read_bytes()


def streamed(command: tuple[object, ...], name: str) -> None:
    """Put what a command writes to standard output into a file."""
    with Forked(*command, "-o", "-") as process:
        data, err = process.communicate()
    assert process.returncode == 0, err
    assert b"moof" in data
    Path(name).write_bytes(data)


def test_into_standard_output(
    hub: RunHere, command: tuple[object, ...], probe_file: Callable[..., Any]
) -> None:
    from lingen_cli.media.tracks.sound import sound_hashes

    assert hub(*command, "-o", "v.mp4").returncode == 0
    streamed(command, "s.mp4")
    probe = probe_file(Path("s.mp4"))
    assert tracks(probe) == [("video", "h264"), ("audio", "aac")]
    assert float(probe["streams"][0]["start_time"]) == 0
    assert sound_hashes(Path("s.mp4")) == sound_hashes(Path("v.mp4"))
    assert recipe_of("s.mp4").sound_packets == recipe_of("v.mp4").sound_packets
    found = hub("rerun", "s.mp4", "-o", "again.mp4")
    assert found.returncode == 0 and "warning" not in found.stderr
    assert Path("again.mp4").read_bytes() == Path("v.mp4").read_bytes()
    streamed((*command, "--no-sound"), "silent.mp4")
    assert tracks(probe_file(Path("silent.mp4"))) == [("video", "h264")]


def test_formats_and_what_they_hold(
    hub: RunHere, command: tuple[object, ...], probe_file: Callable[..., Any]
) -> None:
    held = {"mov": ("h264", "aac"), "mkv": ("h264", "aac"), "webm": ("vp9", "opus")}
    for suffix, (images, sound) in held.items():
        assert hub(*command, "-o", f"v.{suffix}").returncode == 0
        found = tracks(probe_file(Path(f"v.{suffix}")))
        assert found == [("video", images), ("audio", sound)]
        copied = suffix != "webm"
        assert (recipe_of(f"v.{suffix}").sound_packets is not None) is copied
        if copied:
            assert hub("verify", f"v.{suffix}").returncode == 0
    for name, said in (("v.gif", "a GIF holds no sound"), ("f/%02d.png", "images hold no sound")):
        result = hub(*command, "-o", name)
        assert result.returncode == 0 and said in result.stderr
        assert said not in hub(*command, "--no-sound", "--overwrite", "-o", name).stderr
    result = hub(*command, "-o", "sheet.png")
    assert result.returncode == 0 and "an image holds no sound" in result.stderr
    assert hub("rerun", "v.webm", "-o", "again.webm").returncode == 0
    assert Path("again.webm").read_bytes() == Path("v.webm").read_bytes()


@pytest.fixture
def chain(hub: RunHere, twin: Callable[[str], Path], tmp_path: Path) -> tuple[object, ...]:
    """The beginning of a command with a model from an image, whose clips of 9 frames are chained,
    at 4 frames per second."""
    from lingen_cli.media.images.image_files import write_png

    folder = tmp_path / "chained"
    shutil.copytree(twin("ltx-2-i2v"), folder)
    (folder / "lingen-model.toml").write_text("fps = 4\nframes = 9\n")
    pixels = np.random.default_rng(1).integers(0, 255, (32, 32, 3), np.uint8)
    write_png(Path("first.png"), pixels)
    sampling = ("--size", "32", "--steps", "2", "--seed", "3", "--image", "first.png")
    return ("generate", "a red cat", "--model", folder, *sampling)


def test_sound_of_clips_in_a_row(
    hub: RunHere, chain: tuple[object, ...], waves: list[Any], written: Collect
) -> None:
    from PIL import Image

    from lingen_models.sampling.windows import place_seed

    with written() as frames:
        result = hub(*chain, "--frames", "17", "-o", "v.mp4")
    assert result.returncode == 0, result.stderr
    folder = Path(str(chain[3]))
    first = {"image": Image.open("first.png")}
    one, heard = called(folder, "v.mp4", 9, 4.0, **first)
    import torch

    second = {"image": Image.fromarray(one[-1])}
    seed = torch.Generator().manual_seed(place_seed(3, 3))
    two, more = called(folder, "v.mp4", 9, 4.0, generator=seed, **second)
    assert np.array_equal(frames.all, np.concatenate((one, two[1:])))
    (wave,) = waves
    begin = 2 * RATE  # eight frames of four a second: the ninth is in both
    both = heard.shape[1] - begin
    assert 0 < both <= RATE / 4 and wave.shape[1] == begin + more.shape[1]
    assert np.array_equal(wave[:, :begin], heard[:, :begin])
    assert np.array_equal(wave[:, begin + both :], more[:, both:])
    middle = begin + both // 2
    mean = (heard[:, middle] + more[:, both // 2]) / 2
    assert np.allclose(wave[:, middle], mean, atol=np.abs(mean).max() * 0.05 + 1e-3)


def test_a_chain_with_sound_extended_twice_and_killed_once(
    hub: RunHere,
    chain: tuple[object, ...],
    waves: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    probe_file: Callable[..., Any],
) -> None:
    from lingen_cli.generation import encode

    monkeypatch.setenv("LINGEN_JOURNAL_SECONDS", "0")

    for command in (
        (*chain, "--seconds", "12", "-o", "a.mp4"),
        ("extend", "a.mp4", "--seconds", "4", "-o", "b.mp4"),
        ("extend", "b.mp4", "--seconds", "4", "-o", "c.mp4"),
    ):
        result = hub(*command)
        assert result.returncode == 0, result.stderr
    whole = Path("c.mp4").read_bytes()
    again = ("extend", "b.mp4", "--seconds", "4", "-o", "killed.mp4")
    assert killed(again, encode, "_write") == -signal.SIGKILL
    assert not Path("killed.mp4").exists()
    assert hub("resume", "killed.mp4").returncode == 0
    assert Path("killed.mp4").read_bytes() == whole
    a, b, c = waves[:3]
    for shorter, longer in ((a, b), (b, c)):  # but for the end, which fades into what follows
        same = shorter.shape[1] - RATE // 4
        assert np.array_equal(shorter[:, :same], longer[:, :same])
    for name, seconds in (("a", 12), ("b", 16), ("c", 20)):
        probe = probe_file(Path(f"{name}.mp4"))
        assert tracks(probe) == [("video", "h264"), ("audio", "aac")]
        assert float(probe["streams"][1]["duration"]) == pytest.approx(seconds, abs=1e-3)
        assert hub("verify", f"{name}.mp4").returncode == 0
    assert hub("rerun", "c.mp4", "-o", "again.mp4").returncode == 0
    assert Path("again.mp4").read_bytes() == whole


def test_a_modular_pipeline(
    hub: RunHere,
    twin: Callable[[str], Path],
    tmp_path: Path,
    written: Collect,
    waves: list[Any],
    probe_file: Callable[..., Any],
) -> None:
    import diffusers
    import torch

    folder = tmp_path / "modular"
    with warnings.catch_warnings(action="ignore"):  # of classes that are imported with it
        whole: Any = diffusers.LTX2Pipeline.from_pretrained(twin("ltx-2"))
        pipe: Any = diffusers.LTX2ModularPipeline(blocks=diffusers.LTX2AutoBlocks())
        parts = {name: whole.components.get(name) for name in pipe.component_names}
        pipe.update_components(**{name: one for name, one in parts.items() if one is not None})
        pipe.save_pretrained(str(folder))
    with written() as frames:
        result = hub("generate", "a red cat", "--model", folder, *WISH, "-o", "v.mp4")
    assert result.returncode == 0, result.stderr
    recipe = recipe_of("v.mp4")
    pipe = diffusers.ModularPipeline.from_pretrained(str(folder))
    pipe.load_components(dtype=getattr(torch, recipe.dtype))
    pipe.update_components(guider=pipe.guider.new(guidance_scale=recipe.sampling.guidance_scale))
    output = pipe(
        prompt="a red cat",
        negative_prompt=recipe.sampling.negative_prompt,
        num_frames=25,
        frame_rate=24.0,
        height=32,
        width=32,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(3),
        output_type="np",
        output=["videos", "audio"],
    )
    images = (np.asarray(output["videos"][0]) * 255).round().astype(np.uint8)
    assert np.array_equal(frames.all, images)
    assert np.array_equal(waves[0], output["audio"][0].float().numpy())
    assert tracks(probe_file(Path("v.mp4"))) == [("video", "h264"), ("audio", "aac")]
    assert hub("rerun", "v.mp4", "-o", "again.mp4").returncode == 0
    assert Path("again.mp4").read_bytes() == Path("v.mp4").read_bytes()
    streamed(("generate", "a red cat", "--model", folder, *WISH), "s.mp4")
    assert recipe_of("s.mp4").sound_packets == recipe.sound_packets


def test_each_place_gives_the_same_sound(
    hub: RunHere, command: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lingen_models import precision

    compute = precision.compute_dtype
    monkeypatch.setattr(precision, "compute_dtype", lambda _: compute("cpu"))
    card = Card(monkeypatch)
    found = {}
    for place in ("whole", "model", "block", "leaf", "disk", "cpu"):
        card.begin, card.seen = place, []
        result = hub(*command, "--device", "cuda", "-o", f"{place}.mp4")
        assert result.returncode == 0 and card.seen == [place], result.stderr
        recipe = recipe_of(f"{place}.mp4")
        found[place] = (recipe.frame_hashes, recipe.sound_packets)
    assert all(one == found["whole"] for one in found.values())


def test_pipelines_with_sound_that_lingen_does_not_know(
    hub: RunHere, fails: Fails, twin: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(twin("ltx-2"), folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "WanPipeline"}))
    fails(hub("generate", "a cat", "--model", folder, *WISH, "-o", "v.mp4"), 65, "cannot read")
    strange = index | {"vocoder": ["ltx2", "Popen"]}
    (folder / "model_index.json").write_text(json.dumps(strange))
    fails(hub("generate", "a cat", "--model", folder, *WISH, "-o", "v.mp4"), 65, "no class Popen")
    assert not Path("v.mp4").exists()


def test_from_python(
    hub: RunHere, command: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    import lingen

    assert hub(*command, "-o", "v.mp4").returncode == 0
    pipe = lingen.load(str(command[3]), device="cpu")
    options: dict[str, Any] = {"size": 32, "frames": 25, "steps": 2, "seed": 3}
    video = pipe.generate("a red cat", **options)
    assert video.sound is not None
    samples, rate = video.sound
    assert rate == RATE and samples.shape[0] == 2 and samples.abs().max() <= 1
    video.save("w.mp4")
    assert Path("w.mp4").read_bytes() == Path("v.mp4").read_bytes()
    assert pipe.generate("a red cat", sound=False, **options).sound is None


def test_a_rate_that_aac_has_not() -> None:
    import io

    import av

    from lingen_cli.media.tracks.sound import encode_sound

    samples = np.sin(np.arange(20_000, dtype=np.float32) / 10)[None]
    encoded = encode_sound(samples, 10_000, Fraction(3))  # a second of silence follows
    assert encoded == encode_sound(samples, 10_000, Fraction(3))
    with av.open(io.BytesIO(encoded.data), "r") as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.channels) == (48_000, 1)
        heard = np.concatenate([one.to_ndarray()[0] for one in container.decode(stream)])
    assert abs(len(heard) / 48_000 - 3) < 0.05
    assert np.abs(heard[:90_000]).max() > 0.5 and np.abs(heard[100_000:]).max() < 0.05
