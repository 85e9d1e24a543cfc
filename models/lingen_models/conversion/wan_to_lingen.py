"""Wan 2.1's transformer, as diffusers has it, with MATE in place of its self-attention.

Its modules and the names of its tensors stay: self-attention keeps its weights and looks inside
windows from now on, with the rotary positions that the tokens have in the clip, and beside it there
is a Mamba branch that begins from the same weights (`conversion.dit_to_lingen`). Nothing here
imports diffusers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lingen_models.conversion.dit_to_lingen import begin_mamba
from lingen_models.network_config import SCAN_ORDERS, LinGenConfig
from lingen_models.networks.mate import MambaBranch
from lingen_models.networks.window_attention import Grid, Windows

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines, (1, T*H*W, 1, P) each."""


@dataclass
class _Clip:
    """The token grid of the clip that is being denoised, told by the transformer's `rope`."""

    grid: Grid = (0, 0, 0)


def wan_with_mate(
    transformer: nn.Module,
    *,
    window: Grid = (16, 4, 4),
    state_size: int = 128,
    review: Any = "both",
) -> nn.Module:
    """Replace, in place, what self-attention does in a `WanTransformer3DModel`; returns it.

    Raises ValueError for a transformer that is built in another way.
    """
    blocks: Any = getattr(transformer, "blocks", None)
    rope: Any = getattr(transformer, "rope", None)
    if not isinstance(blocks, nn.ModuleList) or not isinstance(rope, nn.Module):
        raise ValueError(f"{type(transformer).__name__} has no blocks and rope as Wan 2.1 has")
    patch: Any = rope.patch_size
    first: Any = blocks[0]
    width = first.attn1.to_q.in_features
    config = LinGenConfig(
        width=width,
        depth=len(blocks),
        head_dim=width // first.attn1.heads,
        ssm_head_dim=width // first.attn1.heads,
        expand=1,
        state_size=state_size,
        review=review,
        window=window,
        scan_axes=SCAN_ORDERS["rms"],
    )
    clip = _Clip()

    def look(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        sizes = [size // step for size, step in zip(given[0].shape[2:], patch, strict=True)]
        clip.grid = (sizes[0], sizes[1], sizes[2])

    rope.register_forward_pre_hook(look)
    for layer, block in enumerate(blocks):
        attention: Any = block.attn1
        branch = MambaBranch(config, layer).to(attention.to_q.weight)
        begin_mamba(
            branch.mamba,
            attention.to_q.weight,
            attention.to_k.weight,
            attention.to_v.weight,
            attention.to_out[0].weight,
        )
        attention.mamba_branch = branch
        shifted = layer % 2 == 1
        attention.set_processor(MateProcessor(attention.processor, window, shifted, clip))
    return transformer


class MateProcessor:
    """In the place of a `WanAttnProcessor`, which it calls window by window."""

    def __init__(self, plain: Any, window: Grid, shifted: bool, clip: _Clip) -> None:
        self.plain, self.window, self.shifted, self.clip = plain, window, shifted, clip

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: Rotary | None = None,
    ) -> Tensor:
        """(B, T*H*W, D) -> the same shape."""
        grid = self.clip.grid
        x = torch.unflatten(hidden_states, 1, grid)
        windows = Windows(grid, self.window, self.shifted)
        groups = windows.split(x)
        mask = windows.mask(x.device)
        if mask is not None:  # (windows, n, n), the same for every clip and head
            mask = mask.repeat(x.shape[0], 1, 1).unsqueeze(1)
        turned = None
        if rotary_emb is not None:
            turned = tuple(self._of_windows(windows, part, x.shape[0]) for part in rotary_emb)
        y: Tensor = self.plain(attn, groups, None, mask, turned)
        total: Tensor = windows.restore(y) + attn.mamba_branch(x)
        return total.flatten(1, 3)

    def _of_windows(self, windows: Windows, part: Tensor, clips: int) -> Tensor:
        of_one = windows.split(torch.unflatten(part.squeeze(2), 1, windows.grid))
        return of_one.repeat(clips, 1, 1).unsqueeze(2)
