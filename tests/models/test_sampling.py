"""Euler steps, guidance, kept frames: with fields whose solution is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor

from lingen_models.networks.denoiser import LinGen
from lingen_models.sampling.denoise import (
    Fade,
    TextFeatures,
    ancestral,
    euler,
    sample_latents,
)
from lingen_models.sampling.flow import uniform_times
from lingen_models.sampling.guidance import Guidance

Call = tuple[Tensor, Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]


class Field:
    """Stands for a network: remembers its calls and answers with a chosen velocity."""

    def __init__(self, answer: Callable[[Tensor, tuple[Tensor, ...]], Tensor]) -> None:
        self.answer = answer
        self.calls: list[Call] = []

    def __call__(
        self,
        x: Tensor,
        t: Tensor,
        texts: tuple[Tensor, ...],
        masks: tuple[Tensor, ...],
        first_frame: int,
    ) -> Tensor:
        self.calls.append((x.clone(), t.clone(), texts, masks))
        self.first_frame = first_frame
        return self.answer(x, texts)

    def as_network(self) -> LinGen:
        return cast(LinGen, self)


def prompt(value: float, tokens: int = 2, rows: int = 1) -> TextFeatures:
    """Features that are all `value`."""
    features = torch.full((rows, tokens, 3), value)
    return TextFeatures((features,), (torch.ones(rows, tokens, dtype=torch.bool),))


def silent(done: int, total: int, estimate: Tensor) -> None:
    assert done <= total
    assert estimate.isfinite().all()


def test_euler_follows_a_constant_field_exactly() -> None:
    noise, v = torch.randn(2, 1, 2, 3, 2, 2, dtype=torch.float64)
    estimates: list[tuple[int, int, Tensor]] = []
    for steps in (1, 4):
        x = euler(
            lambda x, t: v, noise, uniform_times(steps), lambda *report: estimates.append(report)
        )
        torch.testing.assert_close(x, noise + v)
    assert [(done, total) for done, total, _ in estimates] == [
        (1, 1),
        (1, 4),
        (2, 4),
        (3, 4),
        (4, 4),
    ]
    for _, _, estimate in estimates:  # on a straight path every estimate is the end
        torch.testing.assert_close(estimate, noise + v)


def test_euler_on_a_linear_field() -> None:
    """dx/dt = -x: each step multiplies by (1 - h), and many steps come to exp(-1)."""
    noise = torch.randn(1, 2, 3, 2, 2, dtype=torch.float64)
    four = euler(lambda x, t: -x, noise, uniform_times(4), silent)
    torch.testing.assert_close(four, noise * 0.75**4)
    many = euler(lambda x, t: -x, noise, uniform_times(2000).double(), silent)
    torch.testing.assert_close(many, noise * torch.tensor(-1.0).double().exp(), rtol=1e-3, atol=0)


def test_ancestral_without_fresh_noise_is_euler() -> None:
    noise = torch.randn(1, 2, 3, 2, 2, dtype=torch.float64)
    given = (lambda x, t: torch.sin(x) + t, noise, uniform_times(6, 2.0), silent)
    torch.testing.assert_close(ancestral(0.0)(*given), euler(*given))


def test_ancestral_keeps_the_spread_of_the_noise() -> None:
    """With the data all 0, x is (1 - t) times noise at every step; some of it is new each time."""
    noise = torch.randn(1, 4, 8, 16, 16)
    states: list[tuple[float, Tensor]] = []

    def velocity(x: Tensor, t: float) -> Tensor:
        states.append((t, x))
        return -x / (1 - t)

    end = ancestral(0.5)(velocity, noise, uniform_times(8), silent)
    assert end.abs().max() == 0
    for t, x in states[1:]:
        assert abs(float(x.std()) / (1 - t) - 1) < 0.05
    x, y = states[3][1], states[4][1]
    shared = torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1]
    assert abs(float(shared) - 0.75**0.5) < 0.05
    again = ancestral(0.5)(lambda x, t: -x / (1 - t), states[3][1], uniform_times(8)[3:], silent)
    assert torch.equal(again, end)


def test_the_field_is_asked_at_the_schedule_s_times() -> None:
    field = Field(lambda x, texts: torch.zeros_like(x))
    times = torch.tensor([0.0, 0.25, 0.75, 1.0])
    noise = torch.randn(1, 2, 3, 2, 2)
    sample_latents(
        field.as_network(), noise, prompt(1), prompt(0), times=times, guidance=Guidance(1.0)
    )
    assert [call[1].tolist() for call in field.calls] == [[[t] * 3] for t in (0.0, 0.25, 0.75)]


def test_guidance_one_never_asks_for_the_negative() -> None:
    field = Field(lambda x, texts: torch.ones_like(x) * texts[0][:, :1, :1, None, None])
    noise = torch.randn(1, 2, 3, 2, 2)
    x = sample_latents(
        field.as_network(),
        noise,
        prompt(2),
        prompt(7),
        times=uniform_times(2),
        guidance=Guidance(1.0),
    )
    assert all(call[0].shape[0] == 1 for call in field.calls)
    torch.testing.assert_close(x, noise + 2)


@pytest.mark.parametrize("guidance", [0.0, 0.5, 3.0, 7.5])
def test_guidance_moves_from_the_negative_to_the_prompt(guidance: float) -> None:
    field = Field(lambda x, texts: torch.ones_like(x) * texts[0][:, :1, :1, None, None])
    noise = torch.randn(2, 2, 3, 2, 2)
    x = sample_latents(
        field.as_network(),
        noise,
        prompt(2, tokens=2, rows=2),
        prompt(7, tokens=4, rows=2),
        times=uniform_times(3),
        guidance=Guidance(guidance),
    )
    torch.testing.assert_close(x, noise + 7 + guidance * (2 - 7))
    _, _, texts, masks = field.calls[0]
    assert texts[0].shape == (4, 4, 3)
    assert masks[0].tolist() == [[True, True, False, False]] * 2 + [[True] * 4] * 2


def test_guidance_can_begin_later() -> None:
    """Before its time only the prompt is asked, which also halves the work of those steps."""
    field = Field(lambda x, texts: torch.ones_like(x) * texts[0][:, :1, :1, None, None])
    noise = torch.randn(1, 2, 3, 2, 2)
    x = sample_latents(
        field.as_network(),
        noise,
        prompt(2),
        prompt(7, tokens=4),
        times=uniform_times(4),
        guidance=Guidance(3.0, start=0.5),
    )
    assert [call[0].shape[0] for call in field.calls] == [1, 1, 2, 2]
    torch.testing.assert_close(x, noise + (2 + (7 + 3 * (2 - 7))) / 2)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_fade_mixes_two_prompts_frame_by_frame(guidance: float) -> None:
    field = Field(lambda x, texts: torch.ones_like(x) * texts[0][:, :1, :1, None, None])
    noise, share = torch.randn(1, 2, 4, 2, 2), torch.tensor([0.0, 0.25, 0.5, 1.0])
    x = sample_latents(
        field.as_network(),
        noise,
        prompt(2),
        prompt(7, tokens=4),
        times=uniform_times(3),
        guidance=Guidance(guidance),
        fade=Fade(prompt(-4, tokens=3), share),
    )
    towards = share * 2 + (1 - share) * -4
    expected = towards if guidance == 1 else 7 + guidance * (towards - 7)
    torch.testing.assert_close(x, noise + expected[None, None, :, None, None])
    assert field.calls[0][0].shape[0] == (2 if guidance == 1 else 3)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_prefix_is_kept_bit_for_bit_and_seen_as_clean(guidance: float) -> None:
    field = Field(lambda x, texts: -x)
    noise, prefix = torch.randn(1, 2, 5, 2, 2), torch.randn(1, 2, 2, 2, 2)
    estimates: list[Tensor] = []
    x = sample_latents(
        field.as_network(),
        noise,
        prompt(1),
        prompt(0),
        times=uniform_times(4),
        guidance=Guidance(guidance),
        prefix=prefix,
        on_step=lambda done, total, estimate: estimates.append(estimate),
    )
    assert torch.equal(x[:, :, :2], prefix)
    assert all(torch.equal(estimate[:, :, :2], prefix) for estimate in estimates)
    torch.testing.assert_close(x[:, :, 2:], noise[:, :, 2:] * 0.75**4)
    for seen, t, _, _ in field.calls:
        assert all(torch.equal(row, prefix[0]) for row in seen[:, :, :2])
        assert t[:, :2].eq(1).all()
        assert t[:, 2:].lt(1).all()


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_network_is_told_where_a_window_stands(guidance: float) -> None:
    field = Field(lambda x, texts: torch.zeros_like(x))
    sample_latents(
        field.as_network(),
        torch.randn(1, 3, 4, 2, 2),
        prompt(1),
        prompt(0),
        times=uniform_times(1),
        guidance=Guidance(guidance),
        first_frame=17,
    )
    assert field.first_frame == 17


def test_an_exception_in_on_step_stops_at_once() -> None:
    field = Field(lambda x, texts: -x)

    def stop(done: int, total: int, estimate: Tensor) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_latents(
            field.as_network(),
            torch.randn(1, 2, 3, 2, 2),
            prompt(1),
            prompt(0),
            times=uniform_times(9),
            guidance=Guidance(1.0),
            on_step=stop,
        )
    assert len(field.calls) == 2


def test_guidance_has_an_interval() -> None:
    guidance = Guidance(3.0, 0.2, 0.6)
    assert [guidance.at(now) for now in (0.0, 0.2, 0.5, 0.6, 0.9)] == [1.0, 3.0, 3.0, 1.0, 1.0]
