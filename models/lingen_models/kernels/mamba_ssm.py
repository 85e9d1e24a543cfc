"""Import `mamba_ssm`'s Triton SSD without the compiled parts that it does not need."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from typing import Any


def import_scan() -> Any | None:
    """Return `mamba_chunk_scan_combined`, or None where it cannot be imported.

    The package's `__init__` imports CUDA extensions and transformers that the SSD kernel never
    uses; where that fails, an empty package is put in its place and the kernel module is
    imported on its own.
    """
    name = "mamba_ssm.ops.triton.ssd_combined"
    try:
        importlib.import_module("mamba_ssm")  # a failed import of somebody else leaves parts of it
        return importlib.import_module(name).mamba_chunk_scan_combined
    except ImportError:
        pass
    spec = importlib.util.find_spec("mamba_ssm")
    if spec is None or not spec.submodule_search_locations:
        return None
    for loaded in [module for module in sys.modules if module.split(".")[0] == "mamba_ssm"]:
        del sys.modules[loaded]
    package = types.ModuleType("mamba_ssm")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules["mamba_ssm"] = package
    try:
        return importlib.import_module(name).mamba_chunk_scan_combined
    except ImportError:
        del sys.modules["mamba_ssm"]
        return None
