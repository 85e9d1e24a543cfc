"""The floors of the house: imports point downwards only, and torch stays where it belongs."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    "lingen_models": ROOT / "models" / "lingen_models",
    "lingen_plugins": ROOT / "plugins" / "lingen_plugins",
    "lingen_training": ROOT / "training" / "lingen_training",
    "lingen_cli": ROOT / "lingen_cli",
}
FLOORS = list(SOURCES)
CONSOLES = {"typer", "rich", "av", "pluggy"}


def imports(path, *, at_import_time=False):
    """First names of the modules that a file imports; type checking apart."""
    names = set()
    nodes = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if not node.level and node.module:  # a relative import stays in its package
                names.add(node.module.split(".")[0])
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse
        elif not (at_import_time and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            nodes += ast.iter_child_nodes(node)
    return names


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_point_downwards(floor):
    above = set(FLOORS[FLOORS.index(floor) + 1 :])
    if floor == "lingen_plugins":
        above -= {"lingen_training"}  # the playground's record builds it, when called
    files = list(SOURCES[floor].rglob("*.py"))
    assert files
    for path in files:
        assert not imports(path) & above, path
        assert not imports(path) & {"models", "plugins", "training"}, path


def test_plugins_never_import_torch_or_training_at_import_time():
    for path in SOURCES["lingen_plugins"].rglob("*.py"):
        assert not imports(path, at_import_time=True) & {"torch", "lingen_training"}, path


def test_networks_and_training_know_no_console():
    for floor in ("lingen_models", "lingen_training"):
        for path in SOURCES[floor].rglob("*.py"):
            assert not imports(path) & (CONSOLES - {"av"}), path


def test_commands_import_nothing_heavy_at_import_time():
    light = {"__future__", "typing", "pathlib", "json", "sys", "typer", "lingen_cli"}
    for path in (SOURCES["lingen_cli"] / "commands").glob("*.py"):
        assert imports(path, at_import_time=True) <= light, path


@pytest.mark.parametrize("root", ["models", "plugins", "training", "tests"])
def test_source_roots_are_not_packages(root):
    assert not (ROOT / root / "__init__.py").exists()


@pytest.mark.parametrize("floor", FLOORS)
def test_packages_are_typed(floor):
    assert (SOURCES[floor] / "py.typed").is_file()


def test_nothing_is_called_helpers():
    vague = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
    names = {path.name for source in SOURCES.values() for path in source.rglob("*.py")}
    assert not names & vague


def test_no_file_is_past_400_lines():
    for source in SOURCES.values():
        for path in source.rglob("*.py"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
