"""Loading from entry points, with fabricated distributions on sys.path."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lingen_plugins.manager import DisabledPlugin, PluginManager, load_plugins

GOOD = """
from lingen_plugins import ScanOrder, hookimpl

@hookimpl
def register_scan_orders():
    return [ScanOrder(name="columns", summary="columns first", axes=("wth",))]
"""
MISSPELT = GOOD.replace("register_scan_orders", "register_scan_order")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that installs a distribution with one module, which is a plugin."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("LINGEN_DISABLE_PLUGINS", raising=False)

    def install(name: str, source: str, version: str = "1.0") -> None:
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[lingen]\n{name} = {name}\n")
        monkeypatch.delitem(sys.modules, name, raising=False)

    return install


def names(manager: PluginManager) -> list[str]:
    return [plugin.name for plugin in manager.loaded()]


def test_a_good_plugin_is_described(installed: Callable[..., None]) -> None:
    installed("good_plugin", GOOD, version="1.2.3")
    (plugin,) = [plugin for plugin in load_plugins().loaded() if plugin.name == "good_plugin"]
    assert (plugin.distribution, plugin.version) == ("good_plugin", "1.2.3")
    assert plugin.hooks == ("register_scan_orders",)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import module_that_does_not_exist", "ModuleNotFoundError"),
        (MISSPELT, "unknown hook 'register_scan_order'"),
        ("raise SystemError('boom')", "SystemError: boom"),
        ("not python at all", "SyntaxError"),
    ],
)
def test_a_broken_plugin_is_reported_and_the_rest_still_load(
    installed: Callable[..., None], source: str, reason: str
) -> None:
    installed("bad_plugin", source)
    installed("good_plugin", GOOD)
    manager = load_plugins()
    (failed,) = manager.failed
    assert failed.name == "bad_plugin" and reason in failed.reason and "\n" not in failed.reason
    assert "good_plugin" in names(manager) and "bad_plugin" not in names(manager)


def test_a_plugin_cannot_take_the_name_of_a_built_in(installed: Callable[..., None]) -> None:
    installed("variants", GOOD)
    manager = load_plugins()
    assert [(failed.name, failed.reason) for failed in manager.failed] == [
        ("variants", "the name 'variants' is taken: the plugin that has it ships with lingen")
    ]
    assert manager.is_builtin("variants")


@pytest.mark.parametrize("value", ["good_plugin", "other, good_plugin", "all"])
def test_plugins_can_be_switched_off(
    installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    installed("good_plugin", GOOD)
    monkeypatch.setenv("LINGEN_DISABLE_PLUGINS", value)
    manager = load_plugins()
    assert "good_plugin" not in names(manager)
    assert "variants" in names(manager)
    assert manager.failed == []
    assert manager.disabled == [DisabledPlugin("good_plugin", "good_plugin", "1.0")]
    assert "good_plugin" not in sys.modules
