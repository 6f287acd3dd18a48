"""Stage 4 of 6: decisions and resolutions -> durable records, one transaction a chunk.

The bytes of a chunk of records stand in ``bodies.py``, those of a request's state in ``requests.py``. Records of a
chunk stand in person-key order: their order says nothing about the requester's rows.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub import _core
from hub.aliases import NOBODY
from hub.batch import Batch, Decided, Resolution
from hub.bodies import Shared, lay_out, set_place
from hub.catalog import DecisionTable
from hub.keys import Keys
from hub.messages import Kind, Status
from hub.requests import NO_RECORD_BIT, Request, rows_of
from hub.snapshot import Commit

POINTS_ROWS_MAX = 256
"""Records of a chunk up to this size are entered one by one for histories; larger chunks are searched themselves."""


class Prepared(NamedTuple):
    """A chunk, ready to be written but for its place in the log.

    Attributes:
        number: which chunk of the request. value: the records' value, head still empty, or None if there are none.
        rows: records in it. keys: their person keys, uint8[rows, 12].
        state: the request's part. status: uint8[N] as answered. tables_commit: what it was resolved from.
    """

    number: int
    value: npt.NDArray[np.uint8] | None
    rows: int
    keys: npt.NDArray[np.uint8]
    state: bytes
    status: npt.NDArray[np.uint8]
    tables_commit: int


def prepare_chunk(
    batch: Batch, request: Request, decided: Decided, resolution: Resolution, chunk: int, keys: Keys
) -> Prepared:
    """Order a chunk's records by person key and lay them out. Needs no lock and no transaction."""
    rows = rows_of(request, chunk)
    decision = decided.decision[rows]
    status = decided.table.status.take(decision)
    np.copyto(status, resolution.status, where=status == Status.OK)
    known = np.flatnonzero(resolution.persons != NOBODY)
    person_keys = keys.person_keys(resolution.persons[known])
    order = _core.order_by_key(np.ascontiguousarray(person_keys.view(np.uint64)[:, 0]))
    place = known[order]
    stored = status | NO_RECORD_BIT
    stored[known] = status[known]
    position = np.zeros(len(status), dtype=np.uint16)
    position[place] = np.arange(len(place), dtype=np.uint16)
    state = b"".join((stored.tobytes(), decision.tobytes(), position.tobytes()))
    value = None
    ordered = person_keys[order]
    if len(place):
        cases = None if batch.cases is None else [batch.cases[rows.start + row] for row in place.tolist()]
        shared = msgspec.msgpack.encode(_shared_fields(batch, request, decided.table, cases))
        value = lay_out(shared, ordered, batch.providers[rows][place], decision[place], status[place])
    return Prepared(chunk, value, len(place), ordered[:, :12], state, status, resolution.tables_commit)


def _shared_fields(batch: Batch, request: Request, table: DecisionTable, cases: list[str | None] | None) -> Shared:
    inquiry = batch.inquiry
    return Shared(
        kind=Kind.INQUIRY,
        inquiry=request.inquiry,
        requester=inquiry.requester,
        on_behalf_of=table.on_behalf_of,
        procedure=inquiry.procedure,
        items=tuple(table.items),
        role=table.role,
        section=inquiry.section,
        operator=inquiry.operator,
        reference_date=None if inquiry.reference_date is None else inquiry.reference_date.isoformat(),
        catalog=request.catalog,
        rule=request.rule,
        reason=request.reason,
        legal_basis=list(table.legal_basis),
        cases=cases,
    )


def write_chunk(commit: Commit, name: str, key: bytes, request: Request, chunk: Prepared) -> None:
    """Put a prepared chunk into the transaction: its records, its request's state, the counters."""
    state = commit.state
    part = key + (chunk.number + 1).to_bytes(4, "big")
    if commit.txn.get(part, db=commit.databases[name]) is not None:
        # It is there already: an interrupt came between its commit and its caller's notice of it.
        return
    if chunk.number == 0:
        commit.put_sealed(name, key + bytes(4), msgspec.msgpack.encode(request))
    commit.put_sealed(name, part, chunk.state)
    if chunk.value is not None:
        first = state.records.to_bytes(8, "big")
        set_place(chunk.value, state.records, request.received_at)
        commit.put("records", first, chunk.value.data)
        if chunk.rows > POINTS_ROWS_MAX:
            commit.put_sealed("bulk", first, chunk.rows.to_bytes(4, "little"))
        else:
            for position in range(chunk.rows):
                index = (state.records + position).to_bytes(8, "big")
                commit.put("points", chunk.keys[position].tobytes() + index, b"")
        state.records += chunk.rows
        state.time = max(state.time, request.received_at)
