"""Rows that were held because too many bodies were asked (``asked.py``), released by a second clerk with a reason.

Nothing of the held record is changed: its release is appended as a record of kind RELEASE about the same person and
provider, with the same shared fields, the reason as its remark and a link to the held record. It stands for the
question as if it had not been held: the provider is a party to it where it knows the person, and a permit leaves.

Database ``released``, key u64 index of the held record (big endian), value sealed: u64 index of the release (little
endian). A release, its entry here and its event are one transaction; its checkpoint is published before the call
returns.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hub._bodies import Body
from hub.aliases import find_aliases
from hub.errors import RequestError, StorageError
from hub.limits import REMARK_CHARS_MAX, REQUEST_DAYS
from hub.messages import Kind, Status, Withhold
from hub.persons.merges import current, lives_of
from hub.protection.asked import Asked
from hub.protection.askedrows import Rows
from hub.protection.flags import Flagged
from hub.protection.marks import Marking, prepare_marks, put_new_marks, read_mark
from hub.protection.screen import default_marks
from hub.protection.withholding import Office, check_clerk, check_text, took_part
from hub.records.append import append_records, lay_records, make_fields
from hub.records.bodies import ROW, Supervised, pack_link
from hub.records.events import EventKind, Told
from hub.records.handles import PROVIDER, REQUESTER, Stood, make_handle, provider_is_party, read_stood, stood
from hub.records.permits import lapse_time
from hub.storage.periods import period_of
from hub.storage.sealed import unseal
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers

NAME = "released"

_DAY_S = 86_400
_ALONE = Workers(1)


class Releases:
    """Releases of an open hub; ``appended`` is called with every one, also a repeated one, before it returns."""

    def __init__(self, office: Office, asked: Asked, appended: Callable[[], None]) -> None:
        self._office, self._asked, self._appended = office, asked, appended

    def __repr__(self) -> str:
        return "Releases()"

    def release(self, handle: Any, reason: str, clerk: str, requester: str | None) -> bytes:
        """See ``Hub.release``."""
        check_text("reason", reason, REMARK_CHARS_MAX)
        if clerk is None:
            raise RequestError("clerk: expected the name of a clerk, another than who asked, got none")
        check_clerk("clerk", clerk)
        office = self._office
        code, index = office.find(handle, None, requester)
        number = office.catalog().institution(code).number
        with office.store.writer:
            with office.store.snapshot() as snapshot:
                record, supervised = self._read_held(snapshot, code, index)
                made = read_release(office, snapshot, index)
                outcome = self._outcome(snapshot, record)
                flagged, person = office.flagged.of(snapshot), lives_of(snapshot).now(record.person)
            if made is None:
                if supervised.operator is not None and took_part(supervised.operator, clerk):
                    raise RequestError("clerk: expected another than the operator of the inquiry, got the same")
                if office.now() - record.requested_at > REQUEST_DAYS * _DAY_S:
                    raise RequestError(f"handle: expected a row of the last {REQUEST_DAYS} days, got an older one")
                now_supervised = Supervised(clerk, None, supervised.classes)
                made = self._append(record, person, outcome, flagged, code, number, reason, now_supervised)
        self._appended()
        return make_handle(office.keys, number, made)

    def _read_held(self, snapshot: Snapshot, code: str, index: int) -> tuple[Stood, Supervised]:
        """A held record and what supervisors read of its inquiry."""
        bodies = self._office.bodies(snapshot)
        if index >= snapshot.state.records or bodies.is_erased(index):
            raise RequestError("handle: expected one of a record that is kept, got another")
        body = bodies.read([index])[0]
        record = stood(body)
        if record.kind != Kind.INQUIRY or record.outcome != Status.HELD or record.shared.requester != code:
            raise RequestError("handle: expected a row of its own that is held, got another")
        return record, _supervised(body)

    def _outcome(self, snapshot: Snapshot, record: Stood) -> Status:
        """What the row comes to now: whom a clerk must answer for everybody knows, see ``screen.py``."""
        persons = current(snapshot, np.array([record.person], dtype=np.uint32))
        _, status = find_aliases(snapshot, record.provider, persons, _ALONE)
        manual = self._office.flagged.of(snapshot).manual_anywhere(persons)
        if manual is not None and bool(manual[0]):
            return Status.OK
        if status[0]:
            return Status.NO_ALIAS_AT_PROVIDER
        suspended = self._office.flagged.of(snapshot).suspended(persons, record.provider)
        return Status.OK if suspended is None or not suspended[0] else Status.SUSPENDED

    def _append(
        self, record: Stood, person: int, outcome: Status, flagged: Flagged, code: str, number: int, reason: str,
        supervised: Supervised,
    ) -> int:  # fmt: skip
        """Append the release of a held record; returns its index."""
        office = self._office
        catalog = office.catalog()
        persons = np.array([record.person], dtype=np.uint32)
        with office.store.commit() as commit:
            now = max(commit.state.time, office.now())
            key = office.periods.make(period_of(now))
            rows = np.zeros(1, dtype=ROW)
            rows["person"], rows["provider"] = record.person, record.provider
            rows["outcome"], rows["kind"], rows["link"] = outcome, Kind.RELEASE, pack_link(record.index)
            shared = msgspec.structs.replace(record.shared, remark=reason)
            lapses_at = lapse_time(now, catalog.terms.of(shared.procedure).permit_days)
            # An array of three only where its inquiry named classes: its length says so.
            told_supervisors = (supervised.operator, None, *([supervised.classes] if supervised.classes else []))
            fields = make_fields([shared], [(now, 0)], [told_supervisors], [lapses_at])
            laid = lay_records(fields, rows, key.person_keys(persons), office.keys, key)
            told = Told(at=now, kind=EventKind.RELEASED, institution=code, clerk=supervised.operator)
            marks = []
            mark = read_mark(commit, office.vault, record.index, REQUESTER)
            if mark is not None and mark.withheld and mark.inside is not None:
                # What the held record is kept from, its release must not show.
                withhold = Withhold(ground=mark.inside.ground, until=dt.date.fromordinal(mark.until))
                marks = prepare_marks(key, now, [Marking(0, REQUESTER, code, mark.inside.clerk, withhold)])
            reached = provider_is_party(msgspec.structs.replace(record, outcome=int(outcome)))
            parties: dict[int, Any] = {PROVIDER: record.provider if reached else 0}
            if not marks:
                parties[REQUESTER] = number
            flagged_as = np.array([person], dtype=np.uint32)
            marks += default_marks(
                flagged, key, now, flagged_as, parties, lambda other: catalog.institution_by_number(other).code
            )
            made = append_records(commit, laid, now)
            put_new_marks(commit, marks, key.period, made)
            commit.put_sealed(NAME, record.index.to_bytes(8, "big"), made.to_bytes(8, "little"))
            office.tell(told, commit, record.period, record.index)
        question = record.shared.requester, record.shared.items
        self._asked.add(Rows(question, persons, rows["provider"].astype(np.uint32)))
        office.wake(made, laid)
        return made


def read_release(office: Office, snapshot: Snapshot, index: int) -> int | None:
    """Index of the release of a held record, or None.

    Raises:
        StorageError: an entry is damaged or missing: without it a row would be released twice.
    """
    office.store.compare_sum(snapshot, NAME)
    key = index.to_bytes(8, "big")
    value = snapshot.get(NAME, key)
    return None if value is None else _parse(key, value)


def find_releases(snapshot: Snapshot, indexes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Indexes of the releases of held records (int64[N], any order), -1 where there is none.

    Raises:
        StorageError: an entry is damaged.
    """
    found = np.full(len(indexes), -1, dtype=np.int64)
    if not len(indexes):
        return found
    # Each release is a clerk's work: there are few beside the rows that may be held.
    below = (int(indexes.max()) + 1).to_bytes(8, "big")
    items = snapshot.items(NAME, int(indexes.min()).to_bytes(8, "big"), below)
    made = {int.from_bytes(key, "big"): _parse(key, value) for key, value in items}
    if made:
        held = np.array(sorted(made), dtype=np.int64)
        place = np.minimum(np.searchsorted(held, indexes), len(held) - 1)
        hit = held[place] == indexes
        found[hit] = np.array([made[index] for index in held.tolist()], dtype=np.int64)[place[hit]]
    return found


def check_releases(office: Office, snapshot: Snapshot) -> None:
    """Check that every entry names a held record and the release that follows it; those of erased ones are passed over.

    Raises:
        StorageError: the first that does not is named.
    """
    bodies = office.bodies(snapshot)
    first = b""
    while items := snapshot.items(NAME, first, limit=256):
        for key, value in items:
            held, made = int.from_bytes(key, "big"), _parse(key, value)
            if not held < made < snapshot.state.records:
                raise StorageError(f"release of record {held}: expected a later record of the log, got another")
            if bodies.is_erased(held) or bodies.is_erased(made):
                continue
            one, other = read_stood(bodies, held), read_stood(bodies, made)
            if (one.outcome, other.kind, other.link) != (Status.HELD, Kind.RELEASE, held):
                raise StorageError(f"release of record {held}: expected a held record and its release, got others")
        first = items[-1][0] + b"\0"


def _parse(key: bytes, value: Any) -> int:
    body = unseal(NAME, key, value)
    if len(body) != 8:
        raise StorageError(f"{NAME}: expected the index of a record, got something else")
    return int.from_bytes(body, "little")


def _supervised(body: Body) -> Supervised:
    """Who asked, as only supervisors may read it."""
    stored = body.chunk.fields.supervised
    try:
        return msgspec.msgpack.decode(stored[body.decision if len(stored) > 1 else 0], type=Supervised)
    except (msgspec.DecodeError, IndexError):
        raise StorageError(f"record {body.index}: expected who asked, got something else") from None
