"""Stages whose blocks are computed again for their gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from lingen_models.checkpoints.safetensors import load_tensors
from lingen_training.trainer import train
from tests.training.test_run import RECIPE


def test_they_end_in_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again: list[Any] = []

    def counted(block: Any, *arguments: Any, **options: Any) -> Any:
        again.append(block)
        return checkpoint(block, *arguments, **options)

    monkeypatch.setattr("lingen_models.networks.denoiser.checkpoint", counted)
    made: list[dict[str, torch.Tensor]] = []
    for name, more in (("plain", ""), ("again", "checkpoint_blocks = true\n")):
        path, out = tmp_path / f"{name}.toml", tmp_path / name
        path.write_text(RECIPE.replace("learning_rate = 1e-3\n", f"learning_rate = 1e-3\n{more}"))
        if made:
            out.mkdir()
            (out / "latents").symlink_to(tmp_path / "plain" / "latents")
            codec = "autoencoder.safetensors"
            (out / codec).write_bytes((tmp_path / "plain" / codec).read_bytes())
        train(path, out, processes=1, report=lambda line: None)
        made.append(load_tensors(out / "denoiser.safetensors")[0])
        assert len(again) == (0 if name == "plain" else 2 * (2 + 3))  # two blocks, five steps
    assert all(torch.equal(made[0][key], made[1][key]) for key in made[0])
