"""Training with parameters divided over processes is the training of one process."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lingen_models.network_config import PRESETS, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.word_encoder import WordEncoder
from lingen_plugins.builtin.variants import tiny
from lingen_training.optimization.loop import Schedule, run_loop
from lingen_training.optimization.optimizer import MasterWeights
from lingen_training.optimization.parallel import ALONE, Group, grouped
from lingen_training.optimization.sharded import ShardedWeights, own_part, shard
from lingen_training.optimization.state_files import find_state, read_state
from lingen_training.stages.pair import Pair

STEPS, STOP = 24, 10


def small_pair() -> Pair:
    torch.manual_seed(0)
    config = tiny(PRESETS["mini"])
    words = WordsConfig(words=("ball", "red"), width=32, depth=1, head_dim=16, max_tokens=8)
    return Pair(LinGen(config), WordEncoder(words))


def loss_of(pair: Pair, step: int, batch: int) -> dict[str, Tensor]:
    """A made-up task: latents as they are, from noisy ones."""
    generator = torch.Generator().manual_seed(1000 * step + batch)
    channels = pair.denoiser.config.latent_channels
    data = torch.randn(2, channels, 3, 4, 4, generator=generator)
    times = torch.rand(2, 3, generator=generator)
    features, masks = pair.read(["red ball", "ball"])
    found = pair.denoiser(data, times, features, masks, 0)
    return {"loss": (found.float() - data).square().mean()}


def train(folder: Path, steps: int, group: Group) -> dict[str, Tensor]:
    """Train for so many steps, going on with what is in `folder`; returns the averaged weights."""
    pair = small_pair()
    kind: type[MasterWeights] = MasterWeights
    if group.sharded:
        pair, kind = shard(pair, "cpu", torch.float32, group), ShardedWeights
    weights = kind(
        pair,
        learning_rate=2e-3,
        weight_decay=0.01,
        ema=0.9,
        compute_dtype=torch.float32,
        group=group,
    )
    run_loop(
        name="stage",
        weights=weights,
        loss_of=lambda step, batch: loss_of(pair, step, batch),
        schedule=Schedule(2e-3, steps, warmup=5, decay=0.0),
        folder=folder,
        report=lambda line: None,
        batches=2,
        log_every=1,
        save_every=10,
    )
    return weights.averaged()


def train_in_two(folder: Path, steps: int) -> dict[str, Tensor]:
    with grouped(2, train, {"folder": folder, "steps": steps}, sharded=True) as group:
        return train(folder, steps, group)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "stage.jsonl").read_text().splitlines()]


def close(found: dict[str, Tensor], expected: dict[str, Tensor], limit: float) -> bool:
    assert found.keys() == expected.keys()
    return all((found[name] - expected[name]).abs().max() < limit for name in expected)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The averaged weights and the folders of 24 steps of: one process; two with shards, stopped
    once; two for the first 10, then one; one for the first 10, then two."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("one", "two", "back", "forth")}
    train(folders["one"], STOP, ALONE)
    shutil.copytree(folders["one"], folders["forth"], dirs_exist_ok=True)
    train_in_two(folders["two"], STOP)
    shutil.copytree(folders["two"], folders["back"], dirs_exist_ok=True)
    found = {name: train(folders[name], STEPS, ALONE) for name in ("one", "back")}
    found |= {name: train_in_two(folders[name], STEPS) for name in ("two", "forth")}
    return {"weights": found, "folders": folders}


def test_losses_are_those_of_one_process(runs: dict[str, Any]) -> None:
    expected = losses(runs["folders"]["one"])
    assert len(expected) == STEPS
    assert expected[-1] < 0.9 * expected[0]
    for name in ("two", "back", "forth"):
        assert losses(runs["folders"][name]) == pytest.approx(expected, abs=1e-4), name


def test_weights_are_those_of_one_process(runs: dict[str, Any]) -> None:
    for name in ("two", "back", "forth"):
        assert close(runs["weights"][name], runs["weights"]["one"], 1e-3), name


def test_a_state_is_whole_and_one(runs: dict[str, Any]) -> None:
    state = find_state(runs["folders"]["two"], "stage")
    assert state is not None
    assert [path.name for path in state.parent.iterdir()] == [f"step-{STEPS:08d}"]
    tensors, metadata = read_state(state)
    whole, _ = read_state(runs["folders"]["one"] / "stage.state.safetensors")
    assert metadata["steps"] == str(STEPS)
    assert {name: value.shape for name, value in tensors.items()} == {
        name: value.shape for name, value in whole.items()
    }


def test_a_half_written_state_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "stage.state" / "step-00000020").mkdir(parents=True)
    assert find_state(tmp_path, "stage") is None


@pytest.mark.parametrize("lines", [0, 1, 2, 5, 6, 7])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_lines_are_divided_without_rest(lines: int, size: int) -> None:
    whole = torch.arange(2.0 * lines).view(lines, 2)
    parts = [own_part(whole, Group(rank, size)) for rank in range(size)]
    assert torch.equal(torch.cat(parts), whole)
