"""What was done through one link: a link that was wrong -> every record about the person behind it at one institution.

    alias (also one that is revoked or replaced) -> person -> their records by the history index -> those to which the
    institution is a party -> each question with what ended it, and whether what was answered is still there

Reads only, one person's records and a few pages of each run, however long the log is. An institution reads of its own
sides only what it may know anyway (``records/handles.py``): no other institution's alias, of a class that it asked not
which body answered, nothing before it may be seen.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from hub.aliases import NOBODY
from hub.catalog.moments import bound_of
from hub.errors import RequestError
from hub.history import GapError, find_all_records
from hub.limits import INQUIRY_OPEN_DAYS_MAX
from hub.messages import OWN_DATA, Aliases, Kind, Status, parties_of
from hub.persons.merges import current, lives_of
from hub.persons.successions import find_known_aliases, find_known_persons, successions_of
from hub.protection.withholding import Office
from hub.provision.payloadstore import has_payloads
from hub.records.handles import PROVIDER, QUESTIONS, REQUESTER, Stood, make_handle, provider_is_party, stood
from hub.records.permits import PermitNumbers
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers

ANSWERED = (Status.PROVIDED, Status.EMPTY, Status.NO_RECORD)
"""Outcomes that told the receiver something about the person: that there are no data is an answer as well."""

_ENDS = (int(Kind.PROVISION), int(Kind.LAPSE), int(Kind.TAKEN))
_SENT = (int(Kind.PUSH), int(Kind.UPDATE))
_CORRECTIONS = (int(Kind.CORRECTION_ASKED), int(Kind.CORRECTION), int(Kind.CONFIRMATION))
_DAY_S = 86_400
_FIRST = (1 << 63) - 1
_AT_A_TIME = 1_024
_ALONE = Workers(1)
_PAYLOADS = {None: "none", True: "waiting", False: "gone"}
"""What is said of data by whether they are here still; of what was sent unasked its sender is told nothing."""


class Dealing(msgspec.Struct, frozen=True, kw_only=True):
    """One question about the person, with what came of it, as the institution may see it.

    Attributes:
        handle: the institution's own handle of the question's record, for ``withhold`` and ``correct``.
        kind: INQUIRY or RELEASE; PUSH, or UPDATE to this institution, of what was sent unasked.
        side: "requester" where the institution asked or was sent something, "provider" where it was asked or sent it.
        receiver, source: codes of who asked, or was sent it, and of the other; the source is empty where a class was
            asked.
        procedure, items, role, section, legal_basis: of the question.
        requested_at: UTC. answered_at: UTC, or None while nothing was provided.
        outcome: :class:`Status` as this side sees it; PENDING while the permit waits; OK of what was sent unasked: it
            must be taken as received, whether the receiver has taken it is never told.
        payload: "waiting": what was provided is still here and was not fetched; "gone": it was fetched, or kept long
            enough; "none": nothing was provided.
        permit: the institution's own permit number, of a question that was put to it; None otherwise.
        open: whether the permit waits for this institution's answer.
        updated: whether this institution has sent its receiver a correction (``update``); of a push never.
    """

    handle: bytes
    kind: Kind
    side: str
    receiver: str
    source: str
    procedure: str
    items: tuple[str, ...]
    role: str
    section: str
    legal_basis: str
    requested_at: dt.datetime
    answered_at: dt.datetime | None
    outcome: Status
    payload: str
    permit: int | None
    open: bool
    updated: bool

    def __repr__(self) -> str:
        return f"Dealing({self.side}, {self.outcome.name})"

    @property
    def received(self) -> bool:
        """Whether the receiver was told something about the person."""
        return self.outcome in ANSWERED or self.given

    @property
    def given(self) -> bool:
        """Whether data about the person were given to the receiver, or must be taken to have been."""
        return self.outcome == Status.PROVIDED or (self.kind in _SENT and self.outcome == Status.OK)


class BlastRadius(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was done through one link of one institution, newest first.

    Attributes:
        institution: its code. since, until: the interval that was asked for, UTC; None: without an end.
        at: UTC, when it was put together. records: the records of these questions, their ends, and corrections, to
            which the institution is a party. dealings: the questions, each with its end.
    """

    institution: str
    since: dt.datetime | None
    until: dt.datetime | None
    at: dt.datetime
    records: int
    dealings: tuple[Dealing, ...]

    def __repr__(self) -> str:
        return (
            f"BlastRadius(records={self.records}, dealings={len(self.dealings)}, received={len(self.received)}, "
            f"open={len(self.open)}, updates={len(self.updates)})"
        )

    @property
    def received(self) -> list[Dealing]:
        """The answers that somebody received, the institution itself among them."""
        return [one for one in self.dealings if one.received]

    @property
    def receivers(self) -> dict[str, int]:
        """Code of everybody who received something -> how many answers, most first."""
        return dict(Counter(one.receiver for one in self.received).most_common())

    @property
    def open(self) -> list[Dealing]:
        """Permits that wait for this institution: to be refused (IDENTITY_IN_DOUBT or LINKAGE_SUSPENDED)."""
        return [one for one in self.dealings if one.open]

    @property
    def updates(self) -> list[Dealing]:
        """What others received from this institution: each needs to be told what is right, and was not yet."""
        return [one for one in self.received if one.side == "provider" and not one.updated]

    @property
    def items(self) -> list[str]:
        """Every item that was given to somebody, once."""
        return sorted({item for one in self.received for item in one.items if one.given})


class _End(NamedTuple):
    """How a permit ended: the index of that record, its outcome, when, and from when on the requester may see it."""

    place: int
    outcome: int
    at: int
    shown_from: int


def find_behind(snapshot: Snapshot, number: int, alias: Aliases) -> int:
    """The person to whom an institution's alias leads, one that was revoked or replaced as well; who they are now.

    Raises:
        RequestError: the institution never had it.
    """
    persons, _, _ = find_known_persons(snapshot, number, alias.reshape(1, 16), _ALONE)
    if persons[0] == NOBODY:
        raise RequestError("alias: expected one of this institution's, of now or before, got another")
    return lives_of(snapshot).now(int(persons[0]))


def find_blast(
    office: Office,
    numbers: PermitNumbers,
    institution: str,
    alias: Aliases,
    since: dt.datetime | dt.date | None,
    until: dt.datetime | dt.date | None,
) -> BlastRadius:
    """See ``Hub.blast_radius``."""
    try:
        return _find_blast(office, numbers, institution, alias, since, until)
    except GapError:
        # Retention may have erased, since this snapshot began, what it still names: once more from the newest one.
        return _find_blast(office, numbers, institution, alias, since, until)


def _find_blast(
    office: Office,
    numbers: PermitNumbers,
    institution: str,
    alias: Aliases,
    since: dt.datetime | dt.date | None,
    until: dt.datetime | dt.date | None,
) -> BlastRadius:
    first, end = bound_of(since, end_of_day=False), bound_of(until, end_of_day=True)
    if first is not None and end is not None and end <= first:
        raise RequestError("until: expected a moment behind since, got one before it")
    body = office.catalog().institution(institution)
    with office.store.snapshot() as snapshot:
        person = find_behind(snapshot, body.number, alias)
        search = _Search(office, snapshot, body.code, body.number, first, end)
        records, questions = search.of_person(person)
        made = search.complete(questions, numbers)
    made.sort(key=lambda one: (one.requested_at, one.handle), reverse=True)
    return BlastRadius(
        institution=body.code,
        since=_moment(first),
        until=_moment(end),
        at=dt.datetime.fromtimestamp(search.now, dt.UTC),
        records=records,
        dealings=tuple(made),
    )


def _moment(seconds: float | None) -> dt.datetime | None:
    try:
        return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        # Before the year 1 or behind 9999: as good as no end.
        return None


class _Question(NamedTuple):
    """A question to which the institution is a party on a side (as it is stored, see ``records/handles.py``), its
    deadline, its end if it may be seen there, and whether what it brought was corrected since."""

    record: Stood
    side: int
    deadline: int
    end: _End | None
    updated: bool


class _Search:
    """One institution's records of one snapshot."""

    def __init__(
        self, office: Office, snapshot: Snapshot, code: str, number: int, first: float | None, end: float | None
    ) -> None:
        self._office, self._snapshot, self._code, self._number = office, snapshot, code, number
        self._first, self._end = first, end
        olds = successions_of(snapshot).olds(number)
        self._numbers = frozenset((number, *olds))
        """Its own and those of bodies that it succeeded: their questions are its own."""
        catalog = office.catalog()
        self._codes = frozenset((code, *(catalog.institution_by_number(old).code for old in olds)))
        self.now = office.now()

    def __repr__(self) -> str:
        return "_Search()"

    def of_person(self, person: int) -> tuple[int, list[_Question]]:
        """How many records about a person the institution is a party to, and the questions among them."""
        questions: list[tuple[Stood, int]] = []
        ends: dict[int, _End] = {}
        others: list[int] = []
        corrected: set[int] = set()
        for record, moment in self._parties_records(person):
            if record.kind == Kind.UPDATE and record.shared.requester in self._codes:
                # Not told for itself: of a push a receiver that does not know the person leaves none.
                corrected.add(-1 if record.link is None else record.link)
            elif record.kind in QUESTIONS or record.kind in _SENT:
                questions.append((record, moment))
            elif record.kind in _ENDS and record.link is not None:
                # An answer that waits for its moment is not there yet for who asked.
                ends[record.link] = _End(record.index, record.outcome, record.provided_at, moment)
            elif record.kind in _CORRECTIONS:
                others.append(record.requested_at)
        heard = self._heard_of(person)
        kept: list[_Question] = []
        records = sum(map(self._is_within, others))
        for record, moment in questions:
            end = ends.get(record.index)
            if not self._within(record, end):
                continue
            for side in self._sides(record):
                if side == PROVIDER and end is None and not heard:
                    # Of whom it does not know a provider has not heard, see ``protection/screen.py``, and must not hear
                    # here.
                    continue
                seen = end if end is not None and self._may_see(record, side, end) else None
                kept.append(_Question(record, side, moment, seen, end is not None and end.place in corrected))
                records += 1 + (seen is not None)
        return records, kept

    def _may_see(self, record: Stood, side: int, end: _End) -> bool:
        """Whether the institution may see the end of a record on a side; who sends unasked never does."""
        return side == PROVIDER or (record.kind not in _SENT and end.shown_from <= self.now)

    def _parties_records(self, person: int) -> Iterator[tuple[Stood, int]]:
        """Records about a person with the institution on one side, newest first, each with its decision's moment.

        Those of whoever was merged into them are among them; what cannot be told any more is nobody's
        (``persons/merges.py``).
        """
        bodies = self._office.bodies(self._snapshot)
        # What ends a question has the question's time in the index, so nothing earlier can end within the interval.
        low = None if self._first is None else max(self._first, -(2.0**62)) - INQUIRY_OPEN_DAYS_MAX * _DAY_S
        high = None if self._end is None else min(self._end, 2.0**62)
        sources = lives_of(self._snapshot).sources(person)
        for batch in find_all_records(
            self._snapshot, bodies, self._office.periods, sources, _FIRST, since=low, until=high, batch=_AT_A_TIME
        ):
            for one in batch:
                chunk, decision = one.chunk, one.decision
                if one.provider in self._numbers or chunk.shared[decision].requester in self._codes:
                    moments = chunk.fields.moments
                    record = stood(one)
                    # What ends a question is told apart by it.
                    if record.kind in _ENDS or self._office.owner(self._snapshot, record) == person:
                        yield record, moments[decision] if moments else 0

    def _heard_of(self, person: int) -> bool:
        """Whether the institution may hear of questions about a person that it did not answer."""
        persons = np.array([person], dtype=np.uint32)
        if not find_known_aliases(self._snapshot, self._number, persons, _ALONE)[1][0]:
            return True
        manual = self._office.manual_anywhere(self._snapshot, persons)
        return manual is None or not manual[0]

    def _sides(self, record: Stood) -> list[int]:
        sides = [REQUESTER] if record.shared.requester in self._codes else []
        return sides + [PROVIDER] * (record.provider in self._numbers and provider_is_party(record))

    def _within(self, record: Stood, end: _End | None) -> bool:
        """Whether a question was put or waited or was answered in the interval."""
        if self._end is not None and record.requested_at >= self._end:
            return False
        if self._first is None or record.requested_at >= self._first:
            return True
        if end is None:
            return record.outcome == Status.OK
        return end.at >= self._first

    def _is_within(self, at: int) -> bool:
        return (self._first is None or at >= self._first) and (self._end is None or at < self._end)

    def complete(self, questions: Sequence[_Question], numbers: PermitNumbers) -> list[Dealing]:
        """The dealings of some questions: what is still here of what was provided, and the institution's permits."""
        blocked = self._blocked(questions)
        brought = {at: _brought_by(one) for at, one in enumerate(questions) if not blocked[at]}
        provided = {at: place for at, place in brought.items() if place is not None}
        indexes = np.array(list(provided.values()), dtype=np.int64)
        here = dict(zip(provided, has_payloads(self._snapshot, self._office.periods, indexes).tolist(), strict=True))
        # A permit that was left with a body succeeded since has its number of that one.
        permits = [
            int(numbers.number(
                one.record.provider if one.record.provider in self._numbers else self._number,
                np.array([one.record.index], dtype=np.uint64),
            )[0])
            for one in questions
        ]  # fmt: skip
        return [self._dealing(one, here.get(at), permits[at], blocked[at]) for at, one in enumerate(questions)]

    def _blocked(self, questions: Sequence[_Question]) -> list[bool]:
        """Own data of which who asks is told that there are none, since its person is flagged NO_SELF there."""
        flagged = self._office.flagged.of(self._snapshot)
        own = [one.side == REQUESTER and one.record.shared.procedure.startswith(OWN_DATA) for one in questions]
        if not any(own):
            return own
        # As of ``answers``: who the person is now, and who has the flags of a body that was succeeded.
        persons = current(self._snapshot, np.array([one.record.person for one in questions], dtype=np.uint32))
        providers = np.array([one.record.provider for one in questions], dtype=np.uint32)
        providers = successions_of(self._snapshot).current(providers)
        return (flagged.no_self(persons, providers) & np.array(own)).tolist()

    def _dealing(self, question: _Question, here: bool | None, permit: int, blocked: bool) -> Dealing:
        record, side, deadline, end, updated = question
        shared = record.shared
        told = side == PROVIDER or not record.by_class
        asked = record.kind in QUESTIONS
        left = asked and record.outcome == Status.OK
        outcome = _outcome(question, blocked)
        gives, receives = parties_of(
            record.kind, self._office.catalog().code_by_number(record.provider) if told else "", shared.requester
        )
        return Dealing(
            handle=make_handle(self._office.keys, self._number, record.index),
            kind=Kind(record.kind),
            side="provider" if asked == (side == PROVIDER) else "requester",
            receiver=receives,
            source=gives,
            procedure=shared.procedure,
            items=shared.items,
            role=shared.role,
            section=shared.section,
            legal_basis=shared.legal_basis,
            requested_at=dt.datetime.fromtimestamp(record.requested_at, dt.UTC),
            answered_at=dt.datetime.fromtimestamp(end.at, dt.UTC) if end is not None and end.at else None,
            outcome=outcome,
            payload=_PAYLOADS[False if record.kind in _SENT and outcome == Status.OK else here],
            permit=permit if side == PROVIDER and left else None,
            open=side == PROVIDER and left and end is None and deadline > self.now,
            updated=updated,
        )


def _outcome(question: _Question, blocked: bool) -> Status:
    """How a question stands on its side."""
    record, side, _, end, _ = question
    outcome = Status(record.outcome if end is None else end.outcome)
    if record.kind in _SENT and side == REQUESTER:
        # As its sender is told it.
        return Status.OK if outcome == Status.NO_ALIAS_AT_PROVIDER else outcome
    if outcome == Status.OK:
        return Status.PENDING
    if blocked and outcome in (Status.PROVIDED, Status.EMPTY, Status.REFUSED):
        return Status.NO_RECORD
    return outcome


def _brought_by(question: _Question) -> int | None:
    """Index of the record that brought data; None where none did."""
    record, side, _, end, _ = question
    if record.kind in _SENT:
        # Of the sender's side it is not looked at: it would tell whether the receiver has taken it.
        return record.index if side == PROVIDER and record.outcome == Status.OK else None
    return end.place if end is not None and end.outcome == Status.PROVIDED else None


def blast_rows(found: BlastRadius) -> list[dict[str, Any]]:
    """The dealings as rows of text and numbers, for JSON and CSV: handles and permits in hex."""
    return [
        {
            "handle": one.handle.hex(),
            "kind": one.kind.name,
            "side": one.side,
            "receiver": one.receiver,
            "source": one.source,
            "procedure": one.procedure,
            "items": ";".join(one.items),
            "role": one.role,
            "section": one.section,
            "legal_basis": one.legal_basis,
            "requested_at": one.requested_at.isoformat(),
            "answered_at": None if one.answered_at is None else one.answered_at.isoformat(),
            "outcome": one.outcome.name,
            "payload": one.payload,
            "permit": None if one.permit is None else f"{one.permit:016x}",
            "open": one.open,
            "updated": one.updated,
        }
        for one in found.dealings
    ]
