"""Append records to the log: everything that does not depend on their place in it beforehand, the rest under the lock.

Whatever leaves a record goes through here: an inquiry's chunks (``record.py``), corrections, erasures. Records that are
appended together stand in the order of their person keys, those of one person in an order of chance.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub import _columns, _hash
from hub.errors import StorageError
from hub.records.bodies import ROW_BYTES, Fields, Joined, lay_out, set_place, supervise
from hub.runs.index import add_run
from hub.storage.keys import Keys
from hub.storage.periods import NONCE_BYTES, PeriodKey, period_of
from hub.storage.snapshot import Commit
from hub.tlog.entry import Shared, encode_shared, hash_shared


class Laid(NamedTuple):
    """Records, ready but for their place in the log.

    Attributes:
        rows: how many. value: the body, its place still empty, or None if there are none.
        fields, table: what they have in common, and their rows (``ROW``[rows]), not encrypted.
        entries, leaves: uint8[rows, 32]. person_keys: uint64[rows], ascending.
        period: whose keys they are under. requested_at: seconds since 1970, the time by which the index finds them.
    """

    rows: int
    value: npt.NDArray[np.uint8] | None
    fields: Fields | Joined
    table: npt.NDArray[np.void]
    entries: npt.NDArray[np.uint8]
    leaves: npt.NDArray[np.uint8]
    person_keys: npt.NDArray[np.uint64]
    period: int
    requested_at: tuple[int, int]

    def __repr__(self) -> str:
        return f"Laid(rows={self.rows})"


class Grown(NamedTuple):
    """How a tree grows by some leaves.

    Attributes:
        size, peaks: of the tree before. leaves: uint8[N, 32].
        after: peaks of the tree then. complete: level -> the nodes that became complete.
    """

    size: int
    peaks: list[bytes]
    leaves: npt.NDArray[np.uint8]
    after: list[bytes]
    complete: dict[int, npt.NDArray[np.uint8]]

    def __repr__(self) -> str:
        return f"Grown(size={self.size}, leaves={len(self.leaves)})"


_NOTHING = np.empty((0, 32), dtype=np.uint8)


def make_fields(
    shared: list[Shared], times: list[tuple[int, int]], supervised: list[object], moments: Sequence[int] = ()
) -> Fields:
    """What records have in common, committed to and encoded.

    Args:
        shared: of each decision; its own ``supervised`` is replaced.
        times: of each decision (requested at, provided at), seconds since 1970, 0 = not.
        supervised: the fields of :class:`Supervised`, of each decision or one for all. moments: see :class:`Fields`.
    """
    blind = os.urandom(32)
    encoded = [msgspec.msgpack.encode(one) for one in supervised]
    covering = encoded if len(encoded) > 1 else encoded * len(shared)
    return Fields(
        shared=[
            encode_shared(msgspec.structs.replace(one, supervised=supervise(blind, decision, covered)))
            for decision, (one, covered) in enumerate(zip(shared, covering, strict=True))
        ],
        times=times,
        blind=blind,
        supervised=encoded,
        moments=list(moments) if any(moments) else [],
    )


def order_by_chance(rows: int) -> npt.NDArray[np.uint32]:
    """uint32[rows]: an order that nobody can foresee."""
    return _columns.order_by_key(np.frombuffer(os.urandom(8 * rows), np.uint64))


def order_by_person(person_keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """uint32[N]: records in the order of their person keys, those of one person in any order.

    In the order in which they came, records of one person would tell who sees their indexes, the portal, in which order
    the requester has the rows; and so of two persons who are asked about at the same providers, whose row is whose.
    """
    order = _columns.order_by_key(person_keys)
    keys = person_keys[order]
    again = np.flatnonzero(keys[1:] == keys[:-1])
    if len(again):
        # Few of a chunk mostly: only they are put in another order.
        at = np.union1d(again, again + 1)
        chance = np.frombuffer(os.urandom(8 * len(at)), np.uint64)
        order[at] = order[at[np.lexsort((chance, keys[at]))]]
    return order


def order_rows(rows: npt.NDArray[np.void], key: PeriodKey) -> tuple[npt.NDArray[np.void], npt.NDArray[np.uint64]]:
    """Rows (``ROW``[N]) in the order of their person keys, and those keys."""
    person_keys = key.person_keys(np.ascontiguousarray(rows["person"]))
    order = order_by_person(person_keys)
    return rows[order], person_keys[order]


def lay_records(
    fields: Fields | Joined,
    rows: npt.NDArray[np.void],
    person_keys: npt.NDArray[np.uint64],
    keys: Keys,
    key: PeriodKey,
) -> Laid:
    """Commit to records and lay them out. Needs no lock and no transaction.

    Args:
        rows: ``ROW``[N], at most one chunk, in the order of their person keys.
        key: of the period in which they will be written.
    """
    if not len(rows):
        return Laid(0, None, fields, rows, _NOTHING, _NOTHING, np.empty(0, np.uint64), key.period, (0, 0))
    plain = np.ascontiguousarray(rows).view(np.uint8).reshape(-1, ROW_BYTES)
    nonce = os.urandom(NONCE_BYTES)
    leaves = np.empty((len(rows), 32), dtype=np.uint8)
    if isinstance(fields, Joined):
        hashes, requested = fields.shared_hashes, [fields.requested_at]
        times = np.zeros((len(hashes), 2), dtype=np.int64)
        times[:, 0] = fields.requested_at
    else:
        hashes = np.frombuffer(b"".join(map(hash_shared, fields.shared)), np.uint8).reshape(-1, 32)
        times = np.array(fields.times, dtype=np.int64).reshape(-1, 2)
        requested = [requested_at for requested_at, _ in fields.times]
    entries = _hash.hash_records(
        key.salts(nonce, len(rows)),
        keys.disclosure_keys(np.ascontiguousarray(rows["person"])),
        plain,
        hashes,
        times,
        leaves=leaves,
    )
    value = lay_out(key, nonce, fields, plain)
    span = min(requested), max(requested)
    return Laid(len(rows), value, fields, rows, entries, leaves, person_keys, key.period, span)


def grow_tree(size: int, peaks: list[bytes], leaves: npt.NDArray[np.uint8]) -> Grown:
    """The nodes that leaves complete behind ``size`` others."""
    after, complete = _hash.append_leaves(size, peaks, leaves)
    return Grown(size, peaks, leaves, after, complete)


def append_records(commit: Commit, laid: Laid, now: int, grown: Grown | None = None) -> int:
    """Put records into the transaction: bodies, entries, nodes, index, the counters.

    Args:
        now: the hub's clock; the log's time never runs backwards.
        grown: what was hashed beforehand; done here where the log has grown otherwise since.

    Returns:
        Index of the first.

    Raises:
        StorageError: they were laid under another period's key; nothing was written.
    """
    state = commit.state
    index = state.records
    if laid.value is None:
        return index
    time = max(state.time, now)
    if period_of(time) != laid.period:
        raise StorageError("records: expected those of the period that has begun, got others", retry_safe=True)
    state.time = time
    first = index.to_bytes(8, "big")
    set_place(laid.value, index, state.commit, state.time)
    commit.put("records", first, laid.value.data)
    commit.put_sealed("entries", first, laid.entries.tobytes())
    if grown is None or grown.leaves is not laid.leaves or grown.size != index or grown.peaks != state.peaks:
        grown = grow_tree(index, state.peaks, laid.leaves)
    for level, nodes in grown.complete.items():
        number = index >> level
        commit.put_sealed("nodes", level.to_bytes(1, "big") + number.to_bytes(8, "big"), nodes.tobytes())
    add_run(commit, laid.period, index, laid.person_keys, laid.requested_at)
    state.peaks = grown.after
    state.records += laid.rows
    return index
