"""Small requests, kept by the group that one commit made durable: what was asked, the statuses, and how to find them.

A request's key is random, so that a value a request would write a page a request: 64 requests of a commit took 64 pages
of index, four times as long as everything else. So the commit writes one value for all of them under its own number,
and the keys enter the index later, sorted, many to a page (*folding*). Until then they are found in memory, where a
process keeps the keys of groups that are not folded.

In the day's database ``requests.<day>``, beside what ``requests.py`` puts there; values are sealed, numbers in values
little endian:

| key | value |
|---|---|
| u64 commit, big endian | group: u64 index of the first record of its chunk, then MessagePack :class:`Group` |
| 16 bytes of the request, u32 0 | u64 commit of the request's group |
| "folded" | u64 commit: the requests of groups up to this one are all in the index |

A value of 8 bytes can be no :class:`Request`, which takes 100 at least. Keys of 8 bytes are groups'; a
request's have 20.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np

from hub.errors import StorageError
from hub.limits import FOLD_FROM, ROWS_PER_CHUNK
from hub.requests import FILE_PART, Request, request_days
from hub.sealed import unseal
from hub.snapshot import Commit, Snapshot
from hub.store import Store

KEY_BYTES = 16
FOLDED = b"folded"
ENTRY_BYTES = 8
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
        state: n x u8 status, n x u16 decision, n x u16 position in the chunk, as of ``requests.py``.
    """

    digest: bytes
    rows: int
    table: int
    inquiry: bytes
    state: bytes


class Group(msgspec.Struct, array_like=True, frozen=True):
    """The requests of one commit.

    Attributes:
        keys: 16 bytes of each request. received_at: of all of them.
    """

    keys: bytes
    received_at: int
    tables: list[Table]
    requests: list[Small]


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


class _Day:
    """The requests of one day that are not in the index yet. Touched under ``RequestGroups``'s lock only.

    Attributes:
        fresh: key -> commit. frozen: those that are being folded, the same.
        order: frozen's keys in the order of folding; done: so many of them are in the index.
        upto: the last commit among them. loaded: groups up to this commit were read, -1 = none.
    """

    __slots__ = ("done", "fresh", "frozen", "loaded", "order", "upto")

    def __init__(self) -> None:
        self.fresh: dict[bytes, int] = {}
        self.frozen: dict[bytes, int] = {}
        self.order: list[bytes] = []
        self.done = 0
        self.upto = 0
        self.loaded = -1

    def freeze(self) -> None:
        """Begin to fold everything that is there now."""
        self.frozen, self.fresh = self.fresh, {}
        keys = list(self.frozen)
        self.upto = max(self.frozen.values())
        leading = np.frombuffer(b"".join(keys), dtype=">u8")[::2]
        self.order = [keys[i] for i in np.argsort(leading).tolist()]
        self.done = 0


class _Keys(NamedTuple):
    """The unfolded keys of a day, as of one moment."""

    name: str
    fresh: dict[bytes, int]
    frozen: dict[bytes, int]


class Fold(NamedTuple):
    """A step of folding that stands in a transaction; ``RequestGroups.folded`` notes it once that is durable."""

    day: _Day
    done: int


class RequestGroups:
    """Finds and writes the small requests of a store, and folds their keys."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._days: dict[str, _Day] = {}
        self._lock = threading.Lock()
        """Held while ``_days`` and what is in it are read or changed; taken last."""

    def __repr__(self) -> str:
        return f"RequestGroups(days={len(self._days)})"

    # -- reading

    def find(self, key: bytes, now: int) -> Found | None:
        """The state of a request of the last 30 days, small or not, or None.

        Raises:
            StorageError: what is stored of it is damaged.
        """
        return self.find_all([key], now)[0]

    def find_all(self, keys: list[bytes], now: int) -> list[Found | None]:
        """The states of some requests, in their order, as of :meth:`find`."""
        # Before the snapshot: what is forgotten here afterwards was folded before, so that the snapshot has it.
        days = [self._unfolded(name) for name in request_days(self._store, now)]
        found: list[Found | None] = [None] * len(keys)
        with self._store.snapshot() as snapshot:
            for i, name, hit in _look_up(snapshot, days, keys):
                if isinstance(hit, int):
                    found[i] = self._read(snapshot, name, hit, keys[i])
                    continue
                body = unseal(name, keys[i] + _FIRST_PART, hit)
                if len(body) == ENTRY_BYTES:
                    found[i] = self._read(snapshot, name, int.from_bytes(body, "little"), keys[i])
                else:
                    found[i] = Found(name, _request_decoder.decode(body), None)
        return found

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
        keys = [group.keys[at : at + KEY_BYTES] for at in range(0, len(group.keys), KEY_BYTES)]
        if key not in keys:
            raise StorageError(f"requests: expected a request in the group of commit {commit}, got others")
        small = group.requests[keys.index(key)]
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

    def _unfolded(self, name: str) -> _Keys:
        """What is not folded of a day; read from its groups where this process did not write them itself."""
        day = self._days.get(name)
        if day is None or day.loaded < 0 or self._store.readonly:
            # ``_lock`` is taken last, so the snapshot comes first.
            with self._store.snapshot() as snapshot, self._lock:
                day = self._days.setdefault(name, _Day())
                self._load(snapshot, name, day)
        return _Keys(name, day.fresh, day.frozen)

    def _load(self, snapshot: Snapshot, name: str, day: _Day) -> None:
        last = snapshot.state.commit
        if day.loaded >= last:
            return
        value = snapshot.get(name, FOLDED)
        folded = 0 if value is None else int.from_bytes(unseal(name, FOLDED, value), "little")
        if self._store.readonly:
            day.fresh = {key: commit for key, commit in day.fresh.items() if commit > folded}
        first = max(folded, day.loaded, 0) + 1
        for place, value in snapshot.items(name, first.to_bytes(8, "big"), (last + 1).to_bytes(8, "big")):
            if len(place) == 8:
                keys = _keys_decoder.decode(memoryview(unseal(name, place, value))[8:]).keys
                commit = int.from_bytes(place, "big")
                day.fresh.update((keys[at : at + KEY_BYTES], commit) for at in range(0, len(keys), KEY_BYTES))
        day.loaded = last

    # -- writing

    def put(self, commit: Commit, name: str, group: bytes) -> None:
        """Write a group, as :func:`encode_group` made it, in the transaction that writes its chunk, before that."""
        commit.put_sealed(
            name, commit.state.commit.to_bytes(8, "big"), commit.state.records.to_bytes(8, "little") + group
        )

    def note(self, name: str, commit: int, keys: Iterable[bytes]) -> None:
        """Say that a group is durable: its requests are found from now on."""
        with self._lock:
            self._days.setdefault(name, _Day()).fresh.update(dict.fromkeys(keys, commit))

    def doubt(self) -> None:
        """Say that a commit failed in a way that may have left it durable: the next look-up reads what there is."""
        with self._lock:
            for day in self._days.values():
                day.loaded = -1

    def fold(self, commit: Commit, today: str, count: int) -> Fold | None:
        """Put the next ``count`` keys into the index, where enough have come together or their day is over.

        Folding in small parts beside each group keeps every commit short; sorted, neighbours share pages.
        """
        with self._lock:
            for name in [name for name in self._days if name not in commit.databases]:
                del self._days[name]
            for name, day in self._days.items():
                if not day.order and day.fresh and (name != today or len(day.fresh) >= FOLD_FROM):
                    day.freeze()
                if day.order:
                    break
            else:
                return None
            done = min(day.done + count, len(day.order))
            for key in day.order[day.done : done]:
                commit.put_sealed(name, key + _FIRST_PART, day.frozen[key].to_bytes(ENTRY_BYTES, "little"))
            if done == len(day.order):
                commit.put_sealed(name, FOLDED, day.upto.to_bytes(8, "little"))
            return Fold(day, done)

    def folded(self, fold: Fold) -> None:
        """Say that the transaction of a step is durable."""
        day, done = fold
        with self._lock:
            day.done = done
            if done == len(day.order):
                # Readers that took the old dict before keep it: it stays right.
                day.frozen, day.order, day.done = {}, [], 0


def encode_group(group: Group) -> bytes:
    """A group, ready but for the place of its chunk."""
    return _group_encoder.encode(group)


def _look_up(snapshot: Snapshot, days: list[_Keys], keys: list[bytes]) -> list[tuple[int, str, int | bytes]]:
    """Which keys are there: (their number, the day's database, the commit of their group or a value of the index)."""
    hits: list[tuple[int, str, int | bytes]] = []
    with snapshot.reading:
        for name, fresh, frozen in days:
            get, database = snapshot.txn.get, snapshot.databases[name]
            for i, key in enumerate(keys):
                commit = fresh.get(key) or frozen.get(key)
                if commit is None:
                    value = get(key + _FIRST_PART, db=database)
                    if value is not None:
                        hits.append((i, name, bytes(value)))
                elif commit <= snapshot.state.commit:
                    # A newer one has become durable behind this snapshot: it was asked for before.
                    hits.append((i, name, commit))
    return hits
