"""Position tables that grow from one training to the next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lingen_models.checkpoints.safetensors import CheckpointError, load_network, save_network
from lingen_models.network_config import PRESETS
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.embeddings import grown_positions

SMALL = replace(
    PRESETS["mini"], width=64, depth=1, head_dim=32, ssm_head_dim=32, position_grid=(4, 3, 3)
)
LARGE = replace(SMALL, position_grid=(7, 5, 5))


def test_frames_keep_their_rows_and_images_are_stretched(tmp_path: Path) -> None:
    torch.manual_seed(0)
    begun, grown = LinGen(SMALL), LinGen(LARGE)
    fresh = grown.get_parameter("blocks.0.position.time").detach().clone()
    for part in begun.parameters():
        torch.nn.init.normal_(part)
    path = tmp_path / "denoiser.safetensors"
    save_network(path, begun, {"kind": "lingen", "config": SMALL.to_dict()})
    with pytest.raises(CheckpointError, match=r"position"):
        load_network(path, grown)
    assert load_network(path, grown, fit=grown_positions) == []
    old, new = (dict(network.named_parameters()) for network in (begun, grown))
    table = "blocks.0.position."
    assert torch.equal(new[table + "time"][:4], old[table + "time"])
    assert torch.equal(new[table + "time"][4:], fresh[4:])
    for axis in ("height", "width"):
        given, stretched = old[table + axis], new[table + axis]
        assert torch.allclose(stretched[::2], given)
        assert torch.allclose(stretched[1], (given[0] + given[1]) / 2)
    others = [name for name in new if ".position." not in name]
    assert all(torch.equal(old[name], new[name]) for name in others)


def test_larger_tables_are_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "denoiser.safetensors"
    save_network(path, LinGen(LARGE), {"kind": "lingen", "config": LARGE.to_dict()})
    with pytest.raises(CheckpointError, match=r"position"):
        load_network(path, LinGen(SMALL), fit=grown_positions)
