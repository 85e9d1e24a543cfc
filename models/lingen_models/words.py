"""A small text encoder over a closed list of words, trained together with the denoiser."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lingen_models.attention import SelfAttention
from lingen_models.block import FeedForward
from lingen_models.config import WordsConfig

_PAD, _BEGIN, _UNKNOWN = 0, 1, 2
_SPECIAL = 3


def split_words(prompt: str) -> list[str]:
    """Lower-case words of a prompt; punctuation separates and is dropped."""
    return re.findall(r"[^\W_]+", prompt.lower())


class WordEncoder(nn.Module):
    """Word embeddings and a few transformer layers: prompts to (B, M, width) and a mask."""

    def __init__(self, config: WordsConfig) -> None:
        super().__init__()
        self.config = config
        self._ids = {word: _SPECIAL + i for i, word in enumerate(config.words)}
        self.word_embedding = nn.Embedding(_SPECIAL + len(config.words), config.width)
        self.position_embedding = nn.Parameter(torch.randn(config.max_tokens, config.width) * 0.02)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.word_embedding.weight, std=0.5)

    @property
    def feature_dim(self) -> int:
        """Size of its features."""
        return self.config.width

    def unknown_words(self, prompt: str) -> list[str]:
        """Words of the prompt that training never met, each once, in order."""
        return list(dict.fromkeys(w for w in split_words(prompt) if w not in self._ids))

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """(B, M) word numbers, zero-padded; every row begins with a begin token."""
        limit = self.config.max_tokens - 1
        rows = [
            [_BEGIN, *(self._ids.get(word, _UNKNOWN) for word in split_words(prompt)[:limit])]
            for prompt in prompts
        ]
        longest = max(len(row) for row in rows)
        device = self.word_embedding.weight.device
        padded = [row + [_PAD] * (longest - len(row)) for row in rows]
        return torch.tensor(padded, device=device)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, M) -> features (B, M, width), and a mask that is True at real tokens."""
        mask = tokens != _PAD
        x = self.word_embedding(tokens) + self.position_embedding[: tokens.shape[1]]
        looks = mask.unsqueeze(1).expand(-1, tokens.shape[1], -1)
        for layer in self.layers:
            x = layer(x, looks)
        return self.norm(x), mask


class _Layer(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, config: WordsConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = SelfAttention(config.width, config.head_dim)
        self.feed_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config.width, 4)

    def forward(self, x: Tensor, looks: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), looks)
        return x + self.feed_forward(self.feed_norm(x))  # type: ignore[no-any-return]
