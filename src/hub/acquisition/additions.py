"""Write new entries into the alias tables.

What fits one transaction (``COMMIT_BYTES_MAX`` of rewritten blocks) is one. More would have to be held in memory all
at once, since random keys touch every block of a table: it is first written down whole in ``pending``, durably, and
then put into the tables a part at a time, each part a transaction. From the first on it is decided; a process that dies
in between leaves ``pending`` behind, and whoever opens the hub for writing next completes it before anything else.
Until then a reader may find an entry in one table and not yet in the other: of an alias that nobody was told.

A part is a window of a table: the entries whose hash begins with the same few bits. Each block is thus written once
for all the entries of a call. No block may reach over two windows, so a table too shallow for its windows is split
first, and is whole at every commit. The workers sort and build the next windows while one is put and committed.

``pending``, key u32 place of the addition, u32 part, big endian; value sealed, little endian:

| at | type | what |
|---|---|---|
| 0 | u32 | institution's or namespace's number |
| 4 | u32 | n, entries |
| 8 | u8 | aliases: 0 listed, 1 drawn from a seed |
| 9 | u8 | persons: 0 listed, 1 consecutive |
| 10 | 6 | 0 |
| 16 | n x 16 | aliases; or the seed: AES-256 key 32, first counter block 16 (CTR; an alias is a block of key stream) |
| | n x u32 | persons; or the first one's number |
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hub import _blocks, _core
from hub.aliases import (
    BY_PERSON,
    RESIDENT_CODES,
    Persons,
    check_slots,
    count_aliases,
    count_key,
    directory,
    find_aliases,
    find_persons,
    kinds_of,
    table_number,
)
from hub.errors import StorageError
from hub.messages import Aliases
from hub.storage.sealed import unseal, value_sum
from hub.storage.snapshot import SUM_MASK, Commit, Snapshot
from hub.storage.workers import ROWS_PER_SLICE_MIN, Workers
from hub.store import Store

COMMIT_BYTES_MAX = 192 << 20
"""Rewritten blocks of one transaction: LMDB holds them in memory until it commits."""

ROWS_PER_PART = 1 << 12
"""Entries of one value of ``pending``: at most 80 KB, whose copies on the way lie in memory that is used again."""

BYTES_PER_ENTRY = 30
"""Of one table, about; only to foresee how much a transaction will rewrite."""

BLOCK_BYTES = 24_576

ROWS_PER_WINDOW = 400_000
"""Entries that one worker sorts and builds at a time within one transaction."""

WINDOWS_PER_COMMIT = 8
"""By how much smaller than the largest transaction each is where there are many. They lie in memory three times: as
entries, as blocks that wait and as pages of LMDB's; and small memory is used again before it has left the cache."""

WINDOW_BITS_MAX = 12
"""Windows of one table: 4,096 of some ten blocks each are a table of 200 GB."""

_STAGING_BYTES = 64 << 20
_BLOCK_BYTES_MIN = 4096
_HEAD = struct.Struct("<IIBB6x")
_LISTED, _DERIVED = 0, 1


class Seed(NamedTuple):
    """What aliases are drawn from: the key stream of AES-256-CTR under a fresh random key, a block an alias."""

    key: bytes
    counter: bytes

    def __repr__(self) -> str:
        return "Seed()"

    def after(self, n: int) -> Seed:
        """The seed of what comes behind the first n aliases."""
        return Seed(self.key, ((int.from_bytes(self.counter, "big") + n) % (1 << 128)).to_bytes(16, "big"))

    def draw(self, aliases: Aliases) -> None:
        """Fill uint8[N, 16]."""
        encryptor = Cipher(algorithms.AES(self.key), modes.CTR(self.counter)).encryptor()
        # The library asks for room for one block more than it writes.
        stream = np.empty(16 * _ROWS_PER_DRAW + 15, dtype=np.uint8)
        for start in range(0, len(aliases), _ROWS_PER_DRAW):
            part = aliases[start : start + _ROWS_PER_DRAW]
            encryptor.update_into(_ZEROS[: part.size].data, stream.data)
            part[:] = stream[: part.size].reshape(-1, 16)


_ROWS_PER_DRAW = 1 << 15
_ZEROS = np.zeros(16 * _ROWS_PER_DRAW, dtype=np.uint8)


def fresh_seed() -> Seed:
    """A seed from the system's random source."""
    return Seed(os.urandom(32), os.urandom(16))


class Addition(NamedTuple):
    """New entries of one institution or namespace: aliases uint8[N, 16], persons uint32[N], none there yet.

    Where the aliases were drawn from a seed, in this order, it stands for them in ``pending``. With ``edits``
    (uint16[N], see ``TableBuild``) some rows change entries that are there.
    """

    number: int
    aliases: Aliases
    persons: Persons
    seed: Seed | None = None
    edits: npt.NDArray[np.uint16] | None = None

    def __repr__(self) -> str:
        return f"Addition(number={self.number}, entries={len(self.persons)})"


def add_entries(
    store: Store, additions: list[Addition], workers: Workers, also: Callable[[Commit], object] | None = None
) -> None:
    """Add entries to the tables, durably. The caller holds ``store.acquiring``.

    Args:
        also: puts something else into the commit from which on the addition is decided.

    Raises:
        StorageError: the disk is full or failed. Either nothing was kept, or all is decided and will be completed.
    """
    if 2 * sum(_foreseen_bytes(store, addition) for addition in additions) <= COMMIT_BYTES_MAX:
        with store.commit() as commit, store.snapshot() as snapshot:
            parts = [
                part
                for addition in additions
                for kind in kinds_of(addition.number)
                for part in cut_parts(
                    snapshot, addition, kind, commit.state.commit, _bits(len(addition.persons), ROWS_PER_WINDOW)
                )
            ]
            put_parts(commit, parts, workers)
            for addition in additions:
                _count(commit, snapshot, addition)
            if also is not None:
                also(commit)
        return
    with store.commit() as commit:
        if also is not None:
            also(commit)
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
        # A part of an earlier addition would be done a second time, and this one's forgotten.
        found = sum(value_sum(key, value) for key, value in snapshot.items("pending", b""))
        if found & SUM_MASK != snapshot.state.sums.get("pending", 0):
            raise StorageError("pending: expected the sum of what was written last, got another")
        left = [_left_over(snapshot, addition, workers) for addition in additions]
    _complete(store, additions, workers, left)
    return sum(len(addition.persons) for addition in additions)


def _complete(
    store: Store,
    additions: list[Addition],
    workers: Workers,
    left: list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]] | None = None,
) -> None:
    bits = [_bits(_foreseen_bytes(store, addition), COMMIT_BYTES_MAX // WINDOWS_PER_COMMIT) for addition in additions]
    with store.commit() as commit, store.snapshot() as snapshot:
        for addition, window_bits in zip(additions, bits, strict=True):
            for kind in kinds_of(addition.number):
                _split_blocks(commit, snapshot, table_number(addition.number, kind), window_bits)

    def cut(held: contextlib.ExitStack) -> Iterator[_Part]:
        for place, addition in enumerate(additions):
            for kind in kinds_of(addition.number):
                rest = addition
                if left is not None:
                    rows = left[place][kind]
                    if not rows.all():
                        rest = Addition(addition.number, addition.aliases[rows], addition.persons[rows])
                # The blocks read are those of this snapshot; each is rewritten by one part, so that no part sees
                # another's. It ends with the table's last part: what is held longer, the file grows by.
                one = held.enter_context(contextlib.ExitStack())
                snapshot = one.enter_context(store.snapshot())
                parts = cut_parts(snapshot, rest, kind, snapshot.state.commit + 1, bits[place])
                parts[-1].let_go = one.close
                yield from parts

    with contextlib.ExitStack() as held, contextlib.closing(_build_ahead(cut(held), workers)) as built:
        for part in built:
            if part.written:
                with store.commit() as commit:
                    part.put_into(commit)
            part.let_go()
    with store.commit() as commit, store.snapshot() as snapshot:
        for addition in additions:
            _count(commit, snapshot, addition, persons=False)
        # Emptied, not deleted: the handle stays good.
        commit.drop("pending", delete=False)


def _foreseen_bytes(store: Store, addition: Addition) -> int:
    """What will be rewritten of one of the two tables, about."""
    with store.snapshot() as snapshot:
        entries = count_aliases(snapshot, addition.number) + len(addition.persons)
    return min(entries * BYTES_PER_ENTRY, len(addition.persons) * BLOCK_BYTES)


def _bits(size: int, most: int) -> int:
    """Into how many windows, as a power of two, so that each has no more than ``most``."""
    return min(WINDOW_BITS_MAX, max(0, (size - 1) // most).bit_length())


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
        persons = addition.persons[rows]
        consecutive = bool((np.diff(persons) == 1).all())
        seed = addition.seed and addition.seed.after(start)
        body = b"".join(
            (
                _HEAD.pack(addition.number, len(persons), _DERIVED if seed else _LISTED, int(consecutive)),
                seed.key + seed.counter if seed else addition.aliases[rows].data,
                persons[:1].data if consecutive else persons.data,
            )
        )
        commit.put_sealed("pending", place.to_bytes(4, "big") + part.to_bytes(4, "big"), body)


def _read_pending(snapshot: Snapshot) -> Iterator[Addition]:
    found: dict[int, list[tuple[int, Aliases, Persons]]] = {}
    for key, value in snapshot.items("pending", b""):
        found.setdefault(int.from_bytes(key[:4], "big"), []).append(_read_part(unseal("pending", key, value)))
    for place in sorted(found):
        parts = found[place]
        yield Addition(parts[0][0], np.concatenate([p[1] for p in parts]), np.concatenate([p[2] for p in parts]))


def _read_part(body: bytes) -> tuple[int, Aliases, Persons]:
    number, n, seeded, consecutive = _HEAD.unpack_from(body)
    middle = _HEAD.size + (48 if seeded == _DERIVED else 16 * n)
    size = middle + (4 if consecutive == _DERIVED else 4 * n)
    if len(body) != size:
        raise StorageError(f"pending: expected {size} bytes, got {len(body)}")
    persons = np.frombuffer(body, np.uint32, 1 if consecutive == _DERIVED else n, middle)
    if consecutive == _DERIVED:
        persons = persons[0] + np.arange(n, dtype=np.uint32)
    if seeded != _DERIVED:
        return number, np.frombuffer(body, np.uint8, 16 * n, _HEAD.size).reshape(n, 16), persons
    aliases = np.empty((n, 16), np.uint8)
    Seed(body[_HEAD.size : _HEAD.size + 32], body[_HEAD.size + 32 : middle]).draw(aliases)
    return number, aliases, persons


def _left_over(
    snapshot: Snapshot, addition: Addition, workers: Workers
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which entries are not in the by-alias and not in the by-person table yet."""
    by_alias = find_persons(snapshot, addition.number, addition.aliases, workers)[2] != 0
    if BY_PERSON not in kinds_of(addition.number):
        return by_alias, np.zeros(len(by_alias), np.bool_)
    by_person = find_aliases(snapshot, addition.number, addition.persons, workers)[1] != 0
    return by_alias, by_person


def cut_parts(
    snapshot: Snapshot, addition: Addition, kind: int, generation: int, window_bits: int = 0
) -> list[_Part]:
    """Cut what goes into one table by its windows."""
    found = directory(snapshot, table_number(addition.number, kind))
    if _core.any_unchecked(found):
        if kind == BY_PERSON:
            check_slots(found, _core.slots_of_persons(found, addition.persons))
        else:
            check_slots(found, _core.slots_of(found, addition.aliases))
    before = count_aliases(snapshot, addition.number)
    windows = _Windows(addition, kind, window_bits)
    return [_Part(found, kind, generation, before, windows, window) for window in range(1 << window_bits)]


def put_parts(commit: Commit, parts: Iterable[_Part], workers: Workers) -> None:
    """Put all parts into one transaction; their snapshot is held until this returns."""
    with contextlib.closing(_build_ahead(parts, workers)) as built:
        for part in built:
            part.put_into(commit)


def _split_blocks(commit: Commit, snapshot: Snapshot, table: int, window_bits: int) -> None:
    """Split the blocks of a table that reach over the edge of a window; an empty table gets an empty block for each."""
    found = directory(snapshot, table)
    step = (1 << found.depth) >> window_bits
    if step and (np.diff(found.slots_array)[step - 1 :: step] != 0).all():
        return
    check_slots(found, np.arange(1 << found.depth, dtype=np.uint32))
    nothing = Addition(table >> 1, np.empty((0, 16), np.uint8), np.empty(0, np.uint32))
    windows, room = _Windows(nothing, table & 1, window_bits), _Room()
    for window in range(1 << window_bits):
        part = _Part(found, table & 1, commit.state.commit, 0, windows, window)
        part.build(room)
        part.put_into(commit)


def _build_ahead(parts: Iterable[_Part], workers: Workers) -> Generator[_Part, None, None]:
    """Have the workers build parts, and hand them out in order; one is good until the next is asked for.

    LMDB takes blocks only from the thread that began the transaction: it puts and commits while they build.
    """
    ahead: deque[tuple[_Part, Future[None]]] = deque()
    free: list[_Room] = []

    def first() -> _Part:
        part, done = ahead.popleft()
        done.result()
        free.append(part.room)
        return part

    try:
        for part in parts:
            if workers.threads > 1 and len(part.windows.addition.persons) >= ROWS_PER_SLICE_MIN:
                ahead.append((part, workers.submit(part.build, free.pop() if free else _Room())))
                if len(ahead) > workers.threads:
                    yield first()
                continue
            while ahead:
                yield first()
            free = free or [_Room()]
            part.build(free[0])
            yield part
        while ahead:
            yield first()
    finally:
        # They read blocks of a snapshot that its holder is about to let go.
        for _, done in ahead:
            if not done.cancel():
                done.exception()


class _Room:
    """Memory for one part at a time, used again: new pages cost more than what is done in them."""

    def __init__(self) -> None:
        self.entries: npt.NDArray[np.uint8] | None = None
        self.staging = np.empty(0, dtype=np.uint8)
        self.blocks = np.empty((0, 4), dtype=np.uint64)

    def reserve(self, size: int, blocks: int) -> None:
        """See to it that there are so many bytes for so many blocks."""
        if len(self.blocks) < blocks:
            self.blocks = np.empty((blocks, 4), dtype=np.uint64)
        if len(self.staging) < size:
            raw = np.empty(size + 64, dtype=np.uint8)
            start = -raw.ctypes.data % 64
            self.staging = raw[start : start + size]


class _Windows:
    """Which rows of an addition fall in each window of one of its tables."""

    def __init__(self, addition: Addition, kind: int, bits: int) -> None:
        self.addition, self.kind, self.bits = addition, kind, bits
        self._lock = threading.Lock()
        self._order: tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]] | None = None

    def rows(self, window: int) -> npt.NDArray[np.uint32] | None:
        """The rows of a window, None for all; found by the worker that asks first, the others wait."""
        if not self.bits:
            return None
        with self._lock:
            if self._order is None:
                addition = self.addition
                self._order = _blocks.rows_by_window(addition.aliases, addition.persons, self.kind, self.bits)
        rows, starts = self._order
        return rows[starts[window] : starts[window + 1]]


class _Part:
    """The entries of one window of a table, and the memory in which their blocks are built."""

    def __init__(
        self,
        found: _core.Directory,
        kind: int,
        generation: int,
        before: int,
        windows: _Windows,
        window: int,
    ) -> None:
        self.directory, self.kind, self.generation, self.before = found, kind, generation, before
        self.windows, self.window = windows, window
        self.let_go: Callable[[], None] = lambda: None
        """To be called when nothing is read from the directory's blocks any more."""
        self.room: _Room
        self.written: list[list[int]] = []
        self._next = 0

    def build(self, room: _Room) -> None:
        """Sort the entries and build the blocks, as many as there is room for."""
        self.room = room
        self._build = _blocks.TableBuild(
            self.directory,
            self.kind,
            self.generation,
            self.before,
            self.windows.addition.aliases,
            self.windows.addition.persons,
            window=self.window,
            window_bits=self.windows.bits,
            rows=self.windows.rows(self.window),
            memory=room.entries,
            edits=self.windows.addition.edits,
        )
        room.entries = self._build.memory
        need = self._build.staging_bytes(_STAGING_BYTES)
        room.reserve(need, max(need // _BLOCK_BYTES_MIN, 4))
        self._fill()

    def _fill(self) -> None:
        """Build the next blocks and their checksums; none when the part is done."""
        self.written = []
        if self._next == self._build.unit_count:
            return
        self._next, count = self._build.build(self._next, self._build.unit_count, self.room.staging, self.room.blocks)
        self.written = self.room.blocks[:count].tolist()
        view = self.room.staging.data
        for _, _, offset, size in self.written:
            struct.pack_into("<Q", view, offset, xxhash.xxh3_64_intdigest(view[offset + 8 : offset + size]))

    def put_into(self, commit: Commit) -> None:
        """Put all blocks into the transaction."""
        view = self.room.staging.data
        while self.written:
            for prefix, depth, offset, size in self.written:
                commit.put_block(self._build.table, prefix, depth, view[offset : offset + size])
            self._fill()
        if self._build.missed:
            # The two tables of an institution disagree: nothing of this may be kept.
            raise StorageError(f"table {self._build.table:08x}: expected the entries that are to change, got others")
