"""What a disk and the system's page cache do at best, for cases that wait for them: seconds of each of some repeats."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

import numpy as np

from hub.bench.measure import forget_pages

PAGE = mmap.PAGESIZE


def cold_reads(path: Path, random: np.random.Generator, repeats: int) -> list[float]:
    """Read single pages at random places of a file that is not in memory, as far as it can be put out; no read ahead.

    It is put out of memory again at the end.
    """
    forget_pages(path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        pages = max(1, os.fstat(descriptor).st_size // PAGE)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        seconds = []
        for place in random.integers(0, pages, repeats).tolist():
            begin = time.perf_counter()
            os.pread(descriptor, PAGE, place * PAGE)
            seconds.append(time.perf_counter() - begin)
    finally:
        os.close(descriptor)
    forget_pages(path)
    return seconds


def touches(path: Path, pages: int, repeats: int) -> list[float]:
    """Map a file anew and read a byte of so many of its pages, evenly spread; once more first, which is not counted."""
    apart = max(1, path.stat().st_size // PAGE // max(1, pages)) * PAGE
    seconds = []
    for _ in range(repeats + 1):
        with path.open("rb") as file:
            begin = time.perf_counter()
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                whole = np.frombuffer(data, dtype=np.uint8)
                int(whole[::apart].sum())
                del whole
            seconds.append(time.perf_counter() - begin)
    return seconds[1:]


def replacements(folder: Path, size: int, repeats: int) -> list[float]:
    """Write so many bytes in one piece over those of a file, and sync."""
    path, piece = folder / "replaced.limit", os.urandom(size)
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    seconds = []
    try:
        for _ in range(repeats + 1):
            begin = time.perf_counter()
            os.pwrite(descriptor, piece, 0)
            getattr(os, "fdatasync", os.fsync)(descriptor)
            seconds.append(time.perf_counter() - begin)
    finally:
        os.close(descriptor)
        path.unlink()
    # The first one made the file longer, which a sync writes too.
    return seconds[1:]
