"""Cases measured one after the other; the networks of a case in turn, in one process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import linear_regression, median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from lingen_models.flops import step_flops, token_grid
from lingen_models.network_config import LinGenConfig
from lingen_models.networks.denoiser import LinGen
from lingen_training.bench.cases import LINGEN, TWIN, Case
from lingen_training.bench.machine import describe
from lingen_training.bench.shares import shares
from lingen_training.bench.step import Step, build, growth, step_of, timed, weight_bytes

Report = Callable[[str], None]
Row = dict[str, Any]
Untimed = dict[str, str | float | None]
"""Why, and the seconds that a step would take."""
EXPECTED_PACE = {"cpu": 5e10, "cuda": 2e14}
"""FLOPs per second of a network that was not timed yet."""
_ROWS = 2
"""A step with guidance asks the network twice."""


def bench(
    preset: str,
    cases: Sequence[Case],
    *,
    device: str,
    rounds: int,
    limit: float,
    clock: str = "wall",
    report: Report = print,
) -> dict[str, Any]:
    """All rows, and what they say together, as JSON types.

    A network is not timed in a case where its FLOPs say that a step takes more than `limit`
    seconds, at the pace that it had in the case before; its row says why. `clock` is one of
    `step.CLOCKS`, for a CPU. Raises RuntimeError if torch counts other FLOPs than the formulas.
    """
    machine = describe(device)
    checked = check_flops(min(cases, key=lambda case: case.tokens))
    paces: dict[str, float] = {}
    rows = [measure(case, device, rounds, limit, clock, paces, report) for case in cases]
    compared = [row for row in rows if TWIN in row["networks"]]
    return {
        "machine": machine,
        "preset": preset,
        "rounds": rounds,
        "clock": clock if device == "cpu" else "events of the GPU",
        "batch": _ROWS,
        "flops_checked": checked,
        "rows": rows,
        "exponents": {name: exponent(compared, name) for name in (LINGEN, TWIN)},
        "cost_60_s_over_10_s": {name: cost_ratio(compared, name) for name in (LINGEN, TWIN)},
    }


def check_flops(case: Case) -> dict[str, int]:
    """FLOPs of each network of a case, cut to two blocks, from the formulas, which must be what
    torch counts on the meta device. Raises RuntimeError."""
    found = {}
    for name, config in case.networks.items():
        short = replace(config, depth=min(2, config.depth))
        formula = sum(step_flops(short, case.latent_shape, text_tokens=case.text_tokens).values())
        counted = _counted(short, case)
        if counted != formula:
            raise RuntimeError(f"{name}: torch counts {counted} FLOPs, the formulas say {formula}")
        found[name] = formula
    return found


def _counted(config: LinGenConfig, case: Case) -> int:
    with torch.device("meta"):
        network = LinGen(config).eval()
        latents = torch.zeros(1, config.latent_channels, *case.latent_shape)
        t = torch.zeros(1, case.latent_shape[0])
        texts = [torch.zeros(1, case.text_tokens, size) for size in config.text_dims]
        masks = [torch.ones(1, case.text_tokens, dtype=torch.bool) for _ in texts]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(latents, t, texts, masks)
    return int(counter.get_total_flops())


def measure(
    case: Case,
    device: str,
    rounds: int,
    limit: float,
    clock: str,
    paces: dict[str, float],
    report: Report = print,
) -> Row:
    """One row; `paces` (FLOPs per second of each network so far) is brought up to date."""
    flops = {
        name: {
            part: _ROWS * count
            for part, count in step_flops(
                config, case.latent_shape, text_tokens=case.text_tokens
            ).items()
        }
        for name, config in case.networks.items()
    }
    totals = {name: sum(parts.values()) for name, parts in flops.items()}
    untimed: dict[str, Untimed] = {}
    for name, total in totals.items():
        expected = total / paces.get(name, EXPECTED_PACE[device])
        if expected > limit:
            reason = "a step would take longer than the limit"
            reason += "; time waits for a GPU" if device == "cpu" else ""
            untimed[name] = {"reason": reason, "expected_seconds": expected}
    timed_ones = {name: one for name, one in case.networks.items() if name not in untimed}
    took, memory, parts = _timed(case, timed_ones, device, rounds, clock, untimed, report)
    for name, seconds in took.items():
        paces[name] = totals[name] / seconds["median"]
    grid = token_grid(case.first, case.latent_shape)
    return {
        "name": case.name,
        "networks": list(case.networks),
        "width": case.size[0],
        "height": case.size[1],
        "video_seconds": case.video_seconds,
        "patch": list(case.first.patch),
        "token_grid": list(grid),
        "tokens": math.prod(grid),
        "text_tokens": case.text_tokens,
        "flops": flops,
        "flops_total": totals,
        "step_seconds": {name: seconds["median"] for name, seconds in took.items()},
        "all_step_seconds": {name: seconds["all"] for name, seconds in took.items()},
        "tokens_per_second": {n: math.prod(grid) / s["median"] for n, s in took.items()},
        "memory_bytes": memory,
        "time_shares": parts,
        "untimed": untimed,
        "paper_seconds_of_50_steps": dict(case.paper_seconds),
        "paper_flops_ratio": case.paper_flops_ratio,
    }


@torch.inference_mode()
def _timed(
    case: Case,
    configs: Mapping[str, LinGenConfig],
    device: str,
    rounds: int,
    clock: str,
    untimed: dict[str, Untimed],
    report: Report,
) -> tuple[dict[str, Any], dict[str, int | None], dict[str, dict[str, float]]]:
    """Seconds, memory and shares of the time by network; one that ran out of memory on a GPU is
    in `untimed` instead."""
    networks = {name: build(config, device) for name, config in configs.items()}
    steps = {name: step_of(network, case, device) for name, network in networks.items()}
    took: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds + 1):  # the first warms up
        for name in list(steps):
            try:
                seconds = timed(steps[name], device, clock)
            except torch.OutOfMemoryError:
                untimed[name] = {"reason": "out of memory", "expected_seconds": None}
                del steps[name], took[name]
                torch.cuda.empty_cache()
                continue
            if round_:
                took[name].append(seconds)
            report(f"{case.name}, {name}, round {round_} of {rounds}: {seconds:.3f} s")
    memory: dict[str, int | None] = {}
    parts: dict[str, dict[str, float]] = {}
    for name, step in steps.items():

        def watched(name: str = name, step: Step = step) -> None:
            parts[name] = shares(networks[name], step, case.tokens, device)

        grown = growth(watched, device)
        memory[name] = None if grown is None else weight_bytes(networks[name]) + grown
    return {n: {"median": median(s), "all": s} for n, s in took.items()}, memory, parts


def exponent(rows: Iterable[Row], name: str) -> float | None:
    """p of seconds ~ tokens^p, by least squares of the logarithms; None for a single length."""
    points = {
        (math.log(row["tokens"]), math.log(row["step_seconds"][name]))
        for row in rows
        if name in row["step_seconds"]
    }
    if len({x for x, _ in points}) < 2:
        return None
    return linear_regression(*zip(*sorted(points), strict=True)).slope


def cost_ratio(rows: Iterable[Row], name: str) -> float | None:
    """Sampling cost per second of video at 60 s over that at 10 s; None where not measured."""
    seconds = {row["video_seconds"]: row["step_seconds"].get(name) for row in rows}
    long, short = seconds.get(60.0), seconds.get(10.0)
    return None if long is None or short is None else (long / 60.0) / (short / 10.0)
