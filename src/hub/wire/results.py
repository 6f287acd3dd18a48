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
from hub.citizens.consents import Consent
from hub.citizens.corrections import CorrectionNotice
from hub.citizens.proxies import Principal, Proxy
from hub.messages import (
    Acquired,
    Answer,
    Answers,
    Arrivals,
    Arrived,
    Claims,
    CounterHistory,
    History,
    Holders,
    Identified,
    PermitInquiry,
    Permits,
    Receipt,
    Record,
    Sent,
    Wanted,
)
from hub.methods.requests import RequestStatus
from hub.mislinks.blast import BlastRadius
from hub.mislinks.report import MislinkReport
from hub.persons.dying import Closed, Deaths
from hub.persons.merging import Undecided
from hub.records.handles import PartyRecord
from hub.requests.state import File
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
DEATHS, UNDECIDED = plain(Deaths), plain(list[Undecided])
SUCCESSIONS = plain(dict[str, tuple[str, dt.date]])
CONSENTS = plain(list[Consent])
PRINCIPALS, PROXIES = plain(list[Principal]), plain(list[Proxy])
BLAST, MISLINK = plain(BlastRadius), plain(MislinkReport)
CATALOG = Result(bytes, lambda catalog: catalog.dump(), Catalog.load)


def own(name: str, view: memoryview, dtype: Any, width: int = 1) -> Any:
    """A column as an array of the caller's own."""
    return column(name, view, dtype, width).copy()


ALIASES = Result(memoryview, raw, lambda view: own("aliases", view, np.uint8, 16))
FLAGS = Result(memoryview, raw, lambda view: own("flags", view, np.uint8))


_NONE = memoryview(b"")


class AcquiredBody(msgspec.Struct, omit_defaults=True):
    """aliases: 16 bytes a row. status: u8. differs: u8, or nothing where nothing differs."""

    aliases: memoryview
    status: memoryview
    differs: memoryview = _NONE


ACQUIRED = Result(
    AcquiredBody,
    lambda found: AcquiredBody(
        raw(found.aliases), raw(found.status), raw(found.differs) if found.differs.any() else _NONE
    ),
    lambda body: Acquired(
        own("aliases", body.aliases, np.uint8, 16),
        own("status", body.status, np.uint8),
        own("differs", body.differs, np.uint8) if len(body.differs) else None,
    ),
)


class IdentifiedBody(msgspec.Struct):
    """aliases: 16 bytes a row. status: u8."""

    aliases: memoryview
    status: memoryview


IDENTIFIED = Result(
    IdentifiedBody,
    lambda found: IdentifiedBody(raw(found.aliases), raw(found.status)),
    lambda body: Identified(own("aliases", body.aliases, np.uint8, 16), own("status", body.status, np.uint8)),
)


class ClaimsBody(msgspec.Struct):
    """tickets: 16 bytes a row."""

    tickets: memoryview
    sealed: Rows
    cursor: str | None


CLAIMS = Result(
    ClaimsBody,
    lambda found: ClaimsBody(raw(found.tickets), pack_rows(found.sealed), found.cursor),
    lambda body: Claims(
        own("tickets", body.tickets, np.uint8, 16), unpack_rows("sealed", body.sealed), body.cursor
    ),
)


class ClosedBody(msgspec.Struct):
    """aliases: 16 bytes a row."""

    aliases: memoryview
    upto: int


CLOSED = Result(
    ClosedBody,
    lambda found: ClosedBody(raw(found.aliases), found.upto),
    lambda body: Closed(aliases=own("aliases", body.aliases, np.uint8, 16), upto=body.upto),
)


class SentBody(msgspec.Struct):
    """A receipt with status, reason: u8 a row."""

    request_id: str
    rows: int
    received_at: int
    status: memoryview
    reason: memoryview


SENT = Result(
    SentBody,
    lambda sent: SentBody(sent.request_id, sent.rows, sent.received_at, raw(sent.status), raw(sent.reason)),
    lambda body: Sent(
        request_id=body.request_id,
        rows=body.rows,
        received_at=body.received_at,
        status=own("status", body.status, np.uint8),
        reason=own("reason", body.reason, np.uint8),
    ),
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
        own("status", b.status, np.uint8),
        own("rule", b.rule, np.uint32),
        own("reason", b.reason, np.uint8),
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
        own("status", body.status, np.uint8),
        own("reason", body.reason, np.uint8),
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
            own("aliases", b.aliases, np.uint8, 16),
            own("permit", b.permit, np.uint64),
            own("manual", b.manual, np.uint8).view(np.bool_),
            own("asked", b.asked, np.uint16),
            b.valid_until,
            b.cursor,
        )
        for b in bodies
    ]


PERMITS = Result(list[PermitsBody], _pack_permits, _unpack_permits)


class ArrivalsBody(msgspec.Struct):
    """aliases: 16 bytes a row. number: u64."""

    about: Arrived
    aliases: memoryview
    number: memoryview
    payloads: Rows
    corrects: Rows
    valid_until: int
    cursor: str


def _pack_arrivals(found: list[Arrivals]) -> list[ArrivalsBody]:
    return [
        ArrivalsBody(
            one.about, raw(one.aliases), raw(one.number), pack_rows(one.payloads), pack_rows(one.corrects),
            one.valid_until, one.cursor,
        )
        for one in found
    ]  # fmt: skip


def _unpack_arrivals(bodies: list[ArrivalsBody]) -> list[Arrivals]:
    return [
        Arrivals(
            b.about,
            own("aliases", b.aliases, np.uint8, 16),
            own("number", b.number, np.uint64),
            unpack_rows("payloads", b.payloads),
            unpack_rows("corrects", b.corrects),
            b.valid_until,
            b.cursor,
        )
        for b in bodies
    ]


ARRIVALS = Result(list[ArrivalsBody], _pack_arrivals, _unpack_arrivals)


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


class NoticesBody(HistoryBody, omit_defaults=True):
    """texts: of the records, in their order; none where only proofs were asked for."""

    texts: list[str | None] = []


class CounterBody(HistoryBody, omit_defaults=True):
    """codes: of the records, in their order."""

    codes: list[str] = []


class ShownHistory(NamedTuple):
    """A page, and the proofs of its records where they were asked for.

    Attributes:
        leaves_at: before when (``time.monotonic``) nobody may see it.
    """

    page: History
    proofs: list[Proof]
    leaves_at: float = 0.0


def _pack_proofs(proofs: list[Proof]) -> list[ProofBody]:
    return [ProofBody(p.index, p.leaf, p.joined_path, p.checkpoint, p.salt, p.shared, p.row) for p in proofs]


def _pack_history(shown: ShownHistory) -> HistoryBody:
    page = shown.page
    return HistoryBody(page.records, page.cursor, page.disclosure, _pack_proofs(shown.proofs))


def _pack_notices(shown: ShownHistory) -> NoticesBody:
    page, texts = shown.page, getattr(shown.page, "texts", [])
    return NoticesBody(page.records, page.cursor, page.disclosure, _pack_proofs(shown.proofs), texts)


def make_proofs(body: HistoryBody) -> list[Proof]:
    """The proofs of a page that came with them."""
    return [
        Proof(
            p.index, p.path, checkpoint=p.checkpoint, record=record, salt=p.salt, shared=p.shared, row=p.row,
            leaf=p.leaf,
        )
        for p, record in zip(body.proofs, body.records, strict=True)
    ]  # fmt: skip


HISTORY, NOTICE_PAGE = Result(HistoryBody, _pack_history, _same), Result(NoticesBody, _pack_notices, _same)
COUNTER = Result(
    CounterBody, lambda page: CounterBody(page.records, None, "", [], page.codes),
    lambda body: CounterHistory(body.records, body.codes),
)
"""What the client makes of the others stands in ``caller.py``: proofs are asked for when somebody wants them."""
