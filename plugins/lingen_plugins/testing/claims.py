"""Claims that the checks share: how they fail, and what holds for every record."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_plugins.contracts import Component, Part
from lingen_plugins.guard import describe
from lingen_plugins.plugin_errors import PluginError
from lingen_plugins.records import check_record

if TYPE_CHECKING:
    from torch import Tensor, nn

_HEAVY = """
import importlib, json, sys
sys.path[:] = json.loads(sys.argv[1])
try:
    importlib.import_module(sys.argv[2])
except ModuleNotFoundError as error:
    sys.exit(0 if (error.name or "").split(".")[0] == sys.argv[2].split(".")[0] else repr(error))
sys.exit("torch" if "torch" in sys.modules else 0)
"""


def expect(holds: object, whose: str, wrong: str, remedy: str) -> None:
    """Raise AssertionError, `WHOSE: WRONG; REMEDY`, unless `holds`."""
    if not holds:
        raise AssertionError(f"{whose}: {wrong}; {remedy}")


def title(record: Component) -> str:
    """Name a record as messages call it."""
    return f"{type(record).__name__} {record.name!r}"


def check_basics(record: Component, kind: type[Component]) -> str:
    """Check what every record keeps; returns its `title`."""
    if not isinstance(record, kind):
        found = type(record).__name__
        raise AssertionError(f"a {kind.__name__} is checked here, but this is a {found}")
    whose = title(record)
    try:
        check_record(record)
    except PluginError as error:
        raise AssertionError(f"{whose}: {error}") from error
    expect(record.summary.strip(), whose, "it has no summary", "say in one line what it is")
    build = getattr(record, "build", None)
    if build is not None:
        _check_light(whose, build)
    return whose


def check_config(whose: str, name: str, config: Mapping[str, Any]) -> None:
    """It must come back from JSON as it is, since weights files and recipes carry it so."""
    remedy = "use strings as keys, lists for tuples, and numbers, strings, true, false and null"
    try:
        again = json.loads(json.dumps(dict(config), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{whose}: {name} is not JSON ({error}); {remedy}") from error
    changed = [str(key) for key, value in config.items() if again.get(key) != value]
    expect(again == dict(config), whose, f"JSON changes {changed} in {name}", remedy)


def build_network(whose: str, build: Callable[[Any], Any], config: Mapping[str, Any]) -> nn.Module:
    """`build(config)` in evaluation mode, which must leave the configuration as it was."""
    from torch import nn

    before = json.dumps(dict(config))
    try:
        network = build(config)
    except Exception as error:
        message = f"{whose}: build failed: {describe(error)}; it must take the config of the record"
        raise AssertionError(message) from error
    expect(
        isinstance(network, nn.Module),
        whose,
        f"build returned a {type(network).__name__}",
        "return a torch.nn.Module",
    )
    expect(
        json.dumps(dict(config)) == before,
        whose,
        "build changed the configuration that it was given",
        "copy what you change",
    )
    module: nn.Module = network.eval()
    return module


def build_part(whose: str, part: Part, folder: Path | None) -> nn.Module | None:
    """The network of `part`, from `folder` where it reads one; None where it does, and none is
    given: then only the record can be checked."""
    check_config(whose, "config", part.config)
    if part.folders is None:
        expect(folder is None, whose, "it reads no folder, but was given one", "leave it out")
        return build_network(whose, part.build, part.config)
    if folder is None:
        return None
    found = part.folders(folder)
    expect(
        isinstance(found, tuple) and found and all(one.is_dir() for one in found),
        whose,
        f"folders({folder}) is {found!r}",
        "return a tuple of the folders of which it reads",
    )
    return build_network(whose, part.build, {**part.config, "folder": str(folder)})


def check_tensor(whose: str, what: str, found: Any, shape: tuple[int, ...]) -> Tensor:
    """`found` must be a finite tensor of floating point numbers of this shape."""
    import torch

    expect(
        isinstance(found, torch.Tensor),
        whose,
        f"{what} is a {type(found).__name__}",
        f"return a tensor {shape}",
    )
    tensor: Tensor = found
    expect(
        tuple(tensor.shape) == shape,
        whose,
        f"{what} has the shape {tuple(tensor.shape)}",
        f"it must be {shape}",
    )
    expect(tensor.is_floating_point(), whose, f"{what} is {tensor.dtype}", "return floating point")
    expect(
        bool(torch.isfinite(tensor).all()),
        whose,
        f"{what} has infinite numbers or NaN",
        "look for divisions by zero, logarithms and roots of zero, and tensors without numbers",
    )
    return tensor


def _check_light(whose: str, build: Callable[..., Any]) -> None:
    while isinstance(build, partial):
        build = build.func
    module = getattr(build, "__module__", None) or type(build).__module__
    problem = _weight_of(module)
    expect(
        problem != "torch",
        whose,
        f"importing {module} imports torch",
        "import torch inside `build`, so that `lingen models list` stays quick",
    )
    expect(not problem, whose, f"{module} cannot be imported: {problem}", "see the error")


@lru_cache(maxsize=64)
def _weight_of(module: str) -> str:
    """Import it in a fresh Python: empty where that is light, `torch`, or what went wrong.

    A module that a test made up cannot be found there, and is nobody's burden.
    """
    if module == "__main__":
        return ""
    arguments = [sys.executable, "-c", _HEAVY, json.dumps(sys.path), module]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if not done.returncode:
        return ""
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
