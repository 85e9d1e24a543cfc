"""`lingen plan`."""

from __future__ import annotations

from typing import Annotated

import typer

from lingen_cli.commands.options import grouped_options
from lingen_cli.inputs.request import GenerateRequest, Report


@grouped_options
def plan(
    request: GenerateRequest,
    report: Report,
    fit: Annotated[
        str | None,
        typer.Option(metavar="12GB", help="Memory of the card, or of the machine without one."),
    ] = None,
    budget: Annotated[str | None, typer.Option(metavar="20m", help="How long it may take.")] = None,
) -> None:
    """Tell what a video will need: memory, disk and time. Nothing is loaded or written.

    Takes a prompt and all options of `lingen generate`. With --fit and --budget it chooses what to
    give up, and prints the command that does so.
    """
    from lingen_cli.planning.plan_report import tell

    tell(request, as_json=report.as_json, fit=fit, budget=budget, with_command=True)
