"""Kinds of devices that a training can be planned for. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

GPU_UTILIZATION = 0.35
"""Share of a GPU's peak that a training is assumed to reach. Not measured: common for transformers
of this size in bf16."""
CPU_UTILIZATION = 0.2
"""Share of a large matrix product's speed that a training is assumed to reach on a processor."""


@dataclass(frozen=True)
class DeviceKind:
    """A device: its peak in dense bf16 FLOP/s, its memory in bytes, and the share of the peak that
    a training is assumed to reach."""

    name: str
    peak_flops: float
    memory: int
    utilization: float = GPU_UTILIZATION
    is_cpu: bool = False

    @property
    def flops(self) -> float:
        """FLOP/s that a training is assumed to reach."""
        return self.peak_flops * self.utilization


_GB = 10**9
DEVICE_KINDS = {
    kind.name: kind
    for kind in (
        DeviceKind("a100", 312e12, 80 * _GB),
        DeviceKind("h100", 989e12, 80 * _GB),
        DeviceKind("h200", 989e12, 141 * _GB),
        DeviceKind("b200", 2250e12, 180 * _GB),
        DeviceKind("l40s", 362e12, 48 * _GB),
        DeviceKind("mi300x", 1307e12, 192 * _GB),
        DeviceKind("rtx4090", 165e12, 24 * _GB),
    )
}
"""Name -> kind. Peaks are those of the makers' data sheets, without sparsity."""
