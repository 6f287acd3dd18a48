"""Timings: repeats, medians, percentiles, and what the process wrote."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

T = TypeVar("T")

REPEATS = 5
CASE_SECONDS = 1.0
"""A case stops repeating once it has taken this long; what takes longer runs once."""


@dataclass(frozen=True)
class Timing:
    """Seconds of each repeat over the same number of rows."""

    rows: int
    seconds: tuple[float, ...]

    def rates(self) -> tuple[float, float, float]:
        """Rows per second: median, lowest, highest."""
        rates = self.rows / np.array(self.seconds)
        return float(np.median(rates)), float(rates.min()), float(rates.max())


def repeat(rows: int, call: Callable[[int], T], check: Callable[[int, T], None], *, repeats: int = REPEATS) -> Timing:
    """Time ``call(i)`` for i = 0, 1, ..., and hand every answer to ``check`` when the clock has stopped.

    The first call, i = 0, warms up and is not counted, unless it takes longer than CASE_SECONDS: a call that
    long is not ruled by cold caches, and once must do.
    """
    first = timed(call, check, 0)
    if first > CASE_SECONDS:
        return Timing(rows, (first,))
    seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) < CASE_SECONDS:
        seconds.append(timed(call, check, len(seconds) + 1))
    return Timing(rows, tuple(seconds))


def timed(call: Callable[[int], T], check: Callable[[int, T], None], i: int) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    answer = call(i)
    seconds = time.perf_counter() - start
    check(i, answer)
    return seconds


def percentiles_us(seconds: Sequence[float]) -> tuple[float, float]:
    """(p50, p99) in microseconds."""
    p50, p99 = np.percentile(np.array(seconds) * 1e6, [50, 99])
    return float(p50), float(p99)


def bytes_written() -> int | None:
    """Bytes that this process has written so far; None where the kernel does not count them."""
    # Not ``write_bytes``: where a file system keeps large folios, that counts a folio whole for each page of it that
    # is written; the disk's own counter agreed with this one (75 to 90 against 78 to 94 bytes a record).
    return _count_of("wchar")


def bytes_read() -> int | None:
    """Bytes that this process has had from the disk so far; None where the kernel does not count them."""
    return _count_of("read_bytes")


def _count_of(name: str) -> int | None:
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    counts = dict(line.split(": ") for line in lines)
    return int(counts[name])


def bytes_on_disk(folder: Path) -> int:
    """Bytes that the files of a folder take on disk; holes in sparse ones are not counted."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def forget_pages(path: Path) -> None:
    """Let the system put a file that nobody has mapped out of memory; where it cannot, nothing happens."""
    if hasattr(os, "posix_fadvise"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
