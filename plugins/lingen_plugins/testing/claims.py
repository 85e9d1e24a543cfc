"""Claims that the checks share: how they fail, and what holds for every record."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

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


class Claims:
    """Claims about what messages call `whose`; one that does not hold is an AssertionError, which
    says what is wrong and what to do."""

    def __init__(self, whose: str) -> None:
        self.whose = whose

    @classmethod
    def of(cls, record: Component, kind: type[Component]) -> Self:
        """Check what every record keeps; returns the claims about this one."""
        if not isinstance(record, kind):
            found = type(record).__name__
            raise AssertionError(f"a {kind.__name__} is checked here, but this is a {found}")
        claims = cls(f"{type(record).__name__} {record.name!r}")
        try:
            check_record(record)
        except PluginError as error:
            raise AssertionError(f"{claims.whose}: {error}") from error
        claims.expect(record.summary.strip(), "it has no summary", "say in one line what it is")
        build = getattr(record, "build", None)
        if build is not None:
            claims._light(build)
        return claims

    def expect(self, holds: object, wrong: str, remedy: str) -> None:
        """Raise `broken` unless `holds`."""
        if not holds:
            raise self.broken(wrong, remedy)

    def broken(self, wrong: str, remedy: str) -> AssertionError:
        """The error `WHOSE: WRONG; REMEDY`."""
        return AssertionError(f"{self.whose}: {wrong}; {remedy}")

    def windows(self, windows: tuple[int, int]) -> None:
        """Latent frames of a window, and of its past."""
        remedy = "the past is at least one latent frame, and shorter than the window"
        self.expect(1 <= windows[1] < windows[0], f"windows is {windows}", remedy)

    def callables(self, owner: object, kind: str, names: Sequence[str], remedy: str) -> None:
        """`owner`, which `build` has returned, must have these functions or methods (`kind`)."""
        for name in names:
            wrong = f"what build returns has no {kind} {name}"
            self.expect(callable(getattr(owner, name, None)), wrong, remedy)

    def config(self, name: str, config: Mapping[str, Any]) -> None:
        """It must come back from JSON as it is, since weights files and recipes carry it so."""
        remedy = "use strings as keys, lists for tuples, and numbers, strings, true, false and null"
        try:
            again = json.loads(json.dumps(dict(config), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise self.broken(f"{name} is not JSON ({error})", remedy) from error
        changed = [str(key) for key, value in config.items() if again.get(key) != value]
        self.expect(again == dict(config), f"JSON changes {changed} in {name}", remedy)

    def network(self, build: Callable[[Any], Any], config: Mapping[str, Any]) -> nn.Module:
        """`build(config)` in evaluation mode, which must leave the configuration as it was."""
        from torch import nn

        before = json.dumps(dict(config))
        try:
            network = build(config)
        except Exception as error:
            remedy = "it must take the config of the record"
            raise self.broken(f"build failed: {describe(error)}", remedy) from error
        wrong = f"build returned a {type(network).__name__}"
        self.expect(isinstance(network, nn.Module), wrong, "return a torch.nn.Module")
        wrong = "build changed the configuration that it was given"
        self.expect(json.dumps(dict(config)) == before, wrong, "copy what you change")
        module: nn.Module = network.eval()
        return module

    def part(self, part: Part, folder: Path | None) -> nn.Module | None:
        """The network of `part`, from `folder` where it reads one; None where it does, and none is
        given: then only the record can be checked."""
        self.config("config", part.config)
        if part.folders is None:
            self.expect(folder is None, "it reads no folder, but was given one", "leave it out")
            return self.network(part.build, part.config)
        if folder is None:
            return None
        found = part.folders(folder)
        self.expect(
            isinstance(found, tuple) and found and all(one.is_dir() for one in found),
            f"folders({folder}) is {found!r}",
            "return a tuple of the folders of which it reads",
        )
        return self.network(part.build, {**part.config, "folder": str(folder)})

    def tensor(self, what: str, found: Any, shape: tuple[int, ...]) -> Tensor:
        """`found` must be a finite tensor of floating point numbers of this shape."""
        import torch

        wrong = f"{what} is a {type(found).__name__}"
        self.expect(isinstance(found, torch.Tensor), wrong, f"return a tensor {shape}")
        tensor: Tensor = found
        wrong = f"{what} has the shape {tuple(tensor.shape)}"
        self.expect(tuple(tensor.shape) == shape, wrong, f"it must be {shape}")
        wrong = f"{what} is {tensor.dtype}"
        self.expect(tensor.is_floating_point(), wrong, "return floating point")
        self.expect(
            torch.isfinite(tensor).all(),
            f"{what} has infinite numbers or NaN",
            "look for divisions by zero, logarithms and roots of zero, and tensors without numbers",
        )
        return tensor

    def _light(self, build: Callable[..., Any]) -> None:
        """Importing the module of `build` must not import torch."""
        while isinstance(build, partial):
            build = build.func
        module = getattr(build, "__module__", None) or type(build).__module__
        problem = _weight_of(module)
        self.expect(
            problem != "torch",
            f"importing {module} imports torch",
            "import torch inside `build`, so that `lingen models list` stays quick",
        )
        self.expect(not problem, f"{module} cannot be imported: {problem}", "see the error")


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
