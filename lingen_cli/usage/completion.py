"""Values that a shell offers when Tab is pressed behind an option or an argument."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

Complete = Callable[[str], list[str]]
VIDEOS = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts"),
        *(".mpg", ".mpeg", ".flv", ".ogv", ".wmv", ".mxf", ".gif"),
    )
)
"""Suffixes of files that are taken for videos in folders, and offered as such."""
_IMAGES = frozenset({".png", ".jpg", ".jpeg"})


def completed(name: str) -> Complete | None:
    """Return what completes the option or argument of this name; None leaves it to the shell."""
    return _KINDS.get(name)


def _begun(names: Iterable[str], incomplete: str) -> list[str]:
    return [one for one in names if one.startswith(incomplete)]


def _files(suffixes: Iterable[str]) -> Complete:
    """Files with one of these suffixes; where there is none, the shell offers folders."""
    wanted = frozenset(suffixes)

    def complete(incomplete: str) -> list[str]:
        folder, begin = os.path.split(incomplete)
        try:
            names = sorted(os.listdir(folder or "."))
        except OSError:
            return []
        found = (one for one in _begun(names, begin) if Path(one).suffix.lower() in wanted)
        return [os.path.join(folder, one) for one in found]

    return complete


def _one_of(*names: str) -> Complete:
    return lambda incomplete: _begun(names, incomplete)


def _known(kind: str) -> Complete:
    """Names that are looked up when they are used: a command line needs none of them."""
    return lambda incomplete: _begun(_names(kind), incomplete)


def _names(kind: str) -> Iterable[str]:
    from lingen_models.network_config import PRESETS
    from lingen_plugins.registry import collect
    from lingen_training.forecast.device_kinds import DEVICE_KINDS
    from lingen_training.metrics.metric_names import METRICS
    from lingen_training.optimization.scalar_logs import LOG_TARGETS
    from lingen_training.shipped import shipped_recipes

    if kind == "model":
        registry = collect()
        return [*registry.model_variants, *registry.hub_models]
    if kind == "sampler":
        return collect().samplers
    known: dict[str, Iterable[str]] = {
        "preset": [*PRESETS, "paper"],
        "device kind": DEVICE_KINDS,
        "metric": METRICS,
        "log target": LOG_TARGETS,
        "recipe": shipped_recipes(),
    }
    return known[kind]


def _metrics(incomplete: str) -> list[str]:
    """The last of several names between commas."""
    before, comma, begun = incomplete.rpartition(",")
    return [before + comma + name for name in _known("metric")(begun)]


def _recipes(incomplete: str) -> list[str]:
    return [*_files({".toml"})(incomplete), *_known("recipe")(incomplete)]


_KINDS: dict[str, Complete] = {
    "device kind": _known("device kind"),
    "log target": _known("log target"),
    "model": _known("model"),
    "sampler": _known("sampler"),
    "preset": _known("preset"),
    "metrics": _metrics,
    "device": _one_of("auto", "cpu", "cuda"),
    "clock": _one_of("wall", "processor"),
    "fit": _one_of("stretch", "pad", "crop"),
    "video": _files(VIDEOS),
    "image": _files(_IMAGES),
    "last_image": _files(_IMAGES),
    "given_video": _files(VIDEOS),
    "story": _files({".toml"}),
    "layout": _files({".json"}),
    "recipe": _recipes,
    "shipped recipe": _known("recipe"),
    "jobs": _files({".txt", ".jsonl", ".csv", ".toml"}),
}
