"""`benchmarks/history.py`, on small frames and an untrained network."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lingen_cli.zoo.load_model import load_model
from lingen_cli.zoo.locate import locate, open_registry


def test_a_small_run(
    benchmark_script: Callable[[str], Any], tiny_weights: Path, tmp_path: Path
) -> None:
    history = benchmark_script("history")
    options = ["--weights", str(tiny_weights), "--clips", "1", "--begins", "9", "--cells", "2"]
    assert history.main([*options, "--size", "64", "--output", str(tmp_path)]) == 0
    losses = json.loads((tmp_path / "history.json").read_text(encoding="utf-8"))["losses"]
    assert {name: len(found) for name, found in losses.items()} == {
        "plain": 1,
        "memory of 2": 1,
        "whole history": 1,
    }
    assert losses["whole history"][0] == losses["plain"][0]  # the past is the whole history there


def test_what_is_kept_is_read_and_forgotten(
    benchmark_script: Callable[[str], Any], tiny_weights: Path
) -> None:
    history = benchmark_script("history")
    located = locate(open_registry(print), "lingen-mini", tiny_weights)
    pipe = load_model(located, "cpu", "float32")
    for parameter in pipe.denoiser.parameters():  # a fresh network ignores its mixers
        torch.nn.init.normal_(parameter, std=0.2)
    latents, t = torch.randn(1, 16, 6, 4, 4), torch.full((1, 6), 0.5)
    text = pipe.encode_texts(["a red ball"])
    with torch.inference_mode():
        before = pipe.denoiser(latents, t, text.features, text.masks)
        branches = history.remembering(pipe)
        branches[0].listens = branches[1].listens = True
        seen = pipe.denoiser(latents, t, text.features, text.masks)
        assert torch.equal(seen, before)
        assert [tuple(one.kept[0].shape[1:4]) for one in branches] == [(3, 1, 1)] * 2
        with history.memory_of(branches, 2):
            assert [one.memory.shape[1] for one in branches] == [2, 2]
            remembered = pipe.denoiser(latents, t, text.features, text.masks)
        after = pipe.denoiser(latents, t, text.features, text.masks)
    assert torch.equal(after, before)
    assert not torch.allclose(remembered, before)
    assert remembered.shape == before.shape


@pytest.mark.parametrize("frames", [1, 5])
def test_review_tokens_are_those_of_the_network(
    benchmark_script: Callable[[str], Any], tiny_weights: Path, frames: int
) -> None:
    history = benchmark_script("history")
    pipe = load_model(locate(open_registry(print), "lingen-mini", tiny_weights), "cpu", "float32")
    mixer: Any = pipe.denoiser.blocks[1].mixer
    branch = mixer.mamba_branch
    x = torch.randn(2, frames, 3, 4, 32)
    with torch.inference_mode():
        assert torch.equal(history.Remembering(branch)(x), branch(x))
