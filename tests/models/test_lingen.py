"""The whole denoiser and its DiT twin (paper.md 1)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lingen_models.network_config import LinGenConfig
from lingen_models.networks.attention import FullAttention
from lingen_models.networks.block import Block
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.embeddings import PositionTables, TimestepEmbedding, sinusoids

TINY = LinGenConfig(
    width=16,
    depth=3,
    head_dim=8,
    expand=1,
    ssm_head_dim=8,
    state_size=4,
    chunk=8,
    window=(4, 2, 2),
    latent_channels=3,
    text_dims=(6, 5),
    position_grid=(4, 3, 3),
)
MIXERS = ["mate", "attention"]


def build(**changes: Any) -> LinGen:
    """A network whose gates and output are open, so that everything counts."""
    torch.manual_seed(1)
    network = LinGen(dataclasses.replace(TINY, **changes))
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3)
        for block in network.blocks:
            assert isinstance(block, Block)
            block.modulation.normal_(std=0.5)
        network.time_modulation.weight.normal_(std=0.3)
    return network


def inputs(frames: int = 3, height: int = 4, width: int = 6) -> dict[str, Any]:
    """Arguments of a forward pass: two clips, two text encoders, ragged prompts."""
    torch.manual_seed(2)
    first = torch.tensor([[True, True, True, False], [True, False, False, False]])
    second = torch.tensor([[True, False], [True, True]])
    return {
        "latents": torch.randn(2, 3, frames, height, width),
        "t": torch.rand(2, frames),
        "texts": [torch.randn(2, 4, 6), torch.randn(2, 2, 5)],
        "text_masks": [first, second],
    }


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_fresh_network_predicts_no_velocity(mixer: str) -> None:
    network = LinGen(dataclasses.replace(TINY, mixer=mixer))  # type: ignore[arg-type]
    assert torch.equal(network(**inputs()), torch.zeros(2, 3, 3, 4, 6))


@torch.no_grad()
def test_a_fresh_block_changes_nothing() -> None:
    network = LinGen(TINY)
    seen: list[tuple[Tensor, Tensor]] = []
    for block in network.blocks:
        block.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    network(**inputs())
    assert len(seen) == 3
    assert all(torch.equal(before, after) for before, after in seen)


def test_the_twin_differs_in_its_mixers_alone() -> None:
    ours, twin = LinGen(TINY), LinGen(dataclasses.replace(TINY, mixer="attention"))
    assert all(isinstance(block.mixer, FullAttention) for block in twin.blocks)

    def rest(network: LinGen) -> dict[str, torch.Size]:
        return {n: p.shape for n, p in network.named_parameters() if ".mixer." not in n}

    assert rest(ours) == rest(twin)


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_parameter_gets_a_gradient(mixer: str, checkpointing: bool) -> None:
    network = build(mixer=mixer)
    network.checkpoint_blocks = checkpointing
    network(**inputs()).square().sum().backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_checkpointing_changes_no_gradient() -> None:
    grads = []
    for checkpointing in (False, True):
        network = build()
        network.checkpoint_blocks = checkpointing
        network(**inputs()).square().sum().backward()
        grads.append([p.grad for p in network.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("mixer", MIXERS)
@torch.no_grad()
def test_each_frame_has_its_own_time(mixer: str) -> None:
    network, given = build(mixer=mixer), inputs()
    before = network(**given)
    given["t"][0, 1] = 1 - given["t"][0, 1]
    moved = (network(**given) - before).abs().amax((1, 3, 4))
    assert (moved[0] > 0).all()  # through the mixer, the neighbours too
    assert torch.equal(moved[1], torch.zeros(3))


@torch.no_grad()
def test_the_time_of_a_frame_modulates_that_frame() -> None:
    """Without a mixer's reach (gate shut) a frame's time stays inside the frame."""
    network, given = build(), inputs()
    for block in network.blocks:
        assert isinstance(block, Block)
        block.modulation[2].zero_()
    network.time_modulation.weight.view(6, 16, 16)[2].zero_()
    network.time_modulation.bias.view(6, 16)[2].zero_()
    before = network(**given)
    given["t"][0, 1] = 1 - given["t"][0, 1]
    moved = (network(**given) - before).abs().amax((1, 3, 4))
    assert (moved > 0).tolist() == [[False, True, False], [False] * 3]


@torch.no_grad()
def test_masked_words_do_not_count_and_real_ones_do() -> None:
    network, given = build(), inputs()
    before = network(**given)
    for text, mask in zip(given["texts"], given["text_masks"], strict=True):
        text[~mask] = 100.0
    torch.testing.assert_close(network(**given), before)
    given["texts"][1][0, 0] += 1
    moved = (network(**given) - before).abs().amax((1, 2, 3, 4))
    assert moved[0] > 1e-4
    assert moved[1] < 1e-5


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("review", ["front", "both", "none"])
@pytest.mark.parametrize("shape", [(1, 4, 6), (1, 2, 2), (9, 10, 12)])
@torch.no_grad()
def test_images_and_clips_beyond_the_tables(
    mixer: str, review: str, shape: tuple[int, int, int]
) -> None:
    given = inputs(*shape)
    y = build(mixer=mixer, review=review)(**given)
    assert y.shape == given["latents"].shape
    assert torch.isfinite(y).all()


@torch.no_grad()
def test_the_first_frame_number_moves_the_time_positions() -> None:
    network, given = build(), inputs(2)
    assert not torch.allclose(network(**given), network(**given, first_frame=2))
    tables = network.blocks[0].position
    assert isinstance(tables, PositionTables)
    assert torch.equal(tables((2, 3, 3), 2), tables((4, 3, 3))[2:])
    assert torch.equal(tables((3, 3, 3), 6), tables((9, 3, 3))[6:])


def test_the_patch_must_divide_the_latents() -> None:
    with pytest.raises(ValueError, match="5x6 are not divided by the 2x2 patch"):
        LinGen(TINY)(**inputs(height=5))
    with pytest.raises(ValueError, match="4x7"):
        LinGen(TINY)(**inputs(width=7))


def test_position_tables_are_interpolated_between_their_ends() -> None:
    tables = PositionTables(4, (3, 2, 2))
    long = tables((5, 2, 2))
    short = tables((3, 2, 2))
    torch.testing.assert_close(long[::2], short)
    torch.testing.assert_close(long[1], (short[0] + short[1]) / 2)
    assert torch.equal(short[1, 0, 1], tables.time[1] + tables.height[0] + tables.width[1])


def test_times_are_told_apart() -> None:
    waves = sinusoids(torch.tensor([0.0, 1.0]), 3)
    assert waves.shape == (2, 6)
    assert torch.equal(waves[0], torch.tensor([1.0, 1, 1, 0, 0, 0]))
    torch.testing.assert_close(waves[1, [0, 3]], torch.tensor([math.cos(1), math.sin(1)]))
    embedding = TimestepEmbedding(8)
    t = torch.linspace(0, 1, 20)[None]
    rows = embedding(t)[0]
    assert rows.shape == (20, 8)
    assert torch.pdist(rows).min() > 1e-4
