"""Memory goes back to the system when much of it is free (glibc's ``mallinfo2(3)`` and ``malloc_trim(3)``).

By itself glibc keeps what was freed between what is still in use: behind a flood of uploads a server holds three times
what it needs, for as long as it runs. Larger buffers with pages of their own (``M_MMAP_THRESHOLD``) would not stay
either, but cost bulk inquiries a third of their speed in page faults.

And Python's garbage collector: it looks less often, and never at what is there for good.
"""

from __future__ import annotations

import ctypes
import gc

FREE_BYTES_MAX = 1 << 28
"""So much that is free may stay; to give back 1 GiB takes 0.1 s."""

COLLECT_FROM = 50_000
"""Objects more than before, from which on the collector looks at the young ones."""


class _Info(ctypes.Structure):
    """``struct mallinfo2``."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
        )
    ]  # fmt: skip


def return_memory(free_max: int = FREE_BYTES_MAX) -> bool:
    """Give back what is free where that is more than so many bytes; takes up to 0.1 s, without the interpreter's lock.

    Returns:
        whether something was given back; False as well where the C library is another.
    """
    libc = ctypes.CDLL(None)
    try:
        info, trim = libc.mallinfo2, libc.malloc_trim
    except AttributeError:
        return False
    info.restype = _Info
    return int(info().fordblks) > free_max and bool(trim(0))


def freeze_what_is_there() -> None:
    """Let the garbage collector never look at what is there for good; for a server that begins now.

    What libraries make as they are imported is half a million objects: a look at them takes 0.1 s.
    """
    gc.collect()
    gc.freeze()


def calm_collector() -> None:
    """:func:`freeze_what_is_there`, and let it look less often at the rest.

    A few hundred calls at a time come and go together; with Python's own threshold of 700 objects each such wave is
    looked through several times, for nothing: 10 of the loop's 25 microseconds a call.
    """
    freeze_what_is_there()
    gc.set_threshold(COLLECT_FROM, 20, 20)
