"""Allocator settings: this process keeps memory that its networks will want again in a moment."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's malloc.h
_KEPT = 1 << 30


def keep_freed_memory() -> None:
    """Have malloc reuse what a step frees, where the C library is glibc.

    By default it gives tensors of more than 32 MB back to the system at once, which clears the
    pages anew for the next one: at 16,000 tokens and more, a third of a step on a CPU. What the
    environment says about malloc is left alone.
    """
    if not sys.platform.startswith("linux") or any(
        name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ
    ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _KEPT)
