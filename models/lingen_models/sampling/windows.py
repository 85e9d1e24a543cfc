"""Videos of any length: windows over latents, each with clean frames of its past in front.

A window is sampled like a clip that begins with a clean prefix, which is what training shows the
network (paper.md 3; our default). Its noise comes from the seed and the window's place alone, so a
stopped run goes on with the same numbers, and memory does not grow with the length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Window = Callable[[Tensor, Tensor, int, int], Tensor]
"""(noise, past, first frame, number of the window) -> latents of the window, the past included."""


@dataclass(frozen=True)
class Windows:
    """Cut of a long video: latent frames in a window, and how many of them are its past.

    `positions` is the length of the network's time table: later windows stand at its end.
    """

    frames: int = 33
    past: int = 9
    positions: int = 128

    def __post_init__(self) -> None:
        if not 1 <= self.past < self.frames <= self.positions:
            raise ValueError(
                f"windows of {self.frames} latent frames with {self.past} of the past do not fit "
                f"{self.positions} positions"
            )


def continue_latents(
    history: Tensor,
    frames: int,
    windows: Windows,
    seed: int,
    sample: Window,
    *,
    fresh: bool = False,
) -> Iterator[Tensor]:
    """Yield `frames` more latent frames after `history` (1, C, T, h, w), window by window.

    Every piece is (1, C, t, h, w) in float32. Only the end of `history` is looked at, and T may be
    0: then the first window has no past. Nor has it with `fresh`, though it stands where it does.
    """
    length = history.shape[2]
    past = history[:, :, length if fresh else max(0, length - windows.past) :].float()
    plan = cut(past.shape[2], frames, (windows.frames, windows.past))
    for number, (_, new) in enumerate(plan):
        total = past.shape[2] + new
        begin = length - past.shape[2]
        first = min(begin, windows.positions - total)
        shape = (*past.shape[:2], total, *past.shape[3:])
        noise = window_noise(seed, length, shape).to(past.device)
        window = sample(noise, past, first, number)
        yield window[:, :, past.shape[2] :]
        past = window[:, :, max(0, total - windows.past) :]
        length += new


def count_windows(history: int, frames: int, windows: Windows) -> int:
    """Count the windows that `continue_latents` samples for `frames` more latent frames."""
    return sum(1 for _ in cut(history, frames, (windows.frames, windows.past)))


def cut(have: int, frames: int, windows: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the latent frames of the past, and the new ones, of every window for `frames` more
    after `have` others: full windows, the last as short as need be."""
    while frames > 0:
        past = min(have, windows[1])
        new = min(windows[0] - past, frames)
        yield past, new
        have, frames = have + new, frames - new


def place_seed(seed: int, begin: int) -> int:
    """A seed of its own for what begins at latent frame `begin`."""
    digest = hashlib.sha256(f"{seed}/{begin}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def window_noise(seed: int, begin: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise that depends on the seed and on where the new part begins."""
    generator = torch.Generator().manual_seed(place_seed(seed, begin))
    return torch.randn(shape, generator=generator)
