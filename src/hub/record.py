"""Stage 4 of 6: decisions and resolutions -> durable records in the log, one transaction a chunk.

The bytes of a chunk stand in ``records/bodies.py``, of a request's state in ``requests/state.py``, of entries, tree and
keys in docs/log.md. Records of a chunk stand in person-key order, those of one person in any
(``append.order_by_person``): their order says nothing about the requester's rows.

Everything that does not depend on the chunk's place in the log is done before the write lock is taken: encrypting,
entries, leaves. Inside it are the nodes of the tree, the puts, and the commit (``records/append.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub import _columns
from hub.aliases import NOBODY
from hub.catalog import DecisionTable
from hub.messages import Kind, Status
from hub.persons.holders import NAME as HOLDERS
from hub.protection.marks import Marking, NewMark, prepare_marks, put_new_marks
from hub.protection.screen import Basis, Question, Screen
from hub.records.append import Grown, Laid, append_records, lay_records, make_fields, order_by_person
from hub.records.bodies import ROW, Fields
from hub.records.handles import REQUESTER
from hub.records.permits import lapse_time
from hub.requests.batch import Batch, Decided, Destinations, Resolution
from hub.requests.state import NO_RECORD_BIT, Request, put_lists, rows_of
from hub.storage.keys import Keys
from hub.storage.periods import PeriodKey, period_of
from hub.storage.snapshot import Commit
from hub.tlog.entry import Shared


class Prepared(NamedTuple):
    """A chunk, ready to be written but for its place in the log.

    Attributes:
        number: which chunk of the request. laid: its records. state: the request's part.
        basis: what it was resolved and screened from. marks: of its records that are withheld from the beginning.
        going: where its rows go, in a batch with classes.
    """

    number: int
    laid: Laid
    state: bytes
    basis: Basis
    marks: Sequence[NewMark] = ()
    going: Destinations | None = None

    def __repr__(self) -> str:
        return f"Prepared({self.number}, rows={self.laid.rows})"


def prepare_chunk(
    batch: Batch,
    request: Request,
    decided: Decided,
    resolution: Resolution,
    screen: Screen,
    chunk: int,
    keys: Keys,
    key: PeriodKey,
    code_of: Callable[[int], str],
    going: Destinations | None = None,
) -> Prepared:
    """Order a chunk's records by person key, commit to them and lay them out. Needs no lock and no transaction.

    Args:
        screen: of the snapshot that it was resolved in. key: of the period in which the chunk will be written.
        code_of: an institution's code by its number.
        going: where its rows go, in a batch with classes; the resolution is of these providers.
    """
    rows = rows_of(request, chunk)
    decision = decided.decision[rows] if going is None else going.decision
    providers = batch.providers[rows] if going is None else going.providers
    status = decided.table.status.take(decision)
    np.copyto(status, resolution.status, where=status == Status.OK)
    if going is not None:
        np.copyto(status, going.outcome, where=(status == Status.OK) & (going.outcome != Status.OK))
    question = Question(batch.requester, decided.table.items)
    status = screen.statuses([question], None, providers, resolution.persons, status)
    known = np.flatnonzero(resolution.persons != NOBODY)
    person_keys = key.person_keys(resolution.persons[known])
    order = order_by_person(person_keys)
    place = known[order]
    table = np.empty(len(place), dtype=ROW)
    stored = table.view(np.uint8).reshape(-1, ROW.itemsize)
    state = _columns.place_records(
        resolution.persons, providers, decision, status, place, Kind.INQUIRY, NO_RECORD_BIT, stored
    )
    position = state[3 * len(status) :].view(np.uint16)
    cases = None if batch.cases is None else [batch.cases[rows.start + row] for row in place.tolist()]
    fields = _fields(batch, request, decided.table, cases)
    laid = lay_records(fields, table, person_keys[order], keys, key)
    marks = _explicit_marks(batch, request, rows.start, known, position, key)
    marks += screen.marks(
        key, request.received_at, table, batch.requester, code_of, besides={mark.position for mark in marks}
    )
    return Prepared(chunk, laid, state.tobytes(), screen.basis, marks, going)


def _explicit_marks(
    batch: Batch,
    request: Request,
    start: int,
    known: npt.NDArray[np.intp],
    position: npt.NDArray[np.uint16],
    key: PeriodKey,
) -> list[NewMark]:
    """The requester's own marks of a chunk whose first row is ``start``."""
    if batch.marks is None:
        return []
    inquiry = batch.inquiry
    chosen = ((row, batch.marks[start + row]) for row in known.tolist())
    marked = [
        Marking(int(position[row]), REQUESTER, inquiry.requester, inquiry.operator, mark)
        for row, mark in chosen
        if mark is not None
    ]
    return prepare_marks(key, request.received_at, marked)


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
    supervised = (inquiry.operator, cases, batch.classes) if batch.classes else (inquiry.operator, cases)
    return make_fields(shared, [(request.received_at, 0)] * len(shared), [supervised], moments)


def must_prepare_again(commit: Commit, chunk: Prepared, now: int) -> bool:
    """Whether aliases, flags or holders have changed since a chunk was resolved, or another period has begun."""
    state = commit.state
    if chunk.going is not None and state.sums.get(HOLDERS, 0) != chunk.going.sum:
        return True
    return not chunk.basis.stands(state) or period_of(max(now, state.time)) != chunk.laid.period


def write_chunk(
    commit: Commit, name: str, key: bytes, request: Request, chunk: Prepared, now: int, grown: Grown | None
) -> int | None:
    """Put a prepared chunk into the transaction: its records and its request's state.

    Args:
        now: the hub's clock; the log's time never runs backwards.
        grown: the tree with the chunk's records, where it was hashed beforehand.

    Returns:
        index of its first record; None where it was there already.
    """
    part = key + (chunk.number + 1).to_bytes(4, "big")
    if commit.txn.get(part, db=commit.databases[name]) is not None:
        # It is there already: an interrupt came between its commit and its caller's notice of it.
        return None
    if chunk.number == 0:
        commit.put_sealed(name, key + bytes(4), msgspec.msgpack.encode(request))
    commit.put_sealed(name, part, commit.state.records.to_bytes(8, "little") + chunk.state)
    if chunk.going is not None:
        put_lists(commit, name, key, chunk.number, chunk.going.several)
    first = append_records(commit, chunk.laid, now, grown)
    put_new_marks(commit, chunk.marks, chunk.laid.period, first)
    return first
