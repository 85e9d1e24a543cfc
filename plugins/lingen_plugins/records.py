"""Checks of whether a record holds what its fields say: a plugin may put anything into one."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from lingen_plugins.contracts import Component, ModelVariant, Weights
from lingen_plugins.plugin_errors import PluginError

LONGEST = {"name": 64, "summary": 200, "license": 100}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def check_record(record: Component) -> None:
    """Raise PluginError for a field of another type, or with text that a terminal would obey."""
    whose = f"the {type(record).__name__} {record.name!r}"
    if not _NAME.fullmatch(record.name):
        raise PluginError(
            f"{whose} has a name that cannot be written: use a-z, 0-9, '.', '_' and '-', "
            "and begin with a letter or a digit"
        )
    for field in fields(record):
        value = getattr(record, field.name)
        if not fits(value, str(field.type)):
            found = type(value).__name__
            raise PluginError(f"{whose}: {field.name} must be a {field.type}, not a {found}")
        if not _plain(value):
            raise PluginError(f"{whose}: {field.name} holds a line break or a control character")
        if len(value) > LONGEST[field.name] if field.name in LONGEST else False:
            raise PluginError(f"{whose}: {field.name} is longer than {LONGEST[field.name]} letters")
    if isinstance(record, ModelVariant) and record.weights is not None:
        try:
            for path in record.weights.files().values():
                path.is_file()
        except (ImportError, OSError, TypeError, ValueError) as error:
            raise PluginError(f"{whose}: its weights cannot be located: {error}") from error


def fits(value: Any, wanted: str) -> bool:
    """Tell whether `value` is what the annotation `wanted` says, as far as this can be told."""
    if wanted.endswith(" | None"):
        return value is None or fits(value, wanted.removesuffix(" | None"))
    if wanted.startswith("Literal["):
        return value in ast.literal_eval(wanted.removeprefix("Literal"))
    if wanted.startswith("Callable["):
        return callable(value)
    if wanted.startswith("tuple["):
        kinds = wanted.removeprefix("tuple[").removesuffix("]").split(", ")
        if not isinstance(value, tuple):
            return False
        if kinds[-1] == "...":
            kinds = kinds[:1] * len(value)
        return len(kinds) == len(value) and all(map(fits, value, kinds))
    if wanted == "float":
        return type(value) in (int, float)
    if wanted == "Config":
        return isinstance(value, Mapping)
    exact: dict[str, type] = {"str": str, "int": int, "bool": bool}
    if wanted in exact:
        return type(value) is exact[wanted]
    return wanted != "Weights" or isinstance(value, Weights)


def _plain(value: Any) -> bool:
    """Whether every text inside `value` is one printable line."""
    if isinstance(value, str):
        return value.isprintable()
    if value is None or isinstance(value, float | int):  # most of them, and soon told apart
        return True
    if isinstance(value, Mapping):
        return all(_plain(key) and _plain(one) for key, one in value.items())
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    return _plain(vars(value)) if isinstance(value, Weights) else True
