"""The most bytes of tensors that a network holds at a time, counted without computing anything."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lingen_models.config import LinGenConfig, TAEConfig
from lingen_models.flops import Shape
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.video_autoencoder import TemporalAutoencoder

WORDS = 12
"""Text tokens of the prompts."""
OVERHEAD = 2.0
"""Resident memory over tensors on a CPU: malloc's gaps, what matrix products pack, and what a run
holds beside its networks. With it plans came near the peaks of docs/performance.md."""


class _Live(TorchDispatchMode):
    """Adds up the storages that are alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: int = 0
        self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._see(tensor)
        return out

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self._now += self._sizes[key]
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._now -= self._sizes.pop(key, 0)


@cache
def held_by_denoiser(config: LinGenConfig, rows: int, shape: Shape, dtype: torch.dtype) -> int:
    """In a pass over `rows` rows of latents of `shape`, without the weights."""
    with torch.device("meta"):
        network = LinGen(replace(config, depth=min(2, config.depth))).to(dtype).eval()
        latents = torch.zeros(rows, config.latent_channels, *shape)
        times = torch.zeros(rows, shape[0])
        texts = [torch.zeros(rows, WORDS, size, dtype=dtype) for size in config.text_dims]
        masks = [torch.ones(rows, WORDS, dtype=torch.bool) for _ in texts]
    live = _Live()
    with torch.inference_mode(), live:
        network(latents, times, texts, masks)
    return live.peak


@cache
def held_by_decoder(config: TAEConfig, area: Shape, dtype: torch.dtype) -> int:
    """While latents of `area` (frames at a time, height, width) become pictures."""
    chunk, high, wide = area
    with torch.device("meta"):
        network = TemporalAutoencoder(config).to(dtype).eval()
        latents = torch.zeros(1, config.latent_channels, 3 * chunk, high, wide)
    live = _Live()
    with torch.inference_mode(), live:
        for _ in network.decode_in_chunks(latents, chunk=chunk):
            pass
    return live.peak
