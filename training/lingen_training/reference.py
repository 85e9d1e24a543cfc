"""The reference of all keys of a recipe: `python -m lingen_training.reference` prints it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

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
_TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "object": "table",
}
_LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "multipleOf": "a multiple of",
}
"""Words for what a JSON schema says."""
Facts = Mapping[str, Any]
"""A JSON schema, or a part of one."""


def recipe_reference() -> str:
    """Return tables of all keys, in markdown: type, limits, default and meaning."""
    lines: list[str] = []
    for heading, section in SECTIONS.items():
        lines += [f"### {heading.replace('[', chr(92) + '[')}", ""]
        schema = section.model_json_schema()
        rows = [
            (f"`{name}`", _kind(facts), _default(facts, schema, name), _meaning(facts))
            for name, facts in schema["properties"].items()
        ]
        lines += [table_of(("key", "type", "default", ""), rows), ""]
    return "\n".join(lines)


def _meaning(facts: Facts) -> str:
    return " ".join(facts["description"].split()).replace("|", "\\|")


def _kind(facts: Facts) -> str:
    """Type and limits in words."""
    if "$ref" in str(facts):
        return "tables" if "array" in str(facts) else "table"
    facts = facts["anyOf"][0] if "anyOf" in facts else facts  # the other is None
    if "enum" in facts:
        return " or ".join(f"`{one}`" for one in facts["enum"])
    if "prefixItems" in facts:
        return f"{facts['maxItems']} times {_kind(facts['prefixItems'][0])}"
    if "items" in facts:
        return f"list of {_kind(facts['items'])}"
    limits = [f"{words} {facts[name]:g}" for name, words in _LIMITS.items() if name in facts]
    if "pattern" in facts:
        limits.append("of a-z, 0-9 and -")
    return ", ".join([_TYPES[facts["type"]], *limits])


def _default(facts: Facts, schema: Facts, name: str) -> str:
    if name in schema.get("required", ()):
        return "needed"
    value = facts.get("default")
    if value is None or value == [] or isinstance(value, dict):
        return "-"
    return f"`{re.sub('^1e-0', '1e-', json.dumps(value))}`"


if __name__ == "__main__":
    print(recipe_reference(), end="")
