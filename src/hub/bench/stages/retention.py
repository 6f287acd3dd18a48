"""Retention: single inquiries beside it, and alias blocks rewritten after years of it, bodies in two layouts."""

from __future__ import annotations

import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

import hub
from hub.bench.log import REQUESTER, pension_inquiry
from hub.bench.machinelimits import COMMIT
from hub.bench.measure import bytes_on_disk
from hub.bench.results import size_name
from hub.bench.run import Run
from hub.records.erasures import expires_at
from hub.storage.periods import period_of
from hub.storage.snapshot import Commit
from hub.store import NAMES, Store

START = 1_795_143_600
"""2026-11-20 in Japan."""
PERSONS = 20_000
MERGE_SECONDS_MAX = 60.0

BLOCK_BYTES = 32_768 - 16
"""The largest block of an alias table; with the head of its first page it fills eight."""
CHUNK_ROWS = 65_536
BODY, ENTRY, INDEX = 16, 32, 12
"""Bytes a record of what a chunk leaves: its body goes with its period, its entry never, its index with the period."""
HEAD_BYTES = 400
PERIODS_KEPT = 29
"""Seven years of quarters, and the one that is being filled."""
DROP_VALUES, DROP_BYTES = 256, 1 << 20


def run(bench: Run) -> None:
    measure_delay(bench)
    measure_years(bench)


# -- inquiries beside the erasure of a period


def measure_delay(bench: Run) -> None:
    """Single inquiries alone, then while a period of bulk and single inquiries is erased."""
    quick = bench.options.quick
    bulk, small = (300_000, 200) if quick else (4_000_000, 2_000)
    clock = START
    with hub.open(bench.folder / "retention", create=True, clock=lambda: clock, threads=bench.options.threads) as h:
        codes = np.arange(PERSONS, dtype=np.int64) + 10**9
        town = h.catalog.institutions("市町村長")[0].code
        own = h.acquire(REQUESTER, codes).aliases
        h.acquire(town, codes)
        bench.progress.step(f"retention: {size_name(bulk)} records that will expire")
        done = 0
        while done < bulk:
            rows = min(1_000_000, bulk - done)
            h.inquire(pension_inquiry(f"bulk {done}"), np.resize(own, (rows, 16)), town)
            done += rows
        asked = 0

        def ask() -> float:
            nonlocal asked
            asked += 1
            begin = time.perf_counter()
            h.inquire(pension_inquiry(f"single {asked}"), own[asked % PERSONS][None], town)
            return time.perf_counter() - begin

        for _ in range(small):
            ask()
        clock = expires_at(period_of(START))
        ask()
        begin = time.monotonic()
        while h._merger is not None and not h._merger.idle and time.monotonic() - begin < MERGE_SECONDS_MAX:
            time.sleep(0.05)
        case = f"retention: {size_name(bulk)} records"
        bench.progress.step(f"{case}, singles alone and beside")
        alone = [ask() for _ in range(4 * bench.options.singles)]
        beside: list[float] = []
        steps: list[int] = []
        with ThreadPoolExecutor(1, "hub-retain") as threads:
            begin = time.perf_counter()
            erased = threads.submit(h.retain, confirm=True, progress=steps.append)
            while not erased.done():
                beside.append(ask())
            seconds = time.perf_counter() - begin
        bench.truth.check_equal(case, "records erased", erased.result().records, bulk + small)
        bench.truth.check_equal(case, "problems", list(h.verify().problems), [])
    add_latency(bench, f"{case} singles alone", alone)
    add_latency(bench, f"{case} singles beside", beside)
    bench.results.add(f"{case} erased beside", "rows_per_s", (bulk + small) / seconds)
    bench.limits.commit()
    for which in ("alone", "beside"):
        bench.results.compare(f"{case} singles {which}", limit=COMMIT)
    # Every step of an erasure is durable before the next.
    limit = bench.limits.of_syncs(f"{case} erased beside", (bulk + small) / max(1, len(steps)))
    bench.results.compare(f"{case} erased beside", limit=limit)


def add_latency(bench: Run, case: str, seconds: list[float]) -> None:
    """Enter p50, p99 and the longest."""
    bench.results.add_latency(case, seconds)
    bench.results.add(case, "max_us", 1e6 * max(seconds))


# -- years of periods that come and go


class Size(NamedTuple):
    """What a simulated quarter adds, and how many quarters there are."""

    periods: int
    chunks: int
    groups: int
    blocks: int
    rewrites: int


QUICK = Size(periods=PERIODS_KEPT + 4, chunks=1, groups=6, blocks=64, rewrites=30)
WHOLE = Size(periods=PERIODS_KEPT + 12, chunks=3, groups=50, blocks=512, rewrites=300)
GROUP = 64
"""Single inquiries that one transaction takes: their bodies share pages with nothing, and leave in scattered ones."""


class Layout(Protocol):
    """Where the bodies of records lie."""

    name: str

    def __init__(self, store: Store) -> None: ...

    def begin(self, period: int) -> None:
        """A period begins."""

    def put(self, commit: Commit, period: int, bodies: dict[bytes, bytes]) -> None:
        """Append bodies; durable once the transaction is."""

    def drop(self, period: int) -> None:
        """All bodies of a period go; their keys and index leave the environment by themselves."""


class InEnvironment:
    """Bodies are values of the environment, as in ``records/bodies.py``."""

    name = "in LMDB"

    def __init__(self, store: Store) -> None: ...

    def begin(self, period: int) -> None: ...

    def put(self, commit: Commit, period: int, bodies: dict[bytes, bytes]) -> None:
        for key, body in bodies.items():
            commit.put("records", key, body)

    def drop(self, period: int) -> None: ...


class InSegments:
    """Bodies are appended to a file a period, synced before the transaction that names their place."""

    name = "in segments"

    def __init__(self, store: Store) -> None:
        self._folder = store.folder
        self._handle = -1
        self._length = 0

    def begin(self, period: int) -> None:
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = os.open(self._path(period), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        self._length = 0

    def put(self, commit: Commit, period: int, bodies: dict[bytes, bytes]) -> None:
        os.write(self._handle, b"".join(bodies.values()))
        os.fdatasync(self._handle)
        for key, body in bodies.items():
            place = period.to_bytes(2, "big") + self._length.to_bytes(8, "big") + len(body).to_bytes(4, "big")
            commit.put_sealed("records", key, place)
            self._length += len(body)

    def drop(self, period: int) -> None:
        self._path(period).unlink()

    def _path(self, period: int) -> Path:
        return self._folder / f"{period}.segment"


class Years:
    """A store whose periods come and go, with alias blocks rewritten in between."""

    def __init__(self, bench: Run, kind: type[Layout], size: Size) -> None:
        self._random = bench.generator("retention years")
        self._size = size
        self.name = kind.name
        self.store = Store(bench.folder / f"years {kind.name}", create=True, readonly=False, now=START)
        self._layout = kind(self.store)
        self._keys: deque[list[bytes]] = deque()
        self._period = 0
        self._index = 0
        self.appends: list[float] = []
        """Seconds of each transaction with a group of single inquiries."""
        with self.store.commit() as commit:
            for block in range(size.blocks):
                commit.put("tables", block.to_bytes(8, "big"), bytes(BLOCK_BYTES))

    def add_period(self) -> None:
        """A quarter: bulk chunks, single records, aliases acquired in between."""
        self._layout.begin(self._period)
        self._keys.append([])
        whole = set(np.linspace(0, self._size.groups, self._size.chunks, endpoint=False, dtype=int).tolist())
        for at in range(self._size.groups):
            if at in whole:
                self._append([CHUNK_ROWS])
            begin = time.perf_counter()
            self._append([1] * GROUP)
            self.appends.append(time.perf_counter() - begin)
            self.rewrite()
        self._period += 1

    def _append(self, chunks: list[int]) -> None:
        with self.store.commit() as commit:
            bodies = {}
            for rows in chunks:
                key = self._index.to_bytes(8, "big")
                bodies[key] = self._random.bytes(HEAD_BYTES + BODY * rows)
                commit.put_sealed("entries", key, self._random.bytes(ENTRY * rows))
                commit.put_sealed("runs", key, self._random.bytes(INDEX * rows))
                self._index += rows
            self._layout.put(commit, self._period, bodies)
        self._keys[-1] += bodies

    def rewrite(self) -> tuple[float, list[float]]:
        """Two blocks, as an acquisition of one alias rewrites them: (seconds with the sync, seconds of each put)."""
        puts = []
        block = self._random.bytes(BLOCK_BYTES)
        begin = time.perf_counter()
        with self.store.commit() as commit:
            for number in self._random.integers(0, self._size.blocks, 2).tolist():
                before = time.perf_counter()
                commit.put("tables", number.to_bytes(8, "big"), block)
                puts.append(time.perf_counter() - before)
        return time.perf_counter() - begin, puts

    def drop_period(self) -> None:
        """The oldest quarter goes, in bounded transactions, with an acquisition in between."""
        keys = self._keys.popleft()
        self._layout.drop(self._period - len(self._keys) - 1)
        while keys:
            with self.store.commit() as commit:
                dropped = size = 0
                for key in keys[:DROP_VALUES]:
                    for name in ("records", "runs"):
                        size += len(commit.txn.pop(key, db=commit.databases[name]) or b"")
                    dropped += 1
                    if size >= DROP_BYTES:
                        break
            keys = keys[dropped:]
            self.rewrite()

    def bytes_in_use(self) -> int:
        """Bytes of the environment's pages that hold something."""
        with self.store.snapshot() as snapshot, snapshot.reading:
            stats = [snapshot.txn.stat(self.store.databases[name]) for name in NAMES]
        return sum(s["psize"] * (s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"]) for s in stats)


def measure_years(bench: Run) -> None:
    """Rewriting blocks in the first quarter, before the first one goes, and after years of them going.

    Both layouts side by side, a rewrite of one and then of the other: what else the machine does meets both.
    """
    size = QUICK if bench.options.quick else WHOLE
    both = [Years(bench, kind, size) for kind in (InEnvironment, InSegments)]
    try:
        for period in range(1, size.periods + 1):
            for years in both:
                if period > PERIODS_KEPT:
                    years.drop_period()
                years.add_period()
            if period not in (1, PERIODS_KEPT, size.periods):
                continue
            after = f"after {(period - 1) / 4:g} years"
            bench.progress.step(f"retention: {after}")
            limit = bench.limits.of_replacing(f"retention: {after}", 2 * BLOCK_BYTES)
            measured = [[years.rewrite() for years in both] for _ in range(size.rewrites)]
            for years, times in zip(both, zip(*measured, strict=True), strict=True):
                case = f"retention: {years.name} {after}"
                add_latency(bench, f"{case}, acquire", [seconds for seconds, _ in times])
                bench.results.compare(f"{case}, acquire", limit=limit)
                add_latency(bench, f"{case}, 32 KiB put", [put for _, puts in times for put in puts])
                bench.results.add(f"{case}, in use", "bytes", years.bytes_in_use())
                bench.results.add(f"{case}, file", "bytes", bytes_on_disk(years.store.folder / "env"))
        for years in both:
            add_latency(bench, f"retention: {years.name}, append of {GROUP}", years.appends)
            bench.results.compare(f"retention: {years.name}, append of {GROUP}", limit=COMMIT)
    finally:
        for years in both:
            years.store.close()
