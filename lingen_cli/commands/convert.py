"""`lingen convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lingen_cli.errors import InvalidOptionError
from lingen_cli.terminal import console, signals
from lingen_cli.usage.completion import completed

_FULL = "attention"
"""Mixer of a diffusion transformer."""


def convert(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A diffusion transformer from `lingen models list`.",
            autocompletion=completed("model"),
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="The LinGen that it becomes, of the same size.",
            autocompletion=completed("model"),
        ),
    ] = "lingen-mini",
    weights: Annotated[
        Path | None, typer.Option(help="A folder with weights of the transformer.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to make.", show_default="runs/MODEL-as-TO"),
    ] = None,
) -> None:
    """Turn a diffusion transformer into a LinGen that can be trained from there.

    Both branches of every block begin from the attention that they replace; all else is kept. The
    result is where a short distillation begins, no finished model: `lingen train
    convert --start-from OUTPUT --teacher WEIGHTS`.
    """
    from lingen_cli.zoo.convert import convert_weights
    from lingen_cli.zoo.locate import locate, open_registry

    registry = open_registry(console.warning)
    wanted = registry.model_variants[to]
    transformers = [
        name for name, one in registry.model_variants.items() if one.config.get("mixer") == _FULL
    ]
    if model in registry.model_variants and model not in transformers:
        raise InvalidOptionError(
            f"{model} is a LinGen already; convert turns a diffusion transformer into one, such as "
            f"{' or '.join(transformers)}. To train {model} further: lingen train RECIPE "
            f"--start-from {model}"
        )
    with signals.announced():
        located = locate(registry, model, weights)
        folder = output or Path("runs") / f"{model}-as-{to}"
        console.path(convert_weights(located, wanted, folder))
