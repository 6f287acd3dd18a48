"""The synthetic population of a bench: a hub, N persons, who knows them under which alias.

Every person is known to the requester (``nenkin``), to one body that knows everybody (``portal``), and to the one
municipality where they live. The answers of ``acquire`` are the model that later answers are checked against.
Resident record codes are invented, from a range that nobody bears.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import hub
from hub.bench.measure import bytes_written
from hub.bench.report import Progress
from hub.bench.results import size_name
from hub.bench.towns import TOWNS, towns_of, with_towns
from hub.limits import ROWS_PER_BATCH_MAX
from hub.messages import Acquired, Acquisition
from hub.store import NAMES

REQUESTER = "nenkin"
EVERYBODY = "portal"
"""The body that knows everybody, the provider of the plainest cases."""

FIRST_CODE = 99_000_000_000


@dataclass(frozen=True)
class Step:
    """One measured call of ``acquire``, or several calls that belong together."""

    name: str
    rows: int
    seconds: tuple[float, ...]
    bytes_written: int | None
    live_bytes: int
    """By how much the tables' pages in use grew."""


class World:
    """N persons in a hub, and the model of them: columns over persons 0 to N - 1.

    Attributes:
        codes: int64[N], resident record codes.
        requester, everybody, home: uint8[N, 16], a person's alias at the requester, at EVERYBODY, at home.
        home_town: uint32[N], its place in ``towns`` of the municipality where a person lives.
        towns: uint32[T], the municipalities' numbers.
        steps: how the population came in, with timings.
        not_created: rows that were new and were not answered so; the model says 0.
        space: (aliases, live bytes) of EVERYBODY's pair of tables: where weighed, at three sizes between two powers of
            two; and when all are in.
    """

    def __init__(self, folder: Path, persons: int, *, seed: int, threads: int, weigh: bool) -> None:
        self.folder = folder
        self.persons = persons
        self.seed = seed
        self.weigh = weigh
        self.steps: list[Step] = []
        self.space: list[tuple[int, int]] = []
        self.not_created = 0
        random = np.random.default_rng([seed, persons])
        self.codes = FIRST_CODE + random.permutation(persons)
        self.hub = hub.open(folder, create=True, threads=threads)
        self.hub.load_catalog(with_towns(hub.Catalog.japan()))
        bodies = towns_of(self.hub.catalog)[: town_count(persons)]
        self.town_codes = [body.code for body in bodies]
        self.towns = np.array([body.number for body in bodies], dtype=np.uint32)
        self.home_town = random.integers(0, len(bodies), persons, dtype=np.uint32)
        self._mixed = random.permutation(persons)
        self.requester = self.everybody = self.home = np.empty((0, 16), dtype=np.uint8)

    def build(self, progress: Progress) -> None:
        """Acquire every alias, once, and keep the timings."""
        size = size_name(self.persons)
        progress.step(f"acquire: {size} new persons")
        everybody = partial(acquire_all, self.hub, REQUESTER, self.codes)
        self.requester = self._measure("new", self.persons, everybody).aliases
        self.everybody = np.empty_like(self.requester)
        start = 0
        # The second body's file comes in an order of its own; in parts that end where space is weighed, if it is.
        for end in [*(weighed_sizes(self.persons) if self.weigh else ()), self.persons]:
            progress.step(f"acquire: {size} known persons, {size_name(end)} of them")
            part = self._mixed[start:end]
            acquired = self._measure("known", len(part), partial(acquire_all, self.hub, EVERYBODY, self.codes[part]))
            self.everybody[part] = acquired.aliases
            self.space.append((end, sum(step.live_bytes for step in self.steps if step.name == "known")))
            start = end
        self._build_towns(progress, size)

    def _build_towns(self, progress: Progress, size: str) -> None:
        self.home = np.empty_like(self.requester)
        order = np.argsort(self.home_town, kind="stable")
        bounds = np.searchsorted(self.home_town[order], np.arange(len(self.towns) + 1))
        seconds = []
        live, written = self.live_bytes(), bytes_written()
        for town, code in enumerate(self.town_codes):
            if town % 64 == 0:
                progress.step(f"acquire: {size} persons by {len(self.towns):,} municipalities, {town:,} done")
            rows = order[bounds[town] : bounds[town + 1]]
            codes = self.codes[rows]
            begin = time.perf_counter()
            acquired = self.hub.acquire(code, codes)
            seconds.append(time.perf_counter() - begin)
            self.home[rows] = acquired.aliases
            self._check_new(acquired)
        self._note("towns", self.persons, tuple(seconds), written, live)

    def _measure(self, name: str, rows: int, call: Callable[[], Acquired]) -> Acquired:
        live, written = self.live_bytes(), bytes_written()
        begin = time.perf_counter()
        acquired = call()
        self._note(name, rows, (time.perf_counter() - begin,), written, live)
        self._check_new(acquired)
        return acquired

    def _check_new(self, acquired: Acquired) -> None:
        self.not_created += int(np.count_nonzero(acquired.status != Acquisition.CREATED))

    def _note(self, name: str, rows: int, seconds: tuple[float, ...], written: int | None, live: int) -> None:
        now = bytes_written()
        sent = now - written if now is not None and written is not None else None
        self.steps.append(Step(name, rows, seconds, sent, self.live_bytes() - live))

    def live_bytes(self, kind: str = "tables") -> int:
        """Bytes of the pages in use for tables or records: without what LMDB keeps free."""
        return int(self.hub.stats()[f"{kind}_bytes"])

    def bytes_by_database(self) -> dict[str, int]:
        """Bytes of the pages in use of each database."""
        return {
            name: stat["psize"] * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])
            for name, stat in self._stats().items()
        }

    def walked_pages(self) -> int:
        """Pages that a walk through the trees reads, at most: those with nodes, and of a large value the first."""
        stats = self._stats().values()
        values = sum(min(stat["entries"], stat["overflow_pages"]) for stat in stats)
        return values + sum(stat["branch_pages"] + stat["leaf_pages"] for stat in stats)

    def _stats(self) -> dict[str, Any]:
        store = self.hub._store
        with store.snapshot() as snapshot, snapshot.reading:
            return {name: snapshot.txn.stat(store.databases[name]) for name in NAMES}

    def deliver(self) -> None:
        """Sort in every permit that is left."""
        if self.hub._delivery is not None:
            self.hub._delivery.deliver()

    def merging_done(self) -> bool:
        """Whether nothing of the history index is left to merge."""
        return self.hub._merger is None or self.hub._merger.idle

    def reopen(self, threads: int) -> float:
        """Close the hub and open it again with that many threads; seconds of the opening."""
        self.hub.close()
        begin = time.perf_counter()
        self.hub = hub.open(self.folder, threads=threads)
        return time.perf_counter() - begin

    def close(self) -> None:
        self.hub.close()


def town_count(persons: int) -> int:
    """All of Japan's municipalities, or fewer for so small a world that they would stand empty."""
    return min(TOWNS, max(8, persons // 500))


def weighed_sizes(persons: int) -> list[int]:
    """Three sizes spread over the largest whole octave (2^k to 2^(k+1)) that fits below this number."""
    octave = 1 << (max(persons, 8).bit_length() - 2)
    return [int(octave * factor) for factor in (1.1, 1.42, 1.85)]


def random_aliases(random: np.random.Generator, rows: int) -> npt.NDArray[np.uint8]:
    """uint8[N, 16] that nobody has: 128 random bits each."""
    return np.frombuffer(random.bytes(16 * rows), dtype=np.uint8).reshape(rows, 16)


def acquire_all(h: hub.Hub, code: str, codes: npt.NDArray[np.int64]) -> Acquired:
    """An institution's aliases of any number of persons, in calls of as many as one takes."""
    starts = range(0, max(1, len(codes)), ROWS_PER_BATCH_MAX)
    parts = [h.acquire(code, codes[start : start + ROWS_PER_BATCH_MAX]) for start in starts]
    if len(parts) == 1:
        return parts[0]
    return Acquired(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("aliases", "status")))
