"""The built-in dataset."""

from __future__ import annotations

from typing import Any

from lingen_plugins.contracts import Config, Dataset
from lingen_plugins.hookspecs import hookimpl


def build_playground(config: Config) -> Any:
    """The module that samples, describes and renders scenes; it takes no configuration."""
    if config:
        raise ValueError(f"the playground has no settings, but was given {sorted(config)}")
    import lingen_playground as playground

    return playground


@hookimpl
def register_datasets() -> list[Dataset]:
    """One procedural dataset, which needs no download."""
    return [
        Dataset(
            name="playground",
            summary="colored shapes that move over plain backgrounds, rendered as they are needed",
            build=build_playground,
        )
    ]
