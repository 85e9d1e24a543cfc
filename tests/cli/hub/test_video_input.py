"""Videos that are made from another one (`--video`), where a pipeline's signature takes one."""

import importlib.util
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.hub.test_by_signature_runs import killed
from tests.cli.protocols import Collect, Fails, RunHere

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("diffusers") is None,
        reason="needs diffusers: pip install 'lingen[hub]'",
    ),
    # What diffusers 0.42 does with numpy 2 in its schedulers warns of later versions.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
WISH = ("--size", "32", "--steps", "3", "--seed", "3")


@pytest.fixture(scope="module")
def maker(
    twins: Any,
    tokenizer: Any,
    umt5: Any,
    wan_parts: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """Return a function from the name of a pipeline to the folder of its twin."""
    parts, made = twins.Parts(tokenizer, umt5, wan_parts), dict[str, Path]()

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("videos") / name
            build = twins.cogvideox if name.startswith("Cog") else twins.wan
            pipe = twins.wan_vace(parts) if "VACE" in name else build(parts, name)
            pipe.save_pretrained(made[name])
        return made[name]

    return folder


@pytest.fixture
def clip() -> Path:
    """A video of 24 frames per second, 48x40, half a second long."""
    from fractions import Fraction

    from lingen_cli.media.writer import VideoWriter

    images = np.zeros((12, 40, 48, 3), np.uint8)
    for number in range(12):
        images[number, :, 2 * number : 2 * number + 12] = (200, 60, 20 * number)
    with VideoWriter(Path("clip.mp4"), width=48, height=40, fps=Fraction(24)) as writer:
        writer.write(images)
    return Path("clip.mp4")


def shown(clip: Path, count: int, rate: int) -> list[Any]:
    """The first frames of a video at a rate, cut and scaled to 32x32."""
    from PIL import Image

    from lingen_cli.media.images.resize import Fit
    from lingen_cli.media.reader import frames_at

    fit = Fit(name="crop", seen=(48, 40), size=(32, 32))
    times = [(number + 0.25) / rate for number in range(count)]
    return [Image.fromarray(one) for one in frames_at(clip, times, fit=fit)]


def recipe_of(name: object) -> Any:
    from lingen_cli.requests.recipe import recipe_from_video

    return recipe_from_video(Path(str(name)))


@pytest.mark.parametrize(
    "name", ["WanVideoToVideoPipeline", "WanVACEPipeline", "CogVideoXVideoToVideoPipeline"]
)
def test_its_frames_are_those_of_diffusers(
    hub: RunHere,
    maker: Callable[[str], Path],
    clip: Path,
    written: Collect,
    plain: Callable[[Any], np.ndarray],
    name: str,
) -> None:
    import inspect

    import diffusers
    import torch

    start = ("generate", "a red cat", "--model", maker(name), *WISH)
    with written() as frames:
        result = hub(*start, "--frames", "5", "--video", clip, "-o", "v.mp4")
    assert result.returncode == 0, result.stderr
    recipe = recipe_of("v.mp4")
    dtype = getattr(torch, recipe.dtype)
    exact = torch.float32 if name.startswith("Wan") else dtype
    kind = getattr(diffusers, name)
    pipe = kind.from_pretrained(maker(name), dtype={"default": dtype, "vae": exact})
    asked = {
        "prompt": "a red cat",
        "video": shown(clip, 5, int(recipe.fps)),
        "negative_prompt": recipe.sampling.negative_prompt,
        "num_frames": 5,
        "height": 32,
        "width": 32,
        "num_inference_steps": 3,
        "guidance_scale": recipe.sampling.guidance_scale,
        "generator": torch.Generator().manual_seed(3),
        "output_type": "np",
    }
    signature = inspect.signature(pipe.__call__).parameters
    output = pipe(**{key: value for key, value in asked.items() if key in signature})
    assert np.array_equal(frames.all, plain(output)[:5])


def test_it_belongs_to_the_video(
    hub: RunHere,
    maker: Callable[[str], Path],
    clip: Path,
    fails: Fails,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import hashlib

    from lingen_cli.generation import encode

    wan = ("--model", maker("WanVideoToVideoPipeline"), *WISH, "--video", clip)
    assert hub("generate", "a red cat", *wan, "-o", "v.mp4").returncode == 0
    recipe = recipe_of("v.mp4")
    assert recipe.video.sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert recipe.frames == 8  # half a second at the model's rate
    assert hub("rerun", "v.mp4", "-o", "again.mp4").returncode == 0
    assert Path("again.mp4").read_bytes() == Path("v.mp4").read_bytes()
    monkeypatch.setenv("LINGEN_JOURNAL_SECONDS", "0")
    command = ("generate", "a red cat", *wan, "-o", "w.mp4")
    assert killed(command, encode, "_write") == -signal.SIGKILL
    assert not Path("w.mp4").exists()
    assert hub("resume", "w.mp4").returncode == 0
    assert Path("w.mp4").read_bytes() == Path("v.mp4").read_bytes()
    clip.rename("moved.mp4")
    fails(hub("rerun", "v.mp4", "-o", "x.mp4"), 66, "clip.mp4")
    moved = hub("rerun", "v.mp4", "--given-video", "moved.mp4", "-o", "x.mp4")
    assert moved.returncode == 0
    assert recipe_of("x.mp4").frame_hashes == recipe.frame_hashes


def test_what_cannot_be(
    hub: RunHere,
    maker: Callable[[str], Path],
    twin: Callable[[str], Path],
    clip: Path,
    fails: Fails,
) -> None:
    video = ("--video", clip, "-o", "v.mp4")
    start = ("generate", "a red cat", *WISH)
    fails(
        hub(*start, "--model", twin("wan"), *video), 2, "is made from no video: leave out --video"
    )
    fails(hub(*start, *video), 2, "lingen-mini is made from no video: leave out --video")
    wan = ("--model", maker("WanVideoToVideoPipeline"))
    fails(hub(*start, *wan), 2, "is made from a video: give one with --video")
    fails(hub(*start, *wan, "--seconds", "2", *video), 2, "lasts 0.5 s, not 2 s: ask for less")
    fails(hub(*start, *wan, "--video", "none.mp4"), 66, "none.mp4")
    Path("text.mp4").write_text("hello")
    fails(hub(*start, *wan, "--video", "text.mp4"), 65, "text.mp4")
    assert not Path("v.mp4").exists()
