"""Every hook fills a table, and is documented; every public name is exported in order."""

import re
from dataclasses import fields
from pathlib import Path

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


def test_every_hook_has_a_heading_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (register_\w+)$", text, re.MULTILINE)
    assert headings == [f"register_{field.name}" for field in fields(Registry)]


def test_every_field_of_a_variant_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    for field in fields(lingen_plugins.ModelVariant):
        assert f"`{field.name}`" in text, field.name
