"""What an institution sends unasked (pushes, updates, notices) -> durable records, with what they carry, by chunks.

One engine and one kind of record for all of them. The road is that of an inquiry: decide -> resolve -> screen -> lay
out -> one transaction a chunk: records, the state of the request, payloads or texts. Shared fields have the sender as
their requester, rows the receiver as their provider (of a notice the portal).

A call is kept for 30 days as an inquiry is (``requests/state.py``), under SHA-256("hub/sending-id/1", sender, 0,
id)[:16]: an id of its own, whatever inquiries the institution made. Its digest is ``Sending.digest``; the statuses in
it are those that the sender is told, and bit 7 says that a row left no record. If the process dies, whole chunks are
there, and the same call again goes on behind them; once more it gives the same receipt and records nothing.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.aliases import NOBODY
from hub.catalog import Catalog
from hub.errors import RequestError
from hub.limits import ROWS_PER_CHUNK
from hub.messages import Aliases, Kind, Sent, Status, Withhold
from hub.persons.successions import check_at_work
from hub.protection.flags import Flagged
from hub.protection.marks import Marking, NewMark, prepare_marks
from hub.protection.screen import Basis, default_marks, review_day
from hub.protection.withholding import Office
from hub.record import Prepared, must_prepare_again, write_chunk
from hub.records.append import lay_records, make_fields, order_by_person
from hub.records.bodies import ROW, Fields
from hub.records.handles import MARKED, PROVIDER, REQUESTER, reached
from hub.requests.state import NO_RECORD_BIT, Request, chunks_done, rows_of
from hub.resolve import resolve_aliases
from hub.respond import respond
from hub.singles.gather import Gatherer
from hub.storage.periods import PeriodKey, period_of, period_start
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers
from hub.tlog.entry import Shared

CHUNKS_AHEAD = 3
"""Chunks that are resolved and laid out while one is being written, beside what they carry."""

HIDDEN_GROUND = "own data are given to nobody"

_ALONE = Workers(1)

Numbers = npt.NDArray[np.uint32]
Statuses = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Put = Callable[[Commit, int], None]


class Entry(NamedTuple):
    """One decision of a call, and what its records say; see :class:`Shared`."""

    status: Status
    rule: int
    reason: int
    procedure: str
    items: tuple[str, ...]
    role: str
    on_behalf_of: str | None
    legal_basis: str
    remark: str | None = None
    reference_date: str | None = None

    def __repr__(self) -> str:
        return f"Entry({self.status.name})"


class Decisions(NamedTuple):
    """The decisions of a call: uint16[N], row -> entry."""

    entries: list[Entry]
    decision: npt.NDArray[np.uint16]

    def __repr__(self) -> str:
        return f"Decisions(rows={len(self.decision)}, entries={len(self.entries)})"


class Columns(NamedTuple):
    """A chunk of a call by the records that it may leave, M of them: mostly one a row, of an update any number.

    Attributes:
        persons: uint32[M], NOBODY where the alias is unknown. status: uint8[M], decided and resolved.
        receivers: uint32[M]. decision: uint16[M]. places: intp[M], what ``Sending.pack`` and ``links`` name each by.
        row: intp[M], of the chunk's rows; None: each is its own. base: uint8[N], of an update, what a row without a
            record is told.
    """

    persons: Numbers
    status: Statuses
    receivers: Numbers
    decision: npt.NDArray[np.uint16]
    places: npt.NDArray[np.intp]
    row: npt.NDArray[np.intp] | None = None
    base: Statuses | None = None

    def __repr__(self) -> str:
        return f"Columns(records={len(self.persons)})"


class Screened(NamedTuple):
    """What becomes of a chunk's records.

    Attributes:
        status: uint8[M], as recorded. told: uint8[M], what the sender learns. recorded: bool[M], False: no record.
        hidden: bool[M], whose record the sender withholds from the beginning; None of nobody.
    """

    status: Statuses
    told: Statuses
    recorded: Mask
    hidden: Mask | None

    def __repr__(self) -> str:
        return f"Screened(rows={len(self.status)})"


class Sending(ABC):
    """One call, checked: what goes to whom.

    Attributes:
        sender, number: the institution. section, request_id, operator: as stated.
        aliases: uint8[N, 16], the sender's. receivers: uint32[N], institution numbers.
        digest: SHA-256 of all of it: the same request id must come with the same. chunk_rows: see ``Request``.
    """

    kind: Kind
    sender: str
    number: int
    section: str
    request_id: str
    operator: str | None
    aliases: Aliases
    receivers: Numbers
    digest: bytes
    chunk_rows: int = ROWS_PER_CHUNK

    def __len__(self) -> int:
        return len(self.aliases)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rows={len(self)})"

    @abstractmethod
    def decide(self, catalog: Catalog, at: int) -> Decisions:
        """Whether each row may be sent, under the law of a moment."""

    @abstractmethod
    def screen(self, flagged: Flagged, persons: Numbers, status: Statuses) -> Screened:
        """What of decided and resolved rows changes for the protection of their persons; may change ``status``."""

    @abstractmethod
    def pack(self, key: PeriodKey, places: npt.NDArray[np.intp], status: Statuses, sent_at: int) -> Put:
        """What these records carry, in their order: encrypted, to be put in their transaction.

        Args:
            places: as of :class:`Columns`. status: uint8[K], of these records.
        """

    def columns(self, snapshot: Snapshot, decisions: Decisions, rows: slice) -> Columns:
        """A chunk's rows, decided and resolved: of what is allowed also at the receiver."""
        decision, receivers = decisions.decision[rows], self.receivers[rows]
        status = np.array([entry.status for entry in decisions.entries], np.uint8).take(decision)
        found = resolve_aliases(
            snapshot, self.number, receivers, self.aliases[rows], _ALONE,
            wanted=(status == Status.OK).astype(np.uint8),
        )  # fmt: skip
        np.copyto(status, found.status, where=status == Status.OK)
        return Columns(found.persons, status, receivers, decision, np.arange(rows.start, rows.stop))

    def check(self, snapshot: Snapshot) -> None:  # noqa: B027
        """Refuse what may not be sent as things stand, when a call is heard for the first time.

        Raises:
            RequestError: it is named.
        """

    def lapses_at(self, received_at: int) -> int:
        """When what was sent lapses unless its receiver has taken it; 0: never."""
        return 0

    def links(self, places: npt.NDArray[np.intp]) -> npt.NDArray[np.uint16] | None:
        """uint16[K, 3]: the links of these records, see ``records/bodies.py``."""
        return None


class Parcel(NamedTuple):
    """A chunk, ready to be written but for its place in the log, and what it carries."""

    chunk: Prepared
    put: Put

    def __repr__(self) -> str:
        return f"Parcel({self.chunk.number})"


def sending_key(sender: str, request_id: str) -> bytes:
    """The 16 bytes under which a call is kept."""
    return hashlib.sha256(b"hub/sending-id/1" + sender.encode() + b"\0" + request_id.encode()).digest()[:16]


class Sender:
    """Sends in an open hub."""

    def __init__(
        self,
        office: Office,
        workers: Workers,
        catalog_of: Callable[[str], Catalog],
        day: Callable[[int], str],
        gathering: Callable[[], Gatherer],
        published: Callable[[], None],
    ) -> None:
        self._office, self._workers = office, workers
        self._catalog_of, self._day, self._gathering, self._published = catalog_of, day, gathering, published

    def __repr__(self) -> str:
        return "Sender()"

    def send(self, sending: Sending, progress: Callable[[int], None] | None = None) -> Sent:
        """Record a call and leave what it carries; when it returns all of it is durable and in the log.

        Args:
            progress: called with the rows done after each durable chunk; an exception from it stops there.

        Raises:
            RequestError: the request id was used with something else. BusyError: it is under way in another thread.
            StorageError: the disk failed or is full; the chunks before stand.
        """
        key = sending_key(sending.sender, sending.request_id)
        gatherer = self._gathering()
        gatherer.reserve(key)
        try:
            return self._send(sending, key, progress)
        finally:
            gatherer.let_go(key)

    def _send(self, sending: Sending, key: bytes, progress: Callable[[int], None] | None) -> Sent:
        office = self._office
        now = office.now()
        found = office.groups.find(key, now)
        decisions = None
        if found is not None:
            name, request = found.name, found.request
            if request.digest != sending.digest:
                raise RequestError("request_id: expected what it was first used with, got something else")
            with office.store.snapshot() as snapshot:
                done = chunks_done(snapshot, name, key, request)
            if not all(done):
                decisions = sending.decide(self._catalog_of(request.catalog), request.received_at)
        else:
            catalog = office.catalog()
            decisions = sending.decide(catalog, now)
            with office.store.snapshot() as snapshot:
                # The flags by which people are protected have gone to the successor of whoever has one.
                check_at_work(snapshot, catalog, np.append(np.unique(sending.receivers), np.uint32(sending.number)))
                sending.check(snapshot)
            if not len(sending):
                nothing = np.empty(0, np.uint8)
                return Sent(request_id=sending.request_id, rows=0, received_at=now, status=nothing, reason=nothing)
            request = _new_request(sending, decisions, now, catalog.digest)
            name, done = self._day(now), [False] * request.chunks
        if decisions is not None:
            self._write_chunks(sending, request, decisions, name, key, done, progress)
        # Also where all chunks were there: the process before may have died between commit and head.
        self._published()
        with office.store.snapshot() as snapshot:
            answer = respond(snapshot, name, key, request, sending.request_id)
        return Sent(
            request_id=sending.request_id, rows=request.rows, received_at=request.received_at, status=answer.status,
            reason=answer.reason,
        )  # fmt: skip

    def _write_chunks(
        self, sending: Sending, request: Request, decisions: Decisions, name: str, key: bytes, done: Sequence[bool],
        progress: Callable[[int], None] | None,
    ) -> None:  # fmt: skip
        """Lay out the missing chunks on the workers, a few ahead, and write them in order from this thread."""
        missing = [chunk for chunk, is_done in enumerate(done) if not is_done]
        recorded = sum(_rows_in(request, chunk) for chunk, is_done in enumerate(done) if is_done)
        if len(missing) == 1:
            self._write(sending, request, decisions, self._prepare(sending, request, decisions, missing[0]), name, key)
            if progress is not None:
                progress(request.rows)
            return
        ahead: deque[Future[Parcel]] = deque()
        waiting = iter(missing)
        try:
            for chunk in missing:
                while len(ahead) < CHUNKS_AHEAD and (following := next(waiting, None)) is not None:
                    ahead.append(self._workers.submit(self._prepare, sending, request, decisions, following))
                self._write(sending, request, decisions, ahead.popleft().result(), name, key)
                recorded += _rows_in(request, chunk)
                if progress is not None:
                    progress(recorded)
        finally:
            for future in ahead:
                future.cancel()

    def _write(
        self, sending: Sending, request: Request, decisions: Decisions, parcel: Parcel, name: str, key: bytes
    ) -> None:
        office = self._office
        with office.store.commit() as commit:
            now = max(office.now(), commit.state.time)
            if must_prepare_again(commit, parcel.chunk, now):
                # Aliases or flags have changed since. Under the writer's lock nothing moves any more.
                parcel = self._prepare(sending, request, decisions, parcel.chunk.number)
                now = max(now, period_start(parcel.chunk.laid.period))
            first = write_chunk(commit, name, key, request, parcel.chunk, now, None)
            if first is not None and parcel.chunk.laid.rows:
                parcel.put(commit, first)
        if first is not None:
            office.wake(first, parcel.chunk.laid)

    def _prepare(self, sending: Sending, request: Request, decisions: Decisions, chunk: int) -> Parcel:
        """Resolve and screen a chunk, order its records by person key, lay them out; needs no lock."""
        office = self._office
        rows = rows_of(request, chunk)
        with office.store.snapshot() as snapshot:
            flagged = office.flagged.of(snapshot)
            basis = Basis(snapshot.state.tables_commit, flagged.sum)
            columns = sending.columns(snapshot, decisions, rows)
        screened = sending.screen(flagged, columns.persons, columns.status)
        key = office.periods.make(period_of(office.now()))
        known = np.flatnonzero((columns.persons != NOBODY) & screened.recorded)
        person_keys = key.person_keys(columns.persons[known])
        order = order_by_person(person_keys)
        place = known[order]
        table = np.zeros(len(place), dtype=ROW)
        table["person"], table["provider"] = columns.persons[place], columns.receivers[place]
        table["decision"], table["outcome"] = columns.decision[place], screened.status[place]
        table["kind"] = sending.kind
        links = sending.links(columns.places[place])
        if links is not None:
            table["link"] = links
        laid = lay_records(_fields(sending, request, decisions), table, person_keys[order], office.keys, key)
        hidden = None if screened.hidden is None else screened.hidden[place]
        marks = self._marks(sending, request, flagged, key, table, hidden)
        put = sending.pack(key, columns.places[place], screened.status[place], request.received_at)
        return Parcel(Prepared(chunk, laid, _state(columns, screened, place), basis, marks), put)

    def _marks(
        self, sending: Sending, request: Request, flagged: Flagged, key: PeriodKey, table: npt.NDArray[np.void],
        hidden: Mask | None,
    ) -> list[NewMark]:  # fmt: skip
        """The marks with which records begin: of persons whom sender or receiver has flagged, and hidden ones."""
        if sending.kind not in MARKED:
            # It is shown with what it follows, or not at all.
            return []
        catalog = self._catalog_of(request.catalog)
        receiver = np.where(reached(table["outcome"]), table["provider"], 0).astype(np.uint32)
        if sending.kind == Kind.NOTICE:
            receiver[:] = 0
        persons = np.ascontiguousarray(table["person"])
        parties: dict[int, Any] = {REQUESTER: sending.number, PROVIDER: receiver}
        marks = default_marks(
            flagged, key, request.received_at, persons, parties,
            lambda number: catalog.institution_by_number(number).code,
        )  # fmt: skip
        if hidden is not None and hidden.any():
            marked = {mark.position for mark in marks if mark.side == REQUESTER}
            mark = Withhold(ground=HIDDEN_GROUND, until=review_day(request.received_at))
            rows = [
                Marking(position, REQUESTER, sending.sender, sending.operator, mark)
                for position in np.flatnonzero(hidden).tolist()
                if position not in marked
            ]
            marks += prepare_marks(key, request.received_at, rows)
        return marks


def _new_request(sending: Sending, decisions: Decisions, received_at: int, digest: str) -> Request:
    return Request(
        digest=sending.digest,
        rows=len(sending),
        chunk_rows=sending.chunk_rows,
        received_at=received_at,
        inquiry=os.urandom(8),
        catalog=digest,
        status=[int(entry.status) for entry in decisions.entries],
        rule=[entry.rule for entry in decisions.entries],
        reason=[entry.reason for entry in decisions.entries],
    )


def _fields(sending: Sending, request: Request, decisions: Decisions) -> Fields:
    shared = [
        Shared(
            inquiry=request.inquiry,
            requester=sending.sender,
            on_behalf_of=entry.on_behalf_of,
            procedure=entry.procedure,
            items=entry.items,
            role=entry.role,
            section=sending.section,
            reference_date=entry.reference_date,
            catalog=request.catalog,
            rule=entry.rule,
            reason=entry.reason,
            legal_basis=entry.legal_basis,
            supervised=bytes(32),
            remark=entry.remark,
        )
        for entry in decisions.entries
    ]
    lapses_at = sending.lapses_at(request.received_at)
    moments = [lapses_at if entry.status == Status.OK else 0 for entry in decisions.entries]
    return make_fields(shared, [(request.received_at, 0)] * len(shared), [(sending.operator, None)], moments)


def _state(columns: Columns, screened: Screened, place: npt.NDArray[np.intp]) -> bytes:
    """The request's part of a chunk, see ``requests/state.py``; ``place`` are its records, in their order."""
    if columns.row is None or columns.base is None:
        told, decision, of = screened.told.copy(), columns.decision, place
    else:
        told, of = columns.base.copy(), columns.row[place]
        decision = np.zeros(len(told), np.uint16)
        # Of several records of a row any one stands for it; a person is MANUAL in all or in none.
        told[columns.row], decision[columns.row] = screened.told, columns.decision
    recorded = np.zeros(len(told), np.bool_)
    recorded[of] = True
    told[~recorded] |= np.uint8(NO_RECORD_BIT)
    position = np.zeros(len(told), dtype=np.uint16)
    position[of] = np.arange(len(of), dtype=np.uint16)
    return b"".join((told.tobytes(), decision.tobytes(), position.tobytes()))


def _rows_in(request: Request, chunk: int) -> int:
    rows = rows_of(request, chunk)
    return rows.stop - rows.start
