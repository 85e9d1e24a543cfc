"""`lingen rerun`."""

from __future__ import annotations

from lingen_cli.commands.options import grouped_options
from lingen_cli.inputs.request import Report, RerunRequest


@grouped_options
def rerun(request: RerunRequest, report: Report) -> None:
    """Make the same video again, from the recipe inside it."""
    from lingen_cli.generation.run_job import make

    make(request, report)
