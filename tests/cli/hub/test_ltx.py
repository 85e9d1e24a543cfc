"""A tiny LTX-Video: a clip, sliding windows with a prompt for each, and decoding in pieces."""

import json
import subprocess
from collections.abc import Callable, Iterator
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


@pytest.fixture
def generate(hub: RunHere, tiny_ltx: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    wish = ("--model", "ltx-13b-distilled", "--size", "64x32", "--accept-license", "--steps", "2")
    return lambda *more: hub("generate", *wish, "--seed", "7", "--weights", tiny_ltx, *more)


def latents_of(video: Path) -> Any:
    from lingen_cli.generation import latent_cache
    from lingen_cli.requests.recipe import recipe_from_video

    digest = recipe_from_video(video).latents
    assert digest is not None
    return latent_cache.load(digest)


def reference(direct: LoadPipeline, folder: Path, video: Path) -> Any:
    """The pipeline of diffusers with the scheduler that long videos are made with."""
    from diffusers import LTXEulerAncestralRFScheduler

    pipe = direct("LTXI2VLongMultiPromptPipeline", folder, video)
    pipe.scheduler = LTXEulerAncestralRFScheduler.from_config(pipe.scheduler.config)
    return pipe


@pytest.mark.parametrize(("prompt", "count"), [("a red cat", 9), ("a red cat | a ball runs", 97)])
def test_its_frames_are_those_of_diffusers(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    direct: LoadPipeline,
    written: Collect,
    streamed: Callable[..., np.ndarray],
    tiny_ltx: Path,
    tmp_path: Path,
    prompt: str,
    count: int,
) -> None:
    import torch

    video = tmp_path / "v.mp4"
    with written() as frames:
        result = generate(prompt, "--frames", count, "--guidance", "3", "-o", video, "--json")
    assert result.returncode == 0, result.stderr
    pipe = reference(direct, tiny_ltx, video)
    wish = {"num_frames": count, "height": 32, "width": 64, "frame_rate": 25}
    sampling = {"num_inference_steps": 3, "guidance_scale": 3.0, "seed": 7}
    latents = pipe(prompt, **wish, **sampling, output_type="latent").frames
    assert torch.equal(latents_of(video), latents.float())
    images = pipe.vae_decode_tiled(
        latents.float(),
        decode_timestep=0.05,
        decode_noise_scale=0.025,
        horizontal_tiles=1,
        vertical_tiles=1,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    )
    expected = (np.asarray(images[0]) * 255).round().astype(np.uint8)
    assert np.array_equal(frames.all, expected)
    if count > 9:  # an odd number of latent frames
        words = (prompt, "--frames", count, "--guidance", "3")
        assert np.array_equal(streamed(generate, *words), expected)
    events = [json.loads(line) for line in result.stdout.splitlines()]
    steps = [one["done"] for one in events if one.get("phase") == "sample" and "done" in one]
    assert steps[-1] == 2 * (1 if count == 9 else 2)  # two windows of ten latent frames


def test_what_it_cannot_do(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    hub: RunHere,
    fails: Fails,
    tmp_path: Path,
) -> None:
    assert generate("a red cat", "--frames", "5", "-o", tmp_path / "v.mp4").returncode == 0
    fails(hub("extend", tmp_path / "v.mp4"), 2, "cannot go on")
    fails(generate("a red cat", "--size", "48"), 2, "a multiple of 32")


def test_long_videos_are_decoded_in_pieces(tiny_ltx: Path) -> None:
    import torch

    from lingen_plugins.hub.families.ltx import build_ltx
    from lingen_plugins.hub.families.ltx_codec import CONTEXT, PIECE

    pipe = build_ltx(tiny_ltx, "cpu", torch.float32)
    count = 2 * PIECE + 3
    pipe._count = count
    latents = torch.randn(1, 8, count, 1, 1, generator=torch.Generator().manual_seed(0))
    frames = 1 + 8 * (count - 1)
    pieces = list(pipe.decode(latents, frames))
    assert [len(piece) for piece in pieces] == [89, 96, 24]
    whole = torch.cat(pieces)
    start, there = pipe.entry(150)
    assert (start, there) == (PIECE, 89)
    again = torch.cat(list(pipe.decode(latents, frames - there, start)))
    assert torch.equal(again, whole[there:])
    # The twin's decoder is shallow: what a piece sees of its neighbours is all that it looks at.
    assert 2 * CONTEXT < PIECE
    exact = torch.cat(list(one_piece(pipe, latents, frames)))
    assert (exact.int() - whole.int()).abs().max() <= 1


def one_piece(pipe: Any, latents: Any, frames: Any) -> Iterator[Any]:
    """As `decode`, with a piece that holds everything."""
    import lingen_plugins.hub.families.ltx_codec as codec

    kept, codec.WHOLE = codec.WHOLE, latents.shape[2]
    try:
        yield from pipe.decode(latents, frames)
    finally:
        codec.WHOLE = kept
