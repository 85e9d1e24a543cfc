"""Requests from the values of a batch line, and their fields as options."""

from __future__ import annotations

import contextlib
import os
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, ParameterInfo

from lingen_cli.errors import BadDataError, InvalidOptionError
from lingen_cli.inputs.request import REQUESTS, Request, current_name
from lingen_models.sampling import params
from lingen_models.spelling import did_you_mean

_ALONE = frozenset({"overwrite", "no_metadata", "preview"})
"""Options that a line of a batch cannot have."""
_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True)
class OptionField:
    """A field of a request as an option: its own name, that of the option, its plain type, and its
    default, which is MISSING where a value is needed."""

    field: str
    name: str
    kind: type
    optional: bool
    default: Any
    info: ParameterInfo


def option_fields(request: Any) -> tuple[OptionField, ...]:
    """The fields of a request that are options, without the sampling options."""
    hints = get_type_hints(request, include_extras=True)
    found = []
    for one in fields(request):
        kind, *more = get_args(hints[one.name])
        info = next((part for part in more if isinstance(part, ParameterInfo)), None)
        if info is None:
            continue
        optional = get_origin(kind) in (Union, types.UnionType)
        if optional:
            kind = next(part for part in get_args(kind) if part is not type(None))
        # Typer keeps the first name that an option is given where its default would be.
        name = info.default.removeprefix("--") if isinstance(info.default, str) else one.name
        found.append(OptionField(one.name, name, kind, optional, one.default, info))
    return tuple(found)


def takes_sampling(request: Any) -> bool:
    """Tell whether a request has the sampling options."""
    return any(one.name == "sampling" for one in fields(request))


def parse_request(command: str, values: Mapping[str, Any], folder: Path | None = None) -> Request:
    """The request that the values of a batch line are for: options by their names. Files are looked
    for in `folder` first.

    Raises BadDataError (65) for unknown keys and for what cannot be a value, InvalidOptionError (2)
    for values of the wrong kind.
    """
    if command not in REQUESTS:
        raise BadDataError(f"unknown command {command!r}: {', '.join(REQUESTS)}")
    request = REQUESTS[command]
    known = {one.name: one for one in option_fields(request) if one.name not in _ALONE}
    sampling = params.options() if takes_sampling(request) else {}
    found: dict[str, Any] = {}
    sampled: dict[str, Any] = {}
    for key, value in values.items():
        if value is None:
            continue
        name = current_name(key.replace("-", "_"))
        if name not in known and name not in sampling:
            hint = did_you_mean(name, [*known, *sampling, "command", "id"])
            raise BadDataError(f"unknown key {key!r}; {hint}")
        several = name in known and get_origin(known[name].kind) is list
        if isinstance(value, dict | list) and not (several and isinstance(value, list)):
            raise BadDataError(f"{key} must be one value")
        if name in known:
            found[known[name].field] = _value(name, known[name].kind, value, folder)
        else:
            param, kind = params.described()[sampling[name]], params.types()[sampling[name]]
            sampled[name] = _value(name, str if param.parse is not None else kind, value)
    for one in known.values():
        if one.default is MISSING and one.field not in found:
            raise InvalidOptionError(f"{one.name} is missing")
    if sampled:
        found["sampling"] = sampled
    return request(**found)


def _value(name: str, kind: type, value: Any, folder: Path | None = None) -> Any:
    """A value of a line, which may be text, as one of `kind`."""
    if kind is bool:
        plain = str(value).strip().lower()
        if plain in _YES or plain in _NO:
            return plain in _YES
        raise BadDataError(f"{name} must be true or false, not {value!r}")
    if get_origin(kind) is list:
        return [str(one) for one in (value if isinstance(value, list) else [value])]
    if kind is Path:
        return _file(str(value), folder)
    if kind is str:
        return str(value)
    try:
        number = kind(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or isinstance(value, bool) or (kind is int and float(value) != number):
        wanted = "a whole number" if kind is int else "a number"
        raise InvalidOptionError(f"{option_name(name)} must be {wanted}, not {value!r}")
    return number


def _file(text: str, folder: Path | None) -> Path:
    """A path as a list means it: beside the list, else in the current folder; `~` is the home."""
    path = Path(text)
    if text.startswith("~"):
        with contextlib.suppress(RuntimeError):  # nobody of that name, or without a home
            path = path.expanduser()
    beside = path if folder is None else folder / path
    return beside if os.path.lexists(beside) else path


def option_name(name: str) -> str:
    """Name on a command line: `--last-image` of `last_image`."""
    return "--" + name.replace("_", "-")


def command_line(request: Request) -> list[str]:
    """The arguments that make a request, those that are not the defaults."""
    positional: list[str] = []
    given: dict[str, Any] = {}
    for one in option_fields(type(request)):
        value = getattr(request, one.field)
        if one.default is not MISSING and value == one.default:
            continue
        if isinstance(one.info, ArgumentInfo):
            positional.append(str(value))
        else:
            given[one.name] = value
    given |= {k: v for k, v in getattr(request, "sampling", {}).items() if v is not None}
    arguments = []
    for name, value in given.items():
        if isinstance(value, bool):
            arguments.append(option_name(name if value else f"no_{name}"))
        else:
            for each in value if isinstance(value, list) else [value]:
                arguments += [option_name(name), str(each)]
    return [*positional, *arguments]
