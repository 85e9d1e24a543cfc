"""What a measurement ran on: without it a figure says nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from lingen_cli import __version__
from lingen_models.kernels import triton_scan
from lingen_models.precision import compute_dtype


def describe(device: str) -> dict[str, Any]:
    """Processor or GPU, threads, versions and the dtype that the networks compute in."""
    facts: dict[str, Any] = {
        "lingen": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "dtype": str(compute_dtype(device)).removeprefix("torch."),
        "scan": "triton" if device != "cpu" and triton_scan() is not None else "pytorch",
        "load_at_start": round(os.getloadavg()[0], 2),
    }
    if device != "cpu":
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


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
    where = (
        facts.get("gpu") or f"{facts['processor']}, {facts['threads']} of {facts['cores']} cores"
    )
    return (
        f"{where}; {facts['dtype']}, {facts['scan']} scan; torch {facts['torch']}, "
        f"lingen {facts['lingen']}; load {facts['load_at_start']} at the start"
    )
