"""Pages of 2 MiB under the alias tables, where kernel and filesystem have them for files (Linux 6.18 with ext4 does).

Two fetches a row out of gigabytes are ruled by the translation of addresses, and a page of 4 KiB has 512 times as many
of them. The kernel takes a page of 2 MiB for a file only while it reads, and what LMDB wrote is there in small ones. So
those parts of the file that are mostly blocks of some tables are let go by this process and by the page cache, which
keeps what is not on the disk yet and what others have mapped, and are read again as large pages. Nothing of it changes
a byte or an answer: where the kernel does otherwise, it costs a reading of these parts and brings nothing.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hub.storage.snapshot import Snapshot

HUGE_BYTES = 1 << 21
SHARE_MIN = 0.5
"""Parts of HUGE_BYTES of which less is blocks of these tables stay as they are: what is read beside them is in vain."""

_POPULATE_READ = 22
_PAGE_BYTES = 4096
_PAGES_MASK = 0xF


def map_hugely(snapshot: Snapshot, tables: Sequence[int], data: Path) -> int:
    """Have the parts of the file that hold some tables mapped in huge pages, as far as the system does; bytes of them.

    Args:
        tables: their numbers. data: the environment's file.
    """
    area = _map_of(data)
    if area is None or not hasattr(mmap, "MADV_HUGEPAGE"):
        return 0
    begin, end = area
    counts = np.zeros((end - begin) // HUGE_BYTES + 1, np.int64)
    for table in tables:
        slots = snapshot.blocks(table << 32, table << 32 | 0xFFFFFFFF)[:, 1]
        np.add.at(counts, ((slots - np.uint64(begin)) // np.uint64(HUGE_BYTES)).astype(np.intp), _bytes_of(slots))
    parts = np.flatnonzero(counts >= SHARE_MIN * HUGE_BYTES)
    parts = parts[(parts + 1) * HUGE_BYTES <= min(end - begin, data.stat().st_size)]
    if not len(parts):
        return 0
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    file = os.open(data, os.O_RDONLY)
    try:
        for run in np.split(parts, np.flatnonzero(np.diff(parts) > 1) + 1):
            offset, size = int(run[0]) * HUGE_BYTES, len(run) * HUGE_BYTES
            madvise(begin + offset, size, mmap.MADV_DONTNEED)
            os.posix_fadvise(file, offset, size, os.POSIX_FADV_DONTNEED)
            if madvise(begin + offset, size, mmap.MADV_HUGEPAGE) == 0:
                madvise(begin + offset, size, _POPULATE_READ)
    finally:
        os.close(file)
    return len(parts) * HUGE_BYTES


def huge_bytes(data: Path) -> int:
    """Bytes of the file that this process has mapped in huge pages."""
    found, inside = 0, False
    for line in _lines("smaps"):
        if line[:1] in "0123456789abcdef" and "-" in line.split(" ", 1)[0]:
            inside = line.endswith(str(data.resolve()))
        elif inside and line.startswith("FilePmdMapped:"):
            found += 1024 * int(line.split()[1])
    return found


def _bytes_of(slots: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    return (slots & np.uint64(_PAGES_MASK)).astype(np.int64) * _PAGE_BYTES


def _map_of(data: Path) -> tuple[int, int] | None:
    """Where the whole file is mapped, if it is and begins at a huge page."""
    areas = [line.split(" ", 1)[0].split("-") for line in _lines("maps") if line.endswith(str(data.resolve()))]
    if not areas:
        return None
    begin, end = int(areas[0][0], 16), int(areas[-1][1], 16)
    return None if begin % HUGE_BYTES else (begin, end)


def _lines(name: str) -> list[str]:
    try:
        return Path(f"/proc/self/{name}").read_text().splitlines()
    except OSError:
        return []
