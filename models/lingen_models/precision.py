"""In what precision a device computes."""

from __future__ import annotations

import torch

from lingen_models.torch_private import processor_has_bfloat16


def compute_dtype(device: str) -> torch.dtype:
    """bfloat16 on GPUs and on processors with matrix units for it, else float32."""
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    has_bf16 = torch.backends.cpu.get_cpu_capability() == "AVX512" and processor_has_bfloat16()
    return torch.bfloat16 if has_bf16 else torch.float32
