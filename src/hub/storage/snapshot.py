"""One state of the hub to read from, and one transaction to write with."""

from __future__ import annotations

import threading
from typing import Any

import lmdb
import msgspec
import numpy as np
import numpy.typing as npt

from hub import _core
from hub._pages import Pages
from hub.errors import StorageError
from hub.storage.sealed import seal, unseal, value_sum

DERIVED = frozenset(("records", "entries", "nodes", "runs"))
"""Databases without a sum: nothing in them is written twice, and verification derives them from each other."""

SUM_MASK = (1 << 64) - 1
STATE_KEY = b"state"


class State(msgspec.Struct):
    """Counters that move with every commit.

    Attributes:
        commit: number of the last commit of ours.
        turn: LMDB's number of that transaction; 0 in a folder that an older hub wrote last.
        tables_commit: number of the last commit that wrote a block of an alias table.
        persons: persons so far; the next one gets this number.
        records: records so far; the next one gets this index.
        time: hub time of the last record, so that time never runs backwards in the log.
        peaks: roots of the complete subtrees that ``records`` in binary names, largest first, 32 bytes each.
        sums: of every database whose values change, see ``sealed.py``; ``state`` itself is in none.
    """

    commit: int = 0
    turn: int = 0
    tables_commit: int = 0
    persons: int = 0
    records: int = 0
    time: int = 0
    peaks: list[bytes] = msgspec.field(default_factory=list)
    sums: dict[str, int] = msgspec.field(default_factory=dict)


class Snapshot:
    """One state of the hub: a read transaction and the directories of the tables as they were then.

    Immutable but for directories that are loaded when first needed. Counted: it closes when it has been
    superseded and the last user has left.
    """

    def __init__(self, databases: dict[str, Any], txn: lmdb.Transaction, state: State, pages: Pages) -> None:
        self.databases = databases
        self.txn = txn
        self.state = state
        self.pages = pages
        self.directories: dict[int, _core.Directory] = {}
        self.providers = _core.DirectoryMap(1)
        self.holding: npt.NDArray[np.uint32] | None = None
        """Numbers of the institutions that have aliases, ascending; None until one asks (``persons/merges.py``)."""
        self.lock = threading.Lock()
        """Held while ``directories`` or ``providers`` is changed; taken before ``reading``."""
        self.reading = threading.RLock()
        """Held around every use of ``txn``: LMDB lets one thread at a time into a transaction."""
        self._users = 0
        self._superseded = False

    def __repr__(self) -> str:
        return f"Snapshot(commit={self.state.commit})"

    def get(self, name: str, key: bytes) -> Any:
        """A raw value of this state, or None; valid as long as the snapshot is held."""
        with self.reading:
            return self.txn.get(key, db=self.databases[name])

    def items(
        self, name: str, first: bytes, below: bytes | None = None, *, limit: int | None = None
    ) -> list[tuple[bytes, Any]]:
        """Entries in key order from ``first`` on, to before ``below``; values as in :meth:`get`."""
        found: list[tuple[bytes, Any]] = []
        with self.reading, self.txn.cursor(db=self.databases[name]) as cursor:
            more = cursor.set_range(first)
            while more and (limit is None or len(found) < limit):
                key = bytes(cursor.key())
                if below is not None and key >= below:
                    break
                found.append((key, cursor.value()))
                more = cursor.next()
        return found

    def blocks(self, first: int, last: int) -> npt.NDArray[np.uint64]:
        """Keys and slots of the alias tables' blocks with a key in this range, see ``Pages.blocks``.

        Raises:
            StorageError: the environment's pages are damaged.
        """
        return self.pages.blocks(b"tables", first, last)

    def _enter(self) -> None:
        self._users += 1

    def _leave(self) -> None:
        self._users -= 1
        self._close_if_done()

    def _supersede(self) -> None:
        self._superseded = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._superseded and self._users == 0:
            self.txn.abort()


def table_sum_key(table: int) -> bytes:
    """Where ``meta`` has the sum of an alias table's blocks."""
    return b"sums" + table.to_bytes(4, "big")


class Commit:
    """A write transaction under way, with the state that it will leave: writes go through it and move the sums."""

    def __init__(self, databases: dict[str, Any], txn: lmdb.Transaction, state: State) -> None:
        self.databases = databases
        self.txn = txn
        self.state = state
        self.changed: list[tuple[int, int, int]] = []
        self.bytes_put = 0
        self.sums_before = dict(state.sums)
        self._table_sums: dict[int, int] = {}

    def get(self, name: str, key: bytes) -> Any:
        """A raw value as this transaction has it so far, or None; valid until it writes again."""
        return self.txn.get(key, db=self.databases[name])

    def put(self, name: str, key: bytes, value: Any) -> None:
        """Write one raw value, which begins with its checksum."""
        if name not in DERIVED and key != STATE_KEY:
            self._move_sum(name, value_sum(key, value) - self._stored_sum(name, key))
        self.txn.put(key, value, db=self.databases[name])

    def put_sealed(self, name: str, key: bytes, body: bytes) -> None:
        """Write one value under its checksum."""
        self.put(name, key, seal(name, key, body))

    def put_new(self, name: str, entries: list[tuple[bytes, bytes]], total: int) -> None:
        """Write sealed values, ascending, none of whose keys is there; ``total`` is what they add to the sum.

        Raises:
            StorageError: one is there; the transaction must not be kept.
        """
        with self.txn.cursor(db=self.databases[name]) as cursor:
            _, added = cursor.putmulti(entries, overwrite=False)
        if added != len(entries):
            raise StorageError(f"{name}: expected keys that are not there, got some that are", retry_safe=True)
        self._move_sum(name, total)

    def put_block(self, table: int, prefix: int, depth: int, value: Any) -> None:
        """Write one block of an alias table and note it for the snapshots."""
        key = table.to_bytes(4, "big") + prefix.to_bytes(4, "big")
        moved = value_sum(key, value) - self._stored_sum("tables", key)
        self._table_sums[table] = self._table_sums.get(table, 0) + moved
        self.txn.put(key, value, db=self.databases["tables"])
        self.changed.append((table, prefix, depth))
        self.bytes_put += len(value)

    def delete(self, name: str, key: bytes) -> None:
        """Remove one value, if it is there."""
        if name not in DERIVED:
            self._move_sum(name, -self._stored_sum(name, key))
        self.txn.delete(key, db=self.databases[name])

    def drop(self, name: str, *, delete: bool) -> None:
        """Empty a database; with ``delete`` it is gone."""
        self.txn.drop(self.databases[name], delete=delete)
        self.state.sums.pop(name, None)

    def put_state(self) -> None:
        """Write the sums of the tables and the state: the last writes of a commit."""
        for table, moved in self._table_sums.items():
            key = table_sum_key(table)
            value = self.txn.get(key, db=self.databases["meta"])
            before = 0 if value is None else int.from_bytes(unseal("meta", key, value), "little")
            self.put_sealed("meta", key, (before + moved & SUM_MASK).to_bytes(8, "little"))
        self.put_sealed("meta", STATE_KEY, msgspec.msgpack.encode(self.state))

    def _stored_sum(self, name: str, key: bytes) -> int:
        value = self.txn.get(key, db=self.databases[name])
        return 0 if value is None else value_sum(key, value)

    def _move_sum(self, name: str, moved: int) -> None:
        self.state.sums[name] = self.state.sums.get(name, 0) + moved & SUM_MASK
