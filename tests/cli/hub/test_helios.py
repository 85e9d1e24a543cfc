"""A tiny Helios: a chunk, several, and on from there."""

import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.protocols import Collect, Fails, LoadPipeline, RunHere

pytestmark = [
    pytest.mark.skipif(
        find_spec("diffusers") is None, reason="needs diffusers: pip install 'lingen[hub]'"
    ),
    # What diffusers 0.42 does with numpy 2 in its schedulers warns of later versions.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]
SAMPLING = ("--steps", "2", "--seed", "7", "--guidance", "3", "--negative", "")


@pytest.fixture
def generate(hub: RunHere, tiny_helios: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    wish = ("a red cat", "--model", "helios-14b", "--size", "32x16", "--accept-license")
    return lambda *more: hub("generate", *wish, *SAMPLING, "--weights", tiny_helios, *more)


def run(pipe: Any, frames: int, seed: int, **more: Any) -> Any:
    """Call a pipeline of diffusers with what the tests ask of lingen."""
    import torch

    return pipe(
        "a red cat",
        num_frames=frames,
        height=16,
        width=32,
        num_inference_steps=2,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(seed),
        **more,
    )


@pytest.mark.parametrize("count", [20, 40])
def test_its_frames_are_those_of_diffusers(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    direct: LoadPipeline,
    written: Collect,
    streamed: Callable[..., np.ndarray],
    plain: Callable[[Any], np.ndarray],
    tiny_helios: Path,
    tmp_path: Path,
    count: int,
) -> None:
    video = tmp_path / "v.mp4"
    with written() as frames:
        result = generate("--frames", count, "-o", video)
    assert result.returncode == 0, result.stderr
    output = run(direct("HeliosPipeline", tiny_helios, video), count, 7)
    assert np.array_equal(frames.all, plain(output)[:count])
    if count > 33:
        assert np.array_equal(streamed(generate, "--frames", count), frames.all)


def test_on_from_its_own_latents(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    hub: RunHere,
    direct: LoadPipeline,
    fails: Fails,
    written: Collect,
    plain: Callable[[Any], np.ndarray],
    tiny_helios: Path,
    tmp_path: Path,
) -> None:
    from lingen_cli.generation import latent_cache
    from lingen_cli.requests.recipe import recipe_from_video
    from lingen_models.sampling.windows import place_seed

    video, longer = tmp_path / "v.mp4", tmp_path / "longer.mp4"
    assert generate("--frames", "33", "-o", video).returncode == 0
    with written() as frames:
        result = hub("extend", video, "--to", f"{43 / 24:.4f}", "-o", longer)
    assert result.returncode == 0, result.stderr
    digest = recipe_from_video(video).latents
    assert digest is not None
    known = latent_cache.load(digest)
    assert known is not None
    output = run(
        direct("HeliosPipeline", tiny_helios, video),
        33,
        place_seed(7, 9),
        video_latents=known,
        image_latents=known[:, :, :1],
        add_noise_to_video_latents=False,
        add_noise_to_image_latents=False,
    )
    assert np.array_equal(frames.all, plain(output)[:10])
    assert hub("verify", longer).returncode == 0
    for entry in latent_cache.entries():
        entry.path.unlink()
    fails(hub("extend", video, "-o", tmp_path / "no.mp4"), 69, "not in the cache")


def test_not_on_from_other_videos(
    hub: RunHere, fails: Fails, tiny_weights: Path, tmp_path: Path
) -> None:
    made = ("a red ball", "--weights", tiny_weights, "--size", "32", "--frames", "5")
    plain = hub("generate", *made, "--steps", "1", "--no-metadata", "-o", tmp_path / "v.mp4")
    assert plain.returncode == 0, plain.stderr
    wish = ("--prompt", "a red cat", "--model", "helios-14b")
    fails(hub("extend", tmp_path / "v.mp4", *wish), 2, "only with videos that it made itself")
