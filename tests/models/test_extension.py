"""Windows: what each sees, where it stands, and that nothing but its place decides its noise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lingen_models.sampling.windows import Windows, continue_latents, count_windows, window_noise


class Recorder:
    """In the sampler's place: keeps the past, and numbers the new frames in the order they come."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, int, int]] = []
        self.next = 1000.0

    def __call__(self, noise: Tensor, past: Tensor, first_frame: int, number: int) -> Tensor:
        self.calls.append((past.clone(), first_frame, number))
        new = noise.shape[2] - past.shape[2]
        frames = self.next + torch.arange(new).float()
        self.next += new
        return torch.cat((past, frames.view(1, 1, -1, 1, 1).expand(*noise.shape[:2], -1, 1, 1)), 2)


def numbered(frames: int) -> Tensor:
    """(1, 2, T, 1, 1): each frame holds its number."""
    return torch.arange(frames).float().view(1, 1, -1, 1, 1).expand(1, 2, -1, 1, 1)


@pytest.mark.parametrize("history", [0, 1, 2, 3, 9, 40])
@pytest.mark.parametrize("frames", [0, 1, 3, 4, 5, 17])
def test_every_window_has_the_frames_before_it(history: int, frames: int) -> None:
    windows, sample = Windows(5, 2, positions=12), Recorder()
    pieces = list(continue_latents(numbered(history), frames, windows, 1, sample))
    assert len(pieces) == count_windows(history, frames, windows) == len(sample.calls)
    made = torch.cat([numbered(history), *pieces], 2)[0, 0, :, 0, 0].tolist()
    assert made == [*range(history), *range(1000, 1000 + frames)]
    place = history
    for number, (past, first_frame, count) in enumerate(sample.calls):
        seen = past[0, 0, :, 0, 0].tolist()
        assert seen == made[max(0, place - 2) : place]
        total = len(seen) + pieces[number].shape[2]
        assert total <= 5
        assert first_frame == min(place - len(seen), 12 - total)
        assert count == number
        place += pieces[number].shape[2]


def test_noise_is_decided_by_seed_and_place() -> None:
    shape = (1, 2, 3, 4, 4)
    assert window_noise(1, 5, shape).equal(window_noise(1, 5, shape))
    assert not window_noise(1, 5, shape).equal(window_noise(1, 6, shape))
    assert not window_noise(1, 5, shape).equal(window_noise(2, 5, shape))
    noise = window_noise(3, 7, (1, 16, 8, 16, 16))
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1) < 0.02


def test_going_on_in_two_steps_is_going_on_in_one() -> None:
    """Where the first step ends with a window, the second begins as the next window would."""
    windows = Windows(5, 2, positions=12)

    def sample(noise: Tensor, past: Tensor, first_frame: int, number: int) -> Tensor:
        new = noise[:, :, past.shape[2] :] + past.sum() + first_frame
        return torch.cat((past, new), 2)

    history = numbered(6)
    whole = torch.cat([history, *continue_latents(history, 9, windows, 4, sample)], 2)
    half = torch.cat([history, *continue_latents(history, 3, windows, 4, sample)], 2)
    twice = torch.cat([half, *continue_latents(half, 6, windows, 4, sample)], 2)
    torch.testing.assert_close(twice, whole)


@pytest.mark.parametrize("sizes", [(5, 5, 9), (5, 0, 9), (5, 2, 4), (2, 3, 9)])
def test_windows_that_do_not_fit(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Windows(*sizes)
