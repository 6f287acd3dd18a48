"""Stage 4 of 6: decisions and resolutions -> durable records in the log, one transaction a chunk.

The bytes of a chunk stand in ``bodies.py``, of a request's state in ``requests.py``, of entries, tree and keys in
docs/log.md. Records of a chunk stand in person-key order: their order says nothing about the requester's rows.

Everything that does not depend on the chunk's place in the log is done before the write lock is taken: encrypting,
entries, leaves. Inside it are the nodes of the tree, the puts, and the commit.
"""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub import _core, _hash
from hub.aliases import NOBODY
from hub.batch import Batch, Decided, Resolution
from hub.bodies import ROW, ROW_BYTES, Fields, lay_out, set_place
from hub.catalog import DecisionTable
from hub.keys import Keys
from hub.messages import Kind, Status
from hub.periods import NONCE_BYTES, PeriodKey, period_of
from hub.requests import NO_RECORD_BIT, Request, rows_of
from hub.runs import add_run
from hub.snapshot import Commit
from hub.tlog.entry import Shared, encode_shared, hash_shared


class Prepared(NamedTuple):
    """A chunk, ready to be written but for its place in the log.

    Attributes:
        number: which chunk of the request. rows: records in it.
        value: the body, its place still empty, or None if there are no records.
        entries, leaves: uint8[rows, 32]. person_keys: uint64[rows], ascending. period: whose keys it is under.
        state: the request's part. tables_commit: what it was resolved from.
    """

    number: int
    rows: int
    value: npt.NDArray[np.uint8] | None
    entries: npt.NDArray[np.uint8]
    leaves: npt.NDArray[np.uint8]
    person_keys: npt.NDArray[np.uint64]
    period: int
    state: bytes
    tables_commit: int

    def __repr__(self) -> str:
        return f"Prepared({self.number}, rows={self.rows})"


_NOTHING = np.empty((0, 32), dtype=np.uint8)


def prepare_chunk(
    batch: Batch, request: Request, decided: Decided, resolution: Resolution, chunk: int, keys: Keys, key: PeriodKey
) -> Prepared:
    """Order a chunk's records by person key, commit to them and lay them out. Needs no lock and no transaction.

    Args:
        key: of the period in which the chunk will be written.
    """
    rows = rows_of(request, chunk)
    decision = decided.decision[rows]
    status = decided.table.status.take(decision)
    np.copyto(status, resolution.status, where=status == Status.OK)
    known = np.flatnonzero(resolution.persons != NOBODY)
    person_keys = key.person_keys(resolution.persons[known])
    order = _core.order_by_key(person_keys)
    place = known[order]
    stored = status | NO_RECORD_BIT
    stored[known] = status[known]
    position = np.zeros(len(status), dtype=np.uint16)
    position[place] = np.arange(len(place), dtype=np.uint16)
    state = b"".join((stored.tobytes(), decision.tobytes(), position.tobytes()))
    if not len(place):
        return Prepared(
            chunk, 0, None, _NOTHING, _NOTHING, np.empty(0, np.uint64), key.period, state, resolution.tables_commit
        )
    table = np.zeros(len(place), dtype=ROW)
    table["person"] = resolution.persons[place]
    table["provider"] = batch.providers[rows][place]
    table["decision"] = decision[place]
    table["outcome"] = status[place]
    table["kind"] = Kind.INQUIRY
    plain = table.view(np.uint8).reshape(-1, ROW_BYTES)
    cases = None if batch.cases is None else [batch.cases[rows.start + row] for row in place.tolist()]
    fields = _fields(batch, request, decided.table, cases)
    nonce = os.urandom(NONCE_BYTES)
    leaves = np.empty((len(place), 32), dtype=np.uint8)
    entries = _hash.hash_records(
        key.salts(nonce, len(place)),
        keys.disclosure_keys(table["person"]),
        plain,
        np.frombuffer(b"".join(map(hash_shared, fields.shared)), np.uint8).reshape(-1, 32),
        np.array(fields.times, dtype=np.int64).reshape(-1, 2),
        leaves=leaves,
    )
    value = lay_out(key, nonce, fields, plain)
    return Prepared(
        chunk, len(place), value, entries, leaves, person_keys[order], key.period, state, resolution.tables_commit
    )


def _fields(batch: Batch, request: Request, table: DecisionTable, cases: list[str | None] | None) -> Fields:
    inquiry = batch.inquiry
    blind = os.urandom(16)
    supervised = msgspec.msgpack.encode((inquiry.operator, cases))
    commitment = hashlib.sha256(b"hub/supervised/1" + blind + supervised).digest()
    shared = [
        Shared(
            inquiry=request.inquiry,
            requester=inquiry.requester,
            on_behalf_of=table.on_behalf_of,
            procedure=inquiry.procedure,
            items=tuple(table.items),
            role=table.role,
            section=inquiry.section,
            reference_date=None if inquiry.reference_date is None else inquiry.reference_date.isoformat(),
            catalog=request.catalog,
            rule=rule,
            reason=reason,
            legal_basis=legal_basis,
            supervised=commitment,
        )
        for rule, reason, legal_basis in zip(request.rule, request.reason, table.legal_basis, strict=True)
    ]
    return Fields(
        shared=[encode_shared(one) for one in shared],
        times=[(request.received_at, 0)] * len(shared),
        blind=blind,
        supervised=supervised,
    )


def must_prepare_again(commit: Commit, chunk: Prepared, now: int) -> bool:
    """Whether aliases were acquired since a chunk was resolved, or another period has begun."""
    state = commit.state
    return state.tables_commit != chunk.tables_commit or period_of(max(now, state.time)) != chunk.period


def write_chunk(commit: Commit, name: str, key: bytes, request: Request, chunk: Prepared, now: int) -> None:
    """Put a prepared chunk into the transaction: bodies, entries, nodes, index, its request's state, the counters.

    Args:
        now: the hub's clock; the log's time never runs backwards.
    """
    state = commit.state
    part = key + (chunk.number + 1).to_bytes(4, "big")
    if commit.txn.get(part, db=commit.databases[name]) is not None:
        # It is there already: an interrupt came between its commit and its caller's notice of it.
        return
    if chunk.number == 0:
        commit.put_sealed(name, key + bytes(4), msgspec.msgpack.encode(request))
    commit.put_sealed(name, part, state.records.to_bytes(8, "little") + chunk.state)
    if chunk.value is None:
        return
    state.time = max(state.time, now)
    first = state.records.to_bytes(8, "big")
    set_place(chunk.value, state.records, state.commit, state.time)
    commit.put("records", first, chunk.value.data)
    commit.put_sealed("entries", first, chunk.entries.tobytes())
    peaks, complete = _hash.append_leaves(state.records, state.peaks, chunk.leaves)
    for level, nodes in complete.items():
        number = state.records >> level
        commit.put_sealed("nodes", level.to_bytes(1, "big") + number.to_bytes(8, "big"), nodes.tobytes())
    add_run(commit, chunk.period, state.records, chunk.person_keys, request.received_at)
    state.peaks = peaks
    state.records += chunk.rows
