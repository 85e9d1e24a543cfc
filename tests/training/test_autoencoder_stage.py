"""The decoder by itself: its encoder and its latents stay what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lingen_models.checkpoints.safetensors import read_metadata
from lingen_training.stages.train_autoencoder import clips, train_autoencoder, train_decoder
from lingen_training.trainer import load_autoencoder
from lingen_training.training_recipe import AutoencoderStage

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
    decoder = {"decoder_steps": 3, "decoder_frames": 25, "decoder_learning_rate": 3e-4}
    assert after["training"] == {**whole["training"], "decoder": decoder}


def test_its_clips_are_longer_and_every_second_small_one_is_a_close_up() -> None:
    plain, near = (clips(STAGE, 1, 0, "cpu", close_ups=on) for on in (False, True))
    assert plain.shape == near.shape == (2, 3, 9, 64, 64)
    assert not torch.equal(plain, near)
    both = (clips(STAGE, 1, 2, "cpu", close_ups=on) for on in (False, True))
    assert torch.equal(*both)
