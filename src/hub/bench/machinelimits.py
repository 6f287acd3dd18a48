"""What this machine can do at best, measured in the run whose cases are held against it.

Each is measured once, when a stage first asks for it, and stands under the stage ``limits`` of the results. The limit
of a resolving row, two dependent fetches over the same footprint, is measured in ``stages/resolve.py``.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
import numpy as np

from hub import _hash
from hub.bench.disklimits import replacements
from hub.bench.measure import Timing, repeat

if TYPE_CHECKING:
    from hub.bench.run import Run

COPY_BYTES = 256 << 20
"""Larger than any cache."""

SHA_BYTES = 16 << 20
WRITE_BYTES, WRITE_BYTES_QUICK = 512 << 20, 32 << 20
WRITE_PART = 4 << 20
COMMITS, COMMITS_QUICK = 150, 30
HASHED_ROWS = 65_536

COPY, SHA, WRITE, COMMIT = "limits: memory copy", "limits: SHA-256", "limits: write and sync", "limits: durable commit"
HASHING = "record: limit hashing"
PROVING = "limits: hashing of a page of proofs"
PROVING_ONE = "limits: hashing of a proof"

RECORD_BYTES = 6 * 64
"""SHA-256 takes 64 bytes at a time: two for an entry, one for its subject's tag, one for the leaf, two for its node."""


class MachineLimits:
    """Measures each limit at most once a run and enters it into the results."""

    def __init__(self, bench: Run) -> None:
        self._bench = bench
        self._done: dict[str, float] = {}

    def _once(self, case: str, measure: Callable[[str], float]) -> float:
        if case not in self._done:
            self._bench.progress.step(case)
            self._done[case] = measure(case)
        return self._done[case]

    def copy(self) -> float:
        """Bytes a second that one thread copies from memory to memory, counted once."""
        return self._once(COPY, self._copy)

    def _copy(self, case: str) -> float:
        size = COPY_BYTES // 16 if self._bench.options.quick else COPY_BYTES
        source, target = np.ones(size, dtype=np.uint8), np.ones(size, dtype=np.uint8)
        return self._add(case, repeat(size, lambda _: np.copyto(target, source), lambda *_: None))

    def sha256(self) -> float:
        """Bytes a second that one thread of OpenSSL hashes in one long message."""
        return self._once(SHA, self._sha256)

    def _sha256(self, case: str) -> float:
        data = bytes(SHA_BYTES)
        return self._add(case, repeat(len(data), lambda _: hashlib.sha256(data).digest(), lambda *_: None))

    def write(self) -> float:
        """Bytes a second that go to the run's folder in one piece and are synced at the end."""
        return self._once(WRITE, self._write)

    def _write(self, case: str) -> float:
        quick = self._bench.options.quick
        part = os.urandom(WRITE_PART)
        # On a small disk less is written: the run needs the rest.
        room = shutil.disk_usage(self._bench.folder).free // 8
        size = max(1, min(WRITE_BYTES_QUICK if quick else WRITE_BYTES, room) // WRITE_PART) * WRITE_PART
        path = self._bench.folder / "write.limit"
        seconds = []
        for _ in range(1 if quick else 3):
            seconds.append(write_once(path, part, size))
        return self._add(case, Timing(size, tuple(seconds)))

    def commit(self) -> float:
        """Seconds of a commit of six small values with a sync of a file beside: what no call can be faster than."""
        return self._once(COMMIT, self._commit)

    def _commit(self, case: str) -> float:
        repeats = COMMITS_QUICK if self._bench.options.quick else COMMITS
        seconds = commit_seconds(self._bench.folder, repeats)
        self._bench.results.add_latency(case, seconds)
        return float(np.median(seconds))

    def hashing(self) -> float:
        """Records a second whose entries, leaves and nodes are hashed, on all threads of the run, and nothing else."""
        return self._once(HASHING, self._hashing)

    def _hashing(self, case: str) -> float:
        bench = self._bench
        random = bench.generator("record limit")
        stored = np.zeros((HASHED_ROWS, 16), dtype=np.uint8)
        salts, keys = (random.integers(0, 256, (HASHED_ROWS, 16), dtype=np.uint8) for _ in range(2))
        shared, times = np.zeros((1, 32), np.uint8), np.zeros((1, 2), np.int64)

        def hash_chunk(_: int) -> None:
            leaves = np.empty((HASHED_ROWS, 32), dtype=np.uint8)
            _hash.hash_records(salts, keys, stored, shared, times, leaves=leaves)
            _hash.append_leaves(0, [], leaves)

        chunks = (1 if bench.options.quick else 8) * bench.options.threads
        seconds = []
        with ThreadPoolExecutor(bench.options.threads) as threads:
            for _ in range(3):
                begin = time.perf_counter()
                list(threads.map(hash_chunk, range(chunks)))
                seconds.append(time.perf_counter() - begin)
        timing = Timing(HASHED_ROWS * chunks, tuple(seconds))
        bench.results.add_timing(case, timing)
        # As many bytes in one message: what one stream of OpenSSL reaches; lanes beside each other may exceed it.
        stream = bench.options.threads * self.sha256() / RECORD_BYTES
        bench.results.add("record: hashing in one piece", "rows_per_s", stream)
        return timing.rates()[0]

    def prove(self, proofs: int, tree_size: int) -> float:
        """Seconds in which one thread hashes the nodes of so many proofs, from stored ones over every 16 entries."""
        return self._once(PROVING, lambda case: self._prove(case, proofs, tree_size))

    def prove_one(self, tree_size: int) -> float:
        """The same of a single proof; that two trees are consistent takes as many nodes, or fewer."""
        return self._once(PROVING_ONE, lambda case: self._prove(case, 1, tree_size))

    def _prove(self, case: str, proofs: int, tree_size: int) -> float:
        # A tile of 16 is hashed up to its root for each four levels of the tree, its leaves once more below.
        tiles = proofs * max(1, math.ceil(math.log2(max(tree_size, 2)) / 4))
        entries, nodes = (np.zeros((16 * count, 32), dtype=np.uint8) for count in (proofs, tiles))
        seconds = []
        for _ in range(20):
            begin = time.perf_counter()
            _hash.hash_leaves(entries)
            hashes = nodes
            for _ in range(4):
                hashes = _hash.hash_pairs(hashes)
            seconds.append(time.perf_counter() - begin)
        self._bench.results.add_latency(case, seconds)
        return float(np.median(seconds))

    def _add(self, case: str, timing: Timing) -> float:
        self._bench.results.add_rate(case, "bytes_per_s", timing)
        return timing.rates()[0]

    # -- limits of a case, as cases of their own

    def of_writing(self, case: str, bytes_per_row: float | None) -> str | None:
        """Enter how many rows of so many bytes could be written and synced; the case's name."""
        if not bytes_per_row:
            return None
        name = f"{case} limit write"
        self._bench.results.add(name, "rows_per_s", self.write() / bytes_per_row)
        return name

    def of_hashing(self, case: str, records_per_row: int) -> str:
        """Enter how many rows of so many records could be hashed; the case's name."""
        name = f"{case} limit hashing"
        self._bench.results.add(name, "rows_per_s", self.hashing() / records_per_row)
        return name

    def of_syncs(self, case: str, rows_per_commit: float) -> str:
        """Enter how many rows could be durable with so many in each commit; the case's name."""
        name = f"{case} limit syncs"
        self._bench.results.add(name, "rows_per_s", rows_per_commit / self.commit())
        return name

    def of_proving(self, case: str, proofs: int, tree_size: int) -> str:
        """Enter in how many seconds the nodes of so many proofs could be hashed; the case's name."""
        name = f"{case} limit hashing"
        self._prove(name, proofs, tree_size)
        return name

    def of_replacing(self, case: str, size: int) -> str:
        """Enter in how many seconds so many bytes could be written over others and synced; the case's name."""
        name = f"{case} limit write"
        repeats = COMMITS_QUICK if self._bench.options.quick else COMMITS
        self._bench.results.add_latency(name, replacements(self._bench.folder, size, repeats))
        return name

    def of_commits(self, case: str, callers: int) -> str:
        """Enter how many calls of so many callers could be durable by themselves; the case's name."""
        self._bench.results.add(case, "rows_per_s", callers / self.commit())
        return case


def write_once(path: Path, part: bytes, size: int) -> float:
    """Seconds of writing so many bytes to a new file and syncing it; the file is gone then."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        begin = time.perf_counter()
        for _ in range(size // len(part)):
            os.write(descriptor, part)
        getattr(os, "fdatasync", os.fsync)(descriptor)
        return time.perf_counter() - begin
    finally:
        os.close(descriptor)
        path.unlink()


def commit_seconds(folder: Path, repeats: int) -> list[float]:
    """Seconds of each of so many commits."""
    seconds = []
    place, head_path = folder / "syncs", folder / "syncs.head"
    with lmdb.open(str(place), map_size=1 << 30, max_dbs=6) as env, open(head_path, "wb") as head:
        databases = [env.open_db(b"%d" % i) for i in range(6)]
        for i in range(repeats):
            start = time.perf_counter()
            with env.begin(write=True) as txn:
                for database in databases:
                    txn.put(i.to_bytes(8, "big"), bytes(3_000), db=database)
            os.pwrite(head.fileno(), bytes(4_096), 4_096 * (i % 2))
            getattr(os, "fdatasync", os.fsync)(head.fileno())
            seconds.append(time.perf_counter() - start)
    return seconds
