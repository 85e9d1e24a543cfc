"""Steps that reuse what the blocks added in the one before, where their input has hardly changed
(TeaCache, arXiv 2411.19108)."""

from __future__ import annotations

import torch
from torch import Tensor

from lingen_models.networks.denoiser import Hidden, LinGen
from lingen_models.networks.embeddings import LayoutFeatures
from lingen_models.sampling.denoise import Features


class StepCache:
    """Called like a `LinGen`, for the steps of one sampling.

    The relative change of the modulated input of the first block is added up from step to step;
    while the sum is below `threshold`, what the blocks added when they last ran is added again in
    place of running them. A threshold of 0 runs them every time. `one_row` runs them row by row,
    with less memory at a time.

    Raises ValueError for a threshold that is negative or no number.
    """

    def __init__(self, denoiser: LinGen, threshold: float, *, one_row: bool = False) -> None:
        if not threshold >= 0:
            raise ValueError(f"a step cache needs a threshold of at least 0, not {threshold}")
        self.denoiser, self.threshold, self.one_row = denoiser, threshold, one_row
        self.reused = 0
        """Calls that ran no block."""
        self._change = 0.0
        self._last: Tensor | None = None
        self._added: Tensor | None = None

    def __call__(
        self,
        x: Tensor,
        t: Tensor,
        features: Features,
        masks: Features,
        first_frame: int = 0,
        layout: LayoutFeatures | None = None,
    ) -> Tensor:
        hidden = self.denoiser.embed(x, t, features, masks, layout)
        signal = self.denoiser.first_input(hidden, first_frame)
        if self._may_reuse(signal) and self._added is not None:
            self.reused += 1
            return self.denoiser.head(hidden.x + self._added, hidden.time)
        out = self._run(hidden, first_frame)
        self._added, self._change = out - hidden.x, 0.0
        return self.denoiser.head(out, hidden.time)

    def _may_reuse(self, signal: Tensor) -> bool:
        """Whether what has changed since the blocks last ran is still below the threshold."""
        last, self._last = self._last, signal
        if last is None or last.shape != signal.shape:  # guidance begins, or another window
            return False
        size = last.float().abs().mean().clamp(min=1e-12)
        self._change += float((signal - last).float().abs().mean() / size)
        return self._change < self.threshold

    def _run(self, hidden: Hidden, first_frame: int) -> Tensor:
        if not self.one_row:
            return self.denoiser.run_blocks(hidden, first_frame)
        rows = range(hidden.x.shape[0])
        return torch.cat([self.denoiser.run_blocks(hidden.row(row), first_frame) for row in rows])
