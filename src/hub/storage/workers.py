"""A few threads that share a batch; kernels run on them without the GIL."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

ROWS_PER_SLICE_MIN = 16_384
"""Below this a second thread costs more than it brings (a hand-over takes about 50 us)."""


class Workers:
    """Threads of one hub; started when first needed.

    Attributes:
        behind: by how much they stand behind the process's other threads (nice, 0 to 19); set before the first is
            needed. Where the system knows no priority of a thread (only Linux does) it has no effect.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = max(1, threads or len(os.sched_getaffinity(0)))
        self.behind = 0
        self._pool: ThreadPoolExecutor | None = None

    def pool(self, threads: int, name: str) -> ThreadPoolExecutor:
        """Further threads, which stand back as the others do; the caller shuts them down."""
        return ThreadPoolExecutor(threads, name, initializer=_stand_back, initargs=(self.behind,))

    def submit(self, call: Callable[..., T], *arguments: object) -> Future[T]:
        """Run a call on a worker."""
        if self._pool is None:
            self._pool = self.pool(self.threads, "hub")
        return self._pool.submit(call, *arguments)

    def over_slices(self, rows: int, call: Callable[[slice], T]) -> list[T]:
        """Run ``call`` on slices of ``rows`` rows, one a thread; results in row order."""
        parts = min(self.threads, max(1, rows // ROWS_PER_SLICE_MIN))
        if parts == 1:
            return [call(slice(0, rows))]
        edges = [rows * part // parts for part in range(parts + 1)]
        pending = [self.submit(call, slice(edges[part], edges[part + 1])) for part in range(1, parts)]
        first = call(slice(0, edges[1]))
        return [first, *(future.result() for future in pending)]

    def close(self) -> None:
        """Wait for what runs, then end the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _stand_back(behind: int) -> None:
    if behind and sys.platform == "linux":
        thread = threading.get_native_id()
        # A wish: where a sandbox forbids it the work is done all the same, which an error here would end for good.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + behind)
