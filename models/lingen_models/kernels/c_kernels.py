"""C kernels for processors, compiled the first time they are needed with the system's compiler.

Where there is no compiler, or with LINGEN_C_KERNELS=0, `library` is None and PyTorch does the
same work in more passes. The library is kept in LINGEN_C_KERNELS_FOLDER, or in this user's cache.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lingen_models.torch_private import operators_are_watched

SWITCH = "LINGEN_C_KERNELS"
FOLDER_VARIABLE = "LINGEN_C_KERNELS_FOLDER"
_SOURCE = Path(__file__).with_suffix(".c")
_FLAGS = [
    "-std=c99",
    "-O3",
    "-fPIC",
    "-shared",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
    "-freciprocal-math",
    "-fopenmp-simd",
    "-ffp-contract=fast",
]
"""Not -ffast-math, with which old linkers change how the whole process rounds."""
_EXTRAS: tuple[list[str], ...] = (
    ["-march=native", "-mprefer-vector-width=512", "-fopenmp"],
    ["-march=native", "-fopenmp"],
    ["-march=native"],
    [],
)
"""What may be added to the flags; the first of these that the compiler takes is used."""
_TYPES = {torch.float32: "FLOAT", torch.bfloat16: "BFLOAT"}
_PLAIN = (Tensor, torch.nn.Parameter)
"""Tensors whose numbers lie in memory, as those of some subclasses do not."""
_PATIENCE = 60


def covers(*tensors: Tensor) -> bool:
    """Tell whether there are kernels for tensors like these, of one type and on the processor."""
    first = tensors[0]
    return (
        first.dtype in _TYPES
        and all(
            type(one) in _PLAIN and one.device.type == "cpu" and one.dtype is first.dtype
            for one in tensors
        )
        and not torch.compiler.is_compiling()
        and not operators_are_watched()  # or who counts them would miss some
        and library(first.dtype) is not None
    )


def call(name: str, dtype: torch.dtype, *arguments: Tensor | Sequence[int] | float | None) -> None:
    """Run the kernel `name` for `dtype`: tensors and lists go as pointers, None as a null one, and
    the numbers as they are, int or float."""
    found = library(dtype)
    assert found is not None
    passed: list[Any] = []
    for one in arguments:
        if isinstance(one, Tensor):
            passed.append(ctypes.c_void_p(one.data_ptr()))
        elif one is None:
            passed.append(ctypes.c_void_p())
        elif isinstance(one, int):
            passed.append(ctypes.c_int64(one))
        elif isinstance(one, float):
            passed.append(ctypes.c_double(one))
        else:
            passed.append((ctypes.c_int64 * len(one))(*one))
    getattr(found, name)(*passed)


@functools.cache
def library(dtype: torch.dtype = torch.bfloat16) -> ctypes.CDLL | None:
    """Load the compiled kernels for `dtype`; None where there are none. Warns of a failure once."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if os.environ.get(SWITCH) == "0" or compiler is None or os.name != "posix":
        return None
    try:
        return _load(compiler, _TYPES[dtype])
    except (OSError, subprocess.SubprocessError) as failure:
        reason = (getattr(failure, "stderr", None) or str(failure)).strip().splitlines()
        _tell(f"no C kernels, so PyTorch does their work; {compiler}: {(reason or ['?'])[0]}")
        return None


@functools.cache
def _tell(message: str) -> None:
    warnings.warn(message, stacklevel=4)


def _load(compiler: str, kind: str) -> ctypes.CDLL:
    """Load the library that an earlier process has kept, or make it."""
    name = f"{kind.lower()}-{_fingerprint(compiler)}.so"
    folder = _folder()
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="lingen-kernels-") as passing:
            return _load_from(Path(passing) / name, compiler, kind)
    return _load_from(folder / name, compiler, kind)


def _load_from(path: Path, compiler: str, kind: str) -> ctypes.CDLL:
    if not path.exists():
        _compile(compiler, kind, path)
    _check_owner(path)
    return ctypes.CDLL(str(path))


def _fingerprint(compiler: str) -> str:
    """What a library depends on: source, compiler, flags and processor."""
    known = os.stat(compiler)
    parts = [os.path.realpath(compiler), str(known.st_size), str(known.st_mtime_ns)]
    parts += [*_FLAGS, *(flag for extra in _EXTRAS for flag in extra), _processor()]
    digest = hashlib.sha256("\0".join(parts).encode())
    digest.update(_SOURCE.read_bytes())
    return digest.hexdigest()[:32]


def _processor() -> str:
    """A name for the processor and what it can do."""
    name = f"{platform.system()} {platform.machine()} {platform.processor()}"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return name
    wanted = ("model name", "flags", "features", "cpu part")
    return "\n".join([name, *sorted({x for x in lines if x.lower().startswith(wanted)})])


def _folder() -> Path | None:
    """This user's folder for compiled kernels; None where none is to be written or trusted."""
    named = os.environ.get(FOLDER_VARIABLE)
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(named) if named else Path(cache) / "lingen" / "kernels"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(folder)
    except (OSError, RuntimeError):
        return None
    return folder


def _check_owner(path: Path) -> None:
    """Raise PermissionError for what somebody else may have written."""
    known = path.stat()
    if known.st_uid != os.getuid() or known.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{path} can be written by others")


def _compile(compiler: str, kind: str, path: Path) -> None:
    """Write the library at once, however many processes do so."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / "kernels.so"
        for extra in _EXTRAS:
            command = [compiler, *_FLAGS, *extra, f"-D{kind}", "-o", str(made), str(_SOURCE), "-lm"]
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE
            )
            if done.returncode == 0:
                break
        done.check_returncode()
        made.chmod(0o700)
        made.replace(path)
