"""Pipelines that nobody registered, run from their folders beside the same called directly."""

import importlib.util
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.protocols import Collect, RunHere

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("diffusers") is None,
        reason="needs diffusers: pip install 'lingen[hub]'",
    ),
    # What diffusers 0.42 does with numpy 2 in its schedulers warns of later versions.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    # Of networks this small, in bfloat16.
    pytest.mark.filterwarnings("ignore:Mismatch dtype"),
    pytest.mark.filterwarnings("ignore:In CPU autocast"),
    pytest.mark.filterwarnings("ignore:std.*degrees of freedom"),
]
SIZES = {"wan-2.2-5b": 64}
LENGTHS = {"mochi": 13, "kandinsky-5-i2v": 17}
"""Frames; 9 where nothing is said."""
NAMES = (
    *("wan", "wan-2.2-a14b", "wan-2.2-5b", "wan-i2v", "wan-2.2-i2v", "wan-flf2v", "wan-vace"),
    *("anyflow", "skyreels-v2", "skyreels-v2-df", "skyreels-v2-i2v", "sana-video", "sana-i2v"),
    *("cogvideox", "cogvideox-i2v", "mochi", "ltx", "ltx-timed", "ltx-i2v", "ltx-condition"),
    *("ltx-2", "ltx-2-i2v"),
    *("hunyuan", "hunyuan-skyreels-i2v", "kandinsky-5", "kandinsky-5-i2v", "motif"),
)


def index_of(folder: Path) -> Any:
    return json.loads((folder / "model_index.json").read_text())


@pytest.fixture
def called() -> Callable[..., Any]:
    """Return a function that calls the pipeline in a folder, with what its signature takes, in the
    precision of a video."""
    import diffusers
    import torch

    from lingen_cli.requests.recipe import recipe_from_video

    def call(folder: Path, video: Any, **asked: Any) -> Any:
        dtype, index = getattr(torch, recipe_from_video(video).dtype), index_of(folder)
        exact = index["vae"][1] == "AutoencoderKLWan"
        kinds = {"default": dtype, "vae": torch.float32 if exact else dtype}
        pipe = getattr(diffusers, index["_class_name"]).from_pretrained(folder, dtype=kinds)
        pipe.set_progress_bar_config(disable=True)
        signature = inspect.signature(pipe.__call__).parameters
        return pipe(**{one: value for one, value in asked.items() if one in signature})

    return call


@pytest.fixture
def image() -> Callable[..., str]:
    """Return a function that writes a PNG of random numbers."""
    from lingen_cli.media.images.image_files import write_png

    def write(name: str, side: Any) -> str:
        pixels = np.random.default_rng(len(name)).integers(0, 255, (side, side, 3), np.uint8)
        write_png(Path(f"{name}.png"), pixels)
        return f"{name}.png"

    return write


def test_all_twins_are_here(twins: Any) -> None:
    assert set(NAMES) == set(twins.TWINS)


@pytest.mark.parametrize("name", NAMES)
def test_its_frames_are_those_of_diffusers(
    hub: RunHere,
    twin: Callable[..., Any],
    twins: Any,
    called: Callable[..., Any],
    written: Collect,
    plain: Callable[[Any], np.ndarray],
    image: Callable[..., str],
    tmp_path: Path,
    name: str,
) -> None:
    import torch
    from PIL import Image

    folder, video = twin(name), tmp_path / "v.mp4"
    side, count = SIZES.get(name, 32), LENGTHS.get(name, 9)
    files = {one: image(one, side) for one in twins.IMAGES.get(name, ())}
    options = [part for one, path in files.items() for part in (f"--{one}".replace("_", "-"), path)]
    wish = ("--size", side, "--frames", count, "--steps", 2, "--seed", 5, "--negative", "a ball")
    with written() as frames:
        result = hub("generate", "a red cat", "--model", folder, *wish, *options, "-o", video)
    assert result.returncode == 0, result.stderr
    output = called(
        folder,
        video,
        prompt="a red cat",
        negative_prompt="a ball",
        num_frames=count,
        frames=count,
        height=side,
        width=side,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(5),
        use_resolution_binning=False,
        output_type="np",
        **{one: Image.open(path) for one, path in files.items()},
    )
    assert frames.all.shape == (count, side, side, 3)
    assert frames.all.std() > 0
    assert np.array_equal(frames.all, plain(output))
