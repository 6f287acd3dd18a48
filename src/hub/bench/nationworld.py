"""Everybody in one hub: built once, taken up again where it was left, kept for the next run.

A folder ``nation-<persons>-<seed>``:

| name | what |
|---|---|
| ``hub/``, ``hub.head`` | the hub: every person known to the pension agency and to the municipality where they live |
| ``requester.bin`` | N x 16 bytes: a person's alias at the agency, as it was acquired; the file that it asks by |
| ``home.bin`` | N x u16: the place in the list of municipalities of a person's own |
| ``state.json`` | how far it was built, and how long that took |

Persons have numbers 0 to N - 1 here; their resident record codes are invented and in another order (``codes_of``).
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

import hub
from hub.bench.measure import bytes_on_disk
from hub.bench.report import Progress
from hub.bench.towns import towns_of, with_towns
from hub.bench.world import FIRST_CODE, REQUESTER, town_count
from hub.limits import ROWS_PER_ACQUIRE_CHUNK
from hub.messages import Acquisition

PERSONS_AT_A_TIME = ROWS_PER_ACQUIRE_CHUNK
"""What one call acquires for the agency: each call writes most of the blocks of its tables again."""

COPY_BYTES = 1 << 26

GOLDEN = 0.6180339887498949


class State(msgspec.Struct):
    """How far a world is built.

    Attributes:
        requester: persons of whom the agency has an alias. towns: municipalities that have all of theirs.
        wrong: rows that were acquired for the first time and were not told so; the model says 0.
        seconds: of building so far.
    """

    persons: int
    seed: int
    requester: int = 0
    towns: int = 0
    wrong: int = 0
    seconds: float = 0.0


class NationWorld:
    """The folder, and the columns over its persons.

    Attributes:
        requester: uint8[N, 16], mapped from the file. home: uint16[N], likewise.
        towns: uint32[T], the municipalities' numbers. town_codes: their codes, in that order.
    """

    def __init__(self, folder: Path, persons: int, *, seed: int, threads: int) -> None:
        self.folder = folder
        self.persons = persons
        self.threads = threads
        folder.mkdir(parents=True, exist_ok=True)
        self.state = self._read_state(persons, seed)
        # What the step that was cut off had acquired is there already, and is told so.
        self._resumed = self.state != State(persons, seed)
        self.hub = hub.open(folder / "hub", create=True, threads=threads)
        self.hub.load_catalog(with_towns(hub.Catalog.japan()))
        bodies = towns_of(self.hub.catalog)[: town_count(persons)]
        self.town_codes = [body.code for body in bodies]
        self.towns = np.array([body.number for body in bodies], dtype=np.uint32)
        self.requester = _column(folder / "requester.bin", np.uint8, (persons, 16))
        self.home = _column(folder / "home.bin", np.uint16, (persons,))

    @property
    def complete(self) -> bool:
        """Whether everybody is in."""
        return self.state.requester == self.persons and self.state.towns == len(self.towns)

    def codes_of(self, persons: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Persons to their resident record codes: int64[N] to the same."""
        step = round(self.persons * GOLDEN) | 1
        while math.gcd(step, self.persons) != 1:
            step += 2
        return FIRST_CODE + (persons * step + self.state.seed % self.persons) % self.persons

    def residents(self, town: int) -> npt.NDArray[np.int64]:
        """The persons who live in a municipality, ascending."""
        return np.flatnonzero(self.home == town)

    def build(self, progress: Progress) -> None:
        """Acquire what is missing; may be cut off anywhere and called again."""
        while self.state.requester < self.persons:
            begin = time.monotonic()
            start = self.state.requester
            end = min(start + PERSONS_AT_A_TIME, self.persons)
            progress.step(f"build: {start:,} of {self.persons:,} persons known to the agency")
            random = np.random.default_rng([self.state.seed, start])
            self.home[start:end] = random.integers(0, len(self.towns), end - start, dtype=np.uint16)
            got = self.hub.acquire(REQUESTER, self.codes_of(np.arange(start, end, dtype=np.int64)))
            self.requester[start:end] = got.aliases
            self.state.requester = end
            self._note(begin, int(np.count_nonzero(got.status != Acquisition.CREATED)))
        while self.state.towns < len(self.towns):
            begin = time.monotonic()
            first = self.state.towns
            last = min(first + 64, len(self.towns))
            progress.step(f"build: {self.persons:,} persons, {first:,} of {len(self.towns):,} municipalities")
            # A look at everybody's home for 64 of them at a time: to sort all would take 8 bytes a person.
            persons = np.flatnonzero((self.home >= first) & (self.home < last))
            homes = self.home[persons]
            wrong = 0
            for town in range(first, last):
                got = self.hub.acquire(self.town_codes[town], self.codes_of(persons[homes == town]))
                wrong += int(np.count_nonzero(got.status != Acquisition.CREATED))
            self.state.towns = last
            self._note(begin, wrong)

    def _note(self, begin: float, wrong: int) -> None:
        # Columns first: what the state says is there must be.
        self.requester.flush()
        self.home.flush()
        self.state.wrong += 0 if self._resumed else wrong
        self._resumed = False
        self.state.seconds += time.monotonic() - begin
        _write_state(self.folder, self.state)

    def _read_state(self, persons: int, seed: int) -> State:
        path = self.folder / "state.json"
        if not path.exists():
            return State(persons, seed)
        return msgspec.json.decode(path.read_bytes(), type=State)

    def copy(self, folder: Path, progress: Progress) -> NationWorld:
        """Another world like this one, for a run that leaves records in it; this one is closed."""
        self.close()
        (folder / "hub").mkdir(parents=True)
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        total, done = bytes_on_disk(self.folder), 0
        for path in paths:
            target = folder / path.relative_to(self.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.name == "lock.mdb":
                continue
            for count in _copied(path, target):
                done += count
                progress.step(f"copy: {done >> 20:,} of {total >> 20:,} MiB of the kept world")
        return NationWorld(folder, self.persons, seed=self.state.seed, threads=self.threads)

    def close(self) -> None:
        """Let go of the hub and of the files."""
        self.hub.close()
        del self.requester, self.home


def world_folder(folder: Path, persons: int, seed: int) -> Path:
    """Where the world of this size is built."""
    return folder / f"nation-{persons}-{seed}"


def is_built(folder: Path) -> bool:
    """Whether a folder holds a whole world; it need not be opened for that."""
    try:
        state = msgspec.json.decode((folder / "state.json").read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        return False
    return state.requester == state.persons and state.towns == town_count(state.persons)


def _write_state(folder: Path, state: State) -> None:
    partial = folder / "state.json.partial"
    partial.write_bytes(msgspec.json.encode(state))
    partial.replace(folder / "state.json")


def _column(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> np.memmap:
    size = math.prod(shape) * np.dtype(kind).itemsize
    with path.open("ab") as file:
        if file.tell() != size:
            os.ftruncate(file.fileno(), size)
    return np.memmap(path, kind, "r+", shape=shape)


def _copied(path: Path, target: Path) -> Iterator[int]:
    """Copy a file, durably; the bytes of each part as it is done."""
    with path.open("rb") as source, target.open("wb") as copy:
        shutil.copymode(path, target)
        at = 0
        while count := os.sendfile(copy.fileno(), source.fileno(), at, COPY_BYTES):
            yield count
            at += count
            # Written as it goes, and the source let go of: the copy is what is to stay in memory.
            os.fdatasync(copy.fileno())
            os.posix_fadvise(source.fileno(), 0, at, os.POSIX_FADV_DONTNEED)
