"""How this process holds on to memory that its networks will want again in a moment."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEPT = 256 << 20
_LARGEST_KEPT = 32 << 20  # what glibc takes at most


def keep_freed_memory() -> None:
    """Have malloc reuse what a step of sampling frees, where the C library is glibc.

    By default it gives large tensors back to the system at once, which then clears their pages
    again for the next one: a sixth of the time of sampling on a CPU. Tensors of more than 32 MB
    still go back; huge pages, which torch asks for, make those cheaper. Call it before torch makes
    its first tensor. What the environment says about malloc is left alone.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if not sys.platform.startswith("linux") or any(
        name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ
    ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_TRIM_THRESHOLD, _KEPT)
