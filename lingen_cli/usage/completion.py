"""Values that a shell offers when Tab is pressed behind an option or an argument."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

Complete = Callable[[str], list[str]]
VIDEOS = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"})
"""Suffixes of files that are offered as videos, and found in folders."""
_PICTURES = frozenset({".png", ".jpg", ".jpeg"})


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


def _presets(incomplete: str) -> list[str]:
    from lingen_models.network_config import PRESETS

    return _begun([*PRESETS, "paper"], incomplete)


def _shipped_recipes(incomplete: str) -> list[str]:
    from lingen_training.shipped import shipped_recipes

    return _begun(shipped_recipes(), incomplete)


def _recipes(incomplete: str) -> list[str]:
    return [*_files({".toml"})(incomplete), *_shipped_recipes(incomplete)]


_KINDS: dict[str, Complete] = {
    "model": _models,
    "sampler": _samplers,
    "preset": _presets,
    "device": _one_of("auto", "cpu", "cuda"),
    "clock": _one_of("wall", "processor"),
    "fit": _one_of("stretch", "pad", "crop"),
    "video": _files(VIDEOS),
    "image": _files(_PICTURES),
    "last_image": _files(_PICTURES),
    "given_video": _files(VIDEOS),
    "story": _files({".toml"}),
    "layout": _files({".json"}),
    "recipe": _recipes,
    "shipped recipe": _shipped_recipes,
    "jobs": _files({".txt", ".jsonl", ".csv", ".toml"}),
}
