"""One record of sampling parameters: limits, and the guidance that it stands for."""

from __future__ import annotations

from typing import Any

import pytest

from lingen_models.sampling.guidance import Guidance
from lingen_models.sampling.params import SamplingParams, described, options, parse_interval


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("steps", 1001),
        ("guidance_scale", -0.1),
        ("guidance_scale", float("nan")),
        ("guidance_interval", (0.8, 0.2)),
        ("guidance_interval", (0.0, 1.1)),
        ("step_cache", float("inf")),
        ("negative_prompt", "x" * 10_001),
        ("seed", -1),
        ("seed", 2**63),
    ],
)
def test_values_outside_the_limits_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{field} must"):
        SamplingParams(**{field: value})


def test_every_field_is_described_and_has_an_option() -> None:
    assert list(options().values()) == list(described())
    assert {"steps", "guidance", "negative"} <= set(options())
    assert all(param.help.endswith(".") for param in described().values())


def test_the_interval_wins_over_the_samplers_start() -> None:
    params = SamplingParams(guidance_scale=4.0)
    assert params.guidance() == Guidance(4.0, 0.0, 1.0)
    assert params.guidance(0.05) == Guidance(4.0, 0.05, 1.0)
    both = SamplingParams(guidance_scale=4.0, guidance_interval=(0.1, 0.8))
    assert both.guidance(0.05) == Guidance(4.0, 0.1, 0.8)


def test_an_interval_is_read_from_text() -> None:
    assert parse_interval(" 0.05, .8") == (0.05, 0.8)
    assert parse_interval([0, 1]) == (0.0, 1.0)
    assert parse_interval(None) is None
    for wrong in ("0,1e3", "0.8,0.2", "0.1", "a,b", "nan,1", (0.0, 0.5, 1.0), 0.5):
        with pytest.raises(ValueError, match=r"such as 0\.05,0\.8"):
            parse_interval(wrong)
