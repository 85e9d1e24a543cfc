"""Finds the distributions of plugins to install or uninstall; nothing is imported."""

from __future__ import annotations

import importlib
import json
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from lingen_cli.errors import InvalidOptionError, NotAvailableError
from lingen_cli.files.printable import printable
from lingen_cli.installation.pip import run_pip
from lingen_plugins.installed import (
    GROUP,
    InstalledPlugin,
    canonical,
    installed_plugins,
    plugins_of,
    short,
)
from lingen_plugins.manager import BUILTIN_PLUGINS
from lingen_plugins.plugin_errors import UnknownNameError

_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_BUILT_IN = frozenset({"lingen", *(module.rpartition(".")[2] for module in BUILTIN_PLUGINS)})


@dataclass(frozen=True)
class Package:
    """An installed distribution and the plugins in it, which may be none."""

    name: str
    version: str
    plugins: tuple[InstalledPlugin, ...]

    def __str__(self) -> str:
        names = ", ".join(short(plugin.name) for plugin in self.plugins)
        return printable(f"{short(self.name)} {short(self.version)} ({names or 'no plugin'})")


def install(specs: Sequence[str]) -> list[Package]:
    """Have pip install what `specs` ask for.

    Returns what is new of that, and what else is new and a plugin; nothing where all was there.

    Raises InvalidOptionError (2) for what would be an option of pip, NotAvailableError (69).
    """
    for spec in specs:
        if not spec.strip() or spec.startswith("-"):
            raise InvalidOptionError(
                f"{shown(spec)!r} names no package; for options use pip itself: "
                "a plugin is an ordinary package"
            )
    with tempfile.TemporaryDirectory(prefix="lingen-pip-") as folder:
        report = Path(folder) / "report.json"
        failure = f"pip could not install {', '.join(map(shown, specs))}"
        run_pip("install", "--report", str(report), "--", *specs, failure=failure)
        done: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["install"]
    importlib.invalidate_caches()
    found = installed_plugins()
    requested = {canonical(one["metadata"]["name"]) for one in done if one["requested"]}
    packages = [_package(one["metadata"], found) for one in done]
    return [one for one in packages if one.plugins or canonical(one.name) in requested]


def to_uninstall(names: Sequence[str]) -> list[Package]:
    """The distributions that hold the plugins `names`, or are called so.

    Raises InvalidOptionError or UnknownNameError (2) for what is built in, no plugin, unknown or
    not clear; NotAvailableError (69) for what pip would take for something else.
    """
    found = installed_plugins()
    packages = {canonical(one.name): one for one in (_meant(name, found) for name in names)}
    for package in packages.values():
        _check_pip_finds(package)
    return list(packages.values())


def uninstall(packages: Iterable[Package]) -> None:
    """Have pip remove these. Raises NotAvailableError (69) where it does not."""
    names = [package.name for package in packages]
    failure = f"pip could not uninstall {', '.join(map(shown, names))}"
    run_pip("uninstall", "--yes", "--", *names, failure=failure)
    importlib.invalidate_caches()
    left = {canonical(plugin.distribution) for plugin in installed_plugins()}
    for name in names:
        if canonical(name) in left:
            raise NotAvailableError(f"{failure}: {shown(name)} is still there")


def shown(text: str) -> str:
    """Return text of somebody else, short and harmless."""
    return printable(short(text))


def _package(facts: Mapping[str, str], found: Iterable[InstalledPlugin]) -> Package:
    name = canonical(facts["name"])
    plugins = tuple(one for one in found if canonical(one.distribution) == name)
    return Package(facts["name"], facts["version"], plugins)


def _meant(name: str, found: Sequence[InstalledPlugin]) -> Package:
    holders = {
        canonical(plugin.distribution): plugin
        for plugin in found
        if name == plugin.name or canonical(name) == canonical(plugin.distribution)
    }
    if name in _BUILT_IN:
        other = f"; there is another in {_listed(holders.values())}" if holders else ""
        raise InvalidOptionError(f"{name!r} ships with lingen and cannot be uninstalled{other}")
    if len(holders) > 1:
        raise InvalidOptionError(
            f"{shown(name)!r} is in more than one distribution: name {_listed(holders.values())}"
        )
    if holders:
        (plugin,) = holders.values()
        return _package({"name": plugin.distribution, "version": plugin.version}, found)
    if _distribution(name) is not None:
        raise InvalidOptionError(
            f"{shown(name)!r} is installed, but is no plugin: it has no entry point {GROUP!r}"
        )
    known = {shown(one) for plugin in found for one in (plugin.name, plugin.distribution)}
    raise UnknownNameError("plugin", shown(name), known)


def _listed(plugins: Iterable[InstalledPlugin]) -> str:
    return " or ".join(sorted(repr(shown(plugin.distribution)) for plugin in plugins))


def _check_pip_finds(package: Package) -> None:
    """A name in a file of metadata may be that of another package, or none that pip could take."""
    found = _distribution(package.name)
    same = found is not None and set(plugins_of(found)) == set(package.plugins)
    if not same:
        raise NotAvailableError(
            f"pip cannot uninstall {shown(package.name)!r}: its metadata says another name than "
            "its folder; remove its files by hand"
        )


def _distribution(name: str) -> Distribution | None:
    if not _DISTRIBUTION.fullmatch(name):
        return None
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None
