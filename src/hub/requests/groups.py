"""Small requests, kept by the group that one commit made durable: what was asked, the statuses, and how to find them.

A request's key is random, so that a value a request would write a page a request: 64 requests of a commit took 64 pages
of index, four times as long as everything else. So the commit writes one value for all of them under its own number,
and the keys enter the index later, sorted, many to a page (*folding*). Until then they are found in memory, where a
process keeps the keys of groups that are not folded.

In the day's database ``requests.<day>``, beside what ``state.py`` puts there; values are sealed, numbers in values
little endian:

| key | value |
|---|---|
| u64 commit, big endian | group: u64 index of the first record of its chunk, then MessagePack :class:`Group` |
| 16 bytes of the request, u32 0 | u64 commit of the request's group |
| "folded" | u64 commit: the requests of groups up to this one are all in the index |

A value of 8 bytes can be no :class:`Request`, which takes 100 at least. Keys of 8 bytes are groups'; a
request's have 20.

The requests of a group are an array of :class:`Small`, or, where each of its n requests has one row, MessagePack bytes
of columns, one behind the other:

| at | type | what |
|---|---|---|
| 0 | n x 32 bytes | digest, as of :class:`Request` |
| 32 n | n x 8 bytes | inquiry |
| 40 n | n x u16 | place of its table in the group's |
| 42 n | n x u8 | status, as of ``state.py`` |
| 43 n | n x u16 | decision |
| 45 n | n x u16 | position in the chunk |
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub._small import Keys, probe, seal_entries
from hub.errors import StorageError
from hub.limits import FOLD_FROM, ROWS_PER_CHUNK
from hub.requests.dayfilters import DayFilters
from hub.requests.state import FILE_PART, Request, request_days
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.store import Store

KEY_BYTES = 16
FOLDED = b"folded"
ENTRY_BYTES = 8
COLUMN_BYTES = 47
"""Of a request in a group of columns."""
_FIRST_PART = bytes(4)


class Table(msgspec.Struct, array_like=True, frozen=True):
    """A decision table as its requests keep it: ``Request.catalog``, ``status``, ``rule``, ``reason``."""

    catalog: str
    status: list[int]
    rule: list[int]
    reason: list[int]


class Small(msgspec.Struct, array_like=True, frozen=True):
    """One request of a group.

    Attributes:
        digest, rows, inquiry: as of :class:`Request`. table: its place in the group's.
        state: n x u8 status, n x u16 decision, n x u16 position in the chunk, as of ``state.py``.
    """

    digest: bytes
    rows: int
    table: int
    inquiry: bytes
    state: bytes


class Group(msgspec.Struct, array_like=True, frozen=True):
    """The requests of one commit.

    Attributes:
        keys: 16 bytes of each request. received_at: of all of them. requests: bytes are columns, see the module.
    """

    keys: bytes
    received_at: int
    tables: list[Table]
    requests: list[Small] | bytes


class _KeysOnly(msgspec.Struct, array_like=True, frozen=True):
    """A :class:`Group` of which nothing but the keys is wanted."""

    keys: bytes
    received_at: int
    tables: msgspec.Raw
    requests: msgspec.Raw


class Found(NamedTuple):
    """A request as it is stored.

    Attributes:
        name: the day's database. state: of a request in a group its only chunk's, else None.
    """

    name: str
    request: Request
    state: bytes | None


_group_encoder = msgspec.msgpack.Encoder()
_group_decoder = msgspec.msgpack.Decoder(Group)
_keys_decoder = msgspec.msgpack.Decoder(_KeysOnly)
_request_decoder = msgspec.msgpack.Decoder(Request)


KeyColumn = npt.NDArray[np.uint8]
"""uint8[N, 16]."""

_NO_KEYS = np.empty((0, KEY_BYTES), np.uint8)


class _Day:
    """The requests of one day that are not in the index yet. Touched under ``RequestGroups``'s lock only.

    Attributes:
        fresh: key -> commit. frozen: those that are being folded, the same.
        order, commits: frozen's keys in the order of folding; done: so many of them are in the index.
        upto: the last commit among them. loaded: groups up to this commit were read, -1 = none.
        fresh_new, order_new: whether no key there can be in the index already, as one may that was read from a group.
    """

    __slots__ = ("commits", "done", "fresh", "fresh_new", "frozen", "loaded", "order", "order_new", "upto")

    def __init__(self) -> None:
        self.fresh, self.frozen = Keys(), Keys()
        self.order, self.commits = _NO_KEYS, np.empty(0, np.uint64)
        self.done = 0
        self.upto = 0
        self.loaded = -1
        self.fresh_new = self.order_new = True

    def freeze(self) -> None:
        """Begin to fold everything that is there now."""
        self.frozen, self.fresh = self.fresh, Keys()
        self.order_new, self.fresh_new = self.fresh_new, True
        keys, commits = self.frozen.items()
        self.upto = int(commits.max())
        order = np.argsort(keys.view(">u8")[:, 0])
        self.order, self.commits = keys[order], commits[order]
        self.done = 0


class _Keys(NamedTuple):
    """The unfolded keys of a day, as of one moment."""

    name: str
    fresh: Keys
    frozen: Keys


class Fold(NamedTuple):
    """A step of folding that stands in a transaction; ``RequestGroups.folded`` notes it once that is durable."""

    day: _Day
    done: int


class RequestGroups:
    """Finds and writes the small requests of a store, and folds their keys."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._days: dict[str, _Day] = {}
        self._filters = DayFilters(store)
        self._lock = threading.Lock()
        """Held while ``_days`` and what is in it are read or changed; taken last."""

    def __repr__(self) -> str:
        return f"RequestGroups(days={len(self._days)})"

    def close(self) -> None:
        """End what runs in the background; before the store is closed."""
        self._filters.close()

    # -- reading

    def find(self, key: bytes, now: int) -> Found | None:
        """The state of a request of the last 30 days, small or not, or None.

        Raises:
            StorageError: what is stored of it is damaged.
        """
        return self.find_all([key], now)[0]

    def find_all(self, keys: list[bytes], now: int) -> list[Found | None]:
        """The states of some requests, in their order, as of :meth:`find`."""
        found: list[Found | None] = [None] * len(keys)
        for row, one in self.find_rows(_column(keys), now):
            found[row] = one
        return found

    def find_rows(self, keys: KeyColumn, now: int) -> list[tuple[int, Found]]:
        """Those of some requests (uint8[N, 16]) that are there: (row, state), as of :meth:`find`."""
        # Before the snapshot: what is forgotten here afterwards was folded before, so that the snapshot has it.
        names = request_days(self._store, now)
        days = [day for name in names for day in self._unfolded(name)]
        found = []
        with self._store.snapshot() as snapshot:
            for row, (name, commit) in self._look_up(snapshot, names, days, keys, now).items():
                key = keys[row].tobytes()
                if commit:
                    found.append((row, self._read(snapshot, name, commit, key)))
                    continue
                body = unseal(name, key + _FIRST_PART, snapshot.get(name, key + _FIRST_PART))
                if len(body) == ENTRY_BYTES:
                    found.append((row, self._read(snapshot, name, int.from_bytes(body, "little"), key)))
                else:
                    found.append((row, Found(name, _request_decoder.decode(body), None)))
        return found

    def _look_up(
        self, snapshot: Snapshot, names: list[str], days: list[_Keys], keys: KeyColumn, now: int
    ) -> dict[int, tuple[str, int]]:
        """Row -> the day's database and the commit of its group, 0 where the index has it; of those that are there."""
        hits: dict[int, tuple[str, int]] = {}
        filters, filtered, others = self._filters.of(snapshot, names, now)
        for name in others:
            for row in self._having(snapshot, name, keys):
                hits[row] = name, 0
        for row, place in probe(filters, keys):
            if snapshot.get(filtered[place], keys[row].tobytes() + _FIRST_PART) is not None:
                hits[row] = filtered[place], 0
        commits = np.empty(len(keys), np.uint64)
        for name, fresh, frozen in days:
            for table in (frozen, fresh):
                if len(table) and table.find(keys, commits):
                    for row in np.flatnonzero(commits).tolist():
                        # A newer one has become durable behind this snapshot: it was asked for before.
                        if int(commits[row]) <= snapshot.state.commit:
                            hits[row] = name, int(commits[row])
        return hits

    def _having(self, snapshot: Snapshot, name: str, keys: KeyColumn) -> list[int]:
        """The rows that the index of a day has."""
        try:
            return np.flatnonzero(snapshot.pages.having(name.encode(), keys)).tolist()
        except StorageError:
            # A day whose ids have expired is dropped as a whole, perhaps since its name was looked up.
            if name in self._store.databases:
                raise
            return []

    def find_keys(self, keys: list[bytes], now: int) -> list[bytes]:
        """Those of some keys under which there is a request or a file of the last 30 days."""
        names = request_days(self._store, now)
        found = self.find_all(keys, now)
        with self._store.snapshot() as snapshot:
            return [
                key
                for key, one in zip(keys, found, strict=True)
                if one is not None or any(snapshot.get(name, key + FILE_PART) is not None for name in names)
            ]

    def _read(self, snapshot: Snapshot, name: str, commit: int, key: bytes) -> Found:
        place = commit.to_bytes(8, "big")
        value = snapshot.get(name, place)
        if value is None:
            raise StorageError(f"requests: expected the group of commit {commit}, got none")
        body = unseal(name, place, value)
        try:
            group = _group_decoder.decode(memoryview(body)[8:])
        except msgspec.DecodeError:
            raise StorageError(f"requests: expected a group at commit {commit}, got something else") from None
        row = _row_of(group.keys, key)
        if row < 0:
            raise StorageError(f"requests: expected a request in the group of commit {commit}, got others")
        small = group.requests[row] if isinstance(group.requests, list) else _small_of(group.requests, row, commit)
        if small.table >= len(group.tables):
            raise StorageError(f"requests: expected tables of the group of commit {commit}, got others")
        table = group.tables[small.table]
        if len(small.state) != 5 * small.rows:
            raise StorageError(f"request: expected {5 * small.rows} bytes of state, got {len(small.state)}")
        request = Request(
            digest=small.digest,
            rows=small.rows,
            chunk_rows=ROWS_PER_CHUNK,
            received_at=group.received_at,
            inquiry=small.inquiry,
            catalog=table.catalog,
            status=table.status,
            rule=table.rule,
            reason=table.reason,
        )
        return Found(name, request, body[:8] + small.state)

    def _unfolded(self, name: str) -> list[_Keys]:
        """What is not folded of a day, if anything; read from its groups where this process did not write them."""
        day = self._days.get(name)
        if day is None or day.loaded < 0 or self._store.readonly:
            # ``_lock`` is taken last, so the snapshot comes first.
            with self._store.snapshot() as snapshot, self._lock:
                day = self._days.setdefault(name, _Day())
                self._load(snapshot, name, day)
        # Both at once: a step of folding exchanges them.
        with self._lock:
            fresh, frozen = day.fresh, day.frozen
        return [_Keys(name, fresh, frozen)] if len(fresh) or len(frozen) else []

    def _load(self, snapshot: Snapshot, name: str, day: _Day) -> None:
        last = snapshot.state.commit
        if day.loaded >= last:
            return
        value = snapshot.get(name, FOLDED)
        folded = 0 if value is None else int.from_bytes(unseal(name, FOLDED, value), "little")
        if self._store.readonly:
            day.fresh = _newer(day.fresh, folded)
        first = max(folded, day.loaded, 0) + 1
        for place, value in snapshot.items(name, first.to_bytes(8, "big"), (last + 1).to_bytes(8, "big")):
            if len(place) == 8:
                keys = _keys_decoder.decode(memoryview(unseal(name, place, value))[8:]).keys
                day.fresh.put(_column([keys]), int.from_bytes(place, "big"))
                day.fresh_new = False
        day.loaded = last

    # -- writing

    def put(self, commit: Commit, name: str, group: bytes) -> None:
        """Write a group, as :func:`encode_group` made it, in the transaction that writes its chunk, before that."""
        commit.put_sealed(
            name, commit.state.commit.to_bytes(8, "big"), commit.state.records.to_bytes(8, "little") + group
        )

    def note(self, name: str, commit: int, keys: KeyColumn) -> None:
        """Say that a group (keys: uint8[N, 16]) is durable: its requests are found from now on."""
        with self._lock:
            self._days.setdefault(name, _Day()).fresh.put(keys, commit)

    def doubt(self) -> None:
        """Say that a commit failed in a way that may have left it durable: the next look-up reads what there is."""
        with self._lock:
            for day in self._days.values():
                day.loaded = -1
                day.order_new = day.fresh_new = False

    def fold(self, commit: Commit, today: str, count: int) -> Fold | None:
        """Put the next ``count`` keys into the index, where enough have come together or their day is over.

        Folding in small parts beside each group keeps every commit short; sorted, neighbours share pages.
        """
        with self._lock:
            for name in [name for name in self._days if name not in commit.databases]:
                del self._days[name]
            for name, day in self._days.items():
                if not len(day.order) and len(day.fresh) and (name != today or len(day.fresh) >= FOLD_FROM):
                    day.freeze()
                if len(day.order):
                    break
            else:
                return None
            done = min(day.done + count, len(day.order))
            keys, commits = day.order[day.done : done], day.commits[day.done : done]
            if day.order_new:
                commit.put_new(name, *seal_entries(name.encode(), keys, commits))
            else:
                for key, place in zip(keys, commits.tolist(), strict=True):
                    commit.put_sealed(name, key.tobytes() + _FIRST_PART, place.to_bytes(ENTRY_BYTES, "little"))
            if done == len(day.order):
                commit.put_sealed(name, FOLDED, day.upto.to_bytes(8, "little"))
            return Fold(day, done)

    def folded(self, fold: Fold) -> None:
        """Say that the transaction of a step is durable."""
        day, done = fold
        with self._lock:
            day.done = done
            if done == len(day.order):
                # Readers that took the old table before keep it: it stays right.
                day.frozen, day.order, day.commits, day.done = Keys(), _NO_KEYS, np.empty(0, np.uint64), 0


def encode_group(group: Group) -> bytes:
    """A group, ready but for the place of its chunk."""
    return _group_encoder.encode(group)


def encode_rows(
    keys: KeyColumn,
    received_at: int,
    tables: list[bytes],
    digests: KeyColumn,
    inquiries: bytes,
    table: npt.NDArray[np.uint16],
    status: npt.NDArray[np.uint8],
    decision: npt.NDArray[np.uint16],
    position: npt.NDArray[np.uint16],
) -> bytes:
    """A group of N requests of one row each; ``tables`` as of :func:`encode_table`, columns see the module's table."""
    columns: tuple[Any, ...] = digests, table, status, decision, position
    parts = [column.tobytes() for column in columns]
    parts.insert(1, inquiries)
    raw = [msgspec.Raw(one) for one in tables]
    return _group_encoder.encode((keys.tobytes(), received_at, raw, b"".join(parts)))


def encode_table(table: Table) -> bytes:
    """A table of a group, for :func:`encode_rows`."""
    return _group_encoder.encode(table)


def _small_of(columns: bytes, row: int, commit: int) -> Small:
    """One request of a group that is stored as columns."""
    n, odd = divmod(len(columns), COLUMN_BYTES)
    if odd or row >= n:
        raise StorageError(f"requests: expected whole columns in the group of commit {commit}, got something else")
    at = 32 * n + 8 * row
    table = int.from_bytes(columns[40 * n + 2 * row : 40 * n + 2 * row + 2], "little")
    state = columns[42 * n + row : 42 * n + row + 1]
    for begin in (43 * n, 45 * n):
        state += columns[begin + 2 * row : begin + 2 * row + 2]
    return Small(columns[32 * row : 32 * row + 32], 1, table, columns[at : at + 8], state)


def _row_of(keys: bytes, key: bytes) -> int:
    """The place of a key among others, -1 where it is not there."""
    at = keys.find(key)
    while at > 0 and at % KEY_BYTES:
        at = keys.find(key, at + 1)
    return at // KEY_BYTES if at >= 0 else -1


def _column(keys: list[bytes]) -> KeyColumn:
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)


def _newer(keys: Keys, folded: int) -> Keys:
    """Those of later commits."""
    column, commits = keys.items()
    found = Keys()
    for commit in np.unique(commits[commits > folded]).tolist():
        found.put(column[commits == commit], commit)
    return found
