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
    def complete(incomplete: str) -> list[str]:
        return _begun(names, incomplete)

    return complete


def _models(incomplete: str) -> list[str]:
    from lingen_plugins.registry import collect

    registry = collect()
    return _begun([*registry.model_variants, *registry.hub_models], incomplete)


def _samplers(incomplete: str) -> list[str]:
    from lingen_plugins.registry import collect

    return _begun(collect().samplers, incomplete)


def _metrics(incomplete: str) -> list[str]:
    """The last of several names between commas."""
    from lingen_training.metrics.metric_names import METRICS

    before, comma, begun = incomplete.rpartition(",")
    return [before + comma + name for name in _begun(METRICS, begun)]


def _presets(incomplete: str) -> list[str]:
    from lingen_models.network_config import PRESETS

    return _begun([*PRESETS, "paper"], incomplete)


def _shipped_recipes(incomplete: str) -> list[str]:
    from lingen_training.shipped import shipped_recipes

    return _begun(shipped_recipes(), incomplete)


def _recipes(incomplete: str) -> list[str]:
    return [*_files({".toml"})(incomplete), *_shipped_recipes(incomplete)]


def _log_targets(incomplete: str) -> list[str]:
    from lingen_training.optimization.scalar_logs import LOG_TARGETS

    return _begun(LOG_TARGETS, incomplete)


def _device_kinds(incomplete: str) -> list[str]:
    from lingen_training.forecast.device_kinds import DEVICE_KINDS

    return _begun(DEVICE_KINDS, incomplete)


_KINDS: dict[str, Complete] = {
    "device kind": _device_kinds,
    "log target": _log_targets,
    "model": _models,
    "sampler": _samplers,
    "preset": _presets,
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
    "shipped recipe": _shipped_recipes,
    "jobs": _files({".txt", ".jsonl", ".csv", ".toml"}),
}
