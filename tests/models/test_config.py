"""Configurations: round trips, presets, and refusals that say what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from lingen_models.network_config import PRESETS, ConfigError, LinGenConfig, TAEConfig, WordsConfig
from lingen_models.networks.denoiser import LinGen


@pytest.mark.parametrize(
    "config",
    [*PRESETS.values(), TAEConfig(widths=(8, 16, 24)), WordsConfig(words=("red", "ball"))],
    ids=[*PRESETS, "tae", "words"],
)
def test_round_trip_through_json(config: LinGenConfig | TAEConfig | WordsConfig) -> None:
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("kind", [LinGenConfig, TAEConfig, WordsConfig])
def test_unknown_fields_are_named(kind: type[LinGenConfig | TAEConfig | WordsConfig]) -> None:
    with pytest.raises(ConfigError, match="color_depth"):
        kind.from_dict({"color_depth": 3})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 100}, "width 100 is not a multiple of head_dim 64"),
        ({"ssm_head_dim": 48}, "not a multiple of ssm_head_dim 48"),
        ({"conv_width": 4}, "conv_width 4 must be odd"),
        ({"mamba_branch": False, "tesa_branch": False}, "mamba_branch or tesa_branch"),
        ({"scan_axes": ["thw", "tth"]}, "permutations of 'thw'"),
        ({"scan_axes": []}, "permutations of 'thw'"),
        ({"patch": [2, 2, 2]}, "the time patch must be 1"),
        ({"width": -64}, "width -64 must be at least 1"),
        ({"head_dim": 0}, "head_dim 0 must be at least 1"),
        ({"window": [4, 0, 4]}, "window .* must be at least 1"),
        ({"depth": -1}, "depth -1 must be at least 0"),
        ({"depth": 1001}, "at most 1000"),
        ({"expand": 10**9}, "at most 65536"),
        ({"window": None}, "window cannot be 'None'"),
        ({"chunk": True}, "chunk cannot be 'True'"),
        ({"width": "64"}, "width cannot be '64'"),
        ({"patch": [1, 2]}, "patch cannot be"),
        ({"text_dims": [1.5]}, "text_dims cannot be"),
        ({"review": "sideways"}, "review cannot be 'sideways'"),
        ({"ffn_ratio": float("nan")}, "ffn_ratio cannot be 'nan'"),
    ],
)
def test_numbers_that_do_not_fit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LinGenConfig.from_dict(values)


def test_configurations_need_no_torch() -> None:
    code = "import sys, lingen_models.network_config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds(name: str) -> None:
    with torch.device("meta"):
        network = LinGen(PRESETS[name])
    assert len(network.blocks) == PRESETS[name].depth
    if name == "4b":  # paper.md 1.8
        assert 3.8e9 < sum(p.numel() for p in network.parameters()) < 4.3e9
