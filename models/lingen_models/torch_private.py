"""Parts of torch that it does not promise to keep, all that lingen's networks use of them.

Where a torch has one no longer, what stands in for it gives the same numbers, and is slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import torch
from torch import Tensor

_PARTS = {
    "_C._len_torch_dispatch_stack": "the C kernels are not used",
    "_softmax_backward_data": "gradients of attention take more passes",
    "ops.mkldnn._is_mkldnn_bf16_supported": "processors compute in float32",
    "_foreach_lerp_": "averages of weights are made one by one",
    "_foreach_copy_": "weights are copied one by one",
}
"""Name in `torch`, and what its absence means."""


def missing() -> dict[str, str]:
    """Return the parts that this torch has not, by name, with what that means."""
    return {f"torch.{name}": said for name, said in _PARTS.items() if not _has(name)}


def _has(name: str) -> bool:
    try:
        attrgetter(name)(torch)
    except AttributeError:
        return False
    return True


def operators_are_watched() -> bool:
    """Tell whether a dispatch mode sees every operator, as one that counts them does; so it is
    taken to be where torch does not say."""
    depth = getattr(torch._C, "_len_torch_dispatch_stack", None)
    return depth is None or depth() > 0


def softmax_backward(gradient: Tensor, chances: Tensor) -> Tensor:
    """Return the gradient of what `chances` are the softmax of, over the last dimension."""
    fused = getattr(torch, "_softmax_backward_data", None)
    if fused is None:
        product = gradient * chances
        return product - chances * product.sum(-1, keepdim=True)
    found: Tensor = fused(gradient, chances, -1, chances.dtype)
    return found


def processor_has_bfloat16() -> bool:
    """Tell whether oneDNN multiplies matrices in bfloat16 on this processor; not where torch does
    not say."""
    support = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return support is not None and bool(support())


def lerp_all(targets: Sequence[Tensor], sources: Sequence[Tensor], weight: float) -> None:
    """Move each target towards its source, in place, by the fraction `weight`."""
    if fused := getattr(torch, "_foreach_lerp_", None):
        fused(targets, sources, weight)
        return
    for target, source in zip(targets, sources, strict=True):
        target.lerp_(source, weight)


def copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy the numbers of each source into its target."""
    if fused := getattr(torch, "_foreach_copy_", None):
        fused(targets, sources)
        return
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
