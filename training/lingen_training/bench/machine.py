"""Machine of a measurement: without it a figure says nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import torch

from lingen_models.kernels.dispatch import scan_route
from lingen_models.precision import compute_dtype


def describe(device: str) -> dict[str, Any]:
    """Processor or GPU, threads, versions, the dtype that the networks compute in, and which
    kernels sampling goes through."""
    facts: dict[str, Any] = {
        "lingen": _version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "dtype": str(compute_dtype(device)).removeprefix("torch."),
        "scan": scan_route(torch.device(device), gradients=False),
        "attention": attention_backends(device),
        "load_at_start": round(os.getloadavg()[0], 2),
    }
    if device != "cpu":
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def attention_backends(device: str) -> list[str]:
    """Name what `scaled_dot_product_attention` may choose from; on a CPU torch has one fused
    kernel, and `networks.attention.attend` takes plain products where there are few scores."""
    if device == "cpu":
        return ["plain products", "SDPA where there are many scores"]
    names = {
        "flash": "flash",
        "cudnn": "cuDNN",
        "mem_efficient": "memory-efficient",
        "math": "math",
    }
    return [
        f"SDPA {version}"
        for name, version in names.items()
        if getattr(torch.backends.cuda, f"{name}_sdp_enabled")()
    ]


def processor() -> str:
    """The name of the processor, as far as the system tells."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def in_words(facts: dict[str, Any]) -> str:
    """One line for a table's caption."""
    where = facts.get("gpu") or (
        f"{facts['processor']}, {facts['threads']} threads on {facts['cores']} cores"
    )
    return (
        f"{where}; {facts['dtype']}, {facts['scan']} scan, attention through "
        f"{' or '.join(facts['attention'])}; torch {facts['torch']}, lingen {facts['lingen']}; "
        f"load {facts['load_at_start']} at the start"
    )


def _version() -> str:
    try:
        return importlib.metadata.version("lingen")
    except importlib.metadata.PackageNotFoundError:
        return "from source"
