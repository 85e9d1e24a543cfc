"""The kit does the work; what is special about this plugin is tested beside it."""

import lingen_plugin_example
import torch
from lingen_plugin_example.midpoint import midpoint

from lingen_plugins.testing import check_plugin


def test_it_keeps_the_contract() -> None:
    check_plugin(lingen_plugin_example)


def test_the_midpoint_method_is_exact_where_the_velocity_grows_with_time() -> None:
    """x' = 2 t from 0 ends at 1; Euler's method would end at 1 - 1 / steps."""
    times = torch.linspace(0, 1, 5)
    end = midpoint(
        lambda x, t: torch.full_like(x, 2 * t), torch.zeros(1, 2), times, lambda *_: None
    )
    torch.testing.assert_close(end, torch.ones(1, 2))
