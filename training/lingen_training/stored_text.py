"""Text encoders whose features of the captions are on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

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
        masks = [torch.ones(len(row), dtype=torch.bool) for row in rows]
        return pad_sequence(rows, batch_first=True), pad_sequence(masks, batch_first=True)

    def _row(self, prompt: str) -> Tensor:
        found = self._stored(prompt)
        if found is not None:
            return found
        if self._network is None:
            self._network = self._build()
        features, mask = self._network.read([prompt])
        return features[0][mask[0]].cpu()
