"""A student that makes the jumps of its guided teacher in one pass."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lingen_models.checkpoints.safetensors import load_tensors
from lingen_models.network_config import LinGenConfig, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.word_encoder import WordEncoder
from lingen_models.sampling.denoise import TextFeatures
from lingen_training.optimization.optimizer import MasterWeights
from lingen_training.shipped import shipped_recipes
from lingen_training.stages.denoising import Batch, jump_of
from lingen_training.stages.distillation import train_only
from lingen_training.stages.few_steps import Jump, begin_of, jump_loss
from lingen_training.stages.pair import Pair
from lingen_training.trainer import train
from lingen_training.training_recipe import DenoiserStage, FewSteps, RecipeError, read_recipe
from tests.tiny_recipe import STAGE, tiny_recipe

TINY = LinGenConfig(
    width=32, depth=2, head_dim=16, ssm_head_dim=16, state_size=4, text_dims=(64,),
    position_grid=(8, 8, 8), window=(4, 4, 4),
)  # fmt: skip
FEW = FewSteps(steps=4, substeps=2, guidance=3.0, guided_after=0.05)
GRID = [0.0, 1 / 7, 1 / 3, 3 / 5, 1.0]
FINE = [0.0, 1 / 15, 1 / 7, 3 / 13, 1 / 3, 5 / 11, 3 / 5, 7 / 9, 1.0]
"""u / (2 - u) for u in quarters and eighths: the schedule "shifted"."""


def network(seed: int) -> LinGen:
    torch.manual_seed(seed)
    made = LinGen(TINY)
    for part in made.parameters():
        part.data.add_(torch.randn_like(part) * 0.1)
    return made


@pytest.fixture
def jump() -> Jump:
    torch.manual_seed(2)
    mask = torch.ones(2, 5, dtype=torch.bool)
    texts = [TextFeatures((torch.randn(2, 5, 64),), (mask,)) for _ in range(2)]
    data, noise = torch.randn(2, 2, 16, 5, 4, 4).unbind(0)
    return Jump(data, noise, texts[0], texts[1], step=2, prefix=1, suffix=1, first_frame=3)


@pytest.mark.parametrize("own_path", [False, True])
@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_the_loss_is_that_of_the_formulas_in_float64(jump: Jump, step: int, own_path: bool) -> None:
    student, teacher = network(0).double(), network(1).double()
    double = replace(jump, data=jump.data.double(), noise=jump.noise.double(), step=step)
    double = replace(double, own_path=own_path)
    prompt, negative = (
        TextFeatures((text.features[0].double(),), text.masks)
        for text in (jump.prompt, jump.negative)
    )
    double = replace(double, prompt=prompt, negative=negative)

    def ask(who: LinGen, x: Tensor, now: float, text: TextFeatures) -> Tensor:
        t = torch.tensor([1.0, now, now, now, 1.0], dtype=torch.float64).expand(2, 5)
        x = torch.cat((double.data[:, :, :1], x[:, :, 1:4], double.data[:, :, 4:]), 2)
        answer: Tensor = who(x, t, text.features, text.masks, 3)
        return answer

    with torch.no_grad():
        x = double.noise
        if own_path:
            for now, after in pairwise(GRID[: step + 1]):
                x = x + (after - now) * ask(student, x, now, prompt)
        elif step:
            t = GRID[step]
            x = t * double.data + (1 - (1 - 1e-5) * t) * double.noise
        begin, last = x, None
        for number in (2 * step, 2 * step + 1):
            now, after = FINE[number], FINE[number + 1]
            v = ask(teacher, x, now, prompt)
            if now >= 0.05:
                away = ask(teacher, x, now, negative)
                v = away + 3.0 * (v - away)
            clean = x + (1 - now) * v
            towards = clean
            if last is not None and FINE[2 * step] > 0 and after < 1:  # DPM-Solver++(2M)
                h, before = (
                    torch.logit(torch.tensor(b, dtype=torch.float64))
                    - torch.logit(torch.tensor(a, dtype=torch.float64))
                    for a, b in ((now, after), (FINE[number - 1], now))
                )
                towards = clean + (clean - last) * h / (2 * before)
            x = (1 - after) / (1 - now) * x + (after - now) / (1 - now) * towards
            last = clean
        wanted = (x - begin) / (GRID[step + 1] - GRID[step])
    error = (ask(student, begin, GRID[step], prompt) - wanted)[:, :, 1:4].square().mean()
    found = jump_loss(student, teacher, FEW, double)
    assert found.item() == pytest.approx(error.item(), rel=1e-4)
    assert found.item() > 1e-3


class Straight(nn.Module):
    """Its velocity is the same everywhere, and the prompt's alone."""

    def forward(
        self, x: Tensor, t: Tensor, texts: list[Tensor], masks: list[Tensor], first_frame: int
    ) -> Tensor:
        return texts[0].mean((1, 2))[:, None, None, None, None].expand_as(x)


@pytest.mark.parametrize("step", [0, 1, 3])
def test_a_teacher_that_is_straight_has_nothing_to_teach(jump: Jump, step: int) -> None:
    teacher = Straight()
    plain = FEW.model_copy(update={"guidance": 1.0})
    for own_path in (False, True):
        one = replace(jump, step=step, own_path=own_path)
        assert jump_loss(teacher, teacher, plain, one).item() < 1e-10
        guided = jump_loss(teacher, teacher, FEW, one).item()
        assert guided > 1e-3  # the guidance is what is left to learn
        same = replace(one, negative=one.prompt)
        assert jump_loss(teacher, teacher, FEW, same).item() < 1e-10


def test_a_short_training_comes_closer_and_leaves_the_words_alone(jump: Jump) -> None:
    teacher, student = network(1).requires_grad_(False), network(1)
    words = WordEncoder(WordsConfig(words=("red",), depth=1, width=64))
    pair = Pair(student, words)
    before = {name: one.detach().clone() for name, one in pair.named_parameters()}
    train_only(pair, "steps")
    weights = MasterWeights(
        pair, learning_rate=3e-3, weight_decay=0.0, ema=0.5, compute_dtype=torch.float32
    )
    rounds = []
    for _ in range(5):
        losses = []
        for step in range(4):
            loss = jump_loss(pair.denoiser, teacher, FEW, replace(jump, step=step))
            loss.backward()  # type: ignore[no-untyped-call]
            weights.step(3e-3)
            losses.append(float(loss.detach()))
        rounds.append(sum(losses))
    assert rounds[-1] < 0.7 * rounds[0]
    changed = {n for n, one in pair.named_parameters() if not torch.equal(one, before[n])}
    assert changed and all(name.startswith("denoiser.") for name in changed)


def test_jumps_are_drawn_as_the_stage_says() -> None:
    words = WordEncoder(WordsConfig(words=("red",), depth=1, width=64))
    pair = Pair(network(0), words)
    batch = Batch(torch.randn(2, 16, 6, 4, 4), ["red", "red"], first_frame=2)
    source = {"size": 64, "latent_frames": 6, "batch": 2, "clips": 2}
    stage = DenoiserStage.model_validate(
        {
            "name": "few",
            "steps": 1,
            "learning_rate": 1e-3,
            "distil": "steps",
            "few_steps": FEW,
            "prefix": 0.5,
            "suffix": 0.5,
            "source": [source],
        }
    )
    drawn = [jump_of(pair, stage, FEW, batch, random.Random(seed)) for seed in range(60)]
    assert {one.step for one in drawn} == {0, 1, 2, 3}
    assert {one.own_path for one in drawn} == {False, True}
    assert {one.prefix for one in drawn} == {0, 1, 2, 3}
    assert {one.suffix for one in drawn} == {0, 1, 2}
    assert all(one.first_frame == 2 for one in drawn)
    one = next(one for one in drawn if one.prefix and one.suffix and one.step)
    kept = begin_of(pair.denoiser, FEW, one)
    end = 6 - one.suffix
    torch.testing.assert_close(kept[:, :, : one.prefix], one.data[:, :, : one.prefix])
    torch.testing.assert_close(kept[:, :, end:], one.data[:, :, end:], atol=1e-3, rtol=0)


STEPS = 'distil = "steps"\n[stage.few_steps]\nsteps = 2\nsubsteps = 2'


def test_a_stage_of_a_recipe_distils_to_few_steps(tmp_path: Path) -> None:
    plain, few = tmp_path / "plain.toml", tmp_path / "few.toml"
    plain.write_text(tiny_recipe())
    few.write_text(tiny_recipe(STAGE.format(more=STEPS)))
    begun = train(plain, tmp_path / "begun", report=lambda line: None)
    with pytest.raises(RecipeError, match="distils: name a folder with --teacher"):
        train(few, tmp_path / "none", start_from=begun)
    out = train(few, tmp_path / "out", start_from=begun, teacher=begun, report=lambda line: None)
    old, new = (load_tensors(one / "denoiser.safetensors")[0] for one in (begun, out))
    assert any(not torch.equal(old[name], new[name]) for name in old)
    old, new = (load_tensors(one / "text_encoder.safetensors")[0] for one in (begun, out))
    assert all(torch.equal(old[name], new[name]) for name in old)


@pytest.mark.parametrize("more", ['distil = "steps"', "[stage.few_steps]\nsteps = 2"])
def test_the_grid_and_the_way_to_distil_belong_together(tmp_path: Path, more: str) -> None:
    path = tmp_path / "half.toml"
    path.write_text(tiny_recipe(STAGE.format(more=more)))
    with pytest.raises(RecipeError, match=r"few_steps\] belong together"):
        read_recipe(path)


def test_the_model_samples_as_its_recipe_has_taught() -> None:
    from lingen_plugins.manager import PluginManager
    from lingen_plugins.registry import collect

    manager = PluginManager()
    manager.load_builtin()
    registry = collect(manager)
    variant = registry.model_variants["lingen-mini-4step"]
    recipe = read_recipe(shipped_recipes()[str(variant.recipe)])
    few = recipe.stage[-1].few_steps
    assert few is not None
    sampler = registry.samplers[variant.sampler]
    assert (variant.steps, sampler.schedule) == (few.steps, few.schedule)
    assert (variant.guidance, sampler.build().__name__) == (1.0, "euler")
    assert few.guidance == registry.model_variants["lingen-mini"].guidance
