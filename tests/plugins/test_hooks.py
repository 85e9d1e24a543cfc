"""Every hook fills a table, and is documented; every public name is exported in order."""

import re
from dataclasses import fields
from pathlib import Path

import lingen_plugins
import lingen_plugins.testing
from lingen_plugins import hookspecs
from lingen_plugins.manager import PluginManager
from lingen_plugins.registry import Registry
from lingen_plugins.testing import CHECKS


def test_every_hook_fills_one_table() -> None:
    hooks = {name for name in vars(PluginManager().pluggy.hook) if not name.startswith("_")}
    assert hooks == {f"register_{field.name}" for field in fields(Registry)}


def test_every_hook_says_what_it_is_for() -> None:
    for field in fields(Registry):
        hook = getattr(hookspecs, f"register_{field.name}")
        assert hook.__doc__.startswith("Return ")
        assert hook() == ()


def test_public_names_are_sorted_and_there() -> None:
    assert lingen_plugins.__all__ == sorted(lingen_plugins.__all__)
    assert all(hasattr(lingen_plugins, name) for name in lingen_plugins.__all__)


def test_every_hook_has_a_heading_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (register_\w+)$", text, re.MULTILINE)
    assert headings == [f"register_{field.name}" for field in fields(Registry)]


def test_every_field_of_a_variant_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    for field in fields(lingen_plugins.ModelVariant):
        assert f"`{field.name}`" in text, field.name


def test_every_hook_has_a_check_in_the_kit_which_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    assert list(CHECKS) == [f"register_{field.name}" for field in fields(Registry)]
    for field in fields(Registry):
        record = getattr(Registry(), field.name).record
        name = "check_" + re.sub(r"(?<!^)(?=[A-Z])", "_", record.__name__).lower()
        assert CHECKS[f"register_{field.name}"] is getattr(lingen_plugins.testing, name)
        section = text.split(f"\n## register_{field.name}\n", 1)[1].split("\n## ", 1)[0]
        assert f"`{name}`" in section


def test_the_kit_exports_its_checks_and_needs_no_test_framework() -> None:
    kit = lingen_plugins.testing
    assert kit.__all__ == sorted(kit.__all__)
    assert {check.__name__ for check in CHECKS.values()} < set(kit.__all__)
    for path in Path(kit.__file__).parent.glob("*.py"):
        assert "pytest" not in path.read_text(encoding="utf-8")
