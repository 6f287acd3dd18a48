"""Curves of the log: a citizen's history by the number of records, and inquiries by the rows of a call.

The log grows by inquiries of the pension agency. For every size that is looked at some citizens have a hundred records
and a few more, spread evenly over the log up to there: the page that they see is then made of as many places of it as
it can be.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hub.bench import machine as machines
from hub.bench.ending import cause_of
from hub.bench.log import pension_inquiry
from hub.bench.measure import bytes_read, forget_pages, percentiles_us
from hub.bench.plots import Curve, Point
from hub.bench.report import Progress
from hub.bench.results import size_name
from hub.bench.run import DISK_BYTES_PER_RECORD
from hub.bench.scalepace import Pace, reach
from hub.bench.truth import Truth
from hub.bench.world import REQUESTER, World
from hub.errors import HubError
from hub.messages import Status

PAGE = 100
RECORDS_EACH = 110
CITIZENS = 40
BATCH_ROWS = 1_000_000
INQUIRY_SIZES, INQUIRY_SIZES_LARGE = tuple(10**power for power in range(5)), (100_000, 1_000_000)
LARGE_FROM = 10_000_000
"""Records from which on larger calls are measured as well: before, they would be most of the log."""
INQUIRY_SECONDS = 1.0
DISK_KEPT = 2_000_000_000
MERGE_WAIT_S = 300.0


class HistoryCurves:
    """A small population that is asked about again and again."""

    def __init__(
        self, folder: Path, truth: Truth, progress: Progress, *, persons: int, records_max: int, threads: int,
        seed: int, pace: Pace, save: Callable[[], None],
    ) -> None:  # fmt: skip
        self.pace = pace
        self.save = save
        self.truth = truth
        self.progress = progress
        self.records_max = records_max
        self.records = 0
        self.calls = 0
        self.threads = threads
        self.world = World(folder, persons, seed=seed, threads=threads, weigh=False)
        self._random = np.random.default_rng([seed, 6])
        self.points = record_sizes(records_max)
        chosen = self._random.choice(persons, CITIZENS * len(self.points), replace=False)
        self.citizens = dict(zip(self.points, chosen.reshape(-1, CITIZENS), strict=True))
        self._spread = dict.fromkeys(self.points, 0.0)
        """How many records the citizens of each size have so far, of RECORDS_EACH."""
        # Nobody asks about them besides: with a hundred records more, the newest hundred would all stand near the end.
        self._others = np.setdiff1d(np.arange(persons), chosen)
        self._counts = np.zeros(persons, np.uint32)

    def curves(self) -> list[Curve]:
        """The curves; they fill up."""
        self.by_records = Curve(
            "history", "A citizen's history by the size of the log", "records", "us", log_y=True,
            note=f"A page of {PAGE} records with all their proofs, the hundred spread evenly over the whole log. Cold: "
            "the file was put out of memory before (posix_fadvise); each finds the upper pages that others read.",
        )  # fmt: skip
        self.reading = Curve("history-read", "What a cold history reads from the disk", "records", "KiB")
        self.by_rows = Curve(
            "inquiry", "Inquiries by the rows of a call", "rows of a call", "rows/s", log_y=True,
            note="One caller, one call behind the other; each is durable before the next.",
        )  # fmt: skip
        self.space = Curve(
            "space", "Inquiries as the log grows", "records", "rows/s",
            note="Between two sizes, calls of a million rows; permits are sorted in and the index merged beside them.",
        )
        return [self.by_rows, self.by_records, self.reading, self.space]

    def measure(self) -> None:
        """Fill the log, and look at histories at every size; what is measured is saved behind each.

        Raises:
            HubError, OSError, MemoryError: the log could not grow on; the curve says so.
        """
        self.world.build(self.progress)
        self._measure_calls(INQUIRY_SIZES, self.points[0] // 2)
        large_done = False
        for wanted in self.points:
            point, lack = reach(self.records, wanted, self._lacks)
            if lack:
                self._stop(f"stopped before {size_name(wanted)} records: {lack}")
            if not point:
                return
            # Whose records are spread up to the next size are spread over what of it could be filled.
            self.citizens.setdefault(point, self.citizens[wanted])
            try:
                self.pace.growing(point - self.records)
                self._fill(point, wanted)
                self._settle(point)
                self.pace.grown()
                self._measure_histories(point)
                if point >= LARGE_FROM and not large_done:
                    large_done = True
                    self._measure_calls(INQUIRY_SIZES_LARGE, 2 * point)
                self.pace.measured()
            except (HubError, OSError, MemoryError) as error:
                self._stop(f"stopped on the way to {size_name(point)} records: {cause_of(error)}")
                raise
            self.save()
            if lack:
                return

    def _stop(self, why: str) -> None:
        self.by_records.stopped = self.space.stopped = why

    def _lacks(self, point: int) -> str | None:
        needed = (point - self.records) * DISK_BYTES_PER_RECORD + DISK_KEPT
        free = shutil.disk_usage(self.world.folder).free
        if free < needed:
            return f"{machines.gib(needed)} of disk are needed, {machines.gib(free)} are free"
        return self.pace.lacks(point - self.records)

    def _measure_calls(self, sizes: tuple[int, ...], records_max: int) -> None:
        """Calls of these sizes, one behind the other, as long as the log stays below so many records."""
        self.world.hub.warm_tables([REQUESTER], self.world.town_codes)
        for rows in sizes:
            if rows > min(records_max // 2, self.world.persons):
                break
            self.progress.step(f"inquiry: calls of {rows:,} rows")
            seconds: list[float] = []
            begin = time.perf_counter()
            while time.perf_counter() - begin < INQUIRY_SECONDS and self.records + rows <= records_max:
                seconds.append(self._ask(self._draw(rows)))
            if seconds:
                low, middle, high = np.percentile(rows / np.array(seconds), [5, 50, 95]).tolist()
                self.by_rows.add("one caller", Point(rows, middle, low, high))

    def _draw(self, rows: int) -> npt.NDArray[np.int64]:
        return self._others[self._random.integers(0, len(self._others), rows)]

    def _ask(self, persons: npt.NDArray[np.int64]) -> float:
        world = self.world
        aliases, providers = world.requester[persons], world.towns[world.home_town[persons]]
        inquiry = pension_inquiry(f"scale-{self.calls}")
        self.calls += 1
        begin = time.perf_counter()
        answer = world.hub.inquire(inquiry, aliases, providers)
        seconds = time.perf_counter() - begin
        expected = np.full(len(persons), Status.OK, np.uint8)
        self.truth.check_column("inquiry: scale", "status", answer.status, expected, first=False)
        self._counts += np.bincount(persons, minlength=world.persons).astype(np.uint32)
        self.records += len(persons)
        return seconds

    def _fill(self, point: int, wanted: int) -> None:
        # The histories before were read from a file that had been put out of memory.
        self.world.hub.warm_tables([REQUESTER], self.world.town_codes)
        rows, seconds = 0, 0.0
        while self.records < point:
            count = min(BATCH_ROWS, point - self.records)
            self.progress.step(f"fill: {self.records:,} of {point:,} records")
            persons = self._draw(count)
            # Of each size still ahead its citizens, as often as keeps their records evenly spread up to it.
            often = []
            for size in (one for one in self.points if one >= wanted):
                end = point if size == wanted else size
                share = (RECORDS_EACH - self._spread[size]) * count / (end - self.records)
                self._spread[size] += share
                times = int(share) + (self._random.random(CITIZENS) < share % 1).astype(int)
                often.append(np.repeat(self.citizens[size], times))
            chosen = np.concatenate(often)[:count]
            persons[self._random.choice(count, len(chosen), replace=False)] = chosen
            seconds += self._ask(persons)
            rows += count
        if rows:
            self.space.add("one caller", Point(point, rows / seconds))

    def _settle(self, point: int) -> None:
        """Wait until permits and index are as they are in a hub at rest."""
        self.world.deliver()
        begin = time.monotonic()
        while not self.world.merging_done() and time.monotonic() - begin < MERGE_WAIT_S:
            self.progress.step(f"fill: {self.records:,} records, index merging")
            time.sleep(0.05)
        if not self.world.merging_done():
            self.by_records.note += f" {size_name(point)}: the index was not all merged {MERGE_WAIT_S:.0f} s later."

    def _measure_histories(self, point: int) -> None:
        people = self.citizens[point]
        aliases = self.world.everybody[people]
        name = f"history: {size_name(point)} records"
        self.progress.step(f"{name} cold")
        self.world.hub.close()
        forget_pages(self.world.folder / "env" / "data.mdb")
        self.world.reopen(self.threads)
        before = bytes_read() or 0
        cold = [self._read(alias) for alias in aliases]
        read = (bytes_read() or 0) - before
        if read:
            self.reading.add("cold", Point(point, read / len(people) / 1024))
        self.progress.step(f"{name} warm")
        warm = [self._read(alias) for _ in range(4) for alias in aliases]
        for series, seconds in (("cold", cold), ("warm", warm)):
            p50, p99 = percentiles_us(seconds)
            self.by_records.add(f"{series} p50", Point(point, p50))
            self.by_records.add(f"{series} p99", Point(point, p99))
        for person, alias in zip(people[:5].tolist(), aliases[:5], strict=True):
            self._check(name, person, alias)

    def _read(self, alias: npt.NDArray[np.uint8]) -> float:
        begin = time.perf_counter()
        history = self.world.hub.history(alias, limit=PAGE)
        if len(history):
            history.proof(0)
        return time.perf_counter() - begin

    def _check(self, name: str, person: int, alias: npt.NDArray[np.uint8]) -> None:
        found, cursor = 0, None
        while True:
            page = self.world.hub.history(alias, limit=PAGE, cursor=cursor)
            found += len(page)
            cursor = page.cursor
            if cursor is None:
                break
        self.truth.check_equal(name, "records of a citizen", found == int(self._counts[person]), True)

    def close(self) -> None:
        """Let go of the hub."""
        self.world.close()


def record_sizes(records_max: int) -> list[int]:
    """1, 2, 5, 10, ... million records up to a size, and that; of smaller ones thousands."""
    unit = 1_000_000 if records_max >= 1_000_000 else 10_000
    steps = (unit * factor for factor in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000))
    return [*(size for size in steps if size < records_max), records_max]
