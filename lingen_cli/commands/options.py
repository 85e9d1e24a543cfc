"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from lingen_models.sampling.params import described, options, types

OUTPUT = "Output"
SAMPLING = "Sampling"
"""Panels of the help text."""

GivenSampling = dict[str, Any] | None
"""Values of the sampling options by their names; None for those that were not given."""


def sampling_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of `SamplingParams`, in place of its parameter
    `sampling`, which takes their values."""
    added = []
    for option, name in options().items():
        param = described()[name]
        kind: Any = str if param.parse is not None else types()[name]
        info = typer.Option(help=param.help, metavar=param.metavar, rich_help_panel=SAMPLING)
        annotation = Annotated[kind | None, info]
        place = inspect.Parameter.POSITIONAL_OR_KEYWORD
        added.append(inspect.Parameter(option, place, default=None, annotation=annotation))
    own = inspect.signature(function, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for parameter in own.parameters.values():
        parameters += added if parameter.name == "sampling" else [parameter]

    @functools.wraps(function)
    def command(**values: Any) -> None:
        sampling = {option: values.pop(option) for option in options()}
        function(**values, sampling=sampling)

    del command.__dict__["__wrapped__"]  # Typer would read the parameters of that
    command.__dict__["__signature__"] = own.replace(parameters=parameters)
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output.", rich_help_panel=OUTPUT)
]
NoMetadata = Annotated[
    bool,
    typer.Option(
        "--no-metadata",
        help="Write no recipe into the video; then lingen cannot rerun or verify it.",
        rich_help_panel=OUTPUT,
    ),
]
Preview = Annotated[
    bool,
    typer.Option(
        "--preview", help="Draw the latents in the terminal as they form.", rich_help_panel=OUTPUT
    ),
]
Events = Annotated[
    str | None,
    typer.Option(
        help="Write one JSON object per line to a file; - is standard output.",
        rich_help_panel=OUTPUT,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Short for --events -.", rich_help_panel=OUTPUT)
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=OUTPUT)
]
MovedImage = Annotated[
    Path | None, typer.Option(help="The picture it starts from, if that has moved.")
]
MovedLastImage = Annotated[
    Path | None, typer.Option(help="The picture it ends in, if that has moved.")
]
MovedWeights = Annotated[
    Path | None, typer.Option(help="The folder of its weights, if that has moved.")
]
AcceptLicence = Annotated[
    bool,
    typer.Option(
        "--accept-licence",
        help="Accept the licence of open weights from elsewhere; asked for once.",
    ),
]
