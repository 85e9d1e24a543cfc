"""The path from noise to data, and the schedules (paper.md 1.7)."""

from __future__ import annotations

import pytest
import torch

from lingen_models.sampling.flow import (
    interpolate,
    linear_quadratic_times,
    logit_normal_times,
    uniform_times,
    velocity,
)


def test_the_path_begins_at_noise_and_ends_at_data() -> None:
    data, noise = torch.randn(2, 2, 3, 4, 2, 2, dtype=torch.float64)
    t = torch.zeros(2, 4, dtype=torch.float64)
    assert torch.equal(interpolate(data, noise, t), noise)
    torch.testing.assert_close(interpolate(data, noise, t + 1), data + 1e-5 * noise)


def test_every_frame_is_at_its_own_time() -> None:
    data, noise = torch.randn(2, 2, 3, 4, 2, 2, dtype=torch.float64)
    t = torch.rand(2, 4, dtype=torch.float64)
    mixed = interpolate(data, noise, t)
    for row in range(2):
        for frame in range(4):
            now = float(t[row, frame])
            expected = now * data[row, :, frame] + (1 - (1 - 1e-5) * now) * noise[row, :, frame]
            torch.testing.assert_close(mixed[row, :, frame], expected)


def test_velocity_is_the_derivative() -> None:
    data, noise = torch.randn(2, 1, 3, 4, 2, 2, dtype=torch.float64)
    t = torch.full((1, 4), 0.4, dtype=torch.float64)
    slope = (interpolate(data, noise, t + 1e-4) - interpolate(data, noise, t - 1e-4)) / 2e-4
    torch.testing.assert_close(slope, velocity(data, noise))


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 20, 50, 250, 1000])
def test_linear_quadratic_schedule(steps: int) -> None:
    times = linear_quadratic_times(steps).double()
    assert times.shape == (steps + 1,)
    assert times[0] == 0
    assert times[-1] == 1
    gaps = times.diff()
    assert (gaps > 0).all()
    linear = steps // 2
    if linear:
        torch.testing.assert_close(
            gaps[:linear], torch.full((linear,), 1e-3).double(), rtol=1e-3, atol=1e-7
        )
    growth = gaps[linear:].diff()  # a quadratic: its gaps grow by one and the same amount
    if len(growth) > 1:
        torch.testing.assert_close(growth, growth[:1].expand_as(growth), rtol=2e-2, atol=2e-7)
        assert (growth > -1e-6).all()


@pytest.mark.parametrize("steps", [1, 7])
def test_uniform_schedule_and_its_shift(steps: int) -> None:
    torch.testing.assert_close(uniform_times(steps).diff(), torch.full((steps,), 1 / steps))
    shifted = uniform_times(steps, shift=3.0)
    assert shifted[0] == 0
    assert shifted[-1] == 1
    assert (shifted[1:-1] < uniform_times(steps)[1:-1]).all()


@pytest.mark.parametrize("schedule", [linear_quadratic_times, uniform_times])
def test_no_steps_are_refused(schedule: object) -> None:
    assert callable(schedule)
    with pytest.raises(ValueError, match="0 sampling steps: at least 1"):
        schedule(0)


def test_training_times_are_logit_normal() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = logit_normal_times(20_000, generator).logit()
    assert abs(float(logits.mean())) < 0.03
    assert abs(float(logits.std()) - 1) < 0.03
    again = torch.Generator().manual_seed(0)
    shifted = logit_normal_times(20_000, again, shift=2.0).logit()
    torch.testing.assert_close(shifted, logits - torch.tensor(2.0).log(), rtol=1e-3, atol=1e-3)
