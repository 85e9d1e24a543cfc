"""`lingen generate`."""

from __future__ import annotations

from typing import Annotated

import typer

from lingen_cli.commands.options import grouped_options
from lingen_cli.inputs.request import GenerateRequest, Report


@grouped_options
def generate(
    request: GenerateRequest,
    report: Report,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only tell what it would need, as `lingen plan` does."),
    ] = False,
) -> None:
    """Make a video from a prompt or from a story, and print its path."""
    if dry_run:
        from lingen_cli.planning.plan_report import tell

        tell(request, as_json=report.as_json)
        return
    from lingen_cli.generation.run_job import make

    make(request, report)
