"""Options of commands: those of a request, of the sampling parameters, and of the report."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.models import ArgumentInfo, OptionInfo

from lingen_cli.inputs.request import PANELS, SAMPLING
from lingen_cli.inputs.request_options import (
    OptionField,
    option_fields,
    option_name,
    takes_sampling,
)
from lingen_cli.usage.completion import completed
from lingen_models.sampling.params import described, options, types

GivenSampling = dict[str, Any] | None
"""Values of the sampling options by their names; None for those that were not given."""


def grouped_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of its parameters that are records.

    A parameter `sampling` of type `GivenSampling` becomes the options of `SamplingParams`; so do
    those of a request that has them. Options stand in the order of their panels.
    """
    own = inspect.signature(function, eval_str=True)
    groups: dict[str, Any] = {
        one.name: one.annotation for one in own.parameters.values() if is_dataclass(one.annotation)
    }
    parameters: list[inspect.Parameter] = []
    for parameter in own.parameters.values():
        group = groups.get(parameter.name)
        if parameter.name == "sampling":
            parameters += _sampling_parameters()
        elif group is None:
            parameters.append(parameter)
        else:
            parameters += [_parameter(one) for one in option_fields(group)]
            if takes_sampling(group):
                parameters += _sampling_parameters()
    parameters.sort(key=_rank)
    flat = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]

    @functools.wraps(function)
    def command(**values: Any) -> None:
        sampling = {name: values.pop(name) for name in options() if name in values}
        given = {}
        for name, group in groups.items():
            parts = {one.field: values.pop(one.field) for one in option_fields(group)}
            if takes_sampling(group):
                parts["sampling"] = sampling
            given[name] = group(**parts)
        if "sampling" in own.parameters:
            given["sampling"] = sampling
        function(**values, **given)

    del command.__dict__["__wrapped__"]  # Typer would read the parameters of that
    command.__dict__["__signature__"] = own.replace(parameters=flat)
    command.__annotations__ = {one.name: one.annotation for one in flat}
    return command


def _rank(parameter: inspect.Parameter) -> int:
    """Place among the others: arguments, then options in the order of their panels."""
    (info,) = parameter.annotation.__metadata__
    if isinstance(info, ArgumentInfo):
        return -1
    panel = info.rich_help_panel
    return PANELS.index(panel) if panel in PANELS else len(PANELS)


def _parameter(one: OptionField) -> inspect.Parameter:
    """Typer parameter of a field."""
    from copy import copy

    info = copy(one.info)
    info.autocompletion = completed(one.name)
    if isinstance(info, OptionInfo) and not (one.kind is bool and one.optional):
        info.default = option_name(one.name)  # without a name, Typer adds --no-NAME
    kind: Any = one.kind | None if one.optional else one.kind
    return inspect.Parameter(
        one.field,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if one.default is MISSING else one.default,
        annotation=Annotated[kind, info],
    )


def _sampling_parameters() -> Iterator[inspect.Parameter]:
    for option, name in options().items():
        param = described()[name]
        kind: Any = str if param.parse is not None else types()[name]
        info = typer.Option(
            help=param.help,
            metavar=param.metavar,
            rich_help_panel=SAMPLING,
            show_default=param.default,
            autocompletion=completed(option),
        )
        yield inspect.Parameter(
            option,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[kind | None, info],
        )


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JsonPerVideo = Annotated[
    bool, typer.Option("--json", help="Print a JSON object per video instead of tables.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.", autocompletion=completed("device"))]
PlannedModel = Annotated[
    str | None,
    typer.Option(
        help="A name from `lingen models list`.",
        show_default="lingen-mini",
        autocompletion=completed("model"),
    ),
]
Videos = Annotated[
    list[Path],
    typer.Argument(
        metavar="VIDEO...",
        help="Video files, made by lingen or not.",
        autocompletion=completed("video"),
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
