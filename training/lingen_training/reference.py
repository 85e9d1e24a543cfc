"""The reference of all keys of a recipe: `python -m lingen_training.reference` prints it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from lingen_training.markdown_table import table_of
from lingen_training.training_recipe import (
    AutoencoderStage,
    Buckets,
    DataSection,
    DenoiserStage,
    FewSteps,
    LoraSection,
    ModelSection,
    PartSection,
    Recipe,
    Source,
    TextSection,
    sections_in,
)

SECTIONS: dict[str, type[BaseModel]] = {
    "The file": Recipe,
    "[data]": DataSection,
    "[autoencoder]": AutoencoderStage,
    "[text]": TextSection,
    "[autoencoder] or [text] of a plugin": PartSection,
    "[model]": ModelSection,
    "lora": LoraSection,
    "[[stage]]": DenoiserStage,
    "[[stage.source]]": Source,
    "[stage.source.buckets]": Buckets,
    "[stage.few_steps]": FewSteps,
}
"""Heading -> the section whose keys stand below it."""


def recipe_reference() -> str:
    """Return tables of all keys, in markdown: type, limits, default and meaning."""
    lines: list[str] = []
    for heading, section in SECTIONS.items():
        lines += [f"### {heading.replace('[', chr(92) + '[')}", ""]
        rows = [_row(name, field) for name, field in section.model_fields.items()]
        lines += [table_of(("key", "type", "default", ""), rows), ""]
    return "\n".join(lines)


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    description = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"`{name}`", _kind(field), _default(field), description


def _kind(field: FieldInfo) -> str:
    """Type and limits in words."""
    if list(sections_in(field.annotation)):
        return "tables" if "tuple" in str(field.annotation) else "table"
    return ", ".join([_words(field.annotation), *_limits(field)])


def _words(annotation: Any) -> str:
    names = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    if annotation in names:
        return names[annotation]
    text = str(annotation)
    parts = [part for part in get_args(annotation) if part not in (type(None), ...)]
    if "Literal" in text and not text.startswith("tuple"):
        inner = [one for part in parts for one in (get_args(part) or (part,))]
        return " or ".join(f"`{one}`" for one in inner)
    if "tuple" in text and len(parts) == 1 and "tuple" in str(parts[0]):
        return _words(parts[0])
    if text.startswith("tuple"):
        several = f"{len(parts)} times " if "..." not in text else "list of "
        return several + _words(parts[0])
    if text.startswith("dict"):
        return "table"
    return _words(parts[0])


def _limits(field: FieldInfo) -> Iterator[str]:
    for one in field.metadata:
        for name, sign in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below")):
            if (limit := getattr(one, name, None)) is not None:
                yield f"{sign} {limit:g}"
        if (step := getattr(one, "multiple_of", None)) is not None:
            yield f"a multiple of {step:g}"
        if getattr(one, "pattern", None):
            yield "of a-z, 0-9 and -"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.default
    if value is PydanticUndefined or isinstance(value, BaseModel) or value in (None, ()):
        return "-"
    return f"`{re.sub('^1e-0', '1e-', json.dumps(value))}`"


if __name__ == "__main__":
    print(recipe_reference(), end="")
