"""`lingen plan`."""

from __future__ import annotations

from typing import Annotated

import typer

CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True}


def plan(
    context: typer.Context,
    fit: Annotated[
        str | None,
        typer.Option(metavar="12GB", help="Memory of the card, or of the machine without one."),
    ] = None,
    budget: Annotated[str | None, typer.Option(metavar="20m", help="How long it may take.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell what a video will need: memory, disk and time. Nothing is loaded or written.

    Takes a prompt and all options of `lingen generate`. With --fit and --budget it chooses what to
    give up, and prints the command that does so.
    """
    import shlex

    from lingen_cli.batch.run import commands
    from lingen_cli.generation.run import collected
    from lingen_cli.planning.report import tell

    command = commands().commands["generate"]
    inner = command.make_context("lingen plan", list(context.args), parent=context)
    with inner, collected() as found:
        command.invoke(inner)
    (prepare,) = found

    def told(options: tuple[str, ...]) -> str:
        return shlex.join(["lingen", "generate", *context.args, *options])

    tell(prepare, as_json=as_json, fit=fit, budget=budget, command=told)
