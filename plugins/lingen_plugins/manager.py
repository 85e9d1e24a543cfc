"""Finds, loads and describes plugins. A broken plugin is reported and skipped, never fatal.

A plugin is an installed entry point of the group `lingen`. `LINGEN_DISABLE_PLUGINS` names those to
leave out, separated by commas; `all` leaves out every one that is not built in.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pluggy

from lingen_plugins import hookspecs
from lingen_plugins.guard import describe, guarded
from lingen_plugins.installed import InstalledPlugin, installed_plugins, short

ResultT = TypeVar("ResultT")
DISABLE_VARIABLE = "LINGEN_DISABLE_PLUGINS"
BUILT_IN = "built in"
BUILTIN_PLUGINS = (
    "lingen_plugins.builtin.token_orders",
    "lingen_plugins.builtin.text_encoders",
    "lingen_plugins.builtin.autoencoders",
    "lingen_plugins.builtin.samplers",
    "lingen_plugins.builtin.datasets",
    "lingen_plugins.builtin.variants",
    "lingen_plugins.hub",
)
SLOW = 1.0
"""Seconds that a plugin may take at the start of a command without being called slow."""
LONGEST_REASON = 300


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin that works: its name, where it comes from, and the hooks it implements."""

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...]
    seconds: float
    """What importing it and calling its hooks took."""


@dataclass(frozen=True)
class FailedPlugin:
    """A plugin that was skipped, with the reason in one line."""

    name: str
    distribution: str
    reason: str


@dataclass(frozen=True)
class DisabledPlugin:
    """A plugin that was left out because the user asked for it; nothing of it was imported."""

    name: str
    distribution: str
    version: str


class PluginManager:
    """pluggy's manager, with where each plugin comes from and a list of those that failed."""

    def __init__(self) -> None:
        self.pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self.pluggy.add_hookspecs(hookspecs)
        self.failed: list[FailedPlugin] = []
        self.disabled: list[DisabledPlugin] = []
        self._sources: dict[str, tuple[str, str]] = {}
        self._seconds: dict[str, float] = {}

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
        for plugin in installed_plugins():
            if {plugin.name, short(plugin.name), "all"} & switched_off:
                left_out = DisabledPlugin(
                    short(plugin.name), short(plugin.distribution), short(plugin.version)
                )
                self.disabled.append(left_out)
            else:
                self._load(plugin)

    def _load(self, plugin: InstalledPlugin) -> None:
        name, distribution = plugin.name, short(plugin.distribution)
        problem, entry_point = plugin.problem, plugin.entry_point
        if self.pluggy.has_plugin(name):
            owner, version = self._sources.get(name, (name, ""))
            whose = "ships with lingen" if version == BUILT_IN else f"is that of {owner}"
            problem = f"the name {name!r} is taken: the plugin that has it {whose}"
        if problem or entry_point is None:
            reason = short(problem, LONGEST_REASON)
            self.failed.append(FailedPlugin(short(name), distribution, reason))
            return
        self._sources[name] = (distribution, short(plugin.version))
        try:
            self._timed(name, lambda: self.register(entry_point.load(), name))
        except Exception as error:
            self.skip(name, error)

    def register(self, plugin: object, name: str) -> None:
        """Add `plugin`, a module or an object with hooks. Raises what is wrong with it."""
        hash(plugin)  # pluggy keeps plugins in sets
        self.pluggy.register(plugin, name=name)
        self.pluggy.check_pending()  # a misspelt hook is an error, not a silent no-op

    def ask(self, name: str, hooks: tuple[str, ...]) -> dict[str, list[Any]]:
        """Hook -> records of the plugin `name` alone. Raises ForeignError."""
        plugins = self.pluggy.get_plugins()
        others = plugins - {self.pluggy.get_plugin(name)}

        def records(hook: str) -> list[Any]:
            answers = self.pluggy.subset_hook_caller(hook, others)()
            return [record for answer in answers for record in answer]

        return self._timed(name, lambda: {hook: records(hook) for hook in hooks})

    def _timed(self, name: str, work: Callable[[], ResultT]) -> ResultT:
        began = time.perf_counter()
        try:
            return guarded(work, name)
        finally:
            spent = time.perf_counter() - began
            self._seconds[name] = self._seconds.get(name, 0.0) + spent

    def skip(self, name: str, error: BaseException) -> None:
        """Take the plugin `name` out and record why."""
        if self.pluggy.has_plugin(name):
            self.pluggy.unregister(name=name)
        reason = short(describe(getattr(error, "raised", error)), LONGEST_REASON)
        self.failed.append(FailedPlugin(name, self._sources.get(name, (name, ""))[0], reason))

    def is_builtin(self, name: str) -> bool:
        """Tell whether `name` ships with lingen."""
        return self._sources.get(name, ("", ""))[1] == BUILT_IN

    def loaded(self) -> list[LoadedPlugin]:
        """The working plugins, in the order of loading."""
        plugins = []
        for name, plugin in self.pluggy.list_name_plugin():
            if plugin is not None:
                callers = self.pluggy.get_hookcallers(plugin) or []
                hooks = tuple(sorted(caller.name for caller in callers))
                source = self._sources.get(name, (name, "local"))
                seconds = round(self._seconds.get(name, 0.0), 3)
                plugins.append(LoadedPlugin(name, *source, hooks, seconds))
        return plugins

    def slow(self) -> list[LoadedPlugin]:
        """Those of `loaded` that make every command wait, by more than SLOW seconds."""
        plugins = (plugin for plugin in self.loaded() if plugin.seconds > SLOW)
        return [plugin for plugin in plugins if not self.is_builtin(plugin.name)]


def load_plugins() -> PluginManager:
    """Everything built in and installed."""
    manager = PluginManager()
    manager.load_builtin()
    manager.load_installed()
    return manager
