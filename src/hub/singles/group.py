"""A group: small inquiries of whatever requesters that become durable in one commit, as one chunk of records.

Each call is decided and answered for itself; resolving, committing, laying out and writing are done for all together.
Records of a chunk stand in person-key order, whoever asked: nobody learns from it who stood in a group with whom.

Order: decide -> resolve -> lay out (no lock) -> commit -> checkpoint -> answers. A call that cannot be decided leaves
the group with its own error; where a group cannot be done for another reason its halves are tried each by itself, so
that in the end only the call that is at fault gets the error.
"""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.aliases import NOBODY
from hub.catalog import Catalog, DecisionTable
from hub.messages import Answer, Kind, Receipt, Status
from hub.protection.marks import NewMark
from hub.protection.screen import Basis, Question, Screen
from hub.records.append import Laid, lay_records, order_by_person
from hub.records.bodies import ROW, Fields, supervise
from hub.records.permits import lapse_time
from hub.requests.batch import Batch
from hub.requests.groups import Group, Small, Table, encode_group
from hub.requests.state import NO_RECORD_BIT
from hub.storage.keys import Keys
from hub.storage.periods import PeriodKey
from hub.tlog.entry import Shared, join_shared, shared_middle

_OK = int(Status.OK)
"""For the loops: an enum's member takes Python 3.11 a microsecond to look up."""

MIDDLES_MAX = 4_096
"""Encoded shared fields that are kept: one for each question, section and decision, about 400 bytes each."""


class Call:
    """One inquiry that waits for its commit.

    Attributes:
        batch: as decoded; at most ``ROWS_GATHERED_MAX`` rows. key: of its request. at: since when it waits.
        table: its decisions, once decided. waiters: who gets the answer. error: instead of one.
    """

    __slots__ = ("answer", "at", "batch", "error", "key", "table", "waiters")

    def __init__(self, batch: Batch, key: bytes) -> None:
        self.batch = batch
        self.key = key
        self.at = time.monotonic()
        self.table: DecisionTable | None = None
        self.waiters: list[Any] = []
        self.answer: Answer | None = None
        self.error: BaseException | None = None

    def __repr__(self) -> str:
        return f"Call(rows={len(self.batch)})"


class Columns(NamedTuple):
    """The rows of all calls of a group, one behind the other.

    Attributes:
        aliases, providers: as of :class:`Batch`. call: uint32[N], which call. decision: uint16[N], of its own table.
        status, rule, reason: of the row's decision, by the law alone. starts: where each call begins, and the end.
    """

    aliases: npt.NDArray[np.uint8]
    providers: npt.NDArray[np.uint32]
    call: npt.NDArray[np.intp]
    decision: npt.NDArray[np.uint16]
    status: npt.NDArray[np.uint8]
    rule: npt.NDArray[np.uint32]
    reason: npt.NDArray[np.uint8]
    starts: list[int]


class LaidGroup(NamedTuple):
    """A group, ready but for its place in the log.

    Attributes:
        calls, columns, received_at, catalog: what it was made of. status: uint8[N], of the answers.
        laid: its records. requests: as stored, but for that place.
        basis: what it was resolved and screened from. marks: of its records that are withheld from the beginning.
    """

    calls: list[Call]
    columns: Columns
    received_at: int
    catalog: Catalog
    status: npt.NDArray[np.uint8]
    laid: Laid
    requests: bytes
    basis: Basis
    marks: list[NewMark]

    def __repr__(self) -> str:
        return f"LaidGroup(calls={len(self.calls)}, rows={len(self.status)})"

    @property
    def owner(self) -> bytes:
        """The name under which its rows are counted as asked: the key of its first call."""
        return self.calls[0].key

    @property
    def keys(self) -> npt.NDArray[np.uint8]:
        """uint8[N, 16], of its requests."""
        return np.frombuffer(b"".join([call.key for call in self.calls]), np.uint8).reshape(-1, 16)


def join_columns(calls: list[Call]) -> Columns:
    """The columns of some decided calls.

    Raises:
        RequestError: a provider's number is no institution's.
    """
    batches = [call.batch for call in calls]
    rows = [len(batch) for batch in batches]
    starts = [0]
    for count in rows:
        starts.append(starts[-1] + count)
    aliases = np.concatenate([batch.aliases for batch in batches])
    providers = np.concatenate([batch.providers for batch in batches])
    which = np.repeat(np.arange(len(calls)), rows)
    numbers: dict[int, int] = {}
    tables: list[DecisionTable] = []
    table_of = np.empty(len(calls), dtype=np.intp)
    for i, call in enumerate(calls):
        assert call.table is not None
        number = table_of[i] = numbers.setdefault(id(call.table), len(tables))
        if number == len(tables):
            tables.append(call.table)
    # Few questions need consent, so most groups have no such column.
    consents = _join_consents(batches) if any(table.consent_matters for table in tables) else None
    if len(tables) == 1:
        table = tables[0]
        decision = np.array(table.look_up(providers, consents))
        status, rule, reason = table.status.take(decision), table.rule.take(decision), table.reason.take(decision)
    else:
        n = len(which)
        decision, status = np.empty(n, np.uint16), np.empty(n, np.uint8)
        rule, reason = np.empty(n, np.uint32), np.empty(n, np.uint8)
        of_row = table_of[which]
        for number, table in enumerate(tables):
            at = np.flatnonzero(of_row == number)
            decision[at] = entry = table.look_up(providers[at], None if consents is None else consents[at])
            status[at], rule[at], reason[at] = table.status[entry], table.rule[entry], table.reason[entry]
    return Columns(aliases, providers, which, decision, status, rule, reason, starts)


def _join_consents(batches: list[Batch]) -> npt.NDArray[np.bool_]:
    """bool[N] of the rows of some batches."""
    return np.concatenate(
        [np.full(len(batch), False if batch.consents is None else batch.consents, np.bool_) for batch in batches]
    )


class GroupLayer:
    """Lays out groups; keeps the encoded words of questions that come again and again. Used by one thread at a time."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._middles: dict[tuple[object, ...], bytes] = {}

    def __repr__(self) -> str:
        return f"GroupLayer(middles={len(self._middles)})"

    def lay(
        self,
        calls: list[Call],
        columns: Columns,
        persons: npt.NDArray[np.uint32],
        resolved: npt.NDArray[np.uint8],
        screen: Screen,
        received_at: int,
        catalog: Catalog,
        key: PeriodKey,
    ) -> LaidGroup:
        """Order a group's records by person key, commit to them and lay them out. Needs no lock and no transaction.

        Args:
            persons, resolved: uint32[N] and uint8[N], of its rows. screen: of the snapshot that they are of.
            key: of the period in which it will be written.
        """
        status = columns.status.copy()
        np.copyto(status, resolved, where=status == Status.OK)
        status = screen.statuses(_questions(calls), columns.call, columns.providers, persons, status)
        known = np.flatnonzero(persons != NOBODY)
        person_keys = key.person_keys(persons[known])
        order = order_by_person(person_keys)
        place = known[order]
        # Of each call the decisions that its records have, in the order of the calls.
        names = columns.call[place] << 16 | columns.decision[place]
        used, number = np.unique(names, return_inverse=True)
        table = np.zeros(len(place), dtype=ROW)
        table["person"] = persons[place]
        table["provider"] = columns.providers[place]
        table["decision"] = number
        table["outcome"] = status[place]
        table["kind"] = Kind.INQUIRY
        inquiries = os.urandom(8 * len(calls))
        fields = self._fields(calls, columns, used, number, place, received_at, catalog.digest, inquiries)
        laid = lay_records(fields, table, person_keys[order], self._keys, key)
        requests = _pack_requests(calls, columns, status, known, place, received_at, catalog.digest, inquiries)
        requesters = np.array([call.batch.requester for call in calls], dtype=np.uint32)[columns.call[place]]
        marks = screen.marks(
            key, received_at, table, requesters, lambda number: catalog.institution_by_number(number).code
        )
        return LaidGroup(calls, columns, received_at, catalog, status, laid, requests, screen.basis, marks)

    def _fields(
        self,
        calls: list[Call],
        columns: Columns,
        used: npt.NDArray[np.intp],
        number: npt.NDArray[np.intp],
        place: npt.NDArray[np.intp],
        received_at: int,
        digest: str,
        inquiries: bytes,
    ) -> Fields:
        blind = os.urandom(32)
        shared, supervised, moments = [], [], []
        for at, name in enumerate(used.tolist()):
            which, decision = name >> 16, name & 0xFFFF
            call = calls[which]
            cases: list[str | None] | None = None
            if call.batch.cases is not None:
                # In the order of the records that they cover.
                rows = place[number == at] - columns.starts[which]
                cases = [call.batch.cases[row] for row in rows.tolist()]
            encoded = msgspec.msgpack.encode((call.batch.inquiry.operator, cases))
            supervised.append(encoded)
            table = call.table
            assert table is not None
            moments.append(lapse_time(received_at, table.permit_days) if table.status[decision] == _OK else 0)
            middle = self._middle(call, decision, digest)
            shared.append(join_shared(inquiries[8 * which : 8 * which + 8], middle, supervise(blind, at, encoded)))
        # One for all of them where they are all the same and name no cases, as those do that differ by record.
        if len(set(supervised)) == 1 and all(calls[name >> 16].batch.cases is None for name in used.tolist()):
            supervised = supervised[:1]
        times = [(received_at, 0)] * len(shared)
        return Fields(shared=shared, times=times, blind=blind, supervised=supervised, moments=moments)

    def _middle(self, call: Call, decision: int, digest: str) -> bytes:
        """What the records of a question have in common from inquiry to inquiry, encoded."""
        inquiry, table = call.batch.inquiry, call.table
        assert table is not None
        day = inquiry.reference_date
        name = (table, decision, inquiry.requester, inquiry.procedure, inquiry.section, day, digest)
        found = self._middles.get(name)
        if found is None:
            if len(self._middles) >= MIDDLES_MAX:
                self._middles.clear()
            found = self._middles[name] = shared_middle(
                Shared(
                    inquiry=bytes(8),
                    requester=inquiry.requester,
                    on_behalf_of=table.on_behalf_of,
                    procedure=inquiry.procedure,
                    items=tuple(table.items),
                    role=table.role,
                    section=inquiry.section,
                    reference_date=None if day is None else day.isoformat(),
                    catalog=digest,
                    rule=int(table.rule[decision]),
                    reason=int(table.reason[decision]),
                    legal_basis=table.legal_basis[decision],
                    supervised=bytes(32),
                )
            )
        return found


def _questions(calls: list[Call]) -> list[Question]:
    return [Question(call.batch.requester, () if call.table is None else call.table.items) for call in calls]


def _pack_requests(
    calls: list[Call],
    columns: Columns,
    status: npt.NDArray[np.uint8],
    known: npt.NDArray[np.intp],
    place: npt.NDArray[np.intp],
    received_at: int,
    digest: str,
    inquiries: bytes,
) -> bytes:
    stored = status | NO_RECORD_BIT
    stored[known] = status[known]
    position = np.zeros(len(status), dtype=np.uint16)
    position[place] = np.arange(len(place), dtype=np.uint16)
    statuses, decisions, positions = stored.tobytes(), columns.decision.tobytes(), position.tobytes()
    numbers: dict[int, int] = {}
    tables: list[Table] = []
    requests = []
    for i, call in enumerate(calls):
        table = call.table
        assert table is not None
        number = numbers.setdefault(id(table), len(tables))
        if number == len(tables):
            tables.append(Table(digest, table.status.tolist(), table.rule.tolist(), table.reason.tolist()))
        begin, end = columns.starts[i], columns.starts[i + 1]
        state = statuses[begin:end] + decisions[2 * begin : 2 * end] + positions[2 * begin : 2 * end]
        requests.append(Small(call.batch.digest, end - begin, number, inquiries[8 * i : 8 * i + 8], state))
    keys = b"".join([call.key for call in calls])
    return encode_group(Group(keys, received_at, tables, requests))


def answer_group(group: LaidGroup) -> None:
    """Give every call of a group its answer; to be called when group and checkpoint are durable."""
    columns, statuses = group.columns, group.status
    begin = 0
    for call, end in zip(group.calls, columns.starts[1:], strict=True):
        # Copies: a column must not lead its reader to the neighbours' rows.
        call.answer = Answer(
            statuses[begin:end].copy(),
            columns.rule[begin:end].copy(),
            columns.reason[begin:end].copy(),
            Receipt(request_id=call.batch.inquiry.request_id, rows=end - begin, received_at=group.received_at),
        )
        begin = end
