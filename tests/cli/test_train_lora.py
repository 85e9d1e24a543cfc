"""LoRAs of lingen's own denoiser: trained, carried by videos, refused on other weights."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from lingen_cli.media.metadata import read_recipe as recipe_of
from lingen_models.checkpoints.lora import LoraFacts, merge_lora, save_lora
from lingen_models.checkpoints.safetensors import load_tensors, read_metadata, sha256_file
from lingen_models.network_config import PRESETS, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.word_encoder import WordEncoder
from lingen_training.datasets.world import World
from lingen_training.stages.pair import Pair
from lingen_training.trainer import train, unknown_words
from tests.cli.protocols import Fails, RunHere

pytestmark = [pytest.mark.e2e, pytest.mark.weights]

WEIGHTS = Path(__file__).parents[2] / "models/lingen_models/weights/lingen-mini"
DENOISER = WEIGHTS / "denoiser.safetensors"
RECIPE = """
name = "small-lora"
seed = 3
lora = { rank = 4, alpha = 8, targets = ["qkv", "out", "in_proj"] }

[autoencoder]
steps = 1

[model]
preset = "mini"
overrides = { layout = true }

[[stage]]
name = "clips"
steps = 3
learning_rate = 1e-2
warmup = 0

[[stage.source]]
size = 64
latent_frames = 2
batch = 2
clips = 2
"""


def written(folder: Path, old: str = "", new: str = "") -> Path:
    path = folder / "lora.toml"
    assert old in RECIPE
    path.write_text(RECIPE.replace(old, new) if old else RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a LoRA that three steps made."""
    folder = tmp_path_factory.mktemp("lora")
    out = folder / "out"
    return train(written(folder), out, start_from=WEIGHTS, processes=1, report=lambda line: None)


def test_a_lora_is_a_small_file_that_says_its_base(trained: Path) -> None:
    path = trained / "lora.safetensors"
    assert not (trained / "denoiser.safetensors").exists()
    assert not (trained / "text_encoder.safetensors").exists()
    found = read_metadata(path)
    assert (found["kind"], found["rank"], found["alpha"]) == ("lora", 4, 8)
    assert found["base_sha256"] == sha256_file(DENOISER)
    assert found["training"]["recipe"]["lora"]["rank"] == 4
    assert path.stat().st_size < 0.1 * DENOISER.stat().st_size
    tensors, _ = load_tensors(path)
    base, _ = load_tensors(DENOISER)
    layers = {name.rpartition(".lora_")[0] for name in tensors}
    assert {layer.rpartition(".")[2] for layer in layers} == {"qkv", "out", "in_proj"}
    for layer in layers:
        down, up = (tensors[f"{layer}.lora_{one}.weight"] for one in "AB")
        assert (up.shape[0], down.shape[1]) == base[f"{layer}.weight"].shape
        assert down.shape[0] == up.shape[1] == 4 and down.dtype is torch.float32
    assert any(float(tensors[f"{layer}.lora_B.weight"].abs().max()) > 0 for layer in layers)


def test_a_stopped_training_ends_in_the_same_lora(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "latents").symlink_to(trained / "latents")
    path = written(tmp_path)

    def stop(line: str) -> None:
        if line.startswith("clips 3/3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(path, out, start_from=WEIGHTS, processes=1, report=stop)
    assert not (out / "lora.safetensors").exists()
    train(path, out, start_from=WEIGHTS, processes=1, report=lambda line: None)
    name = "lora.safetensors"
    one, other = (load_tensors(folder / name)[0] for folder in (trained, out))
    assert all(torch.equal(one[key], other[key]) for key in one) and one.keys() == other.keys()


def test_merging_is_what_peft_computes(trained: Path) -> None:
    from torch import nn

    tensors, _ = load_tensors(trained / "lora.safetensors")
    layer = next(name for name in tensors if name.endswith("qkv.lora_A.weight"))
    layer = layer.removesuffix(".lora_A.weight")
    down, up = (tensors[f"{layer}.lora_{one}.weight"] for one in "AB")
    network = nn.Module()
    part = network
    *path, last = layer.split(".")
    for name in path:
        part.add_module(name, nn.Module())
        part = part.get_submodule(name)
    part.add_module(last, nn.Linear(down.shape[1], up.shape[0], bias=False))
    weight = network.get_parameter(f"{layer}.weight")
    before = weight.detach().clone()
    only = trained.parent / "only.safetensors"
    kept = {name: value for name, value in tensors.items() if name.startswith(layer)}
    save_lora(only, kept, LoraFacts("0" * 64, 4, 8), {})
    merge_lora(network, only, 0.5)
    assert torch.allclose(weight - before, 0.5 * 8 / 4 * up @ down, atol=1e-6)


def test_a_video_is_made_with_it_and_says_so(
    trained: Path, lingen_here: RunHere, fails: Fails
) -> None:
    shutil.copy(trained / "lora.safetensors", "style.safetensors")
    command = ["generate", "a red ball", "--seconds", "0.5", "--size", "64", "--steps", "2"]
    command += ["--seed", "1"]
    for name, more in {
        "plain.mp4": (),
        "none.mp4": ("--lora", "style.safetensors:0"),
        "styled.mp4": ("--lora", "style.safetensors"),
    }.items():
        done = lingen_here(*command, "-o", name, *more)
        assert done.returncode == 0, done.stderr
    recipe: Any = recipe_of(Path("styled.mp4"))
    (lora,) = recipe["loras"]
    assert lora["sha256"] == sha256_file(Path("style.safetensors")) and lora["scale"] == 1
    frames = {name: _frames(Path(f"{name}.mp4")) for name in ("plain", "none", "styled")}
    assert frames["plain"] == frames["none"] != frames["styled"]
    done = lingen_here("rerun", "styled.mp4", "-o", "again.mp4")
    assert done.returncode == 0, done.stderr
    assert _frames(Path("again.mp4")) == frames["styled"]
    Path("style.safetensors").write_bytes(b"another")
    fails(lingen_here("rerun", "styled.mp4", "-o", "third.mp4"), 65, "is not the LoRA that the")


def _frames(path: Path) -> list[bytes]:
    import av

    with av.open(str(path)) as video:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in video.decode(video=0)]


def test_a_lora_of_another_base_is_refused(
    trained: Path, lingen_here: RunHere, fails: Fails
) -> None:
    tensors, _ = load_tensors(trained / "lora.safetensors")
    save_lora(Path("other.safetensors"), tensors, LoraFacts("ab" * 32, 4, 8), {})
    shutil.copy(DENOISER, "weights.safetensors")
    Path("cut.safetensors").write_bytes(DENOISER.read_bytes()[:1000])
    command = ("generate", "a red ball", "--seconds", "0.5", "-o", "v.mp4", "--lora")
    fails(lingen_here(*command, "other.safetensors"), 65, "LoRA of another base", "abababab")
    fails(lingen_here(*command, "weights.safetensors"), 65, "no LoRA that lingen train wrote")
    fails(lingen_here(*command, "cut.safetensors"), 65, "no LoRA that lingen train wrote")
    strange = {f"blocks.99.{name}": value for name, value in tensors.items()}
    base = sha256_file(DENOISER)
    save_lora(Path("strange.safetensors"), strange, LoraFacts(base, 4, 8), {})
    fails(lingen_here(*command, "strange.safetensors"), 65, "no layer blocks.99.")
    assert not Path("v.mp4").exists() and os.listdir() and not list(Path().glob(".v.mp4*"))


def test_recipes_that_cannot_train_one(
    lingen_here: RunHere, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = ("--start-from", "lingen-mini")
    written(Path())
    fails(lingen_here("train", "lora.toml"), 65, "with --start-from")
    written(Path(), '"qkv", ', '"qvk", ')
    fails(lingen_here("train", "lora.toml", *start), 65, "no layer 'qvk'", "'qkv'")
    written(Path(), "warmup = 0", "validate_every = 2")
    fails(lingen_here("train", "lora.toml", *start), 65, "validate_every: not with a lora")
    written(Path())
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "lingen_training.stages.adapters.find_spec",
        lambda name: None if name == "peft" else found(name),
    )
    fails(lingen_here("train", "lora.toml", *start), 69, "pip install 'lingen[lora]'")
    assert os.listdir() == ["lora.toml"]


def test_words_that_a_base_does_not_know_are_found() -> None:
    class Own:
        def vocabulary(self) -> tuple[str, ...]:
            return ("balls", "dachshund", "red")

    encoder = WordEncoder(WordsConfig(words=("ball", "red"), width=64, depth=1))
    config = replace(PRESETS["mini"], width=64, depth=1)
    pair = Pair(LinGen(config), encoder)
    assert unknown_words(pair, cast(World, Own())) == ["dachshund"]


def test_a_forecast_counts_what_a_lora_trains(lingen_here: RunHere) -> None:
    written(Path())
    command = ("train", "lora.toml", "--start-from", "lingen-mini", "--dry-run", "--json")
    done = lingen_here(*command, "--device-kind", "h100")
    assert done.returncode == 0, done.stderr
    (stage,) = json.loads(done.stdout)["stages"]
    assert stage["memory"]["optimizer"] < 0.2 * stage["memory"]["weights"]
    written(Path(), RECIPE.splitlines()[3] + "\n", "")
    done = lingen_here(*command, "--device-kind", "h100")
    (whole,) = json.loads(done.stdout)["stages"]
    assert stage["flops"] / whole["flops"] == pytest.approx(2 / 3)
    assert stage["memory"]["total"] < 0.8 * whole["memory"]["total"]
