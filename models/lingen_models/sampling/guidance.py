"""Classifier-free guidance: its scale, and the flow times between which it is applied."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Guidance:
    """`scale` from flow time `start` until `stop`, and 1, which is no guidance, before and after.

    Times go from 0 (noise) to 1 (data). Out of pure noise, guidance asks for the prompt's thing
    everywhere at once (Kynkaanniemi et al., arXiv 2404.07724).
    """

    scale: float
    start: float = 0.0
    stop: float = 1.0

    def at(self, time: float) -> float:
        """Guidance scale of a step that begins at `time`."""
        return self.scale if self.start <= time < self.stop else 1.0
