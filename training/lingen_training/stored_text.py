"""Text encoders whose features of the captions are on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lingen_models.checkpoints.pretrained import FrozenText

Stored = Callable[[str], Tensor | None]
"""A caption -> its features (L, D); None where there are none."""


class StoredText:
    """A frozen text encoder that is built only when a prompt comes whose features are not stored,
    such as those of a replayed playground."""

    def __init__(self, stored: Stored, build: Callable[[], FrozenText], feature_dim: int) -> None:
        self.feature_dim = feature_dim
        self._stored, self._build = stored, build
        self._network: FrozenText | None = None

    def read(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Features (B, L, feature_dim), zero where the mask (B, L) is False, and that mask."""
        rows = [self._row(prompt) for prompt in prompts]
        longest = max(len(row) for row in rows)
        features = rows[0].new_zeros(len(rows), longest, self.feature_dim)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for number, row in enumerate(rows):
            features[number, : len(row)] = row
            mask[number, : len(row)] = True
        return features, mask

    def _row(self, prompt: str) -> Tensor:
        found = self._stored(prompt)
        if found is not None:
            return found
        if self._network is None:
            self._network = self._build()
        features, mask = self._network.read([prompt])
        return features[0][mask[0]].cpu()
