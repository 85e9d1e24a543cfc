"""What a training is said to take, beside what it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lingen_models.network_config import PRESETS
from lingen_models.networks.denoiser import LinGen
from lingen_training.forecast import scale_page
from lingen_training.forecast.device_kinds import DEVICE_KINDS, DeviceKind
from lingen_training.forecast.held_memory import held_by_step
from lingen_training.forecast.training_forecast import Forecast, ForecastError, forecast
from lingen_training.optimization.optimizer import MasterWeights
from lingen_training.shipped import shipped_recipes
from lingen_training.trainer import Inputs
from lingen_training.training_recipe import RecipeError

HERE = DeviceKind("here", 1e12, 1 << 40, is_cpu=True)
H100 = DEVICE_KINDS["h100"]
RECIPE = """
name = "tiny"
seed = 3

[autoencoder]
widths = [8, 8, 8]
depths = [1, 1, 1]
steps = 1
batch = 1
full_size = 64
full_batch = 1
frames = 9

[text]
width = 64
depth = 1

[model.overrides]
width = 64
depth = 2
head_dim = 32
ssm_head_dim = 32
state_size = 16
text_dims = [64]
position_grid = [8, 8, 8]

[[stage]]
name = "clips"
steps = 2
batches = 4
learning_rate = 1e-3

[[stage.source]]
size = 64
latent_frames = 5
batch = 256
clips = 8
"""
MEASURE = """
import json, re, sys
from pathlib import Path
from lingen_training.trainer import train

def resident(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

small, large = map(Path, sys.argv[1:])
train(small, small.parent / "small", report=lambda line: None, processes=1)
out = large.parent / "large"
out.mkdir()
codec = "autoencoder.safetensors"
(out / codec).write_bytes((small.parent / "small" / codec).read_bytes())
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS")
train(large, out, report=lambda line: None, processes=1)
print(json.dumps({"grown": resident("VmHWM") - before, "peak": resident("VmHWM")}))
"""

MEASURE_SPLIT = """
import json, multiprocessing, re, sys
from pathlib import Path
from lingen_training.trainer import train

most = {}

def look(line):
    for pid in ("self", *(one.pid for one in multiprocessing.active_children())):
        status = Path(f"/proc/{pid}/status").read_text()
        most[pid] = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) * 1024

if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), report=look, processes=2, split_clips=True)
    assert len(most) == 2
    print(json.dumps(max(most.values())))
"""


def written(folder: Path, text: str = RECIPE, name: str = "recipe.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def told(path: Path, kind: DeviceKind = H100, devices: int = 1, **more: Any) -> Forecast:
    inputs = Inputs(path, path.parent / "large", "cpu", None, None, more.pop("teacher", None))
    return forecast(inputs, kind, devices, **more)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="VmHWM is Linux's")
def test_the_peak_of_a_small_training_is_foretold(tmp_path: Path) -> None:
    large = written(tmp_path, RECIPE.replace("batches = 4\n", "").replace("steps = 2", "steps = 3"))
    small = written(tmp_path, large.read_text().replace("batch = 256", "batch = 1"), "small.toml")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(small), str(large)],
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(done.stdout)
    (stage,) = told(large, HERE).stages
    grown = stage.memory["activations"] + stage.memory["saving"]
    assert abs(grown / measured["grown"] - 1) < 0.15, (stage.memory, measured)
    assert abs(stage.peak / measured["peak"] - 1) < 0.15, (stage.memory, measured)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="VmHWM is Linux's")
def test_the_peak_of_split_clips_is_foretold(tmp_path: Path) -> None:
    """Of two processes, in that which holds more; one would hold almost twice as much."""
    text = RECIPE.replace("batches = 4\n", "").replace("[8, 8, 8]", "[32, 8, 8]")
    text = text.replace("latent_frames = 5\nbatch = 256", "latent_frames = 32\nbatch = 64")
    path, script = written(tmp_path, text), tmp_path / "measure.py"
    script.write_text(MEASURE_SPLIT, encoding="utf-8")
    command = [sys.executable, str(script), str(path), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (*_, stage) = told(path, HERE, processes=2, split_clips=True).stages
    assert abs(stage.peak / json.loads(done.stdout) - 1) < 0.15, (stage.memory, done.stdout)
    (*_, whole) = told(path, HERE, processes=1).stages
    assert 1.5 < whole.memory["activations"] / stage.memory["activations"] < 2


def test_split_clips_share_the_time(tmp_path: Path) -> None:
    path = written(tmp_path, RECIPE.replace("batches = 4", "batches = 1"))
    (*_, one), (*_, five) = (told(path, H100, many, split_clips=many > 1).stages for many in (1, 5))
    assert five.flops == one.flops and five.tokens == one.tokens
    assert five.seconds == pytest.approx(one.seconds / 5)
    assert told(path, H100, 5, split_clips=True).to_dict()["device"]["split"] == 5
    with pytest.raises(RecipeError, match="at most 5 latent frames cannot be split over 6"):
        told(path, H100, 6, split_clips=True)


def test_slabs_of_large_clips_are_counted_in_small_ones() -> None:
    """What a slab holds is linear in rows and in the tokens of a frame."""
    config = replace(PRESETS["mini"], depth=2)

    def held(rows: int, side: int) -> float:
        shape = (32, side, side)
        found = held_by_step(config, rows, shape, torch.bfloat16, (12,), False, 4)
        return found / 1e6

    rows, sides = [held(many, 16) for many in (1, 2, 4)], [held(1, side) for side in (16, 64)]
    assert (rows[2] - rows[1]) / (rows[1] - rows[0]) == pytest.approx(2, rel=0.08)
    assert 12 < sides[1] / sides[0] < 16
    whole = held_by_step(config, 1, (32, 64, 64), torch.bfloat16, (12,), False) / 1e6
    assert 3 < whole / sides[1] < 4


def test_tokens_flops_and_time(tmp_path: Path) -> None:
    path = written(tmp_path)
    found = told(path, HERE)
    codec, stage = found.stages
    assert codec.name == "autoencoder" and codec.tokens == 0 and codec.flops > 0
    assert stage.tokens_per_step == 4 * 256 * 5 * 16 and stage.tokens == 2 * stage.tokens_per_step
    assert stage.seconds == stage.flops / HERE.flops
    assert told(path, H100, 2).stages[1].seconds == told(path).stages[1].seconds / 2
    assert told(path, H100, 3).stages[1].seconds == told(path, H100, 2).stages[1].seconds
    config = replace(PRESETS["mini"], width=64, depth=2, head_dim=32, ssm_head_dim=32)
    config = replace(config, state_size=16, text_dims=(64,), position_grid=(8, 8, 8), layout=True)
    with torch.device("meta"):
        network = LinGen(config)
        inputs = (torch.zeros(256, 16, 5, 8, 8), torch.zeros(256, 5))
        text, mask = torch.zeros(256, 12, 64), torch.ones(256, 12, dtype=torch.bool)
    with FlopCounterMode(display=False) as counter:
        network(*inputs, [text], [mask]).square().mean().backward()
    # A backward pass makes some things again; the first layers have no gradient of their inputs.
    assert abs(stage.flops / (8 * counter.get_total_flops()) - 1) < 0.1


def test_what_the_optimizers_hold_is_counted_as_it_is(tmp_path: Path) -> None:
    stage = told(written(tmp_path)).stages[1]
    config = replace(PRESETS["mini"], width=64, depth=2, head_dim=32, ssm_head_dim=32)
    config = replace(config, state_size=16, text_dims=(64,), position_grid=(8, 8, 8))
    network = LinGen(config)
    weights = MasterWeights(
        network, learning_rate=1e-3, weight_decay=0, ema=0.9, compute_dtype=torch.bfloat16
    )
    for part in weights.live:
        part.grad = torch.ones_like(part)
    weights.step(1e-3)
    held = sum(
        value.nbytes
        for optimizer in weights.optimisers
        for state in optimizer.state.values()
        for value in state.values()
        if value.dim()
    )
    whole = sum(part.numel() for part in network.parameters())
    with_words = stage.memory["ema"] // 4
    assert with_words > whole  # the word encoder is trained, too
    assert held / whole == pytest.approx(stage.memory["optimizer"] / with_words, rel=0.1)
    assert stage.memory["weights"] == 2 * with_words == stage.memory["gradients"]
    assert stage.memory["master_weights"] == 4 * with_words


def test_large_cases_are_counted_in_small_ones() -> None:
    """What a step holds is linear in rows, frames and layers."""
    config = replace(PRESETS["mini"], depth=4)
    ask = ((12,), False)
    rows = [held_by_step(config, many, (33, 16, 16), torch.bfloat16, *ask) for many in (2, 4, 8)]
    assert (rows[2] - rows[1]) / (rows[1] - rows[0]) == pytest.approx(2, rel=0.08)
    frames = [held_by_step(config, 1, (many, 64, 64), torch.bfloat16, *ask) for many in (16, 128)]
    assert frames[1] / frames[0] == pytest.approx(8, rel=0.05)
    again = held_by_step(config, 8, (33, 16, 16), torch.bfloat16, (12,), True)
    assert again < 0.4 * rows[2]


def test_several_devices_share_what_the_optimizers_hold(tmp_path: Path) -> None:
    one, four = (told(written(tmp_path), H100, many).stages[1].memory for many in (1, 4))
    for name in ("master_weights", "optimizer", "ema"):
        assert four[name] == one[name] // 4
    for name in ("weights", "gradients", "activations"):
        assert four[name] == one[name]  # activations are those of a batch, which is not divided
    with pytest.raises(ForecastError, match="'clips': a step has 4 batches, too few for 8"):
        told(written(tmp_path), H100, 8)


@pytest.mark.parametrize("name", sorted(shipped_recipes().keys() - set(scale_page.RECIPES)))
def test_every_shipped_recipe_has_a_forecast(name: str, tmp_path: Path) -> None:
    path = shipped_recipes()[name]
    teacher = Path(__file__).parents[2] / "models/lingen_models/weights/lingen-mini"
    decoder = name == "lingen-mini-decoder"
    begun = teacher if "lora" in name or decoder else None
    inputs = Inputs(path, tmp_path / "out", "cpu", begun, None, teacher)
    found = forecast(inputs, H100)  # of scale_page.RECIPES: tests/training/test_scale_page.py
    assert found.days > 0 and (found.latents > 0 or decoder)
    assert all(stage.tokens > 0 for stage in found.stages if stage.name != "autoencoder")
    assert not (tmp_path / "out").exists()


def test_a_decoder_alone_costs_less_than_the_autoencoder_with_it(tmp_path: Path) -> None:
    weights = Path(__file__).parents[2] / "models/lingen_models/weights/lingen-mini"
    recipe = shipped_recipes()["lingen-mini-motion"]
    both, decoder = (
        forecast(Inputs(recipe, tmp_path / "out", "cpu", begun, None, None), H100).stages[0]
        for begun in (None, weights)
    )
    assert both.name == decoder.name == "autoencoder"
    assert (both.steps, decoder.steps) == (3200, 800)
    assert 0 < decoder.flops < both.flops / 2


def test_what_a_training_refuses_a_forecast_refuses(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="name a folder with --teacher"):
        told(shipped_recipes()["convert"])
    text = RECIPE.replace("[text]\nwidth = 64\ndepth = 1", '[text]\nplugin = "none"')
    with pytest.raises(RecipeError, match=r"text\.plugin: .*none"):
        told(written(tmp_path, text))
