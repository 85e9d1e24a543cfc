"""The decoder by itself: its encoder and its latents stay what they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import lingen_models
from lingen_models.checkpoints.safetensors import load_tensors, read_metadata, sha256_file
from lingen_training.stages.train_autoencoder import (
    clips,
    moving,
    train_autoencoder,
    train_decoder,
)
from lingen_training.trainer import load_autoencoder, train
from lingen_training.training_recipe import AutoencoderStage, RecipeError
from tests.tiny_recipe import tiny_recipe

STAGE = AutoencoderStage(
    widths=(8, 8, 8),
    depths=(1, 1, 1),
    steps=2,
    batch=2,
    full_batch=1,
    full_size=64,
    frames=9,
    decoder_steps=3,
    decoder_frames=25,
)


def silent(line: str) -> None:
    assert line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("autoencoder")
    whole = train_autoencoder(STAGE, 3, folder, "cpu", silent, name="whole.safetensors")
    assert whole == folder / "whole.safetensors"
    made = train_decoder(STAGE, whole, 3, folder, "cpu", silent)
    assert made == folder / "autoencoder.safetensors"
    return folder


def test_latents_stay_and_their_frames_change(folder: Path) -> None:
    before, after = (
        load_autoencoder(folder / f"{name}.safetensors", "cpu") for name in ("whole", "autoencoder")
    )
    video = clips(STAGE, 5, 0, "cpu")
    latents = before.encode(video)
    assert torch.equal(latents, after.encode(video))
    assert not torch.equal(before.decode(latents), after.decode(latents))
    for name, value in before.state_dict().items():
        same = torch.equal(value, after.state_dict()[name])
        assert same or name.startswith("decoder."), name


def test_the_file_says_how_its_decoder_was_trained(folder: Path) -> None:
    whole, after = (
        read_metadata(folder / f"{name}.safetensors") for name in ("whole", "autoencoder")
    )
    assert after["config"] == whole["config"] and after["kind"] == "tae"
    decoder = after["training"].pop("decoder")
    assert after["training"] == whole["training"]
    assert (decoder["decoder_steps"], decoder["decoder_frames"]) == (3, 25)
    assert "steps" not in decoder


def test_its_clips_are_longer_and_every_second_small_one_is_a_close_up() -> None:
    plain, near = (clips(STAGE, 1, 0, "cpu", decoder=on) for on in (False, True))
    assert plain.shape == near.shape == (2, 3, 9, 64, 64)
    assert not torch.equal(plain, near)
    both = (clips(STAGE, 1, 2, "cpu", decoder=on) for on in (False, True))
    assert torch.equal(*both)


def test_what_moves_is_found_in_the_frames_before_and_after() -> None:
    video = torch.zeros(1, 3, 4, 2, 2)
    video[:, 0, 2, 0, 1] = 1.0
    expected = torch.zeros(1, 1, 4, 2, 2, dtype=torch.bool)
    expected[:, :, 1:, 0, 1] = True
    assert torch.equal(moving(video), expected)


def test_fast_clips_show_what_bounces_or_is_quick() -> None:
    fast = STAGE.model_copy(update={"decoder_fast": 1.0, "frames": 17})
    plain = fast.model_copy(update={"decoder_fast": 0.0})
    shares = [
        sum(moving(clips(stage, 4, step, "cpu", decoder=True)).float().mean() for step in range(12))
        for stage in (fast, plain)
    ]
    assert shares[0] > shares[1]


def test_a_recipe_without_stages_trains_the_decoder_of_other_weights(
    folder: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "decoder.toml"
    text = tiny_recipe("")
    recipe.write_text(text)
    with pytest.raises(RecipeError, match="stage: at least one, or decoder_steps"):
        train(recipe, tmp_path / "out")
    recipe.write_text(
        text.replace(
            "[autoencoder]",
            "[autoencoder]\ndecoder_steps = 3\ndecoder_validate_every = 2\ndecoder_frames = 9"
            "\ndecoder_fast = 0.5\ndecoder_moving_weight = 2.0",
        )
    )
    with pytest.raises(RecipeError, match="--start-from"):
        train(recipe, tmp_path / "out")
    shipped = Path(lingen_models.__file__).parent / "weights/lingen-mini"
    begun = shutil.copytree(shipped, tmp_path / "begun")
    shutil.copy(folder / "whole.safetensors", begun / "autoencoder.safetensors")
    train(recipe, tmp_path / "out", start_from=begun)
    for name in ("denoiser", "text_encoder"):
        old, new = (load_tensors(at / f"{name}.safetensors")[0] for at in (begun, tmp_path / "out"))
        assert old.keys() == new.keys()
        assert all(torch.equal(old[key], new[key]) for key in old)
    said = read_metadata(tmp_path / "out/denoiser.safetensors")["training"]
    autoencoder = tmp_path / "out/autoencoder.safetensors"
    assert said["autoencoder_sha256"] == sha256_file(autoencoder)
    lines = (tmp_path / "out/decoder.validation.jsonl").read_text().splitlines()
    checks = [json.loads(line) for line in lines]
    assert [check["step"] for check in checks] == [2, 3]
    assert all(5 < check[kind] < 15 for check in checks for kind in ("psnr", "moving_psnr"))
