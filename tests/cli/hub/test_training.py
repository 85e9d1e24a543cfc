"""A LinGen is trained on parts of others, tiny and random, and generates with them."""

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.cli.protocols import Fails, RunHere
from tests.tiny_recipe import tiny_recipe

pytestmark = pytest.mark.skipif(
    find_spec("diffusers") is None, reason="needs diffusers: pip install 'lingen[hub]'"
)
STAGES = """
[[stage]]
name = "first"
steps = 2
learning_rate = 1e-3

[[stage.source]]
size = 64
latent_frames = 2
batch = 2
clips = 2
"""
ON_WAN = """
[text]
plugin = "umt5"
weights = "{0}"
config = {{ max_tokens = 16 }}

[autoencoder]
plugin = "wan"
weights = "{0}"
"""


def recipe(folder: Path, parts: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(tiny_recipe(STAGES, name="on-others", parts=parts, depth=1, text_dims=""))
    return path


@pytest.fixture
def wan_folder(wan_parts: dict[str, Any], tmp_path: Path) -> Path:
    """A folder of its own with the text encoder, the tokenizer and the autoencoder of Wan."""
    folder = tmp_path / "wan"
    for name in ("tokenizer", "text_encoder", "vae"):
        wan_parts[name].save_pretrained(folder / name)
    return folder


@pytest.fixture
def on_wan(hub: RunHere, wan_folder: Path, tmp_path: Path) -> Path:
    """The weights of a LinGen that was trained on them."""
    out = tmp_path / "out"
    done = hub("train", recipe(tmp_path, ON_WAN.format(wan_folder)), "-o", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return out


def generate(hub: RunHere, weights: Path, *more: object) -> subprocess.CompletedProcess[str]:
    wish = ("--weights", weights, "--size", "64", "--frames", "9", "--steps", "2", "--seed", "1")
    return hub("generate", "a red ball", *wish, *more)


def test_wan_and_umt5(
    hub: RunHere, on_wan: Path, wan_folder: Path, tmp_path: Path, fails: Fails
) -> None:
    from lingen_cli.media.open import open_video
    from lingen_cli.requests.recipe import recipe_from_video
    from lingen_models.checkpoints.safetensors import load_tensors, read_metadata

    latents, _ = load_tensors(next((on_wan / "latents").iterdir()))
    assert latents["latents"].shape == (2, 16, 3, 8, 8)
    config = read_metadata(on_wan / "denoiser.safetensors")["config"]
    assert (config["text_dims"], config["latent_channels"]) == ([16], 16)
    for name in ("autoencoder", "text_encoder"):
        tensors, _ = load_tensors(on_wan / f"{name}.safetensors")
        facts = read_metadata(on_wan / f"{name}.safetensors")
        assert not tensors and facts["folder"] == str(wan_folder)

    video, again = tmp_path / "v.mp4", tmp_path / "again.mp4"
    made = generate(hub, on_wan, "-o", video)
    assert made.returncode == 0, made.stderr
    assert "does not know" not in made.stderr
    with open_video(video) as opened:
        assert sum(1 for _ in opened.container.decode(video=0)) == 9
    for command in (
        ("rerun", video, "-o", again),
        ("extend", video, "--seconds", "0.5", "-o", tmp_path / "longer.mp4"),
        ("models", "verify", "lingen-mini", "--weights", on_wan),
    ):
        done = hub(*command)
        assert done.returncode == 0, done.stderr
    assert again.read_bytes() == video.read_bytes()

    # Whoever moves the folder finds it again beside the weights; what is changed is not used.
    before = recipe_from_video(video).weights
    (wan_folder / "vae").rename(on_wan / "autoencoder")
    shutil.copytree(wan_folder, on_wan / "text_encoder")
    moved = generate(hub, on_wan, "-o", tmp_path / "moved.mp4")
    assert moved.returncode == 0, moved.stderr
    assert recipe_from_video(tmp_path / "moved.mp4").weights == before
    (on_wan / "autoencoder").rename(on_wan / "elsewhere")
    fails(generate(hub, on_wan), 66, "no config.json, and no vae", str(wan_folder))
    shutil.rmtree(wan_folder)
    fails(generate(hub, on_wan), 66, "the wan that", "is missing", str(wan_folder))
    (on_wan / "elsewhere").rename(on_wan / "autoencoder")
    config = on_wan / "autoencoder" / "config.json"
    config.write_text(config.read_text() + " ")
    fails(generate(hub, on_wan), 65, "wrong hash", "is not the wan that")


def test_ltx_and_several_text_encoders(
    hub: RunHere, tiny_ltx: Path, tiny_wan: Path, tmp_path: Path
) -> None:
    from lingen_cli.requests.recipe import recipe_from_video
    from lingen_models.checkpoints.safetensors import load_tensors, read_metadata

    several = f"""
[[text]]
plugin = "t5"
weights = "{tiny_ltx}"

[[text]]
plugin = "umt5"
weights = "{tiny_wan}"

[autoencoder]
plugin = "ltx"
weights = "{tiny_ltx}"
"""
    out = tmp_path / "out"
    made = hub("train", recipe(tmp_path, several), "-o", out, "--device", "cpu")
    assert made.returncode == 0, made.stderr
    latents, _ = load_tensors(next((out / "latents").iterdir()))
    assert latents["latents"].shape == (2, 8, 3, 2, 2)
    config = read_metadata(out / "denoiser.safetensors")["config"]
    assert (config["text_dims"], config["latent_channels"]) == ([16, 16], 8)
    video = tmp_path / "v.mp4"
    made = generate(hub, out, "-o", video)
    assert made.returncode == 0, made.stderr
    recipe_of = recipe_from_video(video)
    assert {"text_encoder", "text_encoder_2", "autoencoder"} < set(recipe_of.weights)
    refused = hub("generate", "a", "--weights", out, "--size", "48", "--frames", "1")
    assert refused.returncode == 2 and "a multiple of 64" in refused.stderr
    path = recipe(tmp_path, several)
    path.write_text(path.read_text().replace("size = 64", "size = 96"))
    refused = hub("train", path, "-o", tmp_path / "other", "--device", "cpu")
    assert refused.returncode == 65 and "96 pixels are no multiple of 64" in refused.stderr


def test_trained_again_from_a_folder_that_moved_or_changed(
    hub: RunHere, on_wan: Path, wan_folder: Path, tmp_path: Path, fails: Fails
) -> None:
    from lingen_models.checkpoints.safetensors import read_metadata

    moved = wan_folder.rename(tmp_path / "elsewhere")
    again = ("train", recipe(tmp_path, ON_WAN.format(moved)), "-o", on_wan, "--device", "cpu")
    done = hub(*again)
    assert done.returncode == 0, done.stderr
    assert "first: done" in done.stderr and "first 2/2" not in done.stderr
    assert read_metadata(on_wan / "autoencoder.safetensors")["folder"] == str(moved)
    (moved / "vae" / "more.json").write_text("{}")
    fails(hub(*again), 65, "was trained with another wan", "choose another folder")


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ('plugin = "wan"', 'plugin = "van"', 65, "autoencoder.plugin: unknown autoencoder 'van'"),
        ('plugin = "umt5"', 'plugin = "clip"', 65, "is a 'umt5', not a clip"),
        ('plugin = "umt5"', 'plugin = "umt5"\nwidth = 64', 65, "text.width: unknown key"),
        ("max_tokens = 16", "max_tokens = 0", 65, "max_tokens"),
        ("/wan", "/none", 66, "no such folder of weights"),
        ("[autoencoder]\n", "[autoencoder]\n[unused]\n", 65, "autoencoder"),
    ],
)
def test_recipes_that_cannot_be(
    old: str,
    new: str,
    code: int,
    said: str,
    hub: RunHere,
    wan_folder: Path,
    tmp_path: Path,
    fails: Fails,
) -> None:
    path = recipe(tmp_path, ON_WAN.format(wan_folder))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    fails(hub("train", path, "-o", tmp_path / "out", "--device", "cpu"), code, said)
