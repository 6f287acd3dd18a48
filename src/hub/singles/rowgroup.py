"""A group of inquiries of one row each, laid out as columns: what ``group.py`` does, with no object for a row.

Every record has a decision of its own in its chunk, as every inquiry has a name of its own; the rest of what it shares
with others comes from its question and is encoded once.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub._small import decide, join_fields
from hub.aliases import NOBODY
from hub.catalog import Catalog, DecisionTable
from hub.messages import Kind, Status
from hub.protection.marks import NewMark
from hub.protection.screen import Basis, Screen
from hub.records.append import Laid, lay_records, order_by_person
from hub.records.bodies import ROW, Joined
from hub.records.permits import lapse_time
from hub.requests.groups import Table, encode_rows, encode_table
from hub.requests.state import NO_RECORD_BIT
from hub.singles.group import MIDDLES_MAX
from hub.singles.small import Question, SmallRows
from hub.storage.keys import Keys
from hub.storage.periods import PeriodKey
from hub.tlog.entry import Shared, shared_middle

_OK = np.uint8(Status.OK)
_NO_RECORD = np.uint8(NO_RECORD_BIT)
NO_DECISION = 0xFFFF
TABLES_MAX = 1_024
"""Encoded decision tables that are kept, a few hundred bytes each."""


class DecidedRows(NamedTuple):
    """Rows with their decisions, by the law alone.

    Attributes:
        rows: N of them. tables: of each question; None where it cannot be decided.
        decision: uint16[N], entry of the question's table, ``NO_DECISION`` where there is none. status: uint8[N];
            rule: uint32[N]; reason: uint8[N]. undecided: how many rows have no decision.
    """

    rows: SmallRows
    tables: list[DecisionTable | None]
    decision: npt.NDArray[np.uint16]
    status: npt.NDArray[np.uint8]
    rule: npt.NDArray[np.uint32]
    reason: npt.NDArray[np.uint8]
    undecided: int

    def __repr__(self) -> str:
        return f"DecidedRows(rows={len(self.decision)})"

    def table(self, question: int) -> DecisionTable:
        """Of a question that some row with a decision has."""
        table = self.tables[question]
        assert table is not None
        return table

    def take(self, at: npt.NDArray[np.intp]) -> DecidedRows:
        """Some of the rows, all of which have a decision."""
        return DecidedRows(
            take_rows(self.rows, at), self.tables, self.decision[at], self.status[at], self.rule[at], self.reason[at], 0
        )


class LaidRows(NamedTuple):
    """A group of rows, ready but for its place in the log.

    Attributes:
        owner: the name under which it is asked for whom (``protection/asked.py``). decided, received_at, catalog: what
        it was made
            of. status: uint8[N], of the answers. laid: its records. requests: as stored, but for that place.
        basis: what it was resolved and screened from. marks: of its records that are withheld from the beginning.
    """

    owner: object
    decided: DecidedRows
    received_at: int
    catalog: Catalog
    status: npt.NDArray[np.uint8]
    laid: Laid
    requests: bytes
    basis: Basis
    marks: list[NewMark]

    def __repr__(self) -> str:
        return f"LaidRows(rows={len(self.status)})"

    @property
    def keys(self) -> npt.NDArray[np.uint8]:
        """uint8[N, 16], of its requests."""
        return self.decided.rows.keys


def take_rows(rows: SmallRows, at: npt.NDArray[np.intp] | slice) -> SmallRows:
    """Some rows, in this order."""
    consents = None if rows.consents is None else rows.consents[at]
    return SmallRows(
        rows.questions, rows.which[at], rows.aliases[at], rows.providers[at], rows.keys[at], rows.digests[at], consents
    )


def join_rows(parts: list[SmallRows]) -> SmallRows:
    """Rows behind each other; a question that several parts have is there once."""
    if len(parts) == 1:
        return parts[0]
    numbers: dict[Question, int] = {}
    which = []
    for part in parts:
        place = [numbers.setdefault(question, len(numbers)) for question in part.questions]
        which.append(np.array(place, dtype=np.uint32)[part.which])
    consents = None
    if any(part.consents is not None for part in parts):
        zeros = [np.zeros(len(part.which), np.uint8) if part.consents is None else part.consents for part in parts]
        consents = np.concatenate(zeros)
    return SmallRows(
        list(numbers),
        np.concatenate(which),
        np.concatenate([part.aliases for part in parts]),
        np.concatenate([part.providers for part in parts]),
        np.concatenate([part.keys for part in parts]),
        np.concatenate([part.digests for part in parts]),
        consents,
    )


_NO_INSTITUTIONS = np.empty(0, np.uint16)
_NO_BYTES, _NO_RULES = np.empty(0, np.uint8), np.empty(0, np.uint32)


def decide_rows(rows: SmallRows, tables: list[DecisionTable | None]) -> DecidedRows:
    """Decide every row by the table of its question."""
    n = len(rows.which)
    decision, status = np.empty(n, np.uint16), np.empty(n, np.uint8)
    rule, reason = np.empty(n, np.uint32), np.empty(n, np.uint8)
    undecided = decide(
        [_NO_INSTITUTIONS if table is None else table.of_institution for table in tables],
        [_NO_INSTITUTIONS if table is None else table.without_consent for table in tables],
        [_NO_BYTES if table is None else table.status for table in tables],
        [_NO_RULES if table is None else table.rule for table in tables],
        [_NO_BYTES if table is None else table.reason for table in tables],
        rows.which, rows.providers, rows.consents, decision, status, rule, reason,
    )  # fmt: skip
    return DecidedRows(rows, tables, decision, status, rule, reason, undecided)


class RowLayer:
    """Lays out groups of rows; keeps what is encoded of questions that come again. Used by one thread at a time."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._middles: dict[tuple[object, ...], bytes] = {}
        self._tables: dict[tuple[DecisionTable, str], bytes] = {}

    def __repr__(self) -> str:
        return f"RowLayer(middles={len(self._middles)})"

    def lay(
        self,
        owner: object,
        decided: DecidedRows,
        persons: npt.NDArray[np.uint32],
        resolved: npt.NDArray[np.uint8],
        screen: Screen,
        received_at: int,
        catalog: Catalog,
        key: PeriodKey,
    ) -> LaidRows:
        """Order a group's records by person key, commit to them and lay them out. Needs no lock and no transaction.

        Args:
            persons, resolved: uint32[N] and uint8[N], of its rows, each of which has a decision.
            screen: of the snapshot that they are of. key: of the period in which it will be written.
        """
        rows = decided.rows
        status = decided.status.copy()
        np.copyto(status, resolved, where=status == _OK)
        status = screen.statuses((), rows.which.astype(np.intp), rows.providers, persons, status)
        known = np.flatnonzero(persons != NOBODY)
        person_keys = key.person_keys(persons[known])
        order = order_by_person(person_keys)
        place = known[order]
        table = np.zeros(len(place), dtype=ROW)
        table["person"] = persons[place]
        table["provider"] = rows.providers[place]
        # Each record's own: their decisions stand in the order in which the rows came.
        table["decision"] = order
        table["outcome"] = status[place]
        table["kind"] = int(Kind.INQUIRY)
        names = np.frombuffer(os.urandom(8 * len(status)), np.uint8).reshape(-1, 8)
        fields = self._fields(decided, known, received_at, catalog.digest, names)
        laid = lay_records(fields, table, person_keys[order], self._keys, key)
        requests = self._pack_requests(decided, status, known, place, received_at, catalog.digest, names)
        requesters = np.array([question.requester for question in rows.questions], np.uint32)[rows.which[place]]
        marks = screen.marks(
            key, received_at, table, requesters, lambda number: catalog.institution_by_number(number).code
        )
        return LaidRows(owner, decided, received_at, catalog, status, laid, requests, screen.basis, marks)

    def _fields(
        self,
        decided: DecidedRows,
        known: npt.NDArray[np.intp],
        received_at: int,
        digest: str,
        names: npt.NDArray[np.uint8],
    ) -> Joined:
        questions = decided.rows.questions
        which = decided.rows.which[known]
        pair_of = which << np.uint32(16) | decided.decision[known]
        pairs, middle_of = pair_of[:1], np.zeros(len(pair_of), np.uint32)
        if (pair_of != pair_of[:1]).any():
            pairs, middle_of = np.unique(pair_of, return_inverse=True)
        middles = [
            self._middle(questions[pair >> 16], decided.table(pair >> 16), pair & 0xFFFF, digest)
            for pair in pairs.tolist()
        ]
        supervised = [_encode_supervised(question.inquiry.operator) for question in questions]
        lapses: dict[int, int] = {}
        moments = np.zeros(len(questions), np.int64)
        for number, table in enumerate(decided.tables):
            if table is not None:
                days = table.permit_days
                if days not in lapses:
                    lapses[days] = lapse_time(received_at, days)
                moments[number] = lapses[days]
        encoded, hashes = join_fields(
            middles,
            middle_of.astype(np.uint32),
            names[known],
            os.urandom(32),
            supervised,
            which,
            moments[which] * (decided.status[known] == _OK),
            received_at,
            len(set(supervised)) == 1,
        )
        return Joined(encoded, hashes, received_at)

    def _middle(self, question: Question, table: DecisionTable, decision: int, digest: str) -> bytes:
        """What the records of a question have in common from inquiry to inquiry, encoded."""
        name = (question, table, decision, digest)
        found = self._middles.get(name)
        if found is None:
            if len(self._middles) >= MIDDLES_MAX:
                self._middles.clear()
            inquiry, day = question.inquiry, question.inquiry.reference_date
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

    def _pack_requests(
        self,
        decided: DecidedRows,
        status: npt.NDArray[np.uint8],
        known: npt.NDArray[np.intp],
        place: npt.NDArray[np.intp],
        received_at: int,
        digest: str,
        names: npt.NDArray[np.uint8],
    ) -> bytes:
        rows = decided.rows
        stored = status | _NO_RECORD
        stored[known] = status[known]
        position = np.zeros(len(status), dtype=np.uint16)
        position[place] = np.arange(len(place), dtype=np.uint16)
        numbers: dict[DecisionTable, int] = {}
        of_question = np.zeros(len(rows.questions), dtype=np.uint16)
        for question, table in enumerate(decided.tables):
            if table is not None:
                of_question[question] = numbers.setdefault(table, len(numbers))
        tables = [self._table(table, digest) for table in numbers]
        return encode_rows(
            rows.keys, received_at, tables, rows.digests, names.tobytes(), of_question[rows.which], stored,
            decided.decision, position,
        )  # fmt: skip

    def _table(self, table: DecisionTable, digest: str) -> bytes:
        found = self._tables.get((table, digest))
        if found is None:
            if len(self._tables) >= TABLES_MAX:
                self._tables.clear()
            found = self._tables[table, digest] = encode_table(
                Table(digest, table.status.tolist(), table.rule.tolist(), table.reason.tolist())
            )
        return found


_encoded: dict[str | None, bytes] = {}


def _encode_supervised(operator: str | None) -> bytes:
    """What supervisors read of an inquiry without cases, encoded."""
    found = _encoded.get(operator)
    if found is None:
        if len(_encoded) >= MIDDLES_MAX:
            _encoded.clear()
        found = _encoded[operator] = msgspec.msgpack.encode((operator, None))
    return found
