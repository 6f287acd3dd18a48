"""A few threads that share a batch; kernels run on them without the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

ROWS_PER_SLICE_MIN = 16_384
"""Below this a second thread costs more than it brings (a hand-over takes about 50 us)."""


class Workers:
    """Threads of one hub; started when first needed."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = max(1, threads or len(os.sched_getaffinity(0)))
        self._pool: ThreadPoolExecutor | None = None

    def submit(self, call: Callable[..., T], *arguments: object) -> Future[T]:
        """Run a call on a worker."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="hub")
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
