"""Samples of a stage: which prompts and sizes, and that the weights do not depend on them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest
import torch

from lingen_playground import canonical_caption, sample_scene
from lingen_training.datasets.buckets import draws_of
from lingen_training.datasets.world import PLAYGROUND, World
from lingen_training.optimization.stage_logs import Sample, Watcher, read_log
from lingen_training.stages.samples import prompts_of, shape_of
from lingen_training.trainer import train
from lingen_training.training_recipe import DenoiserStage, RecipeError, read_recipe
from tests.tiny_recipe import STAGE, tiny_recipe

SAMPLED = "sample_every = 2\n"
PARTS = "batches = 2\nlayout = 0.5\n"


def stage(*sources: Mapping[str, object], **more: object) -> DenoiserStage:
    size: Mapping[str, object] = {"size": 64, "latent_frames": 2, "batch": 1, "clips": 1}
    facts: Mapping[str, object] = {"name": "one", "steps": 2, "learning_rate": 1e-3, **more}
    return DenoiserStage.model_validate({**facts, "source": [{**size, **one} for one in sources]})


class Collector(Watcher):
    """Keeps samples by step."""

    def __init__(self) -> None:
        self.samples: dict[int, Sequence[Sample]] = {}

    def sampled(self, stage: str, step: int, samples: Sequence[Sample]) -> None:
        self.samples[step] = samples


def trained(folder: Path, more: str, processes: int = 1, *, shard: bool = False) -> Collector:
    """Train four steps in `folder`, with the layouts of a shared cache."""
    folder.mkdir()
    path = folder / "recipe.toml"
    text = STAGE.format(more=PARTS + more).replace("steps = 2", "steps = 4", 1)
    path.write_text(tiny_recipe(text).replace("text_dims", "layout = true\ntext_dims"))
    collector = Collector()
    train(
        path,
        folder / "out",
        processes=processes,
        shard=shard,
        report=lambda line: None,
        watchers=[collector],
    )
    return collector


@pytest.mark.e2e
@pytest.mark.parametrize(("processes", "shard"), [(1, False), (2, False), (2, True)])
def test_weights_are_the_same_with_and_without_samples(
    processes: int, shard: bool, tmp_path: Path
) -> None:
    plain = trained(tmp_path / "plain", "", processes, shard=shard)
    seen = trained(tmp_path / "seen", SAMPLED, processes, shard=shard)
    assert plain.samples == {} and list(seen.samples) == [2, 4]
    names = ["one.averaged.safetensors"] + ([] if shard else ["one.state.safetensors"])
    for name in names:
        one, other = (_without_time(tmp_path / kind / "out" / name) for kind in ("plain", "seen"))
        assert one == other, name
    for clips in seen.samples.values():
        assert [clip.seed for clip in clips] == [0, 1, 2, 3]
        assert all(clip.video.shape == (9, 64, 64, 3) for clip in clips)
        assert all(clip.video.dtype == torch.uint8 for clip in clips)
    first, last = (seen.samples[step][0].video for step in (2, 4))
    assert not torch.equal(first, last)


def _without_time(path: Path) -> dict[str, bytes]:
    from lingen_models.checkpoints.safetensors import load_tensors

    tensors, _ = load_tensors(path)
    return {name: value.float().numpy().tobytes() for name, value in tensors.items()}


@pytest.mark.e2e
def test_losses_are_logged_by_noise_and_by_frame(tmp_path: Path) -> None:
    trained(tmp_path / "run", "alignment = 0.1\n")
    (record,) = read_log(tmp_path / "run" / "out" / "one.jsonl")
    bins = {key: value for key, value in record.items() if "/" in key}
    assert {"frame/0", "frame/1-2"} == {key for key in bins if key.startswith("frame/")}
    assert any(key.startswith("noise/") for key in bins)
    ends = [value for key, value in bins.items() if key.startswith("frame/")]
    assert min(ends) <= record["flow"] <= max(ends)
    assert record["tokens_per_second"] > 0


@pytest.mark.e2e
def test_what_is_sampled_may_change_in_a_finished_training(tmp_path: Path) -> None:
    trained(tmp_path / "run", SAMPLED)
    path = tmp_path / "run" / "recipe.toml"
    path.write_text(path.read_text().replace(SAMPLED, ""))
    train(path, tmp_path / "run" / "out", processes=1, report=lambda line: None)
    kept = json.loads((tmp_path / "run" / "out" / "recipe.json").read_text())
    assert kept["stage"][0]["sample_every"] == 0


class OneWall:
    """A world of few captions."""

    def sample_scene(self, seed: int) -> int:
        return seed

    def caption(self, scene: int, seed: int, *, still: bool = False) -> str:
        return "a still wall" if still else f"a wall {scene % 2}"


def test_prompts_are_given_or_captions() -> None:
    def prompts(one: DenoiserStage, world: object = PLAYGROUND, still: bool = False) -> list[str]:
        return list(prompts_of(one, cast(World, world), still=still))

    given = stage({}, sample_every=1, sample_prompts=["a"])
    assert prompts(given) == ["a"]
    drawn = prompts(stage({}))
    assert len(set(drawn)) == 4
    assert drawn[0] == canonical_caption(sample_scene(9_000_000, split="heldout"))
    images = prompts(stage({}), still=True)
    assert len(images) == 4 and "moves" in " ".join(drawn) and "moves" not in " ".join(images)
    assert prompts(stage({}), OneWall()) == ["a wall 0", "a wall 1"]
    assert prompts(stage({}), OneWall(), still=True) == ["a still wall"]
    assert prompts(stage({"replay": True}), OneWall()) == drawn


def test_samples_have_the_size_of_what_is_drawn_most() -> None:
    def shape(*sources: Mapping[str, object]) -> tuple[int, int, int]:
        return shape_of(draws_of(stage(*sources), PLAYGROUND, ""))

    assert shape({}) == (2, 64, 64)
    assert shape({"share": 0.1}, {"size": 128, "latent_frames": 9}) == (5, 128, 128)
    assert shape({"crop": (64, 32)}) == (2, 32, 64)
    assert shape({"share": 0.1, "latent_frames": 1}, {"replay": True}) == (1, 64, 64)
    assert shape({"replay": True}) == (2, 64, 64)


def test_prompts_without_samples_are_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(tiny_recipe(STAGE.format(more='sample_prompts = ["a ball"]')))
    with pytest.raises(RecipeError, match=r"stage.0.sample_prompts: set sample_every"):
        read_recipe(path)
