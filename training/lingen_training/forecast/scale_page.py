"""The tables of docs/scale.md: `python -m lingen_training.forecast.scale_page` prints them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from lingen_models.flops import step_flops
from lingen_models.network_config import PRESETS
from lingen_training.forecast.device_kinds import DEVICE_KINDS
from lingen_training.forecast.held_memory import held_by_step, linear
from lingen_training.forecast.training_forecast import StageForecast, forecast
from lingen_training.markdown_table import table_of
from lingen_training.shipped import shipped_recipes
from lingen_training.trainer import Inputs

RECIPES = ("lingen-4b-256p", "lingen-4b-512p", "lingen-4b-quality")
KIND = "h200"
DEVICES = (8, 64, 512)
MACHINE, LINK, NETWORK = 8, 450e9, 50e9
"""Devices of a machine, and bytes per second of one of them, one way: to others of its machine, by
the data sheet of NVLink 4, and to other machines, by that of a 400 Gbit/s adapter for each."""
LATENCY, PARTNER = 20e-6, 1e-6
"""Seconds that an exchange takes at least, and that each further partner of an exchange of all
with all adds. Both assumed."""
MINUTE, HOUR = 136, 7201
"""Latent frames of 68 seconds, and of an hour."""
MINUTE_DEVICES, HOUR_DEVICES = (1, 2, 4, 8, 16), (1, 8, 64, 128, 256, 512, 1024)
_SIDES = (64, 64)
"""Latents of 512 x 512 pixels."""
_TEXT = 128
"""Tokens of a prompt, of each text encoder."""


def scale_tables() -> str:
    """Return the tables, in markdown: tokens, FLOPs, memory on a device and days of all stages."""
    kind = DEVICE_KINDS[KIND]
    found = {devices: list(_stages(devices)) for devices in DEVICES}
    head = ["stage", "steps", "tokens per step", "tokens", "FLOPs"]
    head += [f"{what}, {devices}" for what in ("GB", "days") for devices in DEVICES]
    rows = []
    for number, stage in enumerate(found[DEVICES[0]]):
        each = [found[devices][number] for devices in DEVICES]
        cells = [f"`{stage.name}`", f"{stage.steps:,}", f"{stage.tokens_per_step / 1e6:.1f} M"]
        cells += [f"{stage.tokens / 1e9:.0f} G", f"{stage.flops:.1e}"]
        cells += [f"{one.peak / 1e9:.0f}" for one in each]
        rows.append(cells + [_days(one.seconds) for one in each])
    seen = sum(one.tokens for one in found[DEVICES[0]]) / 1e9
    flops = sum(one.flops for one in found[DEVICES[0]])
    sums = [_days(sum(one.seconds for one in found[devices])) for devices in DEVICES]
    rows.append(["in all", "", "", f"{seen:.0f} G", f"{flops:.1e}", *[""] * len(DEVICES), *sums])
    speed = f"At {kind.utilization:.0%} of {kind.peak_flops / 1e12:.0f} TFLOP/s."
    return f"{table_of(head, rows)}\n\n{speed}\n"


def split_table(frames: int, counts: Sequence[int]) -> str:
    """Return the cost model of a layer of `4b`, in markdown: a forward pass over a clip of so many
    latent frames at 512 x 512, which are divided over each count of devices."""
    head = ["devices", "frames on each", "compute, ms", "states, ms", "all to all, ms"]
    head += ["neighbors, ms", "in all, ms", "of ideal", "step, s", "GB"]
    rows = []
    ideal = _layer(frames, 1).compute
    for devices in counts:
        found, own = _layer(frames, devices), -(-frames // devices)
        times = (found.compute, found.states, found.turned, found.neighbors, found.all)
        cells = [f"{devices:,}", f"{own:,}", *(f"{1e3 * one:,.2f}" for one in times)]
        cells += [f"{ideal / devices / found.all:.0%}", f"{found.step:,.1f}"]
        rows.append([*cells, f"{_held(own) / 1e9:,.0f}"])
    return table_of(head, rows) + "\n"


@cache
def _held_by(frames: int) -> int:
    config = PRESETS["4b"]
    texts = (_TEXT,) * len(config.text_dims)
    return held_by_step(config, 1, (frames, *_SIDES), torch.bfloat16, texts, checkpoint=True)


def _held(frames: int) -> int:
    """Bytes that a training step on a slab holds, with gradients and without weights: linear in
    the frames, so counted on a few."""
    return linear((16, 32), frames, _held_by)


@dataclass(frozen=True)
class _LayerTimes:
    """Seconds of the forward pass of one layer, the mean of all four scan orders."""

    compute: float
    states: float
    turned: float
    neighbors: float

    @property
    def all(self) -> float:
        """All of them, nothing overlapped."""
        return self.compute + self.states + self.turned + self.neighbors

    @property
    def step(self) -> float:
        """A training step: every layer forwards, again, and backwards, which takes twice the
        products and as many exchanges."""
        return PRESETS["4b"].depth * (3 * self.all + self.compute)


def _layer(frames: int, devices: int) -> _LayerTimes:
    """Times of the device with the largest slab of a clip."""
    config, own_frames = PRESETS["4b"], -(-frames // devices)
    frame = math.prod(_SIDES) // math.prod(config.patch)
    own = own_frames * frame
    flops = sum(step_flops(config, (frames, *_SIDES), text_tokens=_TEXT).values()) / config.depth
    compute = flops * own_frames / frames / DEVICE_KINDS[KIND].flops
    if devices == 1:
        return _LayerTimes(compute, 0, 0, 0)
    link = LINK if devices <= MACHINE else NETWORK
    hops = math.ceil(math.log2(devices))
    token = config.width * 2  # bytes, in bf16
    heads = config.expand * config.width // config.ssm_head_dim

    def reduced(size: int) -> float:
        return 2 * size / link + hops * LATENCY

    # Of both directions, in float32: passed on, and summed for the review tokens.
    state = 2 * config.expand * config.width * config.state_size * 4
    rounds = 1 + math.ceil(math.log2(max(1, devices - 1)))
    states = rounds * (state / link + LATENCY) + reduced(state) + reduced(4 * 4 * devices * heads)
    # Tokens there and back, and review tokens there, in two of four layers.
    review = 1 / math.prod(config.review_pool)
    moved = own * token * (devices - 1) / devices / link + LATENCY + (devices - 1) * PARTNER
    turned = (2 + review) * moved / 2
    # Queries, keys and values of half a window there, what they found back; a frame to be pooled
    # with another; and the rims of two convolutions.
    half = max(config.window[0] // 2, config.window[0] - own_frames)
    neighbors = (4 * half + 1) * frame * token / link + 5 * LATENCY
    return _LayerTimes(compute, states, turned, neighbors)


def _stages(devices: int) -> Iterator[StageForecast]:
    """The stages of the denoiser on so many devices."""
    for name in RECIPES:
        inputs = Inputs(shipped_recipes()[name], Path("runs") / name, "cpu", None, None, None)
        for stage in forecast(inputs, DEVICE_KINDS[KIND], devices).stages:
            if stage.name != "autoencoder":
                yield stage


def _days(seconds: float) -> str:
    """Days with two digits that count."""
    days = seconds / 86400
    return f"{days:.0f}" if days >= 10 else f"{days:.2g}"


if __name__ == "__main__":
    parts = [scale_tables()]
    parts += [split_table(MINUTE, MINUTE_DEVICES), split_table(HOUR, HOUR_DEVICES)]
    print("\n".join(parts), end="")
