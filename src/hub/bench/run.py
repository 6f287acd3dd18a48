"""One run of the bench: its options, what it has measured, and the worlds that its stages share."""

from __future__ import annotations

import contextlib
import errno
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hub.bench.log import Log
from hub.bench.machinelimits import MachineLimits
from hub.bench.peers import Peer, PeerRows
from hub.bench.report import Progress
from hub.bench.results import Results, size_name
from hub.bench.truth import Truth
from hub.bench.world import World

PERSONS = 10_000_000
PERSONS_SMALL = 1_000_000
PERSONS_QUICK = 200_000
BATCH_ROWS = 1_000_000
RECORDS_MAX = 10_000_000_000
BATCHES = 4
BATCHES_QUICK = 2
SECONDS_FOR_PEERS = 66.0
"""The default run is to end within 90 s; what follows the peers takes some 20."""
DISK_BYTES_PER_RECORD = 110
"""Body, entry, nodes, index before and after merging, the request's state, and what a merge keeps of older states."""
DISK_BYTES_PER_PERSON = 1_100
"""Four pairs of tables, what LMDB keeps of their older states, and the peers' files."""
MEMORY_BYTES_PER_PERSON = 900
"""The model's columns, the largest peer's objects, the pages that should stay cached."""


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    stages: tuple[str, ...]
    persons: int
    seed: int
    threads: int
    quick: bool
    folder: Path
    records: int = 0
    """Records that the inquiries are to leave, about; 0: those of a few batches."""
    peers: frozenset[str] | None = None
    """Names of the peers to measure beside; None: all that are there."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of persons measured: the one asked for, and a million below it, where every peer can follow."""
        return (PERSONS_SMALL, self.persons) if self.persons > PERSONS_SMALL else (self.persons,)

    @property
    def batch_rows(self) -> int:
        return min(BATCH_ROWS, self.persons)

    @property
    def batches(self) -> int:
        """Bulk inquiries that fill the log."""
        return -(-self.records // self.batch_rows) or (BATCHES_QUICK if self.quick else BATCHES)

    @property
    def disk_bytes(self) -> int:
        """What the run writes, about."""
        return sum(self.sizes) * DISK_BYTES_PER_PERSON + self.records * DISK_BYTES_PER_RECORD

    @property
    def seconds_for_peers(self) -> float:
        """Once a run has taken this long, no slow peer is loaded at the larger size; a size asked for is waited for."""
        return SECONDS_FOR_PEERS if self.persons == PERSONS else math.inf

    @property
    def singles(self) -> int:
        """Calls of one row that are timed; each waits for the disk."""
        return 100 if self.quick else 500

    @property
    def thread_counts(self) -> tuple[int, ...]:
        return (1,) if self.threads == 1 else (1, self.threads)


class Run:
    """State of one run. ``folder`` is temporary and removed by whoever made it, once closed.

    Attributes:
        left_out: cases that were not measured, and why. notes: what the table has no column for.
        load_seconds: how long the peers' files took to fill, by (files, persons). stage_seconds: of each stage.
        refused: names of peers that could not go on; they are not tried again.
        limits: what the machine can do at best, each measured when a stage first asks.
    """

    def __init__(self, options: Options, folder: Path, progress: Progress) -> None:
        self.options = options
        self.folder = folder
        self.progress = progress
        self.results = Results()
        self.truth = Truth()
        self.limits = MachineLimits(self)
        self.stage_seconds: dict[str, float] = {}
        self.left_out: list[str] = []
        self.notes: list[str] = []
        self._start = time.monotonic()
        self.load_seconds: dict[tuple[str, int], float] = {}
        self.refused: set[str] = set()
        self._worlds: dict[int, World] = {}
        self._rows: dict[int, PeerRows] = {}
        self._peers: dict[tuple[str, int], Peer] = {}
        self._logs: dict[int, Log] = {}

    def seconds(self) -> float:
        """How long the run has been going."""
        return time.monotonic() - self._start

    def leave_out(self, what: str) -> None:
        """Note a case that is not measured, and why; the same is said once."""
        if what not in self.left_out:
            self.left_out.append(what)

    def wanted(self, stage: str) -> bool:
        """Whether a stage is part of this run."""
        return stage in self.options.stages

    def world(self, persons: int) -> World:
        """The hub with that many persons; built at the first call, shared by the stages."""
        if persons not in self._worlds:
            folder = self.folder / f"hub-{persons}"
            weigh = persons == self.options.sizes[0]
            world = World(folder, persons, seed=self.options.seed, threads=self.options.threads, weigh=weigh)
            self._worlds[persons] = world
            world.build(self.progress)
        return self._worlds[persons]

    @contextlib.contextmanager
    def fresh_world(self, name: str, persons: int) -> Iterator[World]:
        """Another hub with that many persons, of which nobody was asked yet; gone when the block ends."""
        folder = self.folder / name
        world = World(folder, persons, seed=self.options.seed, threads=self.options.threads, weigh=False)
        try:
            world.build(self.progress)
            yield world
        finally:
            world.close()
            shutil.rmtree(folder, ignore_errors=True)

    def log(self, persons: int) -> Log:
        """The records that a world's inquiries leave; made at the first call."""
        if persons not in self._logs:
            log = Log(self.world(persons), rows=self.options.batch_rows, batches=self.options.batches)
            log.build(self.progress, self.truth)
            self._logs[persons] = log
        return self._logs[persons]

    def peer_rows(self, persons: int) -> PeerRows:
        """What the peers of one size load."""
        if persons not in self._rows:
            world = self.world(persons)
            self._rows[persons] = PeerRows(world.requester, world.everybody)
        return self._rows[persons]

    def load_peer(self, kind: type[Peer], persons: int) -> Peer:
        """A peer with that many persons, loaded now or by a stage before; ``load_seconds`` notes how long it took."""
        key = (kind.name, persons)
        if key not in self._peers:
            rows = self.peer_rows(persons)
            peer = kind(self.folder / f"peers-{persons}", threads=self.options.threads)
            self._peers[key] = peer
            begin = time.perf_counter()
            peer.load(rows)
            # The first to load these files counts: another way to read them finds them there.
            self.load_seconds.setdefault((kind.files, persons), time.perf_counter() - begin)
        return self._peers[key]

    def try_peer(self, kind: type[Peer], persons: int) -> Peer | None:
        """The same; None for a peer that refuses, which is said once and ends no run."""
        if kind.name in self.refused:
            return None
        try:
            return self.load_peer(kind, persons)
        except Exception as error:
            # Whatever a peer's library raises: its figures are missing, the hub's are not. A full disk is our own.
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
                raise
            self.refuse(kind, persons, error)
            return None

    def refuse(self, kind: type[Peer], persons: int, error: Exception) -> None:
        """Note that a peer could not go on, and why, in one line."""
        self.refused.add(kind.name)
        cause = str(error).strip().splitlines() or [type(error).__name__]
        self.leave_out(f"peer:{kind.name} at {size_name(persons)}: {cause[0][:160]}")
        self.drop_peer(kind, persons)

    def drop_peer(self, kind: type[Peer], persons: int) -> None:
        """Close a peer; its files stay for another that reads them."""
        peer = self._peers.pop((kind.name, persons), None)
        if peer is not None:
            peer.close()

    def drop_peers(self, persons: int) -> None:
        """Forget everything about the peers of one size."""
        for kind_name, size in list(self._peers):
            if size == persons:
                self._peers.pop((kind_name, size)).close()
        self._rows.pop(persons, None)
        shutil.rmtree(self.folder / f"peers-{persons}", ignore_errors=True)

    def generator(self, name: str) -> np.random.Generator:
        """Random numbers of one stage: the same for a seed whatever other stages run."""
        return np.random.default_rng([self.options.seed, *name.encode()])

    def close(self) -> None:
        for persons in self.options.sizes:
            self.drop_peers(persons)
        for world in self._worlds.values():
            world.close()
        self._worlds.clear()
        self._logs.clear()
