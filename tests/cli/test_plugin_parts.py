"""A LinGen is trained on the text encoder and the autoencoder of a third party's plugin."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.protocols import Fails, RunHere

PLUGIN = '''
from lingen_plugins import Autoencoder, Dataset, TextEncoder, hookimpl


class Greys:
    """Images of one grey that grows lighter."""

    FPS = 16

    def sample_scene(self, seed):
        return seed % 7 / 10

    def caption(self, scene, seed, *, still=False):
        return "dark grey" if scene < 0.4 else "light grey"

    def vocabulary(self):
        return ("dark", "grey", "light")

    def render(self, scenes, frames, size, *, start=0.0):
        import torch

        times = torch.arange(frames) / self.FPS + start
        grey = torch.tensor(scenes)[:, None] + times / 100
        return grey[:, None, :, None, None].expand(-1, 3, -1, size, size).contiguous()


def build_greys(config):
    if config:
        raise ValueError("it has no settings")
    return Greys()


def build_blocks(config):
    import torch
    from torch import nn

    class Blocks(nn.Module):
        """The mean of every block, in random colors."""

        def __init__(self):
            super().__init__()
            self.colors = nn.Parameter(torch.randn(4, 3))

        def encode(self, video):
            groups = torch.cat((video[:, :, :1].repeat_interleave(2, 2), video[:, :, 1:]), 2)
            means = nn.functional.avg_pool3d(groups, (2, 16, 16))
            return torch.einsum("ck,bkthw->bcthw", self.colors, means)

        def decode(self, latents):
            means = torch.einsum("kc,bcthw->bkthw", torch.linalg.pinv(self.colors), latents)
            large = nn.functional.interpolate(means, scale_factor=(2, 16, 16))
            return large[:, :, 1:]

    return Blocks()


def build_letters(config):
    import torch
    from torch import nn

    class Letters(nn.Module):
        """A random feature for every letter."""

        def __init__(self):
            super().__init__()
            self.letters = nn.Embedding(config["letters"], 6)

        def tokens(self, prompts):
            most = config["letters"] - 2
            rows = [[1, *(2 + ord(one) % most for one in text)] for text in prompts]
            longest = max(map(len, rows))
            return torch.tensor([row + [0] * (longest - len(row)) for row in rows])

        def unknown_words(self, prompt):
            return [word for word in prompt.split() if word.isdigit()]

        def forward(self, tokens):
            return self.letters(tokens), tokens > 0

    return Letters()


@hookimpl
def register_datasets():
    return [Dataset(name="greys", summary="greys", build=build_greys)]


@hookimpl
def register_autoencoders():
    return [
        Autoencoder(
            name="blocks", summary="means", build=build_blocks, latent_channels=4, time_stride=2,
            space_stride=16,
        )
    ]


@hookimpl
def register_text_encoders():
    return [
        TextEncoder(
            name="letters", summary="letters", build=build_letters, feature_dim=6,
            config={"letters": 40},
        )
    ]
'''
RECIPE = """
name = "on-plugins"

[text]
plugin = "letters"
config = { letters = 64 }

[autoencoder]
plugin = "blocks"

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


@pytest.fixture
def on_plugins(
    lingen_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """The weights of a LinGen that was trained on both, and the recipe."""
    folder = tmp_path / "plugin"
    info = folder / "parts-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lingen]\nparts = parts_plugin\n")
    (folder / "parts_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(folder)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    recipe, out = tmp_path / "recipe.toml", tmp_path / "out"
    recipe.write_text(RECIPE)
    done = lingen_here("train", recipe, "-o", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return out, recipe


def test_they_keep_the_contract(on_plugins: tuple[Path, Path]) -> None:
    import parts_plugin  # type: ignore[import-not-found]

    from lingen_plugins.testing import check_plugin

    check_plugin(parts_plugin)


def test_what_they_hold_is_in_the_weights(
    on_plugins: tuple[Path, Path],
    lingen_here: RunHere,
    fails: Fails,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lingen_cli.requests.recipe import recipe_from_video
    from lingen_models.checkpoints.safetensors import load_tensors, read_metadata, sha256_file

    out, recipe = on_plugins
    config = read_metadata(out / "denoiser.safetensors")["config"]
    assert (config["text_dims"], config["latent_channels"]) == ([6], 4)
    tensors, _ = load_tensors(out / "text_encoder.safetensors")
    assert tensors["letters.weight"].shape == (64, 6)
    video, again = tmp_path / "v.mp4", tmp_path / "again.mp4"
    wish = ("generate", "a red ball 7", "--weights", out, "--frames", "9", "--steps", "2")
    made = lingen_here(*wish, "--size", "64", "--seed", "1", "-o", video)
    assert made.returncode == 0, made.stderr
    assert "does not know: '7';" in made.stderr
    used = recipe_from_video(video).weights
    assert used["autoencoder"] == sha256_file(out / "autoencoder.safetensors")
    assert lingen_here("rerun", video, "-o", again).returncode == 0
    assert again.read_bytes() == video.read_bytes()
    assert lingen_here("models", "verify", "lingen-mini", "--weights", out).returncode == 0

    # A second training in the folder goes on with the tensors of the first.
    done = lingen_here("train", recipe, "-o", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert sha256_file(out / "autoencoder.safetensors") == used["autoencoder"]
    monkeypatch.setenv("LINGEN_DISABLE_PLUGINS", "parts")
    fails(lingen_here(*wish, "--size", "64"), 69, "the autoencoder 'blocks', which no plugin here")


def test_a_dataset_of_a_plugin(
    on_plugins: tuple[Path, Path], lingen_here: RunHere, fails: Fails, tmp_path: Path
) -> None:
    import torch

    from lingen_models.checkpoints.safetensors import load_tensors, read_metadata

    _, path = on_plugins
    words = RECIPE.replace('plugin = "letters"\nconfig = { letters = 64 }', "width = 64\ndepth = 1")
    words = words.replace("[text]", '[data]\ndataset = "greys"\n\n[text]')
    words = words.replace("width = 32", "width = 32\ntext_dims = [64]")

    def train(recipe: str, folder: str = "greys") -> subprocess.CompletedProcess[str]:
        path.write_text(recipe)
        return lingen_here("train", path, "-o", tmp_path / folder, "--device", "cpu")

    done = train(words)
    assert done.returncode == 0, done.stderr
    known = read_metadata(tmp_path / "greys" / "text_encoder.safetensors")["config"]["words"]
    assert known == ["dark", "grey", "light"]
    latents, _ = load_tensors(next((tmp_path / "greys" / "latents").iterdir()))
    whole = latents["latents"].float()
    assert torch.equal(whole, whole[..., :1, :1].expand_as(whole))  # one grey all over
    fails(train(RECIPE, "greys"), 65, "data differs from what")
    wrong = words.replace('dataset = "greys"', 'dataset = "grays"')
    fails(train(wrong, "none"), 65, "data.dataset: unknown dataset 'grays'", "'greys'")
    wrong = words.replace('dataset = "greys"', 'dataset = "greys"\nconfig = { shades = 3 }')
    fails(train(wrong, "none"), 65, "data: greys: ValueError: it has no settings")
    wrong = words.replace("batch = 2", "batch = 2\ncrop = [16, 16]")
    fails(train(wrong, "none"), 65, "stage.0.source.0.crop: only the playground knows it")


def test_weights_for_what_reads_none(
    on_plugins: tuple[Path, Path], lingen_here: RunHere, fails: Fails, tmp_path: Path
) -> None:
    _, recipe = on_plugins
    recipe.write_text(RECIPE.replace('plugin = "blocks"', 'plugin = "blocks"\nweights = "x"'))
    refused = lingen_here("train", recipe, "-o", tmp_path / "other", "--device", "cpu")
    fails(refused, 65, "autoencoder: blocks reads no weights")


def test_a_story_is_checked_where_an_encoder_is_a_plugin(
    on_plugins: tuple[Path, Path],
    lingen_here: RunHere,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, _ = on_plugins
    (tmp_path / "story.toml").write_text('[[shot]]\nprompt = "a zebra"\nseconds = 1\n')
    monkeypatch.setenv("LINGEN_WEIGHTS", str(out))
    done = lingen_here("story", "check", tmp_path / "story.toml")
    assert done.returncode == 0 and "does not know" not in done.stderr, done.stderr
