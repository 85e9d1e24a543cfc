"""Layouts of own clips, measured by their dataset, in a batch."""

from __future__ import annotations

import random

import torch

from lingen_models.sampling.layout import Keyframe, Layout, LayoutObject
from lingen_training.datasets.clip_cache import Picked
from lingen_training.datasets.clip_layouts import measured_layouts


class Measured:
    """A dataset in which scene "ball" moves right by a frame width in 100 frames."""

    def layout(self, scene: str, frames: int) -> Layout | None:
        path = tuple(Keyframe(at, at / 100, 0.5, 0.25) for at in range(frames))
        return Layout((LayoutObject("brown ball moving right", path),)) if scene == "ball" else None


PICKED = Picked(torch.zeros(2, 16, 3, 8, 8), ["ball", "sea"], [0, 1], [1, 0], [(0, 0)] * 2)


def test_discs_are_those_of_the_frames_that_were_picked() -> None:
    batch = measured_layouts(PICKED, Measured(), 5, 8, 1.0, random.Random(0))
    assert batch.phrases == [["brown ball moving right"], []]
    assert batch.discs.shape == (2, 3, 1, 3, 5)
    # Latent frame 1 holds frames 1 to 8, and 8 x 8 latents are 4 x 4 tokens.
    expected = torch.tensor([[4 * at / 100, 2.0, 1.0, 0.0, 1.0] for at in (1, 4.5, 8)])
    torch.testing.assert_close(batch.discs[0, 0, 0], expected)
    torch.testing.assert_close(batch.discs[0, 2, 0, 2, 0], torch.tensor(4 * 24 / 100))
    assert not batch.discs[1].any()


def test_none_where_the_share_is_0() -> None:
    batch = measured_layouts(PICKED, Measured(), 5, 8, 0.0, random.Random(0))
    assert batch.phrases == [[], []] and not batch.discs.any()
