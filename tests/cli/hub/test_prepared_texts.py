"""Footage prepared for a recipe with a frozen autoencoder and text encoder of others."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from lingen_plugins.contracts import Autoencoder
from lingen_plugins.parts import PluginPart
from tests.cli.hub.test_training import ON_WAN
from tests.cli.protocols import RunHere
from tests.cli.test_data import write_video
from tests.tiny_recipe import STAGE, tiny_recipe

pytestmark = pytest.mark.skipif(
    find_spec("diffusers") is None, reason="needs diffusers: pip install 'lingen[hub]'"
)


@pytest.fixture
def wan_folder(wan_parts: dict[str, Any], tmp_path: Path) -> Path:
    folder = tmp_path / "wan"
    for name in ("tokenizer", "text_encoder", "vae"):
        wan_parts[name].save_pretrained(folder / name)
    return folder


def test_features_of_captions_are_stored(
    hub: RunHere, wan_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lingen_models.checkpoints.safetensors import load_tensors, read_metadata

    build = PluginPart.build

    def only_the_autoencoder(part: PluginPart) -> Any:
        assert isinstance(part.record, Autoencoder)
        return build(part)

    clips, prepared, recipe = tmp_path / "clips", tmp_path / "made", tmp_path / "recipe.toml"
    clips.mkdir()
    for name, caption in (("a", "a red ball"), ("b", "a longer caption of a blue ball")):
        write_video(clips / f"{name}.mp4", frames=9, size=(64, 64), shade=60)
        (clips / f"{name}.txt").write_text(caption, encoding="utf-8")
    stage = STAGE.format(more="caption_dropout = 0.5").replace("batch = 1", "batch = 4")
    stage = stage.replace("clips = 1", "clips = 4").replace("steps = 2", "steps = 4")
    text = tiny_recipe(stage, parts=ON_WAN.format(wan_folder), depth=1, text_dims="")
    recipe.write_text(text, encoding="utf-8")
    done = hub("data", "prepare", clips, "-o", prepared, "--recipe", recipe, "--min-seconds", "0.5")
    assert done.returncode == 0, done.stderr
    (file,) = (prepared / "texts").iterdir()
    (lengths,) = read_metadata(file)["lengths"]
    assert len(lengths) == 3 and load_tensors(file)[0]["0"].shape == (sum(lengths), 16)
    found = {}
    for name, data in (("raw", clips), ("own", prepared)):
        if name == "own":
            monkeypatch.setattr(PluginPart, "build", only_the_autoencoder)
        out = tmp_path / name
        done = hub("train", recipe, "--data", data, "-o", out, "--device", "cpu")
        assert done.returncode == 0, done.stderr
        found[name] = load_tensors(out / "denoiser.safetensors")[0]
    for name, tensor in found["raw"].items():
        assert torch.allclose(tensor.float(), found["own"][name].float(), atol=2e-2), name
    facts = read_metadata(tmp_path / "own" / "text_encoder.safetensors")
    assert facts["plugin"] == "umt5"
