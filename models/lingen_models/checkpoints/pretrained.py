"""Text encoders and video autoencoders that were trained elsewhere, behind what lingen calls.

They stay as they are: the denoiser is trained on what they give, and sampled with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lingen_models.networks.video_autoencoder import check_divided

Pieces = Callable[[Tensor, int, int], Iterator[Tensor]]
"""(latents, latent frames of a piece, first latent frame) -> pixels (B, 3, t, H, W)."""


class TextReader(Protocol):
    """A frozen text encoder, or what has its features."""

    feature_dim: int

    def read(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Features (B, L, feature_dim) of prompts and a mask (B, L), True at real tokens."""


class FrozenText(nn.Module):
    """Any module with `tokens`, `unknown_words` and a call, and the size of its features."""

    def __init__(self, network: nn.Module, feature_dim: int) -> None:
        super().__init__()
        self.network: Any = network.eval().requires_grad_(False)
        self.feature_dim = feature_dim

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """Return what a call takes, where the network is."""
        found: Tensor = self.network.tokens(list(prompts))
        first = next(self.network.parameters(), found)
        return found.to(first.device)

    def unknown_words(self, prompt: str) -> list[str]:
        """Words of the prompt that mean nothing to it."""
        return list(self.network.unknown_words(prompt))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, L, feature_dim) and a mask (B, L), True at real tokens."""
        features, mask = self.network(tokens)
        return features, mask

    @torch.no_grad()
    def read(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Features and mask of prompts."""
        features, mask = self(self.tokens(prompts))
        return features, mask


class PretrainedText(nn.Module):
    """A text encoder of `transformers` with its tokenizer. It reads any text."""

    def __init__(self, network: Any, tokenizer: Any, feature_dim: int, max_tokens: int) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.feature_dim = feature_dim
        self.max_tokens = max_tokens
        """What is longer is cut off."""

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """(B, L) token numbers, -1 beside shorter rows; every row has a token at least.

        A tokenizer's own padding may be a token that texts end in, so it is not used.
        """
        rows = self.tokenizer(list(prompts), truncation=True, max_length=self.max_tokens).input_ids
        rows = [row or [self.tokenizer.eos_token_id or 0] for row in rows]
        longest = max(map(len, rows))
        device = next(self.network.parameters()).device
        return torch.tensor([row + [-1] * (longest - len(row)) for row in rows], device=device)

    def unknown_words(self, prompt: str) -> list[str]:
        """None."""
        return []

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L) -> features (B, L, feature_dim), zero where the mask is False."""
        mask = tokens >= 0
        found = self.network(input_ids=tokens.clamp(min=0), attention_mask=mask.long())
        features: Tensor = found.last_hidden_state
        return features.masked_fill(~mask[..., None], 0.0), mask


class FrozenAutoencoder(nn.Module):
    """A video autoencoder in its own precision, whose latents are about normal."""

    def __init__(
        self,
        network: nn.Module,
        *,
        encode: Callable[[Tensor], Tensor],
        pieces: Pieces,
        latent_channels: int,
        time_stride: int,
        space_stride: int,
        reach: int | None = None,
    ) -> None:
        """`pieces` decodes, and with a first latent frame above 0 gives `time_stride` frames for
        each. `reach` is how many latent frames before its own an image depends on; None: on what
        comes after as well, and then pieces begin at 0."""
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self._encode, self._pieces = encode, pieces
        self.latent_channels = latent_channels
        self.time_stride, self.space_stride = time_stride, space_stride
        self.causal = reach is not None
        self.reach = reach or 0

    def encode(self, video: Tensor) -> Tensor:
        """(B, 3, 1 + time_stride k, H, W) in [-1, 1] -> (B, C, 1 + k, h, w), float32, scaled.

        Raises ValueError for frames or sides that the strides do not divide.
        """
        check_divided(video, self.time_stride, self.space_stride)
        return self._encode(video).float()

    def decode(self, latents: Tensor) -> Tensor:
        """(B, C, 1 + k, h, w) scaled latents -> (B, 3, 1 + time_stride k, H, W)."""
        return torch.cat(list(self.decode_in_chunks(latents)), 2)

    def decode_in_chunks(self, latents: Tensor, chunk: int = 2, start: int = 0) -> Iterator[Tensor]:
        """Yield what `decode` returns in pieces, from latent frame `start` on."""
        if start and not self.causal:
            raise ValueError("this autoencoder decodes from the first latent frame on")
        return self._pieces(latents, chunk, start)
