"""`lingen train --split-clips`: processes that share every clip, alone and under torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lingen_models.checkpoints.safetensors import load_tensors
from lingen_training.optimization.stage_logs import read_log
from lingen_training.optimization.state_files import find_state
from tests.cli import forked
from tests.cli.protocols import Fails, RunHere
from tests.tiny_recipe import PARTS, tiny_recipe

STAGES = """
[[stage]]
name = "short"
steps = 4
batches = 1
layout = 0.5
alignment = 0.1
prefix = 0.5
learning_rate = 1e-3
[[stage.source]]
size = 64
latent_frames = 3
batch = 2
clips = 2
[[stage.source]]
size = 64
latent_frames = 1
share = 0.25
batch = 2
clips = 2
"""
FLOAT32 = {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2"}
"""Without the matrix units that bf16 needs, a processor trains in float32."""


def test_two_processes_have_the_losses_of_one(
    lingen_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, of a command, and of torchrun, whose processes share the network too."""
    path = tmp_path / "tiny.toml"
    path.write_text(tiny_recipe(STAGES), encoding="utf-8")
    runner = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    runner += ["--standalone"]  # at a port that is free
    command = ["train", str(path), "--device", "cpu", "-o"]

    def started(name: str, start: list[str], *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*start, "-m", "lingen_cli", *command, str(tmp_path / name), *more],
            capture_output=True,
            text=True,
            env=os.environ | FLOAT32,
            timeout=300,
        )

    with monkeypatch.context() as patch:
        patch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
        alone = lingen_here(*command, tmp_path / "one", "--processes", "1")
    told = {}
    for name, result in (
        ("one", alone),
        ("two", started("two", [sys.executable], "--processes", "2", "--split-clips")),
        ("torchrun", started("torchrun", runner, "--split-clips", "--shard")),
    ):
        assert result.returncode == 0, result.stderr
        assert result.stdout.count(str(tmp_path / name)) == 1
        told[name] = result.stderr
    whole = "short: every process computes clips of 1 latent frames whole"
    assert [whole in text for text in told.values()] == [False, True, True]
    one, *others = (read_log(tmp_path / name / "short.jsonl") for name in told)
    assert one[-1]["step"] == 4
    for log in others:
        for found, expected in zip(log, one, strict=True):
            assert found["tokens"] == expected["tokens"]
            for key in ("loss", "flow", "alignment"):
                assert found[key] == pytest.approx(expected[key], abs=1e-4), key
    weights, *both = (load_tensors(tmp_path / name / "denoiser.safetensors")[0] for name in told)
    for together in both:
        assert weights.keys() == together.keys()
        assert all(weights[name].allclose(together[name], atol=4e-3) for name in weights)
    state = find_state(tmp_path / "torchrun", "short")
    assert state is not None
    assert len(list(state.glob("*.distcp"))) == 2


DECODER = PARTS.replace("steps = 1\n", "steps = 1\ndecoder_steps = 1\n")


def test_a_decoder_is_trained_by_one_process(
    lingen_here: RunHere, fails: Fails, tiny_weights: Path, tmp_path: Path
) -> None:
    path, out = tmp_path / "tiny.toml", tmp_path / "out"
    path.write_text(tiny_recipe("", parts=DECODER), encoding="utf-8")
    command = ("train", str(path), "--start-from", str(tiny_weights), "-o", str(out))
    for option in ("--split-clips", "--shard"):
        words = ("has no [[stage]]", f"leave out {option}")
        fails(lingen_here(*command, option, "--processes", "2"), 65, *words)
    (first, said), (second, silent) = forked.slurm_step(*command)
    assert (first, second, silent) == (65, 65, "")
    assert said.count("\n") == 1 and "start it without torchrun, on one device" in said
    assert not out.exists()
    assert lingen_here(*command, "--processes", "2").returncode == 0
    assert (out / "denoiser.safetensors").exists()


def test_what_cannot_be_split(lingen_here: RunHere, fails: Fails, tmp_path: Path) -> None:
    path, out = tmp_path / "tiny.toml", tmp_path / "out"

    def refused(text: str, processes: int, *words: str) -> None:
        path.write_text(text, encoding="utf-8")
        command = ("train", path, "-o", out, "--device", "cpu", "--split-clips")
        fails(lingen_here(*command, "--processes", str(processes)), 65, *words)
        assert not (out / "recipe.json").exists()

    text = tiny_recipe(STAGES)
    refused(text, 4, "at most 3 latent frames", "over 4 processes", "--processes 3")
    refused(text, 1, "one process has nothing to split clips with", "--processes 2")
    refused(tiny_recipe(STAGES, mixer="attention"), 2, "full attention cannot be split")
    distils = text.replace('name = "short"', 'name = "short"\ndistil = "mixer"')
    distils = distils.replace("alignment = 0.1\n", "")
    refused(distils, 2, "stage short distils, which --split-clips cannot")
