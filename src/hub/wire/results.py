"""What comes back: results of the Hub as they travel, and the same results again at the client.

Columns are as in ``packing.py``. What is a Struct in ``messages.py`` travels as a map of its fields; a moment is
MessagePack's timestamp (extension -1), a day an ISO 8601 text, an enum its number.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np

from hub.catalog import Catalog
from hub.corrections import CorrectionNotice
from hub.filing import RequestStatus
from hub.handles import PartyRecord
from hub.messages import (
    Acquired,
    Answer,
    Answers,
    History,
    Holders,
    PermitInquiry,
    Permits,
    Receipt,
    Record,
    Wanted,
)
from hub.requests import File
from hub.tlog.proof import Proof
from hub.wire.packing import Rows, column, pack_rows, raw, unpack_rows

Again = Callable[[], Any]
"""Asks for a result once more, with its proofs."""


class Result(NamedTuple):
    """How one result travels.

    Attributes:
        type: of the reply's body, for msgspec. pack: what the Hub gave -> the body. unpack: the body -> the result.
    """

    type: Any
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def plain(type_: Any) -> Result:
    """What MessagePack carries as it is."""
    return Result(type_, _same, _same)


NOTHING, YES, COUNT, TEXT = plain(None), plain(bool), plain(int), plain(str)
BYTES, OPTIONAL_BYTES = plain(bytes), plain(bytes | None)
RECEIPT, STATUS, FILE = plain(Receipt), plain(RequestStatus), plain(File | None)
HOLDERS, WANTED = plain(Holders), plain(list[Wanted])
HANDLES = plain(list[tuple[bytes, PartyRecord]])
DUE = plain(list[tuple[bytes, PartyRecord, dt.date]])
NOTICES = plain(list[CorrectionNotice])
CHECKPOINTS = plain(list[tuple[dt.datetime | None, str]])
HASHES = plain(list[bytes])
CATALOG = Result(bytes, lambda catalog: catalog.dump(), Catalog.load)


def _own(name: str, view: memoryview, dtype: Any, width: int = 1) -> Any:
    """A column as an array of the caller's own."""
    return column(name, view, dtype, width).copy()


ALIASES = Result(memoryview, raw, lambda view: _own("aliases", view, np.uint8, 16))
FLAGS = Result(memoryview, raw, lambda view: _own("flags", view, np.uint8))


class AcquiredBody(msgspec.Struct):
    """aliases: 16 bytes a row. status: u8."""

    aliases: memoryview
    status: memoryview


ACQUIRED = Result(
    AcquiredBody,
    lambda found: AcquiredBody(raw(found.aliases), raw(found.status)),
    lambda body: Acquired(_own("aliases", body.aliases, np.uint8, 16), _own("status", body.status, np.uint8)),
)


class AnswerBody(msgspec.Struct, omit_defaults=True):
    """status, reason: u8 a row. rule: u32. holders: row -> codes."""

    status: memoryview
    rule: memoryview
    reason: memoryview
    receipt: Receipt
    holders: dict[int, tuple[str, ...]] = {}


ANSWER = Result(
    AnswerBody,
    lambda a: AnswerBody(raw(a.status), raw(a.rule), raw(a.reason), a.receipt, a.holders),
    lambda b: Answer(
        _own("status", b.status, np.uint8),
        _own("rule", b.rule, np.uint32),
        _own("reason", b.reason, np.uint8),
        b.receipt,
        b.holders,
    ),
)


class AnswersBody(msgspec.Struct):
    """status, reason: u8 a row. more: whether rows are left, for which the next call is to ask."""

    status: memoryview
    reason: memoryview
    payloads: Rows
    complete: bool
    more: bool


class SomeAnswers(NamedTuple):
    """Answers to some rows of what was asked for, and whether there are more."""

    answers: Answers
    more: bool


def _pack_answers(some: SomeAnswers) -> AnswersBody:
    a = some.answers
    return AnswersBody(raw(a.status), raw(a.reason), pack_rows(a.payloads), a.complete, some.more)


def _unpack_answers(body: AnswersBody) -> SomeAnswers:
    answers = Answers(
        _own("status", body.status, np.uint8),
        _own("reason", body.reason, np.uint8),
        unpack_rows("payloads", body.payloads),
        body.complete,
    )
    return SomeAnswers(answers, body.more)


ANSWERS = Result(AnswersBody, _pack_answers, _unpack_answers)


class PermitsBody(msgspec.Struct):
    """aliases: 16 bytes a row. permit: u64. manual: u8. asked: u16."""

    inquiry: PermitInquiry
    aliases: memoryview
    permit: memoryview
    manual: memoryview
    asked: memoryview
    valid_until: int
    cursor: str


def _pack_permits(found: list[Permits]) -> list[PermitsBody]:
    return [
        PermitsBody(
            p.inquiry, raw(p.aliases), raw(p.permit), raw(p.manual), raw(p.asked), p.valid_until, p.cursor
        )
        for p in found
    ]


def _unpack_permits(bodies: list[PermitsBody]) -> list[Permits]:
    return [
        Permits(
            b.inquiry,
            _own("aliases", b.aliases, np.uint8, 16),
            _own("permit", b.permit, np.uint64),
            _own("manual", b.manual, np.uint8).view(np.bool_),
            _own("asked", b.asked, np.uint16),
            b.valid_until,
            b.cursor,
        )
        for b in bodies
    ]


PERMITS = Result(list[PermitsBody], _pack_permits, _unpack_permits)


class ProofBody(msgspec.Struct):
    """What proves one record; path: 32 bytes a hash."""

    index: int
    leaf: bytes
    path: bytes
    checkpoint: str
    salt: bytes
    shared: bytes
    row: bytes


class HistoryBody(msgspec.Struct, omit_defaults=True):
    """proofs: of the records, in their order, or none at all."""

    records: list[Record]
    cursor: str | None
    disclosure: str
    proofs: list[ProofBody] = []


class ShownHistory(NamedTuple):
    """A page, and the proofs of its records where they were asked for."""

    page: History
    proofs: list[Proof]


def _pack_history(shown: ShownHistory) -> HistoryBody:
    proofs = [
        ProofBody(p.index, p.leaf, b"".join(p.path), p.checkpoint, p.salt, p.shared, p.row) for p in shown.proofs
    ]
    return HistoryBody(shown.page.records, shown.page.cursor, shown.page.disclosure, proofs)


def make_proofs(body: HistoryBody) -> list[Proof]:
    """The proofs of a page that came with them."""
    return [
        Proof(
            p.index, [p.path[at : at + 32] for at in range(0, len(p.path), 32)], checkpoint=p.checkpoint, record=record,
            salt=p.salt, shared=p.shared, row=p.row, leaf=p.leaf,
        )
        for p, record in zip(body.proofs, body.records, strict=True)
    ]  # fmt: skip


HISTORY = Result(HistoryBody, _pack_history, _same)
"""What the client makes of it stands in ``caller.py``: proofs are asked for when somebody wants them."""
