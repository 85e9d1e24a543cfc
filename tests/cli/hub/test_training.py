"""A LinGen is trained on parts of others, tiny and random, and generates with them."""

import json
import shutil
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(
    find_spec("diffusers") is None, reason="needs diffusers: pip install 'lingen[hub]'"
)
RECIPE = """
name = "on-others"

{parts}

[model.overrides]
width = 32
depth = 1
head_dim = 16
ssm_head_dim = 16
state_size = 4
position_grid = [8, 8, 8]

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


def recipe(folder, parts):
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(parts=parts))
    return path


@pytest.fixture
def wan_folder(wan_parts, tmp_path):
    """A folder of its own with the text encoder, the tokenizer and the autoencoder of Wan."""
    folder = tmp_path / "wan"
    for name in ("tokenizer", "text_encoder", "vae"):
        wan_parts[name].save_pretrained(folder / name)
    return folder


@pytest.fixture
def on_wan(hub, wan_folder, tmp_path):
    """The weights of a LinGen that was trained on them."""
    out = tmp_path / "out"
    done = hub("train", recipe(tmp_path, ON_WAN.format(wan_folder)), "-o", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return out


def generate(hub, weights, *more):
    wish = ("--weights", weights, "--size", "64", "--frames", "9", "--steps", "2", "--seed", "1")
    return hub("generate", "a red ball", *wish, *more)


def test_wan_and_umt5(hub, on_wan, wan_folder, tmp_path, fails):
    from lingen_cli.media.open import open_video
    from lingen_cli.recipe import recipe_from_video
    from lingen_models.checkpoint import load_tensors, read_metadata

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
    assert "never met" not in made.stderr
    with open_video(video) as opened:
        assert sum(1 for _ in opened.container.decode(video=0)) == 9
    assert hub("rerun", video, "-o", again).returncode == 0
    assert again.read_bytes() == video.read_bytes()
    assert hub("extend", video, "--seconds", "0.5", "-o", tmp_path / "longer.mp4").returncode == 0
    assert hub("models", "verify", "lingen-mini", "--weights", on_wan).returncode == 0

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
