"""The tables of docs/scale.md: `python -m lingen_training.forecast.scale_page` prints them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from lingen_models.flops import step_flops, token_grid
from lingen_models.network_config import PRESETS
from lingen_training.forecast.device_kinds import DEVICE_KINDS
from lingen_training.forecast.training_forecast import StageForecast, forecast
from lingen_training.shipped import shipped_recipes
from lingen_training.trainer import Inputs

RECIPES = ("lingen-4b-256p", "lingen-4b-512p", "lingen-4b-quality")
KIND = "h200"
DEVICES = (8, 64, 512)
LINK, LATENCY = 450e9, 20e-6
"""Bytes per second between two devices of one machine, one way, by the data sheet of NVLink 4, and
seconds that an exchange takes at least, assumed."""
_TEXT = 128
"""Tokens of a prompt, of each text encoder."""


def scale_tables() -> str:
    """Return the tables, in markdown: tokens, FLOPs, memory on a device and days of all stages."""
    kind = DEVICE_KINDS[KIND]
    found = {devices: list(_stages(devices)) for devices in DEVICES}
    memory = " | ".join(f"GB, {devices}" for devices in DEVICES)
    days = " | ".join(f"days, {devices}" for devices in DEVICES)
    lines = [
        f"| stage | steps | tokens per step | tokens | FLOPs | {memory} | {days} |",
        "|---|" + "---|" * (4 + 2 * len(DEVICES)),
    ]
    for number, stage in enumerate(found[DEVICES[0]]):
        each = [found[devices][number] for devices in DEVICES]
        held = " | ".join(f"{one.peak / 1e9:.0f}" for one in each)
        taken = " | ".join(_days(one.seconds) for one in each)
        tokens = f"{stage.tokens_per_step / 1e6:.1f} M | {stage.tokens / 1e9:.0f} G"
        named = f"`{stage.name}` | {stage.steps:,}"
        lines.append(f"| {named} | {tokens} | {stage.flops:.1e} | {held} | {taken} |")
    sums = " | ".join(_days(sum(one.seconds for one in found[devices])) for devices in DEVICES)
    seen = sum(one.tokens for one in found[DEVICES[0]]) / 1e9
    flops = sum(one.flops for one in found[DEVICES[0]])
    blank = " | ".join("" for _ in DEVICES)
    lines.append(f"| in all | | | {seen:.0f} G | {flops:.1e} | {blank} | {sums} |")
    lines += ["", f"At {kind.utilization:.0%} of {kind.peak_flops / 1e12:.0f} TFLOP/s."]
    return "\n".join(lines) + "\n"


def split_table() -> str:
    """Return the cost model of a layer of `4b` whose tokens are divided among devices, in markdown:
    a forward pass over one clip of 68 seconds at 512 x 512."""
    config, kind = PRESETS["4b"], DEVICE_KINDS[KIND]
    shape = (136, 64, 64)
    tokens = math.prod(token_grid(config, shape))
    flops = sum(step_flops(config, shape, text_tokens=_TEXT).values()) / config.depth
    states = 2 * config.expand * config.width * config.state_size * 4
    lines = [
        "| devices | tokens on each | compute, ms | states, ms | exchange, ms | windows, ms | "
        "in all |",
        "|---|---|---|---|---|---|---|",
    ]
    for devices in (1, 2, 4, 8):
        own = tokens // devices
        compute = flops / devices / kind.flops
        hops = math.log2(devices)
        passed = hops * (states / LINK + LATENCY)
        some = (devices - 1) / devices
        # Two of four layers scan with time innermost: all tokens go to another slab and back.
        exchanged = (own * config.width * 2 * some / LINK + LATENCY * hops) * 2 / 2
        rim = config.window[0] // 2 * tokens // shape[0] * config.width * 2
        # Every second layer shifts its windows by half.
        shifted = 0.0 if devices == 1 else (2 * rim / LINK + LATENCY) / 2
        whole = compute + passed + exchanged + shifted
        cells = " | ".join(
            f"{1e3 * one:.2f}" for one in (compute, passed, exchanged, shifted, whole)
        )
        lines.append(f"| {devices} | {own:,} | {cells} |")
    return "\n".join(lines) + "\n"


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
    print(f"{scale_tables()}\n{split_table()}", end="")
