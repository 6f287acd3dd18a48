"""Curves of the look-up: over persons, batch sizes, threads, and with tables that are not in memory."""

from __future__ import annotations

import contextlib
import mmap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat as repeat_value

import numpy as np
import numpy.typing as npt

from hub import _core
from hub.bench import machine as machines
from hub.bench.ending import cause_of
from hub.bench.measure import Timing, bytes_read, repeat, timed
from hub.bench.plots import Curve, Point
from hub.bench.report import Progress
from hub.bench.results import size_name
from hub.bench.scalepace import Pace, reach
from hub.bench.scaleworld import HOT_PER_PERSON, MEMORY_KEPT, GrowingWorld
from hub.bench.truth import Truth
from hub.bench.world import EVERYBODY, REQUESTER, random_aliases
from hub.errors import HubError
from hub.messages import Resolved, Status

BATCH_ROWS = 1_000_000
BATCH_SIZES = tuple(10**power for power in range(8))
BATCH_CALLS = 30
BATCH_SECONDS = 0.5
THREADS_AT = 10_000_000
"""Threads and batch sizes are measured where the world has grown to this, or ended before."""

WARM_CALLS, WARM_BYTES = 12, 4 << 20
"""A case is measured once a call had less than this from the disk, or after so many calls. Of tables that were just
read the system takes pages away again where memory is full of what was there before them."""

COLD_ROWS = 2_000
COLD_SECONDS = 20.0
IDLE_POINTS = 4
"""Points without a byte from the disk, after which everything is there."""

RUN_ROWS = 256
"""Persons of a batch are drawn in runs of so many, a page of each of the model's columns, and shuffled: one by one a
million of them would read the columns whole, from the disk where memory is full of tables. Tables know nothing of it:
aliases are random, and persons are mixed."""

Column = npt.NDArray[np.uint8]


class Curves:
    """What is measured on a growing world.

    Attributes:
        threads: numbers of threads, ascending; the first is 1. persons_max: no further.
    """

    def __init__(
        self, world: GrowingWorld, truth: Truth, progress: Progress, *, threads: list[int], persons_max: int, seed: int,
        pace: Pace, save: Callable[[], None],
    ) -> None:  # fmt: skip
        self.pace = pace
        self.save = save
        self.world = world
        self.truth = truth
        self.progress = progress
        self.threads = threads
        self.persons_max = persons_max
        self._random = np.random.default_rng([seed, 5])
        self._beside_done = False

    def curves(self) -> list[Curve]:
        """Grow and measure; the curves are in the list from the beginning, and fill up."""
        every = "1 thread" if len(self.threads) == 1 else f"{self.threads[-1]} threads"
        note = (
            "Batches of a million rows, every block in memory and checked. The limit is two dependent random fetches a "
            "row over as many bytes, with prefetching: in pages of 4 KiB, as a file is mapped, and in huge ones. Where "
            "the kernel has these for files, the tables were read into them once more (Hub.warm_tables). Bars: the "
            "extremes of the repeats."
        )
        self.by_persons = {
            count: Curve(f"persons-{count}", f"Resolve by persons, {name}", "persons", "rows/s", note=note)
            for count, name in ((1, "1 thread"), (self.threads[-1], every))
        }
        self.by_threads = Curve("threads", "Resolve by threads", "threads", "rows/s")
        self.by_batch = Curve("batch", "Resolve by batch size, random hits", "rows of a batch", "ns/row", log_y=True)
        self.cold = Curve("cold", "Resolve with tables out of memory", "rows asked since", "rows/s", log_y=True)
        return [*self.by_persons.values(), self.by_threads, self.by_batch, self.cold]

    def measure(self) -> None:
        """Everything, in the order of growing; what is measured is saved behind each size.

        Raises:
            HubError, OSError, MemoryError: the world could not grow on; the curves say so.
        """
        for wanted in sizes_up_to(self.persons_max):
            size, lack = reach(self.world.persons, wanted, self._lacks)
            if lack:
                self._stop(f"stopped before {size_name(wanted)} persons: {lack}")
            if not size:
                break
            try:
                self.pace.growing(size - self.world.persons)
                self.world.grow(size, self.progress)
                self.pace.grown()
                for count, curve in self.by_persons.items():
                    self._measure_size(curve, size, count)
            except (HubError, OSError, MemoryError) as error:
                self._stop(f"stopped on the way to {size_name(size)} persons: {cause_of(error)}")
                raise
            if size >= THREADS_AT:
                self._measure_beside()
            self.pace.measured()
            self.save()
            if lack:
                break
        self._measure_beside()
        self._measure_cold()

    def _lacks(self, size: int) -> str | None:
        return self.world.lacks(size) or self.pace.lacks(size - self.world.persons)

    def _stop(self, why: str) -> None:
        for curve in self.by_persons.values():
            curve.stopped = why

    def _measure_size(self, curve: Curve, size: int, threads: int) -> None:
        self.world.reopen(threads)
        rows = min(BATCH_ROWS, size)
        hits = [self._draw(size, rows) for _ in range(2)]
        for name, sort in (("random hits", False), ("sorted hits", True)):
            self._measure_hits(curve, name, size, threads, hits, sort=sort)
        misses = [random_aliases(self._random, rows) for _ in range(2)]
        nothing = np.zeros((rows, 16), np.uint8)
        nobody = np.zeros(rows, np.uint32)
        self._timed(
            curve, "random misses", size, f"resolve: {size_name(size)} misses, {threads} threads", misses,
            [(nothing, nobody)] * 2, Status.UNKNOWN_ALIAS,
        )  # fmt: skip
        self._measure_limit(curve, size, threads, rows)
        self.progress.step(f"huge pages: {size_name(size)}")
        if self.world.map_hugely() > size * HOT_PER_PERSON // 2:
            self._measure_hits(curve, "random hits, huge pages", size, threads, hits)

    def _draw(self, size: int, rows: int) -> npt.NDArray[np.int64]:
        """int64[rows]: persons under ``size``, in random order, duplicates allowed."""
        begins = self._random.integers(0, max(1, size // RUN_ROWS), -(-rows // RUN_ROWS)) * RUN_ROWS
        persons = (begins[:, None] + np.arange(RUN_ROWS)).reshape(-1)[:rows]
        return self._random.permutation(persons)

    def _measure_hits(
        self, curve: Curve, name: str, x: int, threads: int, persons: list[npt.NDArray[np.int64]], *, sort: bool = False
    ) -> None:
        batches, expected = [], []
        for some in persons:
            aliases = np.asarray(self.world.requester[some])
            if sort:
                order = np.argsort(aliases.view(">u8")[:, 0], kind="stable")
                some, aliases = some[order], np.ascontiguousarray(aliases[order])
            batches.append(aliases)
            expected.append((np.asarray(self.world.everybody[some]), some.astype(np.uint32)))
        case = f"resolve: {name} at {x}, {threads} threads"
        self._timed(curve, name, x, case, batches, expected, Status.OK, in_order=not sort)

    def _timed(
        self, curve: Curve, series: str, x: int, case: str, batches: list[Column],
        expected: list[tuple[Column, npt.NDArray[np.uint32]]], status: Status, *, in_order: bool = True,
    ) -> None:  # fmt: skip
        def call(i: int) -> Resolved:
            return self.world.hub.resolve(REQUESTER, EVERYBODY, batches[i % len(batches)])

        def check(i: int, got: Resolved) -> None:
            aliases, persons = expected[i % len(batches)]
            self.truth.check_aliases(
                case, got.aliases, got.status, aliases, persons, status, first=i == 0, in_order=in_order
            )

        self.progress.step(case)
        for i in range(WARM_CALLS):
            before = bytes_read() or 0
            timed(call, check, i)
            if i and (bytes_read() or 0) - before < WARM_BYTES:
                break
        curve.add(series, rate_point(x, repeat(len(batches[0]), call, check)))

    def _measure_limit(self, curve: Curve, size: int, threads: int, rows: int) -> None:
        room = machines.memory_bytes("MemAvailable")
        if room is not None and room < self.world.pair_bytes + size * HOT_PER_PERSON + MEMORY_KEPT:
            curve.note += f" No limit at {size_name(size)}: no memory for it beside the tables."
            return
        order = self._random.integers(0, (1 << 64) - 1, rows, dtype=np.uint64, endpoint=True)
        for series, huge in (("limit, 4 KiB pages", False), ("limit, huge pages", True)):
            self.progress.step(f"{series}: {size_name(size)}, {threads} threads")
            memory = pages_of(max(1 << 20, self.world.pair_bytes), huge=huge)
            curve.add(series, rate_point(size, fetch_timing(memory, order, threads)))
            del memory

    def _measure_beside(self) -> None:
        """Threads and batch sizes, once."""
        if self._beside_done or not self.world.persons:
            return
        self._beside_done = True
        size = self.world.persons
        self.by_threads.title = f"Resolve by threads, {size_name(size)} persons"
        self.by_batch.title = f"Resolve by batch size, {size_name(size)} persons, random hits"
        for threads in self.threads:
            persons = [self._draw(size, min(BATCH_ROWS, size)) for _ in range(2)]
            self.world.reopen(threads)
            self._measure_hits(self.by_threads, "random hits", threads, threads, persons)
        for threads in sorted({self.threads[0], self.threads[-1]}):
            self.world.reopen(threads)
            for rows in BATCH_SIZES:
                if rows <= max(size, 10_000):
                    self._measure_batch(size, rows, threads)

    def _measure_batch(self, size: int, rows: int, threads: int) -> None:
        # Of small batches many different ones, or all their rows would be in the cache.
        count = 2 if rows >= BATCH_ROWS else BATCH_CALLS
        batches = [self._draw(size, rows) for _ in range(count)]
        columns = [np.asarray(self.world.requester[some]) for some in batches]
        series = "1 thread" if threads == 1 else f"{threads} threads"
        self.progress.step(f"batch: {rows:,} rows, {series}")
        seconds: list[float] = []
        i, begin = 0, time.perf_counter()
        while i < count or (time.perf_counter() - begin < BATCH_SECONDS and i < 1_000):
            start = time.perf_counter()
            got = self.world.hub.resolve(REQUESTER, EVERYBODY, columns[i % count])
            seconds.append(time.perf_counter() - start)
            if i < count:
                self.truth.check_aliases(
                    f"resolve: batches of {rows}, {series}", got.aliases, got.status,
                    np.asarray(self.world.everybody[batches[i]]), batches[i].astype(np.uint32), first=i == 0,
                )  # fmt: skip
            i += 1
        low, middle, high = np.percentile(np.array(seconds) / rows * 1e9, [5, 50, 95]).tolist()
        self.by_batch.add(series, Point(rows, middle, low, high))
        self.by_batch.note = "Median of the calls; bars: the 5th and 95th percentile."

    def _measure_cold(self) -> None:
        """From a file of which nothing is in memory: each batch finds what those before it read."""
        size = self.world.persons
        if not size:
            return
        self.cold.title = f"Resolve with tables out of memory, {size_name(size)} persons"
        self.cold.note = (
            f"The page cache was dropped (posix_fadvise) with the hub closed; batches of {COLD_ROWS:,} random hits. A "
            "block that is first read is checked whole, so a row reads two blocks of up to 32 KiB at first, and "
            "nothing once they are all there. So are tables larger than memory, at the share of them that is there."
        )
        for threads in sorted({self.threads[0], self.threads[-1]}):
            series = "1 thread" if threads == 1 else f"{threads} threads"
            self.progress.step(f"cold: {size_name(size)} persons, {series}")
            self.world.forget(threads)
            begin, done, shown, before = time.perf_counter(), 0, 1.0, bytes_read() or 0
            window: list[float] = []
            idle, seen = 0, before
            while time.perf_counter() - begin < COLD_SECONDS:
                persons = self._draw(size, COLD_ROWS)
                aliases = np.asarray(self.world.requester[persons])
                start = time.perf_counter()
                got = self.world.hub.resolve(REQUESTER, EVERYBODY, aliases)
                window.append(time.perf_counter() - start)
                done += COLD_ROWS
                self.truth.check_aliases(
                    f"resolve: cold, {series}", got.aliases, got.status, np.asarray(self.world.everybody[persons]),
                    persons.astype(np.uint32), first=False,
                )  # fmt: skip
                if done >= shown * COLD_ROWS:
                    self.cold.add(series, Point(done, COLD_ROWS / float(np.median(window))))
                    window, shown = [], done / COLD_ROWS * 1.5
                    idle, seen = (idle + 1 if (bytes_read() or 0) == seen else 0), bytes_read() or 0
                    if idle == IDLE_POINTS:
                        break
            read = (bytes_read() or 0) - before
            self.cold.note += f" {series}: {machines.gib(read)} read."


def sizes_up_to(persons_max: int) -> list[int]:
    """1, 2, 5, 10, ... million persons up to a size, and that; of smaller ones thousands."""
    unit = 1_000_000 if persons_max >= 1_000_000 else 10_000
    steps = (unit * factor for factor in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000))
    return [*(size for size in steps if size < persons_max), persons_max]


def rate_point(x: float, timing: Timing) -> Point:
    """Rows a second with their extremes."""
    middle, low, high = timing.rates()
    return Point(x, middle, low, high)


def pages_of(size: int, *, huge: bool) -> Column:
    """So many bytes in pages of that kind, as far as the system has them, all touched."""
    memory = mmap.mmap(-1, size)
    advice = getattr(mmap, "MADV_HUGEPAGE" if huge else "MADV_NOHUGEPAGE", None)
    if advice is not None:
        with contextlib.suppress(OSError):
            memory.madvise(advice)
    found = np.frombuffer(memory, np.uint8)
    found[:: mmap.PAGESIZE] = 1
    return found


def fetch_timing(memory: Column, order: npt.NDArray[np.uint64], threads: int) -> Timing:
    """Two dependent random fetches a row, of one line each."""
    parts = np.array_split(order, threads)
    with ThreadPoolExecutor(threads) as pool:
        call: Callable[[int], int] = lambda _: sum(  # noqa: E731
            pool.map(_core.fetch_limit, repeat_value(memory), parts, repeat_value(1), repeat_value(1))
        )
        return repeat(len(order), call, lambda *_: None)
