"""Wan 2.1 with MATE: a tiny random one of diffusers, before and after."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lingen_models.conversion.wan_to_lingen import wan_with_mate
from lingen_models.networks.window_attention import fit_window

diffusers = pytest.importorskip("diffusers")


def tiny_wan() -> Any:
    torch.manual_seed(0)
    wan = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4,
        out_channels=4, text_dim=16, freq_dim=32, ffn_dim=32, num_layers=3, rope_max_seq_len=32,
    )  # fmt: skip
    return wan.double().eval()


@pytest.fixture
def asked() -> dict[str, Any]:
    torch.manual_seed(1)
    return {
        "hidden_states": torch.randn(2, 4, 5, 12, 8).double(),
        "timestep": torch.tensor([500, 100]),
        "encoder_hidden_states": torch.randn(2, 7, 16).double(),
        "return_dict": False,
    }


@torch.no_grad()
@pytest.mark.e2e
def test_names_and_tensors_stay_and_branches_are_added() -> None:
    before = {name: part.clone() for name, part in tiny_wan().state_dict().items()}
    after = wan_with_mate(tiny_wan(), window=(2, 4, 4), state_size=8).state_dict()
    assert all(torch.equal(after[name], part) for name, part in before.items())
    added = after.keys() - before.keys()
    assert added and all(".attn1.mamba_branch.mamba." in name for name in added)
    width = 24
    assert after["blocks.0.attn1.mamba_branch.mamba.out_proj.weight"].shape == (width, width)


@torch.no_grad()
def test_windows_over_the_whole_clip_are_wan_itself(asked: dict[str, Any]) -> None:
    wanted = tiny_wan()(**asked)[0]
    wan: Any = wan_with_mate(tiny_wan(), window=(5, 6, 4), state_size=8)
    for block in wan.blocks:
        block.attn1.mamba_branch.mamba.out_proj.weight.zero_()
    torch.testing.assert_close(wan(**asked)[0], wanted)


@torch.no_grad()
def test_all_that_is_no_self_attention_answers_as_before(asked: dict[str, Any]) -> None:
    class Stub:
        def __call__(self, attn: Any, hidden_states: Any, *rest: object, **more: Any) -> Any:
            return hidden_states.tanh()

    plain = tiny_wan()
    made: Any = wan_with_mate(tiny_wan(), window=(2, 4, 4), state_size=8)
    for wan in (plain, made):
        for block in wan.blocks:
            block.attn1.set_processor(Stub())
    torch.testing.assert_close(made(**asked)[0], plain(**asked)[0])


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 1])
def test_a_window_looks_at_its_own_tokens_with_their_positions(
    asked: dict[str, Any], layer: int
) -> None:
    """Against Wan's attention over the whole clip, with a mask that keeps windows apart."""
    plain = tiny_wan()
    made: Any = wan_with_mate(tiny_wan(), window=(2, 4, 2), state_size=8)
    grid, window = (5, 6, 4), (2, 4, 2)
    fitted, shift = fit_window(grid, window, layer % 2 == 1)
    assert fitted == window
    labels = [
        (torch.arange(size) + moved) // step
        for size, step, moved in zip(grid, window, (0, 0, 0), strict=True)
    ]
    if layer % 2:
        labels = [
            (torch.arange(size) + step - moved) // step
            for size, step, moved in zip(grid, window, shift, strict=True)
        ]
    t, h, w = labels
    whole = (t[:, None, None] * 100 + h[:, None] * 10 + w).flatten()
    mask = whole[:, None] == whole[None]
    x = torch.randn(2, 5 * 6 * 4, 24).double()
    rotary = plain.rope(asked["hidden_states"])
    made.rope(asked["hidden_states"])  # tells the grid
    attention = made.blocks[layer].attn1
    attention.mamba_branch.mamba.out_proj.weight.zero_()
    wanted = plain.blocks[layer].attn1(x, None, mask[None, None], rotary)
    torch.testing.assert_close(attention(x, None, None, rotary), wanted)


def test_gradients_reach_both_branches(asked: dict[str, Any]) -> None:
    wan: Any = wan_with_mate(tiny_wan(), window=(2, 4, 4), state_size=8)
    wan(**asked)[0].square().mean().backward()
    for block in wan.blocks:
        for part in (block.attn1.to_q, block.attn1.mamba_branch.mamba.in_proj):
            assert part.weight.grad.abs().sum() > 0


def test_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no blocks and rope as Wan"):
        wan_with_mate(torch.nn.Linear(2, 2))
