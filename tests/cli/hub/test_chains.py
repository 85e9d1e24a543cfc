"""Clips that each begin with the last image of the one before: 20 seconds, and more of them."""

import importlib.util
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lingen_plugins.hub.by_signature import BySignature
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
CLIP = 9
"""Frames; at 2 frames per second, 20 seconds are 40 of them: a clip of 9, then 8 new each."""


@pytest.fixture(params=["wan-i2v", "cogvideox-i2v", "wan-2.2-i2v", "modular wan-2.2-i2v"])
def command(
    request: pytest.FixtureRequest,
    hub: RunHere,
    twin: Callable[[str], Path],
    modular: Callable[[str], Path],
    tmp_path: Path,
) -> tuple[str, ...]:
    """The beginning of a command with a model whose clips are chained; Wan 2.2 has two
    transformers."""
    from lingen_cli.media.images.image_files import write_png

    folder, (*kind, name) = tmp_path / "model", request.param.split()
    shutil.copytree(modular(name) if kind else twin(name), folder)
    (folder / "lingen-model.toml").write_text(f"fps = 2\nframes = {CLIP}\n")
    pixels = np.random.default_rng(1).integers(0, 255, (32, 32, 3), np.uint8)
    write_png(Path("first.png"), pixels)
    sampling = ("--size", "32", "--steps", "2", "--seed", "3", "--image", "first.png")
    return ("generate", "a red cat", "--model", str(folder), *sampling)


def frames_in(path: str) -> np.ndarray:
    import av

    with av.open(path) as container:
        return np.stack([one.to_ndarray() for one in container.decode(video=0)])


def test_each_clip_begins_with_the_last_image(
    hub: RunHere, command: tuple[str, ...], written: Collect, called_twin: Callable[..., Any]
) -> None:
    with written() as frames:
        result = hub(*command, "--frames", "17", "-o", "v.mp4")
    assert result.returncode == 0, result.stderr
    assert frames.all.shape == (17, 32, 32, 3)
    from PIL import Image

    from lingen_models.sampling.windows import place_seed

    one = called_twin("v.mp4", Image.open("first.png"), 3)
    two = called_twin("v.mp4", Image.fromarray(one[-1]), place_seed(3, 3))
    assert np.array_equal(frames.all, np.concatenate((one, two[1:])))


@pytest.fixture
def called_twin(command: tuple[str, ...]) -> Callable[..., Any]:
    """Return a function that calls the pipeline for a clip, from an image and with a seed."""
    import diffusers

    from lingen_cli.requests.recipe import recipe_from_video
    from lingen_plugins.hub.loading import is_modular, read_index

    def call(video: str, image: Any, seed: int) -> Any:
        folder, recipe = Path(command[3]), recipe_from_video(Path(video))
        index, dtype = read_index(folder), getattr(torch, recipe.dtype)
        exact = index["vae"][1] == "AutoencoderKLWan"
        kinds = {"default": dtype, "vae": torch.float32 if exact else dtype}
        asked: dict[str, Any] = {
            "image": image,
            "prompt": "a red cat",
            "negative_prompt": recipe.sampling.negative_prompt,
            "num_frames": CLIP,
            "height": 32,
            "width": 32,
            "num_inference_steps": 2,
            "generator": torch.Generator().manual_seed(seed),
            "output_type": "np",
        }
        scale = recipe.sampling.guidance_scale
        if is_modular(index):
            pipe: Any = diffusers.ModularPipeline.from_pretrained(str(folder))
            pipe.load_components(dtype=kinds)
            pipe.update_components(guider=pipe.guider.new(guidance_scale=scale))
            frames = pipe(**asked, output="videos")[0]
        else:
            pipe = getattr(diffusers, index["_class_name"]).from_pretrained(folder, dtype=kinds)
            frames = pipe(**asked, guidance_scale=scale).frames[0]
        return (np.asarray(frames) * 255).round().astype(np.uint8)

    return call


def test_twenty_seconds_extended_twice_and_killed_once(
    hub: RunHere, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINGEN_JOURNAL_SECONDS", "0")

    for words in (
        (*command, "--seconds", "20", "-o", "a.mp4"),
        ("extend", "a.mp4", "--seconds", "4", "-o", "b.mp4"),
        ("extend", "b.mp4", "--seconds", "8", "-o", "c.mp4"),
    ):
        result = hub(*words)
        assert result.returncode == 0, result.stderr
    again = ("extend", "b.mp4", "--seconds", "8", "-o", "killed.mp4")
    assert killed(again, BySignature, "_call", at=2) == -signal.SIGKILL
    assert not Path("killed.mp4").exists()
    result = hub("resume", "killed.mp4")
    assert result.returncode == 0, result.stderr
    assert Path("killed.mp4").read_bytes() == Path("c.mp4").read_bytes()
    a, b, c = (frames_in(f"{name}.mp4") for name in "abc")
    assert [len(one) for one in (a, b, c)] == [40, 48, 64]
    assert np.array_equal(a, b[:40]) and np.array_equal(b, c[:48])  # kept as they were
    assert hub("verify", "c.mp4").returncode == 0


def test_what_a_chain_cannot_do(hub: RunHere, command: tuple[str, ...], fails: Fails) -> None:
    assert hub(*command, "--frames", "5", "-o", "v.mp4").returncode == 0
    fails(hub("retake", "v.mp4", "--from", "0", "--to", "1"), 2, "cannot make a part")
    Path("story.toml").write_text(
        '[[shot]]\nprompt = "a red cat"\nseconds = 5\n'
        '[[shot]]\nprompt = "a ball"\nseconds = 5\ntransition = "cut"\n'
    )
    story = ("generate", "--story", "story.toml", *command[2:])
    fails(hub(*story), 2, "no shot can be cut to")
