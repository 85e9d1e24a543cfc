"""Plan of a training: tokens, FLOPs, memory, disk and time, for people and for programs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from rich.filesize import decimal

from lingen_cli.errors import InvalidOptionError, NotAvailableError
from lingen_cli.terminal import console
from lingen_cli.terminal.tables import columns
from lingen_models.spelling import did_you_mean
from lingen_training.forecast.device_kinds import CPU_UTILIZATION, DEVICE_KINDS, DeviceKind

if TYPE_CHECKING:
    from lingen_plugins.registry import Registry
    from lingen_training.forecast.training_forecast import Forecast
    from lingen_training.trainer import Inputs

_SIDE = 2048
_TURNS = 4
_HERE = "this machine"
_NAMES = {
    "weights": "weights",
    "gradients": "gradients",
    "master_weights": "master weights in float32",
    "optimizer": "optimizer state",
    "ema": "moving average (EMA)",
    "activations": "activations",
    "other_networks": "autoencoder, teacher",
    "clips": "clips in memory",
    "saving": "a file that is being written",
    "process": "the process itself",
}
"""What holds memory -> what the table calls it."""


def tell_training(
    inputs: Inputs,
    registry: Registry,
    *,
    kind: str | None,
    devices: int,
    processes: int | None,
    split_clips: bool,
    as_json: bool,
) -> None:
    """Print what a training would take.

    Raises InvalidOptionError (2) for devices that it cannot be planned for, NotAvailableError (69)
    where it does not fit their memory, and what the forecast raises for the recipe.
    """
    from lingen_training.forecast.training_forecast import ForecastError, forecast

    chosen = _kind(kind, devices, inputs.device)
    try:
        found = forecast(
            inputs,
            chosen,
            devices,
            registry=registry,
            processes=processes,
            split_clips=split_clips,
        )
    except ForecastError as error:
        raise InvalidOptionError(str(error)) from error
    console.result(json.dumps(found.to_dict()) if as_json else _table(found))
    if found.peak > chosen.memory:
        raise NotAvailableError(
            f"it needs {decimal(found.peak)} of memory, and {chosen.name} has "
            f"{decimal(chosen.memory)}: use smaller batches, checkpoint_blocks = true, or more or "
            "larger devices"
        )


def _kind(name: str | None, devices: int, device: str) -> DeviceKind:
    """The kind of a name, or what this machine trains on."""
    if name is not None:
        if name not in DEVICE_KINDS:
            raise InvalidOptionError(
                f"--device-kind: unknown kind {name!r}; {did_you_mean(name, DEVICE_KINDS)}"
            )
        return DEVICE_KINDS[name]
    if devices > 1:
        known = ", ".join(DEVICE_KINDS)
        raise InvalidOptionError(f"--devices {devices}: say which with --device-kind: {known}")
    return _here(device)


def _here(device: str) -> DeviceKind:
    """This machine, whose peak is what a large matrix product reaches."""
    import torch

    from lingen_models.precision import compute_dtype
    from lingen_training.bench.step import timed

    factor = torch.ones(_SIDE, _SIDE, dtype=compute_dtype(device), device=device)
    seconds = min(timed(lambda: factor @ factor, device) for _ in range(_TURNS))
    peak = 2 * _SIDE**3 / seconds
    if device == "cpu":
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return DeviceKind(_HERE, peak, memory, CPU_UTILIZATION, is_cpu=True)
    _, memory = torch.cuda.mem_get_info()
    return DeviceKind(_HERE, peak, memory)


def _table(found: Forecast) -> str:
    """A row for each stage, then what is true of all."""
    head = ("stage", "steps", "tokens/step", "tokens", "FLOPs", "memory", "time")
    rows = [
        (
            stage.name,
            f"{stage.steps:,}",
            f"{stage.tokens_per_step:,.0f}" if stage.tokens else "-",
            _short(stage.tokens) if stage.tokens else "-",
            f"{stage.flops:.2e}",
            decimal(stage.peak),
            _time(stage.seconds),
        )
        for stage in found.stages
    ]
    largest = max(found.stages, key=lambda stage: stage.peak)
    kind = found.kind
    several = f" in {found.processes} processes" if found.processes > 1 else ""
    totals = [
        ("parameters", f"{found.parameters:,}"),
        ("tokens", _short(sum(stage.tokens for stage in found.stages))),
        ("FLOPs", f"{sum(stage.flops for stage in found.stages):.2e}"),
        (
            "devices",
            f"{found.devices} x {kind.name}, {kind.peak_flops / 1e12:,.3g} TFLOP/s in "
            f"{found.dtype}, of which {kind.utilization:.0%} are assumed to be reached",
        ),
        ("time", _time(found.days * 86400)),
        ("memory", f"{decimal(found.peak)} per device{several}, of {decimal(kind.memory)}"),
        ("disk", f"{decimal(found.latents)} of latents, {decimal(found.checkpoints)} of stages"),
    ]
    if found.split > 1:
        who = "processes" if kind.is_cpu else "devices"
        totals.append(("clips", f"each divided over {found.split} {who}"))
    if found.devices > 1:
        totals.append(
            (
                "assumed",
                "master weights, EMA and optimizer state divided among the devices; --shard "
                "divides weights and gradients, too",
            )
        )
    if found.not_counted:
        totals.append(("without", ", ".join(found.not_counted)))
    parts = [(_NAMES[name], decimal(count)) for name, count in largest.memory.items() if count]
    blocks = [columns(rows, head), columns(totals), f"memory of {largest.name}:\n{columns(parts)}"]
    return "\n\n".join(blocks)


def _short(count: float) -> str:
    """`1.2 billion`, `340 million`, `2,000`."""
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if count >= size:
            return f"{count / size:.3g} {name}"
    return f"{count:,.0f}"


def _time(seconds: float) -> str:
    """Days from two on, else hours, minutes or seconds."""
    for size, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:.1f} s"
