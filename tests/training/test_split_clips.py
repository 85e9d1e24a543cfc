"""Processes that divide the clips of every batch train as one process does."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lingen_models.network_config import PRESETS, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.word_encoder import WordEncoder
from lingen_plugins.builtin.variants import tiny
from lingen_training.datasets.clip_layouts import LayoutBatch
from lingen_training.optimization.loop import Schedule, run_loop
from lingen_training.optimization.optimizer import MasterWeights
from lingen_training.optimization.parallel import ALONE, Group, grouped
from lingen_training.optimization.sharded import ShardedWeights, shard
from lingen_training.stages.alignment import FACTS, AlignmentHead
from lingen_training.stages.denoising import Batch, flow_losses
from lingen_training.stages.pair import Pair
from lingen_training.training_recipe import DenoiserStage, Source

pytestmark = pytest.mark.e2e
STEPS = 16
STAGE = DenoiserStage(
    name="stage",
    steps=STEPS,
    learning_rate=2e-3,
    alignment=0.1,
    prefix=0.5,
    suffix=0.5,
    source=(Source(size=64, latent_frames=5, batch=2, clips=2),),
)


def drawn(channels: int, step: int, number: int) -> tuple[Batch, random.Random]:
    """Made-up clips of five latent frames, and an image in every fourth batch."""
    generator = torch.Generator().manual_seed(1000 * step + number)
    frames = 1 if (step + number) % 4 == 3 else 5
    latents = torch.randn(2, channels, frames, 4, 4, generator=generator)
    facts = torch.randn(2, frames, 2, 2, FACTS, generator=generator)
    discs = torch.rand(2, frames, 1, 3, 5, generator=generator) * torch.tensor([2, 2, 1, 6, 1])
    layout = LayoutBatch(discs, [["red ball"], ["ball"]])
    batch = Batch(latents, ["red ball", "ball"], 1, facts=facts, layout=layout)
    return batch, random.Random(f"{step}/{number}")


def train(folder: Path, group: Group) -> None:
    torch.manual_seed(0)
    words = WordsConfig(words=("ball", "red"), width=32, depth=1, head_dim=16, max_tokens=8)
    pair = Pair(LinGen(tiny(PRESETS["mini"])), WordEncoder(words))
    pair.alignment = AlignmentHead(32)
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

    def loss_of(step: int, number: int) -> dict[str, Tensor]:
        batch, rng = drawn(pair.denoiser.config.latent_channels, step, number)
        slabs = group.slabs(batch.latents.shape[2])
        assert (slabs is None) == (batch.latents.shape[2] == 1 or group is ALONE)
        return flow_losses(pair, STAGE, batch, rng, slabs)

    run_loop(
        name="stage",
        weights=weights,
        loss_of=loss_of,
        schedule=Schedule(2e-3, STEPS, warmup=5, decay=0.0),
        folder=folder,
        report=lambda line: None,
        batches=2,
        log_every=1,
    )


def records(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "stage.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    folder = tmp_path_factory.mktemp("one")
    train(folder, ALONE)
    return records(folder)


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module .FSDPAlignmentHead. returned a view")
@pytest.mark.parametrize("processes, sharded", [(2, True), (3, False)])
def test_losses_are_those_of_one_process(
    alone: list[dict[str, float]], tmp_path: Path, processes: int, sharded: bool
) -> None:
    marks = {"sharded": sharded, "splits_clips": True}
    with grouped(processes, train, {"folder": tmp_path}, **marks) as group:
        train(tmp_path, group)
    found = records(tmp_path)
    assert len(found) == len(alone) == STEPS
    assert sum(one["loss"] for one in alone[-8:]) < sum(one["loss"] for one in alone[:8])
    for together, expected in zip(found, alone, strict=True):
        for key in ("loss", "flow", "alignment"):
            assert together[key] == pytest.approx(expected[key], abs=1e-4), key
        assert together["norm"] == pytest.approx(expected["norm"], rel=1e-3)


def test_short_clips_are_not_divided() -> None:
    group = Group(1, 3, splits_clips=True)
    assert group.slabs(2) is None
    slabs = group.slabs(7)
    assert slabs is not None and slabs.own == (2, 4)
    assert Group(1, 3).slabs(7) is None
    assert (list(group.batches(2)), group.parts(2)) == ([0, 1], 6)
    assert (list(Group(1, 3).batches(2)), Group(1, 3).parts(2)) == ([1], 2)
