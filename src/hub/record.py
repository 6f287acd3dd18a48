"""Stage 4 of 6: decisions and resolutions -> durable records in the log, one transaction a chunk.

The bytes of a chunk stand in ``bodies.py``, of a request's state in ``requests.py``, of entries, tree and keys in
docs/log.md. Records of a chunk stand in person-key order: their order says nothing about the requester's rows.

Everything that does not depend on the chunk's place in the log is done before the write lock is taken: encrypting,
entries, leaves. Inside it are the nodes of the tree, the puts, and the commit (``append.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from hub.aliases import NOBODY
from hub.append import Grown, Laid, append_records, lay_records, make_fields, order_by_person
from hub.batch import Batch, Decided, Resolution
from hub.bodies import ROW, Fields
from hub.catalog import DecisionTable
from hub.keys import Keys
from hub.marks import NewMark, prepare_marks, put_new_marks
from hub.messages import Kind, Status
from hub.periods import PeriodKey, period_of
from hub.permits import lapse_time
from hub.requests import NO_RECORD_BIT, Request, rows_of
from hub.snapshot import Commit
from hub.tlog.entry import Shared


class Prepared(NamedTuple):
    """A chunk, ready to be written but for its place in the log.

    Attributes:
        number: which chunk of the request. laid: its records. state: the request's part.
        tables_commit: what it was resolved from. marks: of its rows that the requester withholds.
    """

    number: int
    laid: Laid
    state: bytes
    tables_commit: int
    marks: Sequence[NewMark] = ()

    def __repr__(self) -> str:
        return f"Prepared({self.number}, rows={self.laid.rows})"


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
    order = order_by_person(person_keys)
    place = known[order]
    stored = status | NO_RECORD_BIT
    stored[known] = status[known]
    position = np.zeros(len(status), dtype=np.uint16)
    position[place] = np.arange(len(place), dtype=np.uint16)
    state = b"".join((stored.tobytes(), decision.tobytes(), position.tobytes()))
    table = np.zeros(len(place), dtype=ROW)
    table["person"] = resolution.persons[place]
    table["provider"] = batch.providers[rows][place]
    table["decision"] = decision[place]
    table["outcome"] = status[place]
    table["kind"] = Kind.INQUIRY
    cases = None if batch.cases is None else [batch.cases[rows.start + row] for row in place.tolist()]
    fields = _fields(batch, request, decided.table, cases)
    laid = lay_records(fields, table, person_keys[order], keys, key)
    marks: list[NewMark] = []
    if batch.marks is not None:
        chosen = ((row, batch.marks[rows.start + row]) for row in known.tolist())
        marked = [(int(position[row]), mark) for row, mark in chosen if mark is not None]
        inquiry = batch.inquiry
        marks = prepare_marks(key, inquiry.requester, inquiry.operator, request.received_at, marked)
    return Prepared(chunk, laid, state, resolution.tables_commit, marks)


def _fields(batch: Batch, request: Request, table: DecisionTable, cases: list[str | None] | None) -> Fields:
    inquiry = batch.inquiry
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
            supervised=bytes(32),
        )
        for rule, reason, legal_basis in zip(request.rule, request.reason, table.legal_basis, strict=True)
    ]
    lapses_at = lapse_time(request.received_at, table.permit_days)
    moments = [lapses_at if status == Status.OK else 0 for status in table.status.tolist()]
    return make_fields(shared, [(request.received_at, 0)] * len(shared), [(inquiry.operator, cases)], moments)


def must_prepare_again(commit: Commit, chunk: Prepared, now: int) -> bool:
    """Whether aliases were acquired since a chunk was resolved, or another period has begun."""
    state = commit.state
    return state.tables_commit != chunk.tables_commit or period_of(max(now, state.time)) != chunk.laid.period


def write_chunk(
    commit: Commit, name: str, key: bytes, request: Request, chunk: Prepared, now: int, grown: Grown | None
) -> None:
    """Put a prepared chunk into the transaction: its records and its request's state.

    Args:
        now: the hub's clock; the log's time never runs backwards.
        grown: the tree with the chunk's records, where it was hashed beforehand.
    """
    part = key + (chunk.number + 1).to_bytes(4, "big")
    if commit.txn.get(part, db=commit.databases[name]) is not None:
        # It is there already: an interrupt came between its commit and its caller's notice of it.
        return
    if chunk.number == 0:
        commit.put_sealed(name, key + bytes(4), msgspec.msgpack.encode(request))
    commit.put_sealed(name, part, commit.state.records.to_bytes(8, "little") + chunk.state)
    first = append_records(commit, chunk.laid, now, grown)
    put_new_marks(commit, chunk.marks, chunk.laid.period, first)
