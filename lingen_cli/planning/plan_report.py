"""A plan for people and for programs."""

from __future__ import annotations

import json
import shlex
import time
from typing import TYPE_CHECKING

from rich.filesize import decimal

from lingen_cli.errors import NotAvailableError
from lingen_cli.inputs.request import GenerateRequest
from lingen_cli.inputs.request_options import command_line
from lingen_cli.planning.fit import Choice, fitted, paced, parse_budget, parse_size
from lingen_cli.planning.hub_plan import plan_hub
from lingen_cli.planning.hub_plan import rows as hub_rows
from lingen_cli.requests.context import Context
from lingen_cli.requests.job import Job
from lingen_cli.requests.resolve import resolve
from lingen_cli.terminal import console
from lingen_cli.terminal.clock import minutes
from lingen_cli.terminal.events import Events
from lingen_cli.terminal.progress import Progress
from lingen_cli.terminal.tables import columns
from lingen_plugins.contracts import HubModel

if TYPE_CHECKING:
    from lingen_cli.planning.plan import Plan


def tell(
    request: GenerateRequest,
    *,
    as_json: bool,
    fit: str | None = None,
    budget: str | None = None,
    with_command: bool = False,
) -> None:
    """Print what a new video needs, made to fit into memory and time where those are given, and
    `with_command` the command that makes it so.

    Nothing is written, and no weights are loaded. Raises InvalidOptionError (2), NotAvailableError
    (69: it does not fit), and what `resolve` raises.
    """
    memory = None if fit is None else parse_size(fit)
    seconds = None if budget is None else parse_budget(budget)
    begin = time.perf_counter()
    with Progress(Events(None), quiet=True) as silent:
        job = resolve(request, Context.open(silent, needs_weights=False))
    variant = job.model.variant
    if isinstance(variant, HubModel):
        _tell_hub(job, variant, as_json=as_json, choosing=fit is not None or budget is not None)
        return
    from lingen_cli.planning.plan import Planner

    planner = Planner(job, time.perf_counter() - begin)
    choice = Choice(job)
    planner.plan(job)
    if memory is not None:
        choice = fitted(planner, choice, memory)
    if seconds is not None:
        choice = paced(planner, choice, seconds)
    plan = planner.plan(choice.job)
    made_by = None
    if with_command:
        made_by = shlex.join(["lingen", "generate", *command_line(request), *choice.options])
    if as_json:
        console.result(json.dumps(plan.to_dict() | {"command": made_by}))
        return
    table = rows(plan)
    if made_by is not None and choice.options:
        table.append(("command", made_by))
    console.result(columns(table))


def _tell_hub(job: Job, model: HubModel, *, as_json: bool, choosing: bool) -> None:
    if choosing:
        raise NotAvailableError(
            f"{model.name} is run by diffusers: leave out --fit and --budget; --offload says how "
            "it fits a card"
        )
    plan = plan_hub(job, model)
    if as_json:
        console.result(json.dumps(vars(plan)))
        return
    for name, text in hub_rows(plan):
        console.result(f"{name:<10} {text}")


def rows(plan: Plan) -> list[tuple[str, str]]:
    """Names and values, in words."""
    took = ", ".join(f"{name} {seconds:.1f}" for name, seconds in plan.time.items())
    thrift = ", in smaller parts" if plan.frugal else ""
    found = [
        ("video", f"{plan.seconds:g} s, {plan.frames} frames of {plan.width}x{plan.height}"),
        ("model", f"{plan.model} on {plan.device} in {plan.dtype}{thrift}"),
        (
            "sampling",
            f"{plan.steps} steps of {plan.sampler}, {plan.passes} passes over at most "
            f"{plan.tokens:,} tokens, {plan.flops / 1e12:,.1f} TFLOPs",
        ),
        ("time", f"{minutes(plan.total)} ({took} s)"),
    ]
    if plan.gpu is not None:
        found.append(("card", decimal(plan.gpu)))
    found.append(("memory", "not known" if plan.ram is None else decimal(plan.ram)))
    found.append(
        (
            "disk",
            f"at most {decimal(plan.disk['video'])} for the video, "
            f"{decimal(plan.disk['while it is made'])} while it is made, "
            f"{decimal(plan.disk['latents'])} of latents kept",
        )
    )
    if plan.download is None:
        found.append(("weights", "there are none"))
    elif plan.download:
        found.append(("weights", f"{decimal(plan.download)} to download"))
    if plan.unknown:
        found.append(("without", " and ".join(plan.unknown)))
    return found
