"""Installed plugins, read from metadata alone: nothing of a plugin is imported here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions

GROUP = "lingen"
UNKNOWN = "unknown"
LONGEST_NAME = 64
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}")


@dataclass(frozen=True)
class InstalledPlugin:
    """An entry point of the group `lingen`, or what stands where one should be.

    The names are those that somebody wrote into a file: escape them before they are shown.
    """

    name: str
    distribution: str
    version: str
    entry_point: EntryPoint | None
    problem: str = ""
    """Why it is not even tried, in one line."""


def installed_plugins() -> list[InstalledPlugin]:
    """Every plugin there is metadata of, by name and distribution, so the order never changes.

    The first of two distributions of one name hides the other, as it does for Python.
    """
    found: dict[str, list[InstalledPlugin]] = {}
    for distribution in distributions():
        plugins = list(plugins_of(distribution))
        if plugins:
            found.setdefault(canonical(plugins[0].distribution), plugins)
    return sorted(
        (plugin for plugins in found.values() for plugin in plugins),
        key=lambda plugin: (plugin.name, plugin.distribution),
    )


def canonical(distribution: str) -> str:
    """The form in which two spellings of a distribution's name are the same."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def short(text: str, longest: int = LONGEST_NAME) -> str:
    """`text`, cut where it is longer than anybody wants to read."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def plugins_of(distribution: Distribution) -> Iterator[InstalledPlugin]:
    """The plugins in one distribution, which are none in most."""
    try:
        text = distribution.read_text("entry_points.txt") or ""
    except (OSError, UnicodeError):
        return  # whatever it is, it says nothing of a plugin
    if f"[{GROUP}]" not in text:
        return
    name, version = _identity(distribution)
    try:
        entry_points = list(distribution.entry_points.select(group=GROUP))
    except Exception:  # Python's reader has no error of its own for a damaged file
        yield InstalledPlugin(name, name, version, None, "its entry_points.txt is damaged")
        return
    for entry_point in entry_points:
        problem = (
            "" if _NAME.fullmatch(entry_point.name) else "its name is not one a plugin can have"
        )
        yield InstalledPlugin(entry_point.name, name, version, entry_point, problem)


def _identity(distribution: Distribution) -> tuple[str, str]:
    """Name and version on one line, where the metadata can be read and has them."""
    try:
        facts = distribution.metadata
        name, version = (" ".join(str(facts[key] or "").split()) for key in ("Name", "Version"))
        return name or UNKNOWN, version or UNKNOWN
    except Exception:  # newer Pythons raise their own for metadata that is missing
        return UNKNOWN, UNKNOWN
