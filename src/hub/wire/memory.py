"""Memory goes back to the system when it is free (glibc's ``mallopt(3)``).

By itself glibc keeps what was freed between what is still in use, and takes larger and larger buffers from there. Under
a flood of uploads a server then holds three times what it needs, for as long as it runs.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
MAPPED_FROM_BYTES = 1 << 17
"""Buffers from this size on have pages of their own, which go when they are freed: parts of uploads, columns."""
KEPT_BYTES = 1 << 25
"""So much of what is free at the end of the heap stays."""


def return_memory() -> bool:
    """Let freed buffers go back to the system from now on, in this process; False where the C library has no such
    switch."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, MAPPED_FROM_BYTES)) and bool(mallopt(_TRIM_THRESHOLD, KEPT_BYTES))
