"""The LinGen denoiser, and its DiT twin (paper.md 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lingen_models.network_config import LinGenConfig
from lingen_models.networks.block import Block
from lingen_models.networks.embeddings import LayoutEmbedding, LayoutFeatures, TimestepEmbedding
from lingen_models.networks.norms import modulate
from lingen_models.parallel.slabs import Slabs


@dataclass(frozen=True)
class Hidden:
    """Inputs of the blocks: tokens `x` (B, T, H, W, D), the features `time` (B, T, D) of the
    times and the `modulation` (B, T, 6, D) that comes of them, `text` (B, M, D) and its mask."""

    x: Tensor
    time: Tensor
    modulation: Tensor
    text: Tensor
    text_mask: Tensor

    def row(self, index: int) -> Hidden:
        """One row of the batch."""
        parts = (self.x, self.time, self.modulation, self.text, self.text_mask)
        return Hidden(*(part[index : index + 1] for part in parts))


class LinGen(nn.Module):
    """Predicts the flow's velocity from noisy latents, a time per latent frame, and the prompt.

    `LinGenConfig(mixer="attention")` builds the DiT twin from the same parts.
    """

    def __init__(self, config: LinGenConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        patch_size = config.latent_channels * config.patch[1] * config.patch[2]
        self.patch_in = nn.Linear(patch_size, width)
        self.layout_in = LayoutEmbedding(width, config.text_dims[0]) if config.layout else None
        self.timestep = TimestepEmbedding(width)
        self.time_modulation = nn.Linear(width, 6 * width)
        self.text_in = nn.ModuleList(
            nn.Sequential(nn.Linear(size, width), nn.LayerNorm(width)) for size in config.text_dims
        )
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.depth))
        self.final_modulation = nn.Linear(width, 2 * width)
        self.patch_out = nn.Linear(width, patch_size)
        self.checkpoint_blocks = False
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Zero gates and a zero output, so that a fresh network predicts zero velocity."""
        width = self.config.width
        nn.init.normal_(self.time_modulation.weight, std=0.02)
        nn.init.zeros_(self.time_modulation.bias)
        for block in self.blocks:
            assert isinstance(block, Block)
            block.modulation[2].zero_()
            block.modulation[5].zero_()
            nn.init.zeros_(block.cross_attention.out.weight)
        rows = self.time_modulation.weight.view(6, width, width)
        rows[2].zero_()
        rows[5].zero_()
        if self.layout_in is not None:
            self.layout_in.reset_parameters()
        for layer in (self.final_modulation, self.patch_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        latents: Tensor,
        t: Tensor,
        texts: Sequence[Tensor],
        text_masks: Sequence[Tensor],
        first_frame: int = 0,
        layout: LayoutFeatures | None = None,
        slabs: Slabs | None = None,
    ) -> Tensor:
        """Velocity of `latents`.

        Args:
            latents: (B, C, T, H, W), noisy where t < 1.
            t: (B, T) flow time of each latent frame; 0 is noise, 1 is a clean frame.
            texts: per text encoder (B, M, D_encoder) features.
            text_masks: per text encoder (B, M), True at real tokens.
            first_frame: number of the first latent frame in its clip (for windows of a long clip).
            layout: where objects are in these frames; None leaves that open.
            slabs: how the latent frames of one clip are divided over processes that call this
                together. Latents, times, layout and what is returned are those of the stretch
                that this process holds; `first_frame` is that of the whole clip. The gradients
                of parameters are parts, whose sum over the processes is the whole one.

        Returns:
            (B, C, T, H, W). Raises ValueError where the patch does not divide H or W, for a
            layout that the network does not take, for slabs with full attention, and for those
            that leave a process without any frame.
        """
        hidden = self.embed(latents, t, texts, text_masks, layout, slabs)
        return self.head(self.run_blocks(hidden, first_frame, slabs), hidden.time)

    def embed(
        self,
        latents: Tensor,
        t: Tensor,
        texts: Sequence[Tensor],
        text_masks: Sequence[Tensor],
        layout: LayoutFeatures | None = None,
        slabs: Slabs | None = None,
    ) -> Hidden:
        """Compute what comes before the blocks; the arguments, and what it raises, are those of
        a call."""
        _, tall, wide = self.config.patch
        if slabs is not None and self.config.mixer != "mate":
            raise ValueError("full attention cannot be divided over processes")
        if slabs is not None and any(first == last for first, last in slabs.stretches):
            raise ValueError(
                f"{slabs.length} latent frames leave nothing for some of "
                f"{len(slabs.stretches)} processes"
            )
        if latents.shape[-2] % tall or latents.shape[-1] % wide:
            raise ValueError(
                f"latents of {latents.shape[-2]}x{latents.shape[-1]} are not divided by the "
                f"{tall}x{wide} patch"
            )
        x = rearrange(latents, "b c t (h p) (w q) -> b t h w (c p q)", p=tall, q=wide)
        x = self.patch_in(x.to(self.patch_in.weight.dtype))
        if layout is not None:
            if self.layout_in is None:
                raise ValueError("this network takes no layout")
            x = x + self.layout_in(layout, (x.shape[2], x.shape[3]), slabs)
        time = F.silu(self.timestep(t))
        modulation = self.time_modulation(time).unflatten(-1, (6, -1))
        text = torch.cat(
            [embed(part) for embed, part in zip(self.text_in, texts, strict=True)], dim=1
        )
        return Hidden(x, time, modulation, text, torch.cat(list(text_masks), dim=1))

    def first_input(self, hidden: Hidden, first_frame: int = 0) -> Tensor:
        """(B, T, H, W, D): what the mixer of the first block is given."""
        block = self.blocks[0]
        assert isinstance(block, Block)
        return block.mixer_input(hidden.x, hidden.modulation, first_frame)

    def run_blocks(
        self, hidden: Hidden, first_frame: int = 0, slabs: Slabs | None = None
    ) -> Tensor:
        """(B, T, H, W, D): the tokens after all blocks."""
        x, modulation = hidden.x, hidden.modulation
        text, text_mask = hidden.text, hidden.text_mask
        for block in self.blocks:
            if self.checkpoint_blocks and torch.is_grad_enabled():
                x = checkpoint(
                    block, x, modulation, text, text_mask, first_frame, slabs, use_reentrant=False
                )
            else:
                x = block(x, modulation, text, text_mask, first_frame, slabs)
        return x

    def head(self, x: Tensor, time: Tensor) -> Tensor:
        """The velocity (B, C, T, H, W) from the tokens after the blocks."""
        _, tall, wide = self.config.patch
        shift, scale = self.final_modulation(time)[:, :, None, None].chunk(2, -1)
        out = self.patch_out(modulate(x, shift, scale))
        velocity: Tensor = rearrange(out, "b t h w (c p q) -> b c t (h p) (w q)", p=tall, q=wide)
        return velocity
