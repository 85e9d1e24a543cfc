"""A tiny Helios: a chunk, several, and on from there."""

from importlib.util import find_spec

import numpy as np
import pytest

pytestmark = [
    pytest.mark.skipif(
        find_spec("diffusers") is None, reason="needs diffusers: pip install 'lingen[hub]'"
    ),
    # What diffusers 0.42 does with numpy 2 in its schedulers warns of later versions.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]
SAMPLING = ("--steps", "2", "--seed", "7", "--guidance", "3", "--negative", "")


@pytest.fixture
def generate(hub, tiny_helios):
    wish = ("a red cat", "--model", "helios-14b", "--size", "32x16", "--accept-licence")
    return lambda *more: hub("generate", *wish, *SAMPLING, "--weights", tiny_helios, *more)


def run(pipe, frames, seed, **more):
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
    generate, direct, written, streamed, plain, tiny_helios, tmp_path, count
):
    video = tmp_path / "v.mp4"
    with written() as frames:
        result = generate("--frames", count, "-o", video)
    assert result.returncode == 0, result.stderr
    output = run(direct("HeliosPipeline", tiny_helios, video), count, 7)
    assert np.array_equal(frames.all, plain(output)[:count])
    if count > 33:
        assert np.array_equal(streamed(generate, "--frames", count), frames.all)


def test_on_from_its_own_latents(
    generate, hub, direct, fails, written, plain, tiny_helios, tmp_path
):
    from lingen_cli.generation import latent_cache
    from lingen_cli.requests.recipe import recipe_from_video
    from lingen_models.sampling.windows import place_seed

    video, longer = tmp_path / "v.mp4", tmp_path / "longer.mp4"
    assert generate("--frames", "33", "-o", video).returncode == 0
    with written() as frames:
        result = hub("extend", video, "--to", f"{43 / 24:.4f}", "-o", longer)
    assert result.returncode == 0, result.stderr
    known = latent_cache.load(recipe_from_video(video).latents)
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


def test_not_on_from_other_videos(hub, fails, tiny_weights, tmp_path):
    made = ("a red ball", "--weights", tiny_weights, "--size", "32", "--frames", "5")
    plain = hub("generate", *made, "--steps", "1", "--no-metadata", "-o", tmp_path / "v.mp4")
    assert plain.returncode == 0, plain.stderr
    wish = ("--prompt", "a red cat", "--model", "helios-14b")
    fails(hub("extend", tmp_path / "v.mp4", *wish), 2, "only with videos that it made itself")
