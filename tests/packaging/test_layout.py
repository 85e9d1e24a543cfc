"""The floors of the house: imports point downwards only, and torch stays where it belongs."""

import ast
import re
import sys
import tokenize
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    "lingen_models": ROOT / "models" / "lingen_models",
    "lingen_playground": ROOT / "playground" / "lingen_playground",
    "lingen_plugins": ROOT / "plugins" / "lingen_plugins",
    "lingen_training": ROOT / "training" / "lingen_training",
    "lingen_cli": ROOT / "lingen_cli",
    "lingen": ROOT / "lingen",
}
FLOORS = list(SOURCES)
CONSOLES = {"typer", "rich", "av", "pluggy"}

LAYERS = (
    {"__main__"},
    {"app"},
    {"commands"},
    {"batch", "planning", "gallery"},
    {"generation"},
    {"requests"},
    {"inputs"},
    {"zoo", "datasets"},
    {"installation"},
    {"terminal"},
    {"media"},
    {"files"},
    {"exit_codes", "usage"},
    {"errors"},
    {"__init__"},
)
"""The packages and root modules of lingen_cli, from top to bottom; neighbours in one layer do not
import each other."""

MOST_MODULES = 12
CROWDED = {
    "lingen_cli/commands",  # one file for each command: this one stays
}
"""Folders with more modules; each leaves this list when it is divided."""


def imports(path: Path, *, at_import_time: bool = False) -> set[str]:
    """First names of the modules that a file imports; type checking apart."""
    names: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
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


def modules() -> dict[str, Path]:
    """Names of all modules of the four packages -> their files."""
    found = {}
    for source in SOURCES.values():
        for path in source.rglob("*.py"):
            name = ".".join(path.relative_to(source.parent).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def graph() -> dict[str, set[str]]:
    """Each module -> those that it imports: inside functions and for type checking, too."""
    known = modules()
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                wanted = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                start = ".".join([*above, *filter(None, [node.module])])
                start = start if node.level else node.module or ""
                wanted = [f"{start}.{alias.name}" for alias in node.names]
                wanted = [one if one in known else start for one in wanted]
            else:
                continue
            found[name] |= {one for one in wanted if one in known and one != name}
    return found


def layer_of(name: str) -> int:
    """The number of the layer of a module of lingen_cli; the top one is 0."""
    unit = [*name.split("."), "__init__"][1]
    (number,) = [number for number, units in enumerate(LAYERS) if unit in units]
    return number


def test_imports_in_lingen_cli_point_downwards() -> None:
    upward = set()
    for name, imported in graph().items():
        for other in imported:
            if not (name.startswith("lingen_cli") and other.startswith("lingen_cli")):
                continue
            if name.split(".")[1:2] != other.split(".")[1:2] and layer_of(name) >= layer_of(other):
                upward.add((name, other))
    assert not upward


def test_there_are_no_import_cycles() -> None:
    TopologicalSorter(graph()).prepare()  # raises CycleError, which names one


def test_no_folder_is_crowded() -> None:
    crowded = set()
    for source in SOURCES.values():
        for folder in (source, *(path for path in source.rglob("*") if path.is_dir())):
            own = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
            if len(own) > MOST_MODULES:
                crowded.add(folder.relative_to(source.parent).as_posix())
    assert crowded == CROWDED


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_point_downwards(floor: str) -> None:
    above = set(FLOORS[FLOORS.index(floor) + 1 :])
    files = list(SOURCES[floor].rglob("*.py"))
    assert files
    for path in files:
        assert not imports(path) & above, path
        assert not imports(path) & {"models", "playground", "plugins", "training"}, path


def test_plugins_import_neither_torch_nor_the_playground_at_import_time() -> None:
    for path in SOURCES["lingen_plugins"].rglob("*.py"):
        assert not imports(path, at_import_time=True) & {"torch", "lingen_playground"}, path


def test_networks_and_training_know_no_console() -> None:
    for floor in ("lingen_models", "lingen_playground", "lingen_training"):
        for path in SOURCES[floor].rglob("*.py"):
            assert not imports(path) & (CONSOLES - {"av"}), path


def test_commands_import_nothing_heavy_at_import_time() -> None:
    light = {"__future__", "typing", "pathlib", "json", "sys", "functools", "typer", "lingen_cli"}
    light |= {"collections", "contextlib"}
    for path in (SOURCES["lingen_cli"] / "commands").glob("*.py"):
        more = {"inspect", "dataclasses", "lingen_models"} if path.name == "options.py" else set()
        assert imports(path, at_import_time=True) <= light | more, path


def test_sampling_parameters_need_the_standard_library_alone() -> None:
    for name in ("params", "guidance"):
        path = SOURCES["lingen_models"] / "sampling" / f"{name}.py"
        assert imports(path) <= sys.stdlib_module_names | {"lingen_models"}, path


@pytest.mark.parametrize("root", ["models", "playground", "plugins", "training", "tests"])
def test_source_roots_are_not_packages(root: str) -> None:
    assert not (ROOT / root / "__init__.py").exists()


@pytest.mark.parametrize("floor", FLOORS)
def test_packages_are_typed(floor: str) -> None:
    assert (SOURCES[floor] / "py.typed").is_file()


def test_nothing_is_called_helpers() -> None:
    vague = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
    names = {path.name for source in SOURCES.values() for path in source.rglob("*.py")}
    assert not names & vague


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    vague = re.compile(r"(What|Whether|How|Where|Which|As|Of|That)\b")
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
    found = []
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kinds) and not getattr(node, "name", "").startswith("_"):
                text = ast.get_docstring(node) or ""
                if vague.match(text):
                    found.append(f"{name}: {text.splitlines()[0]}")
    assert not found


def test_names_have_the_words_of_the_field() -> None:
    """Words for which docs/glossary.md has others are in no name."""
    foreign = {"wish", "wishes", "wished", "film", "filmed", "filming", "told", "asked", "borrow"}
    foreign |= {"borrowed", "thing", "things", "making", "picture", "pictures", "house"}
    found = set()
    for name, path in modules().items():
        with path.open(encoding="utf-8") as file:
            for token in tokenize.generate_tokens(file.readline):
                words = re.split(r"_|(?<=[a-z])(?=[A-Z])", token.string)
                if token.type == tokenize.NAME and foreign & {word.lower() for word in words}:
                    found.add(f"{name}: {token.string}")
    assert not found


def test_a_file_name_stands_once() -> None:
    """But for a command and the package that does its work."""
    commands = {path.name for path in (SOURCES["lingen_cli"] / "commands").glob("*.py")}
    found: dict[str, list[str]] = {}
    for source in SOURCES.values():
        for path in source.rglob("*.py"):
            if not path.stem.startswith("__"):
                found.setdefault(path.name, []).append(path.relative_to(source.parent).as_posix())
    twice = {name: places for name, places in found.items() if len(places) > 1}
    assert not {
        name: places for name, places in twice.items() if len(places) > 2 or name not in commands
    }


def test_lingen_cli_has_few_units() -> None:
    root = SOURCES["lingen_cli"]
    units = {path.name for path in root.glob("*.py")} - {"__init__.py"}
    units |= {path.parent.name for path in root.glob("*/__init__.py")}
    assert len(units) <= 18
