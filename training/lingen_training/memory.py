"""How the C library treats memory that a training has freed."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Keep what is freed for what comes next, where the C library can be asked to.

    Each step of a training allocates what the step before freed. By default glibc gives large
    blocks back and gets new ones, page by page, which took a tenth of a step.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        set_option = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return
    set_option(_TRIM_THRESHOLD, 2**31 - 1)
    set_option(_MMAP_THRESHOLD, 2**30)
