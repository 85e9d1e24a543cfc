"""A tiny SkyReels-V2 with diffusion forcing: in one piece, in windows, and on from a video."""

import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.cli.protocols import Collect, Fails, LoadPipeline, RunHere

pytestmark = pytest.mark.skipif(
    find_spec("diffusers") is None, reason="needs diffusers: pip install 'lingen[hub]'"
)
STEPS, SEED = 2, 7
SAMPLING = ("--steps", STEPS, "--seed", SEED, "--guidance", "3", "--negative", "")


@pytest.fixture
def generate(hub: RunHere, tiny_skyreels: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    wish = ("a red cat", "--model", "skyreels-v2-1.3b", "--size", "32x16", "--accept-license")
    return lambda *more: hub("generate", *wish, *SAMPLING, "--weights", tiny_skyreels, *more)


@pytest.fixture
def load(direct: LoadPipeline, tiny_skyreels: Path) -> Callable[..., Any]:
    """Pipelines with the shift of their authors, which is not that of the twin's scheduler."""

    def shifted(name: str, video: Path) -> Any:
        pipe = direct(name, tiny_skyreels, video)
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, flow_shift=8.0)
        return pipe

    return shifted


def common(**more: Any) -> dict[str, Any]:
    wish = {"prompt": "a red cat", "height": 16, "width": 32, "guidance_scale": 3.0}
    return wish | {"num_inference_steps": STEPS, "fps": 24} | more


def seeded(seed: int) -> Any:
    import torch

    return torch.Generator().manual_seed(seed)


def test_a_clip_in_one_piece(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    load: Callable[..., Any],
    written: Collect,
    plain: Callable[[Any], np.ndarray],
    tmp_path: Path,
) -> None:
    video = tmp_path / "v.mp4"
    with written() as frames:
        assert generate("--frames", "9", "-o", video).returncode == 0
    pipe = load("SkyReelsV2DiffusionForcingPipeline", video)
    expected = plain(pipe(**common(num_frames=9, generator=seeded(SEED))))
    assert np.array_equal(frames.all, expected)


def test_a_long_video_in_windows_and_on_from_there(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    hub: RunHere,
    load: Callable[..., Any],
    written: Collect,
    plain: Callable[[Any], np.ndarray],
    tmp_path: Path,
) -> None:
    import torch

    from lingen_models.sampling.windows import place_seed

    video, longer = tmp_path / "v.mp4", tmp_path / "longer.mp4"
    with written() as frames:
        result = generate("--frames", "109", "-o", video)
    assert result.returncode == 0, result.stderr
    pipe = load("SkyReelsV2DiffusionForcingPipeline", video)
    torch.manual_seed(place_seed(SEED, 25))  # the noise on the past of the second window
    output = pipe(
        **common(
            num_frames=109,
            generator=seeded(SEED),
            overlap_history=17,
            base_num_frames=97,
            addnoise_condition=20,
        )
    )
    expected = plain(output)
    assert np.array_equal(frames.all, expected)

    with written() as frames:
        result = hub("extend", video, "--to", f"{117 / 24:.4f}", "-o", longer)
    assert result.returncode == 0, result.stderr
    assert frames.all.shape == (8, 16, 32, 3)  # the others are copied
    new = extended(load, video, video_latents(hub, video), plain)
    assert np.abs(frames.all.astype(int) - new).max() <= 2
    assert np.abs(frames.all.astype(int) - expected[-8:]).max() > 2


def video_latents(hub: RunHere, video: Path) -> Any:
    """The latents that the cache keeps of a video."""
    from lingen_cli.generation import latent_cache
    from lingen_cli.requests.recipe import recipe_from_video

    digest = recipe_from_video(video).latents
    assert digest is not None
    return latent_cache.load(digest)


def extended(
    load: Callable[..., Any], video: Path, latents: Any, plain: Callable[[Any], np.ndarray]
) -> Any:
    """The last eight frames of what diffusers makes of a video's latents, eight frames longer.

    Its pipeline from video to video encodes pixels; here its autoencoder gives back the latents.
    """
    import torch

    from lingen_models.sampling.windows import place_seed
    from lingen_plugins.hub.families.wan_codec import decode_frames

    pipe = load("SkyReelsV2DiffusionForcingVideoToVideoPipeline", video)
    config = pipe.vae.config
    mean, deviation = (
        torch.tensor(values).view(1, -1, 1, 1, 1)
        for values in (config.latents_mean, config.latents_std)
    )
    past = latents[:, :, -5:] * deviation + mean
    pipe.vae.encode = lambda pixels: SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: past))
    torch.manual_seed(place_seed(SEED, latents.shape[2]))
    seen = torch.zeros(17, 16, 32, 3).numpy()
    output = pipe(
        video=list(seen),
        generator=seeded(place_seed(SEED, latents.shape[2])),
        overlap_history=17,
        base_num_frames=25,
        addnoise_condition=20,
        output_type="latent",
        **common(num_frames=25),
    )
    new = output.frames[:, :, -2:]
    pixels = torch.cat(list(decode_frames(pipe.vae, torch.cat((latents, new), 2))), 2)
    images = (pixels[0, :, -8:] * 0.5 + 0.5).clamp(0, 1) * 255
    return images.round().permute(1, 2, 3, 0).int().numpy()


def test_a_run_that_was_stopped_goes_on_between_windows(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from lingen_plugins.hub.families.skyreels import SkyReels

    monkeypatch.setenv("LINGEN_JOURNAL_SECONDS", "0")
    whole, video, call = tmp_path / "whole.mp4", tmp_path / "v.mp4", SkyReels._call
    assert generate("--frames", "101", "-o", whole).returncode == 0
    windows, breaks = [], [True]

    def counted(self: Any, noise: Any, prompt: str, params: Any, **more: Any) -> Any:
        windows.append(noise.shape[2])
        if breaks and len(windows) == 2:
            raise RuntimeError("the power is gone")
        return call(self, noise, prompt, params, **more)

    monkeypatch.setattr(SkyReels, "_call", counted)
    assert "lingen resume" in generate("--frames", "101", "-o", video).stderr
    breaks.clear()
    assert generate("--frames", "101", "-o", video).returncode == 0
    assert windows == [25, 6, 6]
    assert video.read_bytes() == whole.read_bytes()


def test_what_it_goes_on_with(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    hub: RunHere,
    fails: Fails,
    tmp_path: Path,
) -> None:
    video = tmp_path / "v.mp4"
    assert generate("--frames", "5", "-o", video).returncode == 0
    for command in (
        ("continue", video, "a blue ball", "--seconds", "0.25"),
        ("branch", video, "a blue ball", "--at", "0.1", "--seconds", "0.25"),
    ):
        result = hub(*command, "-o", tmp_path / f"{command[0]}.mp4")
        assert result.returncode == 0, result.stderr
        assert hub("verify", tmp_path / f"{command[0]}.mp4").returncode == 0
    fails(hub("retake", video, "--from", "0"), 2, "cannot make a part of a video anew")
    crossfade = ("continue", video, "a blue ball", "--crossfade", "1")
    fails(hub(*crossfade), 2, "cannot fade prompts")


def test_on_from_a_video_that_it_did_not_make(
    hub: RunHere, tiny_weights: Path, tiny_skyreels: Path, tmp_path: Path
) -> None:
    made = ("a red ball", "--weights", tiny_weights, "--size", "32", "--frames", "20")
    plain = hub("generate", *made, "--steps", "1", "--no-metadata", "-o", tmp_path / "v.mp4")
    assert plain.returncode == 0, plain.stderr
    wish = ("--prompt", "a red cat", "--model", "skyreels-v2-1.3b", "--seconds", "0.5")
    folder = ("--weights", tiny_skyreels, "--size", "32", "--accept-license")
    longer = tmp_path / "longer.mp4"
    result = hub("extend", tmp_path / "v.mp4", *wish, *folder, *SAMPLING, "-o", longer)
    assert result.returncode == 0, result.stderr
    again = hub("rerun", longer, "-o", tmp_path / "again.mp4")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.mp4").read_bytes() == longer.read_bytes()
