"""LoRAs as users name them: `FILE[:SCALE]` or `owner/name[@revision][/FILE][:SCALE]`."""

from __future__ import annotations

import math
import re

from lingen_cli.errors import InvalidOptionError
from lingen_cli.inputs.weight_files import find_file
from lingen_cli.zoo.load_model import Lora

MOST_SCALE = 100.0
_SUFFIX = ".safetensors"
_SCALED = re.compile(r"(.+?)(?::([+-]?[0-9.eE+-]+))?")


def parse_lora(text: str) -> Lora:
    """Find the LoRA that an option names.

    Raises InvalidOptionError (2), and as `weight_files.find_file`.
    """
    found = _SCALED.fullmatch(text)
    if found is None:
        raise InvalidOptionError(f"--lora must be FILE, or FILE:SCALE, not {text[:60]!r}")
    try:
        scale = 1.0 if found[2] is None else float(found[2])
    except ValueError:
        scale = math.nan
    if not abs(scale) <= MOST_SCALE:  # nan, too
        raise InvalidOptionError(
            f"--lora: a scale is a number from {-MOST_SCALE:g} to {MOST_SCALE:g}, not {found[2]!r}"
        )
    return find_lora(found[1], scale)


def find_lora(name: str, scale: float, sha256: str | None = None) -> Lora:
    """Find a LoRA by its name, that of a recipe by its sum as well. Raises as `find_file`."""
    one = find_file(name, "LoRA", _SUFFIX, sha256)
    return Lora(name=one.name, path=one.path, sha256=one.sha256, scale=scale)
