"""A hub that grows while curves are measured on it: everybody known to the agency and to one body more."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

import hub
from hub.aliases import BY_ALIAS, BY_PERSON, check_table, table_number
from hub.bench import machine as machines
from hub.bench.measure import forget_pages
from hub.bench.report import Progress
from hub.bench.world import EVERYBODY, FIRST_CODE, REQUESTER
from hub.limits import ROWS_PER_ACQUIRE_CHUNK
from hub.storage.hugepages import huge_bytes

DISK_PER_PERSON = 270
"""Three pairs of tables, what LMDB keeps of their older states, and the two columns of the model."""

HOT_PER_PERSON = 70
"""The tables that a row is looked up in: half of two pairs."""

MEMORY_KEPT = 1_500_000_000
DISK_KEPT = 2_000_000_000
"""Left alone, for the process and for whoever else is here."""


class GrowingWorld:
    """The hub, and the model: two columns that are mapped from files, so that they may be put out of memory.

    Attributes:
        persons: so many are in. pair_bytes: pages of the second body's pair of tables.
    """

    def __init__(self, folder: Path, persons_max: int, *, threads: int) -> None:
        self.folder = folder
        self.persons = 0
        self.pair_bytes = 0
        folder.mkdir(parents=True)
        self.hub = hub.open(folder / "hub", create=True, threads=threads)
        self.requester = np.memmap(folder / "requester.bin", np.uint8, "w+", shape=(persons_max, 16))
        self.everybody = np.memmap(folder / "everybody.bin", np.uint8, "w+", shape=(persons_max, 16))

    def lacks(self, persons: int) -> str | None:
        """Why the world cannot grow to so many, or None."""
        disk = (persons - self.persons) * DISK_PER_PERSON + DISK_KEPT
        free = shutil.disk_usage(self.folder).free
        if free < disk:
            return f"{persons:,} persons need {machines.gib(disk)} of disk, {machines.gib(free)} are free"
        memory = persons * HOT_PER_PERSON + MEMORY_KEPT
        available = machines.memory_bytes("MemAvailable")
        if available is not None and available < memory:
            return f"{persons:,} persons need {machines.gib(memory)} of memory, {machines.gib(available)} are available"
        return None

    def grow(self, persons: int, progress: Progress) -> None:
        """Acquire until so many are in."""
        while self.persons < persons:
            start, end = self.persons, min(persons, self.persons + ROWS_PER_ACQUIRE_CHUNK)
            progress.step(f"grow: {start:,} of {persons:,} persons")
            for column in (self.requester, self.everybody):
                _reserve(Path(str(column.filename)), 16 * start, 16 * (end - start))
            codes = FIRST_CODE + np.arange(start, end, dtype=np.int64)
            self.requester[start:end] = self.hub.acquire(REQUESTER, codes).aliases
            before = int(self.hub.stats()["tables_bytes"])
            order = np.random.default_rng([1, start]).permutation(end - start)
            self.everybody[start + order] = self.hub.acquire(EVERYBODY, codes[order]).aliases
            self.pair_bytes += int(self.hub.stats()["tables_bytes"]) - before
            self.persons = end

    def reopen(self, threads: int, *, warm: bool = True) -> None:
        """Open it again with so many threads; warm: the tables that are looked up in are read and checked."""
        self.hub.close()
        self.hub = hub.open(self.folder / "hub", threads=threads)
        if warm:
            number = self.hub.catalog.institution
            for code, kind in ((REQUESTER, BY_ALIAS), (EVERYBODY, BY_PERSON)):
                with self.hub._store.snapshot() as snapshot:
                    check_table(snapshot, table_number(number(code).number, kind))

    def map_hugely(self) -> int:
        """Have the tables that are looked up in mapped in huge pages; bytes of the file that are."""
        self.hub.warm_tables([REQUESTER], [EVERYBODY])
        return huge_bytes(self.folder / "hub" / "env" / "data.mdb")

    def forget(self, threads: int) -> None:
        """Put the hub's file out of memory, as far as a process without privileges can, and open it again."""
        self.hub.close()
        forget_pages(self.folder / "hub" / "env" / "data.mdb")
        self.reopen(threads, warm=False)

    def close(self) -> None:
        """Let go of the hub."""
        self.hub.close()


def _reserve(path: Path, begin: int, size: int) -> None:
    """Room on the disk for a part of a mapped file: a page that finds none when it is written to ends the process.

    Raises:
        OSError: there is no space.
    """
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), begin, size)
