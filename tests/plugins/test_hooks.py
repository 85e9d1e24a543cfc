"""Every hook fills a table, and is documented; every public name is exported in order."""

from dataclasses import fields

import lingen_plugins
from lingen_plugins import hookspecs
from lingen_plugins.manager import PluginManager
from lingen_plugins.registry import Registry


def test_every_hook_fills_one_table():
    hooks = {name for name in vars(PluginManager().pluggy.hook) if not name.startswith("_")}
    assert hooks == {f"register_{field.name}" for field in fields(Registry)}


def test_every_hook_says_what_it_is_for():
    for field in fields(Registry):
        hook = getattr(hookspecs, f"register_{field.name}")
        assert hook.__doc__.startswith("Return ")
        assert hook() == ()


def test_public_names_are_sorted_and_there():
    assert lingen_plugins.__all__ == sorted(lingen_plugins.__all__)
    assert all(hasattr(lingen_plugins, name) for name in lingen_plugins.__all__)
