"""Who sets, lifts and judges marks (不開示): the parties to a record, and the register body for protected persons.

A mark stays until it is lifted, whatever its day of review: nobody may be exposed because nobody looked. Lifting takes
two clerks. Every change is one durable transaction together with its event; the same call again changes nothing.
"""

from __future__ import annotations

import datetime as dt
import heapq
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hub.aliases import NOBODY, RESIDENT_CODES, count_aliases, find_persons
from hub.catalog import Catalog
from hub.catalog.moments import bound_of
from hub.catalog.words import is_plain
from hub.errors import RequestError
from hub.history import find_all_records
from hub.limits import ANSWERS_EVERY_S, GROUND_CHARS_MAX, OPERATOR_CHARS_MAX
from hub.messages import Aliases
from hub.persons.merges import lives_of
from hub.persons.successions import find_known_aliases, find_known_persons, successions_of
from hub.protection.flags import FlaggedCache
from hub.protection.marks import (
    NAME,
    PERSON,
    RECORD,
    Inside,
    Mark,
    Protection,
    Visibility,
    covering,
    owners_of,
    parse_mark,
    parse_protection,
    protection_key,
    put_mark,
    put_protection,
    read_mark,
    read_protection,
    read_protections,
    read_state,
)
from hub.records.append import Laid
from hub.records.bodies import Bodies, Heads
from hub.records.events import NAME as EVENTS
from hub.records.events import EventKind, Told, last_number, put_event
from hub.records.handles import (
    MARKED,
    REQUESTER,
    PartyRecord,
    Stood,
    find_handle,
    make_handle,
    read_stood,
    sides_of,
    stood,
    tell,
)
from hub.requests.groups import RequestGroups
from hub.storage.confidential import HUB, Vault
from hub.storage.periods import PeriodKeys
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers
from hub.store import Store

REGISTER = "jlis"
"""The register body (地方公共団体情報システム機構)."""

_AT_A_TIME = 256
_ALL = (1 << 63) - 1
_ALONE = Workers(1)


class Office:
    """What acts on single records: an open store, with the law and the clock of its hub."""

    def __init__(
        self,
        store: Store,
        groups: RequestGroups,
        periods: PeriodKeys,
        heads: Heads,
        catalog: Callable[[], Catalog],
        now: Callable[[], int],
        wake: Callable[[int, Laid], None],
        answers_every_s: int = ANSWERS_EVERY_S,
    ) -> None:
        self.wake, self.answers_every_s = wake, answers_every_s
        self.store, self.groups, self.periods, self.heads = store, groups, periods, heads
        self.catalog, self.now = catalog, now
        self.keys = store.keys
        self.vault = Vault(store.keys, periods)
        self.flagged = FlaggedCache()

    def __repr__(self) -> str:
        return "Office()"

    def bodies(self, snapshot: Snapshot) -> Bodies:
        """The record bodies of a snapshot."""
        return Bodies(snapshot, self.periods, self.heads)

    def manual_anywhere(self, snapshot: Snapshot, persons: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_] | None:
        """Of each person whether some institution lets only a clerk answer about them; None: of nobody."""
        return self.flagged.of(snapshot).manual_anywhere(persons)

    def visibility(self, snapshot: Snapshot, bodies: Bodies, person: int) -> Visibility:
        """What of a person's records may be shown.

        Raises:
            StorageError: a mark is damaged or missing: one that is there may not be missed, or its record is shown.
        """
        self.store.compare_sum(snapshot, NAME)
        return Visibility(snapshot, bodies, self.vault, self.keys, person, lives_of(snapshot), self.number_of)

    def number_of(self, code: str) -> int:
        """An institution's number by its code; 0 of nobody, and of whom the catalog does not know."""
        catalog = self.catalog()
        return catalog.institution(code).number if code in catalog.codes else 0

    def owner(self, snapshot: Snapshot, record: Stood) -> int | None:
        """Who the person of a question is now, None where that cannot be told any more (``persons/merges.py``)."""
        lives = lives_of(snapshot)
        now = {lives.now(one) for one in owners_of(lives, record, self.number_of)}
        return now.pop() if len(now) == 1 else None

    def protection(self, snapshot: Snapshot, record: Stood) -> Protection | None:
        """The protection under which a record has to be judged, or None."""
        owner = self.owner(snapshot, record)
        members = lives_of(snapshot).members(record.person if owner is None else owner)
        return covering(read_protections(snapshot, self.vault, self.keys, members), record)

    def find(self, handle: Any, institution: str | None, requester: str | None) -> tuple[str, int]:
        """(who acts, index of the record) of a handle, see ``records/handles.py``."""
        return find_handle(self.store, self.groups, self.catalog(), self.now(), handle, institution, requester)

    def read(self, snapshot: Snapshot, index: int) -> Stood:
        """Read the record of a handle.

        Raises:
            RequestError: it was erased.
        """
        bodies = self.bodies(snapshot)
        if index >= snapshot.state.records or bodies.is_erased(index):
            raise RequestError("handle: expected one of a record that is kept, got another")
        return read_stood(bodies, index)

    def tell(self, event: Told, commit: Commit, period: int = HUB, index: int | None = None) -> int:
        """Append an event."""
        return put_event(commit, period, index, self.vault.encrypt(EVENTS, period, event))

    def records_of(self, snapshot: Snapshot, person: int, since: float | None, until: float | None) -> Iterator[Stood]:
        """The questions about a person, and what was sent about them, in a range of time, newest first.

        Args:
            person: who they are now, whoever was merged into them included.
        """
        bodies = self.bodies(snapshot)
        sources = lives_of(snapshot).sources(person)
        low = None if since is None else max(since, -(2.0**62))
        high = None if until is None else min(until, 2.0**62)
        for batch in find_all_records(
            snapshot, bodies, self.periods, sources, _ALL, since=low, until=high, batch=_AT_A_TIME
        ):
            for one in batch:
                record = stood(one)
                if (
                    record.kind in MARKED
                    and (low is None or record.requested_at >= low)
                    and (high is None or record.requested_at < high)
                    and self.owner(snapshot, record) == person
                ):
                    yield record


class Withholding:
    """Marks of an open hub."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def __repr__(self) -> str:
        return "Withholding()"

    # -- one record

    def withhold(
        self, handle: Any, ground: str, until: dt.date, institution: str | None, requester: str | None,
        clerk: str | None,
    ) -> None:  # fmt: skip
        """See ``Hub.withhold``."""
        check_text("ground", ground, GROUND_CHARS_MAX)
        check_clerk("clerk", clerk)
        day = check_day(until)
        code, index = self._office.find(handle, institution, requester)
        with self._office.store.writer:
            for record, side, mark, protection in self._sides(code, index):
                judged = protection.number if protection else 0
                if (
                    mark is not None and mark.withheld and mark.inside is not None
                    and (mark.until, mark.inside.ground, mark.inside.clerk) == (day, ground, clerk)
                    and mark.inside.asked_by is None and mark.judged == judged
                ):  # fmt: skip
                    continue
                self._put(record, side, EventKind.WITHHELD, code, True, ground, day, judged, clerk)

    def lift(
        self, handle: Any, institution: str | None, requester: str | None, clerk: str | None, second: str | None
    ) -> bool:
        """See ``Hub.lift``."""
        first = check_clerks(clerk, second)
        code, index = self._office.find(handle, institution, requester)
        lifted = True
        with self._office.store.writer:
            for record, side, mark, _ in self._sides(code, index):
                if mark is None or not mark.withheld or mark.inside is None:
                    continue
                other = second or mark.inside.asked_by
                if other is None or same_clerk(first, other):
                    self._refuse_same(mark.inside.asked_by)
                    lifted = False
                    inside = msgspec.structs.replace(mark.inside, asked_by=first)
                    told = self._told(EventKind.LIFT_ASKED, code, first, side, mark.judged, True)
                    with self._office.store.commit() as commit:
                        put_mark(commit, self._office.vault, index, side, mark._replace(inside=inside))
                        self._office.tell(told, commit, record.period, index)
                    continue
                clerks = (first, second) if second else (other, first)
                self._put(record, side, EventKind.LIFTED, code, False, "", 0, mark.judged, *clerks)
        return lifted

    def judge(
        self, institution: str, handle: Any, withhold: bool, ground: str | None, until: dt.date | None,
        clerk: str | None,
    ) -> None:  # fmt: skip
        """See ``Hub.judge``."""
        if not isinstance(withhold, bool):
            raise RequestError(f"withhold: expected True or False, got {type(withhold).__name__}")
        check_clerk("clerk", clerk)
        if withhold:
            check_text("ground", ground, GROUND_CHARS_MAX)
            check_day(until)
        code, index = self._office.find(handle, institution, None)
        with self._office.store.writer:
            sides = list(self._sides(code, index))
            if any(protection is None for *_, protection in sides):
                raise RequestError("judge: expected a record that waits for a judgement, got another")
            if not withhold and any(mark is not None and mark.withheld for _, _, mark, _ in sides):
                # One clerk would undo what takes two.
                raise RequestError("judge: expected a record that this side does not withhold, lift its mark first")
            day = until.toordinal() if withhold and until is not None else 0
            for record, side, mark, protection in sides:
                assert protection is not None
                done = mark is not None and mark.judged == protection.number and mark.withheld == withhold
                if done and mark is not None and (not withhold or (mark.until, self._ground(mark)) == (day, ground)):
                    continue
                self._put(record, side, EventKind.JUDGED, code, withhold, ground or "", day, protection.number, clerk)

    def _sides(self, code: str, index: int) -> Iterator[tuple[Stood, int, Mark | None, Protection | None]]:
        """The sides on which an institution may act, with the mark there and the protection that covers the record."""
        office = self._office
        catalog = office.catalog()
        with office.store.snapshot() as snapshot:
            record = office.read(snapshot, index)
            number = catalog.institution(code).number
            sides = sides_of(catalog, record, number, *successions_of(snapshot).olds(number))
            if record.kind not in MARKED or not sides:
                raise RequestError("handle: expected a record of an inquiry that it is a party to, got another")
            protection = office.protection(snapshot, record)
            marks = [read_mark(snapshot, office.vault, index, side) for side in sides]
        for side, mark in zip(sides, marks, strict=True):
            yield record, side, mark, protection

    def _put(
        self, record: Stood, side: int, kind: EventKind, code: str, withheld: bool, ground: str, day: int, judged: int,
        clerk: str | None, second: str | None = None,
    ) -> None:  # fmt: skip
        office = self._office
        inside = Inside(institution=code, ground=ground, clerk=clerk, at=office.now())
        told = self._told(kind, code, clerk, side, judged, withheld)
        told = msgspec.structs.replace(told, second_clerk=second, ground=ground or None, until=day)
        with office.store.commit() as commit:
            put_mark(commit, office.vault, record.index, side, Mark(withheld, record.period, day, judged, inside))
            office.tell(told, commit, record.period, record.index)

    def _told(self, kind: EventKind, code: str, clerk: str | None, side: int, judged: int, withheld: bool) -> Told:
        return Told(
            at=self._office.now(), kind=kind, institution=code, clerk=clerk, side=side, protection=judged,
            withheld=withheld,
        )  # fmt: skip

    def _refuse_same(self, asked_by: str | None) -> None:
        if asked_by is not None:
            raise RequestError("clerk: expected another than the one who asked before, got the same")

    def _ground(self, mark: Mark) -> str | None:
        return None if mark.inside is None else mark.inside.ground

    # -- a person

    def protect(self, institution: str, pseudonym: bytes, since: Any, ground: str, clerk: str | None) -> None:
        """See ``Hub.protect``."""
        self._check_register(institution)
        check_text("ground", ground, GROUND_CHARS_MAX)
        check_clerk("clerk", clerk)
        moment = bound_of(since, end_of_day=False)
        if moment is None:
            raise RequestError("since: expected a date, got None")
        office = self._office
        key = protection_key(office.keys, pseudonym)
        with office.store.writer:
            with office.store.snapshot() as snapshot:
                found = read_protection(snapshot, office.vault, key)
            now = office.now()
            inside = Inside(institution=institution, ground=ground, clerk=clerk, at=now, pseudonym=pseudonym)
            if (
                found is not None and found.on and found.inside.asked_by is None
                and (found.since, found.inside.ground, found.inside.clerk) == (int(moment), ground, clerk)
            ):  # fmt: skip
                return
            with office.store.commit() as commit:
                # What was judged stays judged while a protection is only changed.
                number = found.number if found is not None and found.on else last_number(commit) + 1
                told = Told(
                    at=now, kind=EventKind.PROTECTED, institution=institution, clerk=clerk, ground=ground,
                    protection=number, withheld=True,
                )  # fmt: skip
                put_protection(commit, office.vault, key, Protection(True, int(moment), number, inside))
                office.tell(told, commit)

    def unprotect(self, institution: str, pseudonym: bytes, clerk: str | None, second: str | None) -> bool:
        """See ``Hub.unprotect``."""
        self._check_register(institution)
        first = check_clerks(clerk, second)
        office = self._office
        key = protection_key(office.keys, pseudonym)
        with office.store.writer:
            with office.store.snapshot() as snapshot:
                found = read_protection(snapshot, office.vault, key)
            if found is None or not found.on:
                return True
            other = second or found.inside.asked_by
            done = other is not None and not same_clerk(first, other)
            if not done:
                self._refuse_same(found.inside.asked_by)
            clerks = (first, second) if second or not done else (other, first)
            told = Told(
                at=office.now(), kind=EventKind.UNPROTECTED if done else EventKind.UNPROTECT_ASKED,
                institution=institution, clerk=clerks[0], second_clerk=clerks[1], protection=found.number,
                withheld=not done,
            )  # fmt: skip
            inside = msgspec.structs.replace(found.inside, asked_by=None if done else first)
            with office.store.commit() as commit:
                put_protection(commit, office.vault, key, found._replace(on=not done, inside=inside))
                office.tell(told, commit)
            return done

    def _check_register(self, institution: str) -> None:
        if institution != REGISTER:
            raise RequestError(f"institution: expected {REGISTER}, the register body, got another")

    # -- lists

    def handles(
        self, institution: str, alias: Aliases, since: Any, until: Any, limit: int
    ) -> list[tuple[bytes, PartyRecord]]:
        """See ``Hub.handles``."""
        office = self._office
        number = office.catalog().institution(institution).number
        first, end = bound_of(since, end_of_day=False), bound_of(until, end_of_day=True)
        with office.store.snapshot() as snapshot:
            persons, _, status = find_known_persons(snapshot, number, alias, _ALONE)
            if status[0]:
                raise RequestError("alias: expected one of this institution's, got another")
            records = office.records_of(snapshot, int(persons[0]), first, end)
            found = [entry for record in records for entry in self._entry(snapshot, number, record)[:1]][:limit]
        # An order of its own for each party: that of the log would let two of them join what they see.
        return sorted(found, key=lambda entry: (entry[1].requested_at, entry[0]), reverse=True)

    def due(self, institution: str, by: dt.date) -> list[tuple[bytes, PartyRecord, dt.date]]:
        """See ``Hub.marks_due``."""
        office = self._office
        number, last = office.catalog().institution(institution).number, check_day(by)
        found = []
        for key, value in self._stored(RECORD):
            mark = parse_mark(key, value, office.vault)
            if not mark.withheld or mark.until > last or mark.inside is None or mark.inside.institution != institution:
                continue
            with office.store.snapshot() as snapshot:
                record = office.read(snapshot, int.from_bytes(key[1:9], "big"))
                entries = self._entry(snapshot, number, record)
            found += [(handle, told, dt.date.fromordinal(mark.until)) for handle, told in entries[:1]]
        unique = {entry[0]: entry for entry in found}
        return sorted(unique.values(), key=lambda entry: (entry[2], entry[0]))

    def unjudged(self, institution: str, limit: int) -> list[tuple[bytes, PartyRecord]]:
        """See ``Hub.unjudged``."""
        number = self._office.catalog().institution(institution).number
        # By handle, an order of its own for each party: that of the protections is the same for all of them, and would
        # let two join their aliases of protected persons. So all of them are looked at, for a few as well.
        return heapq.nsmallest(limit, self._waiting(number), key=lambda entry: entry[0])

    def _waiting(self, number: int) -> Iterator[tuple[bytes, PartyRecord]]:
        """What waits for an institution's judgement, by protection."""
        office = self._office
        for key, value in self._stored(PERSON):
            protection = parse_protection(key, value, office.vault)
            if not protection.on:
                continue
            with office.store.snapshot() as snapshot:
                person = self._person_of(snapshot, protection)
                if person is None:
                    continue
                for record in office.records_of(snapshot, person, protection.since, None):
                    newest = office.protection(snapshot, record)
                    if newest is None or newest.number != protection.number:
                        # Of two who were merged: it waits under the other's protection.
                        continue
                    sides = sides_of(office.catalog(), record, number, *successions_of(snapshot).olds(number))
                    states = [read_state(snapshot, record.index, side) for side in sides]
                    if any(judged != protection.number for _, judged in states):
                        entries = self._entry(snapshot, number, record)[:1]
                        # Of whom it does not know a provider has not heard, see ``screen.py``, and must not hear here.
                        yield from (one for one in entries if REQUESTER in sides or any(one[1].alias))

    def _person_of(self, snapshot: Snapshot, protection: Protection) -> int | None:
        if not count_aliases(snapshot, RESIDENT_CODES):
            return None
        pseudonym = np.frombuffer(protection.inside.pseudonym, dtype=np.uint8).reshape(1, 16)
        persons, _, status = find_persons(snapshot, RESIDENT_CODES, pseudonym, _ALONE)
        return None if status[0] else int(persons[0])

    def _entry(self, snapshot: Snapshot, number: int, record: Stood) -> list[tuple[bytes, PartyRecord]]:
        """Handle and facts of a record for an institution; nothing where it is no party to it."""
        office = self._office
        catalog = office.catalog()
        sides = sides_of(catalog, record, number, *successions_of(snapshot).olds(number))
        if not sides:
            return []
        owner = office.owner(snapshot, record)
        person = NOBODY if owner is None else owner
        aliases, _ = find_known_aliases(snapshot, number, np.array([person], dtype=np.uint32), _ALONE)
        withheld = any(read_state(snapshot, record.index, side)[0] for side in sides)
        told = tell(catalog, record, number, aliases[0].tobytes(), withheld=withheld)
        return [(make_handle(office.keys, number, record.index), told)]

    def _stored(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All values under a prefix, a snapshot each so many: a long one would keep every page that is rewritten."""
        first, below = prefix, bytes([prefix[0] + 1])
        while True:
            with self._office.store.snapshot() as snapshot:
                found = snapshot.items(NAME, first, below, limit=_AT_A_TIME)
                items = [(key, bytes(value)) for key, value in found]
            yield from items
            if len(items) < _AT_A_TIME:
                return
            first = items[-1][0] + b"\0"


# -- what callers hand in


def check_text(name: str, text: object, most: int) -> None:
    """Refuse what is no text of 1 to ``most`` printable characters."""
    if not isinstance(text, str):
        raise RequestError(f"{name}: expected text, got {type(text).__name__}")
    if not 1 <= len(text) <= most or not text.strip():
        raise RequestError(f"{name}: expected 1 to {most} characters, got {len(text.strip())}")
    if not is_plain(text):
        raise RequestError(f"{name}: expected printable characters, got a control character")


TWO = " + "
"""Between the names of two clerks who asked together, in one operator."""


def check_clerk(name: str, clerk: object) -> None:
    """Refuse a clerk who has no name; None is nobody in particular."""
    if clerk is not None:
        check_text(name, clerk, OPERATOR_CHARS_MAX)


def check_clerks(clerk: str | None, second: str | None) -> str:
    """The first of the clerks that lift something; the second may come with another call."""
    if clerk is None:
        raise RequestError("clerk: expected the name of a clerk (it takes two), got none")
    check_clerk("clerk", clerk)
    check_clerk("second_clerk", second)
    if second is not None and same_clerk(clerk, second):
        raise RequestError("second_clerk: expected another clerk than the first, got the same")
    return clerk


def took_part(operator: str, clerk: str) -> bool:
    """Whether a clerk is one of those whom an operator names: two who asked together stand with ``TWO`` between them.

    Through a certificate both names come as ``<its name>/<clerk>``, the second of two behind the first.
    """
    first, *others = operator.split(TWO)
    party = first[: first.find("/") + 1]
    return any(same_clerk(one, clerk) for one in (operator, first, *others, *(party + other for other in others)))


def same_clerk(one: str, other: str) -> bool:
    """Whether two names are one clerk's: width, case and spaces do not make two of one."""
    folded = ("".join(unicodedata.normalize("NFKC", name).casefold().split()) for name in (one, other))
    return len(set(folded)) == 1


def check_day(day: object) -> int:
    """A day as its proleptic number.

    Raises:
        RequestError: it is no date.
    """
    if not isinstance(day, dt.date) or isinstance(day, dt.datetime):
        raise RequestError(f"until: expected a date, got {type(day).__name__}")
    return day.toordinal()
