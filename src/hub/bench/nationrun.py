"""One run of the nation: what it needs, the clock, the counters, the checks behind it."""

from __future__ import annotations

import contextlib
import resource
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hub.bench import machine as machines
from hub.bench.clocks import Clocks, MemoryWatch, Spent
from hub.bench.ending import Interrupts
from hub.bench.measure import bytes_on_disk, bytes_read, bytes_written
from hub.bench.nationask import Part, draw, parts_of
from hub.bench.nationcheck import check_run, check_world
from hub.bench.nationworld import NationWorld
from hub.bench.report import Progress
from hub.bench.truth import Truth
from hub.bench.world import REQUESTER
from hub.errors import HubError

DISK_PER_PERSON = 210
"""Three pairs of tables, what LMDB keeps of their older states, and the columns of 18 bytes: 197 at 62.5 M persons."""

DISK_PER_INQUIRY = 90
"""Body, entry, nodes, index before and after merging, the request's state, the permit."""

HOT_PER_PERSON = 66
"""The agency's table by alias and the municipalities' by person: those that a row is looked up in."""

HOT_PER_INQUIRY = 18
"""Of the log what is read again while it grows, the index that merges: so much of it is dirty or hot."""

MEMORY_BASE = 1_200_000_000
"""The process with an inquiry of 5 million rows."""


@dataclass(frozen=True)
class Sizes:
    """What was asked for: ``rows`` is that of one inquiry."""

    persons: int
    inquiries: int
    rows: int
    seed: int
    threads: int


@dataclass(frozen=True)
class Needs:
    """Bytes that a run takes, about."""

    disk: int
    memory: int

    def refusal(self, folder: Path) -> str | None:
        """Why it cannot run here, or None."""
        free = shutil.disk_usage(folder).free
        if free < self.disk:
            return (
                f"space in {folder}: expected {machines.gib(self.disk)}, got {machines.gib(free)}; "
                "use --folder, --persons or --inquiries"
            )
        available = machines.memory_bytes("MemAvailable")
        if available is not None and available < self.memory:
            return (
                f"memory: expected {machines.gib(self.memory)} available for the tables that are looked up in, got "
                f"{machines.gib(available)}; use --persons"
            )
        return None


def needs_of(sizes: Sizes, *, keep: bool, built: bool) -> Needs:
    """What a run of these sizes needs; a kept world is copied, one that is built already needs its copy alone."""
    worlds = (2 - built) if keep else 1
    disk = worlds * DISK_PER_PERSON * sizes.persons + DISK_PER_INQUIRY * sizes.inquiries
    hot = HOT_PER_PERSON * sizes.persons + HOT_PER_INQUIRY * sizes.inquiries
    return Needs(disk + (64 << 20), hot + min(MEMORY_BASE, 200_000_000 + 300 * sizes.rows))


@dataclass
class Measured:
    """What was counted; seconds are of the clock on the wall.

    Attributes:
        rows: asked and answered. asked_s: first row to last durable chunk. delivered_s, merged_s: behind that.
        cpu_s: of the process while it asked. spent: where it went. written, read: bytes while it asked.
        anonymous_bytes: the most beside mapped files. column_bytes: of it the bench's own rows, about.
        live_bytes: by how much the records' pages grew. disk_bytes: of all files at the end.
        part_s: of each inquiry. faults: major, while it asked.
    """

    rows: int = 0
    asked_s: float = 0.0
    delivered_s: float = 0.0
    merged_s: float = 0.0
    cpu_s: float = 0.0
    spent: dict[str, Spent] = field(default_factory=dict)
    written: int = 0
    read: int = 0
    faults: int = 0
    anonymous_bytes: int = 0
    column_bytes: int = 0
    live_bytes: int = 0
    disk_bytes: int = 0
    commits: int = 0
    part_s: list[float] = field(default_factory=list)


class NationRun:
    """State of one run.

    Attributes:
        world: that it asks; None until it is opened. asked: the inquiries that were answered.
    """

    def __init__(self, sizes: Sizes, progress: Progress, interrupts: Interrupts) -> None:
        self.sizes = sizes
        self.progress = progress
        self._interrupts = interrupts
        self.truth = Truth()
        self.measured = Measured()
        self.world: NationWorld | None = None
        self.built_s = self.copy_s = self.warm_s = 0.0
        self.asked: list[Part] = []
        self._before = 0
        self._note = ""

    def ask(self) -> None:
        """Ask everything, under the clock; what was done stands in ``measured``, also after an interrupt."""
        world = self._warm()
        stats = world.hub.stats()
        self._before, self._note = stats["records"], world.hub.checkpoint()
        clocks, found = Clocks(), self.measured
        written, read = bytes_written() or 0, bytes_read() or 0
        usage, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        last = begin
        with MemoryWatch() as memory, clocks.running():
            try:
                for part in parts_of(self.sizes.persons, self.sizes.inquiries, self.sizes.rows):
                    self._interrupts.look()
                    self._ask_part(world, part, clocks, begin)
                    last = time.perf_counter()
            finally:
                after = resource.getrusage(resource.RUSAGE_SELF)
                found.asked_s = last - begin
                found.cpu_s = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
                found.faults = after.ru_majflt - usage.ru_majflt
                found.spent = clocks.by_stage(found.cpu_s)
                found.written, found.read = (bytes_written() or 0) - written, (bytes_read() or 0) - read
                found.anonymous_bytes = memory.peak_bytes
            self._finish(world, stats)
            found.anonymous_bytes = max(found.anonymous_bytes, memory.peak_bytes)

    def _ask_part(self, world: NationWorld, part: Part, clocks: Clocks, begin: float) -> None:
        found = self.measured
        rate = found.rows / max(time.perf_counter() - begin, 1e-9)
        self.progress.step(
            f"ask: {found.rows:,} of {self.sizes.inquiries:,} rows" + (f", {rate / 1e6:.2f} M/s" if found.rows else "")
        )
        with clocks.span("bench"):
            questions = draw(world, part, self.sizes.seed)
        start = time.perf_counter()
        answer = world.hub.inquire(questions.inquiry, questions.aliases, questions.providers)
        found.part_s.append(time.perf_counter() - start)
        with clocks.span("bench"):
            self.truth.check_column("nation: answers", "status", answer.status, questions.status)
        columns = (questions.aliases, questions.providers, questions.status, answer.status, answer.rule, answer.reason)
        found.column_bytes = max(found.column_bytes, sum(column.nbytes for column in columns))
        found.rows += part.end - part.start
        self.asked.append(part)

    def _warm(self) -> NationWorld:
        """Read, and check, the tables that rows are looked up in, as a hub that is at work has them."""
        world = self.world
        assert world is not None
        begin = time.monotonic()
        self.progress.step(f"warm: {1 + len(world.towns):,} tables")
        world.hub.warm_tables([REQUESTER], world.town_codes)
        self.warm_s = time.monotonic() - begin
        return world

    def _finish(self, world: NationWorld, before: dict[str, int]) -> None:
        """Wait for what goes on beside the writer: the inboxes, the index."""
        found = self.measured
        begin = time.perf_counter()
        self.progress.step("ask: all durable; permits into inboxes")
        world.hub._delivery.deliver()  # type: ignore[union-attr]
        found.delivered_s = time.perf_counter() - begin
        begin = time.perf_counter()
        merger = world.hub._merger
        while merger is not None and not merger.idle and merger.alive:
            self.progress.step("ask: permits in inboxes; index merging")
            time.sleep(0.05)
        found.merged_s = time.perf_counter() - begin
        stats = world.hub.stats()
        found.live_bytes = stats["records_bytes"] - before["records_bytes"]
        found.commits = stats["commits"] - before["commits"]
        found.disk_bytes = bytes_on_disk(world.folder)

    def check(self, random: np.random.Generator) -> None:
        """Compare everything with the model; problems stand in ``truth``."""
        assert self.world is not None
        self.progress.step("check: tables")
        try:
            check_world(self.world, self.truth, random)
            check_run(self.world, self.asked, self._before, self._note, self.truth, random, self.progress)
        except HubError as error:
            self.truth.problems.append(f"nation: check: {error}")

    def close(self) -> None:
        """Let go of the world."""
        if self.world is not None:
            with contextlib.suppress(AttributeError):
                self.world.close()
