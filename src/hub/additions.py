"""Write new entries into the alias tables.

What fits one transaction (``COMMIT_BYTES_MAX`` of rewritten blocks) is one. More would have to be held in memory all
at once, since random keys touch every block of a table: it is first written down whole in ``pending``, durably, and
then put into the tables a part at a time, each part a transaction. From the first on it is decided; a process that dies
in between leaves ``pending`` behind, and whoever opens the hub for writing next completes it before anything else.
Until then a reader may find an entry in one table and not yet in the other: of an alias that nobody was told.

``pending``, key u32 place of the addition, u32 part, big endian; value sealed, little endian:

| at | type | what |
|---|---|---|
| 0 | u32 | institution's or namespace's number |
| 4 | u32 | n, entries |
| 8 | n x 16 | aliases |
| | n x u32 | persons |
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from hub import _core
from hub.aliases import (
    BY_ALIAS,
    BY_PERSON,
    RESIDENT_CODES,
    Persons,
    check_slots,
    count_aliases,
    count_key,
    directory,
    find_aliases,
    find_persons,
    table_number,
)
from hub.errors import StorageError
from hub.messages import Aliases
from hub.sealed import unseal
from hub.snapshot import Commit, Snapshot
from hub.store import Store
from hub.workers import Workers

COMMIT_BYTES_MAX = 192 << 20
"""Rewritten blocks of one transaction: LMDB holds them in memory until it commits."""

ROWS_PER_PART = 1 << 18
"""Entries of one value of ``pending``: 5 MB."""

BYTES_PER_ENTRY = 30
"""Of one table, about; only to foresee how much a transaction will rewrite."""

BLOCK_BYTES = 24_576

_STAGING_BYTES = 16 << 20
_STAGING_BLOCKS = 4096
_HEAD = struct.Struct("<II")


class Addition(NamedTuple):
    """New entries of one institution or namespace: aliases uint8[N, 16], persons uint32[N], none there yet."""

    number: int
    aliases: Aliases
    persons: Persons

    def __repr__(self) -> str:
        return f"Addition(number={self.number}, entries={len(self.persons)})"


def add_entries(store: Store, additions: list[Addition], workers: Workers) -> None:
    """Add entries to the tables, durably. The caller holds ``store.acquiring``.

    Raises:
        StorageError: the disk is full or failed. Either nothing was kept, or all is decided and will be completed.
    """
    if sum(_foreseen_bytes(store, addition) for addition in additions) <= COMMIT_BYTES_MAX:
        with store.commit() as commit, store.snapshot() as snapshot:
            for addition in additions:
                for kind in (BY_ALIAS, BY_PERSON):
                    build = _sort(snapshot, addition, kind, commit.state.commit)
                    _put_blocks(commit, build, 0, build.unit_count, workers)
                _count(commit, snapshot, addition)
        return
    with store.commit() as commit:
        for place, addition in enumerate(additions):
            _write_down(commit, place, addition)
            _count_persons(commit, addition)
    _complete(store, additions, workers)


def complete_pending(store: Store, workers: Workers) -> int:
    """Finish the additions that a process left behind; returns how many entries they have.

    Raises:
        StorageError: what was written down is damaged, or the disk failed.
    """
    with store.snapshot() as snapshot:
        if not snapshot.items("pending", b"", limit=1):
            return 0
        additions = list(_read_pending(snapshot))
        left = [_left_over(snapshot, addition, workers) for addition in additions]
    _complete(store, additions, workers, left)
    return sum(len(addition.persons) for addition in additions)


def _complete(
    store: Store,
    additions: list[Addition],
    workers: Workers,
    left: list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]] | None = None,
) -> None:
    for place, addition in enumerate(additions):
        for kind in (BY_ALIAS, BY_PERSON):
            part = addition
            if left is not None:
                rows = left[place][kind]
                part = Addition(addition.number, addition.aliases[rows], addition.persons[rows])
            if len(part.persons):
                _add_in_parts(store, part, kind, workers)
    with store.commit() as commit, store.snapshot() as snapshot:
        for addition in additions:
            _count(commit, snapshot, addition, persons=False)
        # Emptied, not deleted: the handle stays good.
        commit.txn.drop(store.databases["pending"], delete=False)


def _add_in_parts(store: Store, addition: Addition, kind: int, workers: Workers) -> None:
    # The blocks read are those of this snapshot; each is rewritten by one part, so that no part sees another's.
    with store.snapshot() as snapshot:
        build = _sort(snapshot, addition, kind, snapshot.state.commit + 1)
        for first, end in build.windows(COMMIT_BYTES_MAX // 2):
            with store.commit() as commit:
                _put_blocks(commit, build, first, end, workers)


def _foreseen_bytes(store: Store, addition: Addition) -> int:
    with store.snapshot() as snapshot:
        entries = count_aliases(snapshot, addition.number) + len(addition.persons)
    return 2 * min(entries * BYTES_PER_ENTRY, len(addition.persons) * BLOCK_BYTES)


def _count(commit: Commit, snapshot: Snapshot, addition: Addition, *, persons: bool = True) -> None:
    key = count_key(addition.number)
    after = count_aliases(snapshot, addition.number) + len(addition.persons)
    commit.put_sealed("meta", key, after.to_bytes(8, "little"))
    if persons:
        _count_persons(commit, addition)


def _count_persons(commit: Commit, addition: Addition) -> None:
    if addition.number == RESIDENT_CODES:
        commit.state.persons += len(addition.persons)


def _write_down(commit: Commit, place: int, addition: Addition) -> None:
    for part, start in enumerate(range(0, len(addition.persons), ROWS_PER_PART)):
        rows = slice(start, start + ROWS_PER_PART)
        body = b"".join(
            (
                _HEAD.pack(addition.number, len(addition.persons[rows])),
                addition.aliases[rows].tobytes(),
                addition.persons[rows].tobytes(),
            )
        )
        commit.put_sealed("pending", place.to_bytes(4, "big") + part.to_bytes(4, "big"), body)


def _read_pending(snapshot: Snapshot) -> Iterator[Addition]:
    found: dict[int, list[tuple[int, Aliases, Persons]]] = {}
    for key, value in snapshot.items("pending", b""):
        body = unseal("pending", key, value)
        number, n = _HEAD.unpack_from(body)
        if len(body) != _HEAD.size + 20 * n:
            raise StorageError(f"pending: expected {_HEAD.size + 20 * n} bytes, got {len(body)}")
        aliases = np.frombuffer(body, np.uint8, 16 * n, _HEAD.size).reshape(n, 16)
        persons = np.frombuffer(body, np.uint32, n, _HEAD.size + 16 * n)
        found.setdefault(int.from_bytes(key[:4], "big"), []).append((number, aliases, persons))
    for place in sorted(found):
        parts = found[place]
        yield Addition(parts[0][0], np.concatenate([p[1] for p in parts]), np.concatenate([p[2] for p in parts]))


def _left_over(
    snapshot: Snapshot, addition: Addition, workers: Workers
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which entries are not in the by-alias and not in the by-person table yet."""
    by_alias = find_persons(snapshot, addition.number, addition.aliases, workers)[2] != 0
    by_person = find_aliases(snapshot, addition.number, addition.persons, workers)[1] != 0
    return by_alias, by_person


def _sort(snapshot: Snapshot, addition: Addition, kind: int, generation: int) -> _core.TableBuild:
    """Sort the entries by the blocks of one table that they belong to."""
    found = directory(snapshot, table_number(addition.number, kind))
    if kind == BY_PERSON:
        check_slots(found, _core.slots_of_persons(found, addition.persons))
    else:
        check_slots(found, _core.slots_of(found, addition.aliases))
    before = count_aliases(snapshot, addition.number)
    return _core.TableBuild(found, kind, generation, before, addition.aliases, addition.persons)


def _put_blocks(commit: Commit, build: _core.TableBuild, first: int, end: int, workers: Workers) -> None:
    """Build the blocks of these units on the workers and put them into the transaction.

    LMDB takes blocks only from the thread that began the transaction, so the workers fill staging memory in turns.
    """
    parts = workers.threads if end - first > workers.threads else 1
    edges = [first + (end - first) * part // parts for part in range(parts + 1)]
    stagings = [_Staging(build, edges[part], edges[part + 1]) for part in range(parts)]
    if parts == 1:
        while stagings[0].fill():
            stagings[0].put_into(commit)
        return
    pending = deque((staging, workers.submit(staging.fill)) for staging in stagings)
    while pending:
        staging, future = pending.popleft()
        if future.result():
            staging.put_into(commit)
            pending.append((staging, workers.submit(staging.fill)))


class _Staging:
    """Memory in which one worker builds the blocks of its part of a table."""

    def __init__(self, build: _core.TableBuild, first: int, end: int) -> None:
        self.build, self.next, self.end = build, first, end
        size = build.staging_bytes(first, end, _STAGING_BYTES)
        raw = np.empty(size + 64, dtype=np.uint8)
        start = -raw.ctypes.data % 64
        self.memory = raw[start : start + size]
        self.blocks = np.empty((_STAGING_BLOCKS, 4), dtype=np.uint64)
        self.written: list[list[int]] = []

    def fill(self) -> bool:
        """Build the next blocks and their checksums; False when the part is done."""
        if self.next >= self.end:
            return False
        self.next, count = self.build.build(self.next, self.end, self.memory, self.blocks)
        self.written = self.blocks[:count].tolist()
        view = self.memory.data
        for _, _, offset, size in self.written:
            struct.pack_into("<Q", view, offset, xxhash.xxh3_64_intdigest(view[offset + 8 : offset + size]))
        return True

    def put_into(self, commit: Commit) -> None:
        """Put what was built into the transaction."""
        view = self.memory.data
        for prefix, depth, offset, size in self.written:
            commit.put_block(self.build.table, prefix, depth, view[offset : offset + size])
