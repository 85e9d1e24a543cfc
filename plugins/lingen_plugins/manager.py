"""Finds, loads and describes plugins. A broken plugin is reported and skipped, never fatal.

A plugin is an installed entry point of the group `lingen`. `LINGEN_DISABLE_PLUGINS` names those to
leave out, separated by commas; `all` leaves out every one that is not built in.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

import pluggy

from lingen_plugins import hookspecs

ENTRY_POINT_GROUP = "lingen"
DISABLE_VARIABLE = "LINGEN_DISABLE_PLUGINS"
BUILT_IN = "built in"
BUILTIN_PLUGINS = (
    "lingen_plugins.scan_orders",
    "lingen_plugins.text_encoders",
    "lingen_plugins.autoencoders",
    "lingen_plugins.samplers",
    "lingen_plugins.datasets",
    "lingen_plugins.variants",
)


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin that works: its name, where it comes from, and the hooks it implements."""

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...]


@dataclass(frozen=True)
class FailedPlugin:
    """A plugin that was skipped, with the reason in one line."""

    name: str
    distribution: str
    reason: str


class PluginManager:
    """pluggy's manager, with the provenance of each plugin and a list of those that failed."""

    def __init__(self) -> None:
        self.pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self.pluggy.add_hookspecs(hookspecs)
        self.failed: list[FailedPlugin] = []
        self._sources: dict[str, tuple[str, str]] = {}

    def load_builtin(self) -> None:
        """Register the plugins that ship with lingen; an error in one is a bug, and is raised."""
        for module in BUILTIN_PLUGINS:
            name = module.rpartition(".")[2]
            self.pluggy.register(importlib.import_module(module), name=name)
            self._sources[name] = ("lingen", BUILT_IN)
        self.pluggy.check_pending()

    def load_installed(self) -> None:
        """Register every entry point of the group that is not switched off."""
        switched_off = {n.strip() for n in os.environ.get(DISABLE_VARIABLE, "").split(",")}
        for entry_point in entry_points(group=ENTRY_POINT_GROUP):
            if not {entry_point.name, "all"} & switched_off:
                self._load(entry_point)

    def _load(self, entry_point: EntryPoint) -> None:
        name = entry_point.name
        distribution = entry_point.dist.name if entry_point.dist else "unknown"
        version = entry_point.dist.version if entry_point.dist else "unknown"
        self._sources.setdefault(name, (distribution, version))
        if self.pluggy.has_plugin(name):
            self.failed.append(FailedPlugin(name, distribution, f"the name {name!r} is taken"))
            return
        try:
            self.pluggy.register(entry_point.load(), name=name)
            self.pluggy.check_pending()  # a misspelt hook is an error, not a silent no-op
        except Exception as error:  # other people's code may raise anything when imported
            self.skip(name, error)

    def skip(self, name: str, error: Exception) -> None:
        """Take the plugin `name` out and record why."""
        if self.pluggy.has_plugin(name):
            self.pluggy.unregister(name=name)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        self.failed.append(FailedPlugin(name, self._sources.get(name, (name, ""))[0], reason))

    def is_builtin(self, name: str) -> bool:
        """Whether `name` ships with lingen."""
        return self._sources.get(name, ("", ""))[1] == BUILT_IN

    def loaded(self) -> list[LoadedPlugin]:
        """The working plugins, in the order of loading."""
        plugins = []
        for name, plugin in self.pluggy.list_name_plugin():
            if plugin is not None:
                callers = self.pluggy.get_hookcallers(plugin) or []
                hooks = tuple(sorted(caller.name for caller in callers))
                plugins.append(LoadedPlugin(name, *self._sources.get(name, (name, "local")), hooks))
        return plugins


def load_plugins() -> PluginManager:
    """Everything built in and installed."""
    manager = PluginManager()
    manager.load_builtin()
    manager.load_installed()
    return manager
