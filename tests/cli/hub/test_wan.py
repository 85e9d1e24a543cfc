"""A tiny Wan 2.1 through the whole command line, beside the same pipeline called directly."""

import json
import shutil
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
WISH = ("a red cat", "--model", "wan-1.3b", "--size", "48x32", "--steps", "3", "--accept-license")


@pytest.fixture
def generate(hub: RunHere, tiny_wan: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *more: hub("generate", *WISH, "--weights", tiny_wan, *more)


def recipe_of(path: Path) -> Any:
    from lingen_cli.requests.recipe import recipe_from_video

    return recipe_from_video(path)


def test_its_frames_are_those_of_diffusers(
    generate: Callable[..., subprocess.CompletedProcess[str]],
    direct: LoadPipeline,
    written: Collect,
    plain: Callable[[Any], np.ndarray],
    tiny_wan: Path,
    tmp_path: Path,
) -> None:
    import torch

    video = tmp_path / "v.mp4"
    with written() as frames:
        wish = ("--frames", "10", "--seed", "5", "--guidance", "4", "--negative", "a ball")
        result = generate(*wish, "-o", video, "--json")
    assert result.returncode == 0, result.stderr
    recipe = recipe_of(video)
    pipe = direct("WanPipeline", tiny_wan, video)
    output = pipe(
        "a red cat",
        negative_prompt="a ball",
        num_frames=13,  # a whole number of latent frames; the last three are dropped
        height=32,
        width=48,
        num_inference_steps=3,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(5),
    )
    assert frames.all.shape == (10, 32, 48, 3)
    assert np.array_equal(frames.all, plain(output)[:10])
    events = [json.loads(line) for line in result.stdout.splitlines()]
    steps = [one["done"] for one in events if one.get("phase") == "sample" and "done" in one]
    assert steps[-1] == 3
    assert recipe.model == "wan-1.3b" and recipe.sampling.sampler == "scheduler"
    assert {"denoiser", "autoencoder", "text_encoder", "tokenizer"} <= set(recipe.weights)


def test_it_is_made_again_and_known_again(
    generate: Callable[..., subprocess.CompletedProcess[str]], hub: RunHere, tmp_path: Path
) -> None:
    video, again = tmp_path / "v.mp4", tmp_path / "again.mp4"
    assert generate("--frames", "5", "--fps", "8", "--seed", "1", "-o", video).returncode == 0
    assert hub("rerun", video, "-o", again).returncode == 0
    assert again.read_bytes() == video.read_bytes()
    assert (
        "made already" in generate("--frames", "5", "--fps", "8", "-o", video, "--seed", "1").stderr
    )
    assert hub("verify", video).returncode == 0


def test_pieces_from_anywhere_are_those_of_the_whole(tiny_wan: Path) -> None:
    import torch

    from lingen_plugins.hub.families.wan import WAN

    pipe: Any = WAN.build(tiny_wan, "cpu", torch.float32)
    latents = torch.randn(1, 16, pipe.reach + 4, 2, 2, generator=torch.Generator().manual_seed(0))
    count = 1 + 4 * (latents.shape[2] - 1)
    whole = torch.cat(list(pipe.decode(latents, count)))
    with torch.inference_mode():
        config = pipe.pipe.vae.config
        mean, deviation = (
            torch.tensor(values).view(1, -1, 1, 1, 1)
            for values in (config.latents_mean, config.latents_std)
        )
        pixels = pipe.pipe.vae.decode(latents / (1.0 / deviation) + mean).sample[0]
    expected = ((pixels * 0.5 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    assert torch.equal(whole, expected.permute(1, 2, 3, 0))
    for frame in (1, count - 5):
        start, there = pipe.entry(frame)
        part = torch.cat(list(pipe.decode(latents, count - there, start)))
        assert torch.equal(part[frame - there :], whole[frame:])
    start, there = pipe.entry(count - 1)
    assert start > 0 and not torch.equal(
        torch.cat(list(pipe.decode(latents, count - there, start)))[:4], whole[there:][:4]
    )


def test_decoding_keeps_no_more_than_a_latent_frame_at_a_time(tiny_wan: Path) -> None:
    import torch

    from lingen_plugins.hub.families.wan import WAN

    pipe: Any = WAN.build(tiny_wan, "cpu", torch.float32)
    woken: list[Any] = []
    pipe.pipe.vae._hf_hook = SimpleNamespace(pre_forward=woken.append)  # as one that waits has
    pieces = pipe.decode(torch.zeros(1, 16, 20, 2, 2), 77)
    assert [next(pieces).shape[0] for _ in range(3)] == [1, 4, 4]
    assert woken == [pipe.pipe.vae]


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        pytest.param("missing", "blocks.1.ffn.net.2.bias", id="missing tensor"),
        pytest.param("extra", "blocks.9.ffn.net.2.bias", id="extra tensor"),
        pytest.param("shape", "transformer", id="wrong shape"),
        pytest.param("cut", "transformer", id="cut off"),
    ],
)
def test_weights_that_are_not_whole(
    hub: RunHere, fails: Fails, tiny_wan: Path, tmp_path: Path, damage: str, part: str
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "broken"
    shutil.copytree(tiny_wan, folder)
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors, name = load_file(path), "blocks.1.ffn.net.2.bias"
    if damage == "missing":
        del tensors[name]
    elif damage == "extra":
        tensors[part] = tensors[name].clone()
    elif damage == "shape":
        tensors[name] = tensors[name][:-1].clone()
    save_file(tensors, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    result = hub("generate", *WISH, "--weights", folder, "--frames", "5", "-o", tmp_path / "v.mp4")
    fails(result, 65, part)
    assert not (tmp_path / "v.mp4").exists()


def test_an_index_that_names_strangers_is_not_followed(
    hub: RunHere, fails: Fails, tiny_wan: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "strange"
    shutil.copytree(tiny_wan, folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["vae"] = ["os", "system"]
    (folder / "model_index.json").write_text(json.dumps(index))
    result = hub("generate", *WISH, "--weights", folder, "--frames", "5")
    fails(result, 65, "'os'", "diffusers and transformers alone")


def test_another_pipeline_and_a_part_that_is_missing(
    hub: RunHere, fails: Fails, tiny_wan: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny_wan, folder)
    shutil.rmtree(folder / "vae")
    fails(hub("generate", *WISH, "--weights", folder), 66, "vae")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "LattePipeline"}))
    fails(hub("generate", *WISH, "--weights", folder), 65, "LattePipeline")
    (folder / "model_index.json").write_text("{")
    fails(hub("generate", *WISH, "--weights", folder), 65, "damaged index")


def test_the_cache_of_huggingface_hub_is_found(
    hub: RunHere, fails: Fails, tiny_wan: Path, tmp_path: Path
) -> None:
    fails(hub("generate", *WISH), 69, "lingen models pull wan-1.3b")
    entry = tmp_path / "hf" / "hub" / "models--Wan-AI--Wan2.1-T2V-1.3B-Diffusers"
    (entry / "refs").mkdir(parents=True)
    (entry / "refs" / "main").write_text("0123abc")
    shutil.copytree(tiny_wan, entry / "snapshots" / "0123abc")
    result = hub("generate", *WISH, "--frames", "1", "-o", tmp_path / "v.mp4")
    assert result.returncode == 0, result.stderr
    assert recipe_of(tmp_path / "v.mp4").weights_folder is None
    (line,) = [one for one in hub("models", "list").stdout.splitlines() if one.startswith("wan-")]
    assert "ready" in line
