"""Mixers that learn from the attention that they replace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from lingen_models.checkpoints.safetensors import load_tensors, save_network
from lingen_models.conversion.dit_to_lingen import lingen_of
from lingen_models.network_config import LinGenConfig, WordsConfig
from lingen_models.networks.block import Block
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.word_encoder import WordEncoder
from lingen_training.optimization.optimizer import MasterWeights
from lingen_training.stages.distillation import Question, distil_loss, train_only
from lingen_training.stages.pair import Pair
from lingen_training.trainer import train
from lingen_training.training_recipe import RecipeError
from tests.tiny_recipe import STAGE, tiny_recipe

LINGEN = LinGenConfig(
    width=32, depth=2, head_dim=16, ssm_head_dim=16, state_size=4, text_dims=(64,),
    position_grid=(8, 8, 8), window=(8, 8, 8),
)  # fmt: skip
DIT = replace(LINGEN, mixer="attention")


@pytest.fixture
def teacher() -> LinGen:
    torch.manual_seed(0)
    network = LinGen(DIT)
    for part in network.parameters():
        part.data.add_(torch.randn_like(part) * 0.1)
    return network.requires_grad_(False)


@pytest.fixture
def asked() -> Question:
    torch.manual_seed(1)
    x = torch.randn(2, 16, 3, 4, 4)
    text, mask = torch.randn(2, 5, 64), torch.ones(2, 5, dtype=torch.bool)
    return Question(x, torch.rand(2, 3), [text], [mask], 0, torch.zeros_like(x))


def test_a_mixer_that_answers_as_the_attention_has_no_loss(
    teacher: LinGen, asked: Question
) -> None:
    same = lingen_of(teacher, replace(LINGEN, mamba_branch=False))
    assert distil_loss(same, teacher, asked).item() < 1e-10
    both = lingen_of(teacher, LINGEN)  # what the Mamba branch adds is too much
    assert distil_loss(both, teacher, asked).item() > 0.01


def test_the_loss_is_each_layers_error_on_what_the_teacher_has_there(
    teacher: LinGen, asked: Question
) -> None:
    student = lingen_of(teacher, LINGEN)
    inputs, outputs = [], []

    def remember(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        inputs.append(given[0])
        outputs.append(output)

    for block in teacher.blocks:
        assert isinstance(block, Block)
        block.mixer.register_forward_hook(remember)
    asked.of(teacher)
    mixers: list[Any] = [block.mixer for block in student.blocks]
    shares = [
        (mixer(given) - wanted).square().sum() / wanted.square().sum()
        for mixer, given, wanted in zip(mixers, inputs, outputs, strict=True)
    ]
    found = distil_loss(student, teacher, asked)
    torch.testing.assert_close(found, sum(shares) / 2)


@pytest.mark.parametrize(("kind", "part"), [("mamba", ".mamba_branch."), ("mixer", ".mixer.")])
def test_a_stage_trains_nothing_else(
    teacher: LinGen, asked: Question, kind: Literal["mamba", "mixer"], part: str
) -> None:
    words = WordEncoder(WordsConfig(words=("red",), depth=1, width=64))
    pair = Pair(lingen_of(teacher, LINGEN), words)
    before = {name: one.detach().clone() for name, one in pair.named_parameters()}
    train_only(pair, kind)
    weights = MasterWeights(
        pair, learning_rate=1e-3, weight_decay=0.1, ema=0.5, compute_dtype=torch.float32
    )
    losses = []
    for _ in range(12):
        loss = distil_loss(pair.denoiser, teacher, asked)
        loss.backward()  # type: ignore[no-untyped-call]
        weights.step(3e-3)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    changed = {n for n, one in pair.named_parameters() if not torch.equal(one, before[n])}
    assert changed and all(part in name for name in changed)
    assert weights.averaged().keys() == {name for name in before if part in name}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a small transformer, its words and its autoencoder, trained for a step."""
    folder = tmp_path_factory.mktemp("begun")
    train(_recipe(folder, "attention", ""), folder / "dit", report=lambda line: None)
    return folder


def _recipe(folder: Path, mixer: str, distil: str) -> Path:
    path = folder / f"{mixer}-{distil}.toml"
    more = f'distil = "{distil}"' if distil else ""
    path.write_text(tiny_recipe(STAGE.format(more=more), mixer=mixer))
    return path


def test_a_stage_of_a_recipe_distils(begun: Path, tmp_path: Path) -> None:
    dit = LinGen(DIT_OF_RECIPE)
    dit.load_state_dict(load_tensors(begun / "dit" / "denoiser.safetensors")[0])
    start = tmp_path / "start"
    start.mkdir()
    made = lingen_of(dit, replace(DIT_OF_RECIPE, mixer="mate")).to(torch.bfloat16)
    save_network(
        start / "denoiser.safetensors",
        made,
        {"kind": "lingen", "config": made.config.to_dict()},
    )
    for part in ("autoencoder", "text_encoder"):
        (start / f"{part}.safetensors").write_bytes(
            (begun / "dit" / f"{part}.safetensors").read_bytes()
        )
    recipe = _recipe(begun, "mate", "mamba")
    with pytest.raises(RecipeError, match="distils: name a folder with --teacher"):
        train(recipe, tmp_path / "none", start_from=start)
    out = train(
        recipe, tmp_path / "out", start_from=start, teacher=begun / "dit", report=lambda line: None
    )
    old, _ = load_tensors(start / "denoiser.safetensors")
    new, _ = load_tensors(out / "denoiser.safetensors")
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed and all(".mamba_branch." in name for name in changed)
    with pytest.raises(RecipeError, match="its depth is 2, that of the model to train is 1"):
        recipe.write_text(recipe.read_text().replace("depth = 2", "depth = 1"))
        train(recipe, tmp_path / "other", start_from=start, teacher=begun / "dit")


DIT_OF_RECIPE = LinGenConfig(
    width=32, depth=2, head_dim=16, ssm_head_dim=16, state_size=4, text_dims=(64,),
    position_grid=(8, 8, 8), expand=1, mixer="attention", layout=True,
)  # fmt: skip
