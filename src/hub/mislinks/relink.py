"""Links that a clerk decides on: held ones that are confirmed, wrong ones that are replaced.

A link says that an institution's own id and an alias are one person. The hub knows of it what the ticket says
(``acquisition/tickets.py``) and what stands beside it (``acquisition/claims.py``). A call is one transaction: entries
of the alias tables, tickets, records of the persons, events; its checkpoint is published before the call returns. Asked
again it changes nothing.

| record | about | outcome | items | role |
|---|---|---|---|---|
| LINK_CONFIRMED | the person whom the code names | OK | the attributes that differed | PERSON |
| LINK_REPLACED | the person whose alias stood on the file | REVOKED, OK where the alias is kept | ALIAS | STRANGER |
| LINK_REPLACED | the person whom the file is about | OK | ALIAS | PERSON |

Requester is the institution, the remark its reason. ALIAS, PERSON and STRANGER stand below. Neither record of a
replacement says who the other person is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.acquisition.acquire import Barred
from hub.acquisition.additions import complete_pending
from hub.acquisition.claims import LINKED, Link, find_link, put_link
from hub.acquisition.tickets import (
    ALREADY,
    CREATED,
    HELD,
    NAME,
    Found,
    acquired_aliases,
    by_draw,
    change_tickets,
    held_link,
    key_of,
    look_up,
    refuse,
    ticket_names,
)
from hub.aliases import NOBODY, RESIDENT_CODES, Persons, Statuses, find_persons
from hub.errors import RequestError, StorageError
from hub.limits import LINKS_PER_CALL_MAX, PERSONS_MAX
from hub.messages import Acquired, Acquisition, Aliases, Differs, Kind, Status
from hub.mislinks.linkedits import Edits
from hub.persons.deaths import NAME as DEATHS
from hub.persons.merges import current
from hub.protection.marks import put_new_marks
from hub.protection.screen import default_marks
from hub.protection.withholding import Office, same_clerk
from hub.records.append import Laid, append_records, lay_records, make_fields, order_rows
from hub.records.bodies import ROW
from hub.records.events import EventKind, ToldLink
from hub.records.handles import REQUESTER
from hub.storage.periods import period_of
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers
from hub.tlog.entry import Shared

PROCEDURE = "link"
LEGAL_BASIS = "個人情報保護法65条"
"""Whoever keeps personal data sees to it that they are right (正確性の確保)."""

WORDS = {Differs.NAME: "氏名", Differs.ADDRESS: "住所", Differs.SEX: "性別", Differs.BIRTH: "生年月日"}
ALIAS = "機関別符号"
PERSON, STRANGER = "本人", "誤って紐付けられていた者"
"""The role in a record: whom the file is about, and whose alias stood on it."""


class _Entry(NamedTuple):
    """One record to be appended and how its event and its ticket are to know it."""

    person: int
    outcome: Status
    items: tuple[str, ...]
    role: str

    def __repr__(self) -> str:
        return "_Entry()"


class _Swap(NamedTuple):
    """Rows of a call that replace something: the persons whose aliases stood on the files, and what is given.

    Attributes:
        rows: int64[M], of the call, one a ticket. wrong: uint32[N], whose the old aliases are.
        kept: bool[N], the old alias goes on. status: uint8[N], what is told of rows.
    """

    rows: npt.NDArray[np.int64]
    wrong: Persons
    kept: npt.NDArray[np.bool_]
    status: Statuses

    def __repr__(self) -> str:
        return f"_Swap(rows={len(self.rows)})"


class Links:
    """Links of an open hub; ``appended`` is called after every step, also a repeated one, before it returns."""

    def __init__(
        self, office: Office, workers: Workers, delivering: threading.Lock, appended: Callable[[], None],
        barred: Callable[[int], Barred | None],
    ) -> None:  # fmt: skip
        self._office, self._workers, self._delivering, self._appended = office, workers, delivering, appended
        self._barred = barred

    def __repr__(self) -> str:
        return "Links()"

    # -- confirmed

    def confirm(self, number: int, tickets: Aliases, clerk: str, reason: str) -> Acquired:
        """See ``Hub.confirm_links``."""
        _check_rows(len(tickets))
        office = self._office
        with self._delivering, office.store.acquiring:
            complete_pending(office.store, self._workers)
            with office.store.writer:
                with office.store.snapshot() as snapshot:
                    found = self._find(snapshot, tickets)
                    rows, links = self._held(snapshot, found, number, clerk)
                    edits = Edits(snapshot, number, self._workers)
                    persons, status = self._people(snapshot, number, edits, links, len(tickets), rows)
                if len(rows):
                    self._confirm(number, found, rows, links, edits, persons, status, clerk, reason)
        self._appended()
        return self._acquired(number, tickets)

    def _held(
        self, snapshot: Snapshot, found: Found, number: int, clerk: str
    ) -> tuple[npt.NDArray[np.int64], list[Link]]:
        """The held tickets of a call, each once, and how they stand; what was confirmed before is passed over."""
        rows: list[int] = []
        links: list[Link] = []
        seen: set[bytes] = set()
        wrong = found.institution != number
        for row in np.flatnonzero(~wrong).tolist():
            key, state = key_of(found, row), found.state[row]
            if state in (CREATED, ALREADY):
                link = find_link(snapshot, self._office.vault, key)
                wrong[row] = link is None or not link.confirmed
            elif state != HELD:
                wrong[row] = True
            elif key not in seen:
                seen.add(key)
                rows.append(row)
                links.append(held_link(snapshot, self._office.vault, found, row))
        refuse(wrong, "this institution's own that are held")
        if any(link.clerk is not None and same_clerk(link.clerk, clerk) for link in links):
            raise RequestError("clerk: expected another than the one who claimed, got the same")
        return np.array(rows, np.int64), links

    def _people(
        self, snapshot: Snapshot, number: int, edits: Edits, links: list[Link], n: int, rows: npt.NDArray[np.int64]
    ) -> tuple[Persons, Statuses]:
        """Who is meant by the codes of held tickets, new persons among them: uint32[n] and the new states uint8[n]."""
        persons, status = np.full(n, NOBODY, np.uint32), np.zeros(n, np.uint8)
        if not len(rows):
            return persons, status
        pseudonyms = np.frombuffer(b"".join(link.pseudonym for link in links), np.uint8).reshape(-1, 16)
        one, same = np.unique(pseudonyms, axis=0, return_inverse=True)
        known, _, missing = find_persons(snapshot, RESIDENT_CODES, np.ascontiguousarray(one), self._workers)
        barred = self._barred(number)
        if barred is not None and barred(snapshot, known[missing == 0]).any():
            raise RequestError("tickets: expected persons who may have an alias here, got another")
        fresh = np.flatnonzero(missing != 0)
        begin = snapshot.state.persons
        if begin + len(fresh) > PERSONS_MAX:
            raise StorageError(f"confirm: expected at most {PERSONS_MAX} persons, got more")
        known = known.copy()
        known[fresh] = np.arange(begin, begin + len(fresh), dtype=np.uint32)
        edits.enter(np.ascontiguousarray(one[fresh]), known[fresh])
        persons[rows] = known[same.reshape(-1)]
        gave = edits.give(persons[rows])
        # Of a person that is named twice the first row is told CREATED, as by an acquisition.
        firsts = np.zeros(len(rows), np.bool_)
        firsts[np.unique(persons[rows], return_index=True)[1]] = True
        status[rows] = np.where(gave & firsts, CREATED, ALREADY)
        return persons, status

    def _confirm(
        self, number: int, found: Found, rows: npt.NDArray[np.int64], links: list[Link], edits: Edits,
        persons: Persons, status: Statuses, clerk: str, reason: str,
    ) -> None:  # fmt: skip
        office = self._office
        with office.store.commit() as commit:
            edits.put(commit, office.store)
            change_tickets(commit, found, by_draw(found.draw, rows), persons, status)
            entries = [
                _Entry(int(persons[row]), Status.OK, _names(link.differs), PERSON)
                for row, link in zip(rows.tolist(), links, strict=True)
            ]
            code = office.catalog().institution_by_number(number).code
            indexes, laid, now = self._append(commit, Kind.LINK_CONFIRMED, code, number, entries, reason)
            aliases = edits.given()
            for row, link, index, alias in zip(rows.tolist(), links, indexes, aliases, strict=True):
                put_link(commit, office.vault, key_of(found, row), Link(differs=link.differs, confirmed=index + 1))
                told = ToldLink(
                    at=now, kind=EventKind.LINK_CONFIRMED, institution=code, clerk=link.clerk, second_clerk=clerk,
                    ground=reason, person=int(persons[row]), alias=alias.tobytes(),
                )  # fmt: skip
                office.tell(told, commit, laid.period, index)
        office.wake(min(indexes), laid)

    # -- replaced

    def replace(
        self, number: int, tickets: Aliases, old: Aliases, keep: npt.NDArray[np.bool_], clerk: str, reason: str
    ) -> Acquired:
        """See ``Hub.replace_links``."""
        _check_rows(len(tickets))
        office = self._office
        with self._delivering, office.store.acquiring:
            complete_pending(office.store, self._workers)
            with office.store.writer:
                with office.store.snapshot() as snapshot:
                    found = self._find(snapshot, tickets)
                    found = found._replace(state=np.where(found.institution == number, found.state, 255))
                    edits = Edits(snapshot, number, self._workers)
                    swap = self._swap(snapshot, number, found, old, keep, edits)
                if len(swap.rows):
                    self._replace(number, found, old, swap, edits, clerk, reason)
        self._appended()
        return self._told(number, tickets)

    def _swap(
        self, snapshot: Snapshot, number: int, found: Found, old: Aliases, keep: npt.NDArray[np.bool_], edits: Edits
    ) -> _Swap:
        """Decide what each row comes to, and enter it into ``edits``."""
        n = len(old)
        wrong, flags, standing = find_persons(snapshot, number, old, self._workers)
        delivered = np.flatnonzero((found.state == CREATED) | (found.state == ALREADY))
        barred = self._barred(number)
        if barred is not None:
            # Who may have no alias here any more is given none in the place of a wrong one either.
            delivered = delivered[~barred(snapshot, found.person[delivered])]
        rows = self._rows(snapshot, found, old, standing, delivered)
        person = found.person
        # Whose link was right all along is left as it is, and so is the alias; who stays is known by another file.
        right = rows[wrong[rows] == person[rows]]
        rows = rows[wrong[rows] != person[rows]]
        kept = np.zeros(n, np.bool_)
        kept[rows] = np.isin(wrong[rows], np.concatenate((wrong[rows][keep[rows]], person[right])))
        closing = rows[~kept[rows]]
        closed, first = np.unique(wrong[closing], return_index=True)
        first = closing[first]
        edits.close(old[first], closed, flags[first], stays=np.isin(closed, person[rows]))
        gave = edits.give(person[rows]) | np.isin(person[rows], closed)
        status = np.zeros(n, np.uint8)
        status[rows] = np.where(gave, np.uint8(Acquisition.CREATED), found.state[rows])
        return _Swap(rows, wrong, kept, status)

    def _rows(
        self, snapshot: Snapshot, found: Found, old: Aliases, standing: Statuses, delivered: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """The delivered rows that were not done before, one a ticket."""
        refused = np.zeros(len(old), np.bool_)
        rows: list[int] = []
        seen: dict[bytes, bytes] = {}
        for row in delivered.tolist():
            key, alias = key_of(found, row), old[row].tobytes()
            link = find_link(snapshot, self._office.vault, key)
            if link is not None and link.replaced:
                refused[row] = link.old != alias
                continue
            refused[row] = standing[row] != Status.OK or seen.setdefault(key, alias) != alias
            rows.append(row)
        if refused.any():
            row = int(np.argmax(refused))
            expected = "this institution's own in use, one a ticket"
            raise RequestError(f"aliases: expected {expected}, got another in row {row}")
        at = np.array(rows, np.int64)
        return at[np.sort(np.unique(ticket_names(found)[at], return_index=True)[1])]

    def _replace(
        self, number: int, found: Found, old: Aliases, swap: _Swap, edits: Edits, clerk: str, reason: str
    ) -> None:
        office, rows = self._office, swap.rows
        code = office.catalog().institution_by_number(number).code
        with office.store.commit() as commit:
            edits.put(commit, office.store)
            entries = [
                _Entry(int(swap.wrong[row]), Status.OK if swap.kept[row] else Status.REVOKED, (ALIAS,), STRANGER)
                for row in rows.tolist()
            ]
            entries += [_Entry(int(found.person[row]), Status.OK, (ALIAS,), PERSON) for row in rows.tolist()]
            indexes, laid, now = self._append(commit, Kind.LINK_REPLACED, code, number, entries, reason)
            aliases = edits.given()
            for row, index, alias in zip(rows.tolist(), indexes[: len(rows)], aliases, strict=True):
                key, before = key_of(found, row), old[row].tobytes()
                link = find_link(commit, office.vault, key) or Link()
                link = msgspec.structs.replace(link, replaced=index + 1, old=before, status=int(swap.status[row]))
                put_link(commit, office.vault, key, link)
                told = ToldLink(
                    at=now, kind=EventKind.LINK_REPLACED, institution=code, clerk=clerk, ground=reason,
                    person=int(found.person[row]), alias=before, other=alias.tobytes(),
                )  # fmt: skip
                office.tell(told, commit, laid.period, index)
        office.wake(min(indexes), laid)

    def _told(self, number: int, tickets: Aliases) -> Acquired:
        """As of ``acquired``, but for what was replaced: that says whether the alias was made by it."""
        office = self._office
        acquired = self._acquired(number, tickets)
        with office.store.snapshot() as snapshot:
            found = look_up(snapshot, office.keys, tickets, office.now())
            for row in np.flatnonzero(np.isin(acquired.status, (Acquisition.CREATED, Acquisition.ALREADY))).tolist():
                link = find_link(snapshot, office.vault, key_of(found, row))
                if link is not None and link.replaced:
                    acquired.status[row] = link.status
        return acquired

    # -- both

    def _find(self, snapshot: Snapshot, tickets: Aliases) -> Found:
        store = self._office.store
        store.compare_sum(snapshot, NAME)
        store.compare_sum(snapshot, LINKED)
        # Who is not found to have died may have an alias where the dead have none.
        store.compare_sum(snapshot, DEATHS)
        found = look_up(snapshot, store.keys, tickets, self._office.now())
        return found._replace(person=current(snapshot, found.person))

    def _acquired(self, number: int, tickets: Aliases) -> Acquired:
        office = self._office
        with office.store.snapshot() as snapshot:
            return acquired_aliases(
                snapshot, office.keys, office.vault, number, tickets, office.now(), self._workers,
                closed=self._barred(number) is not None,
            )  # fmt: skip

    def _append(
        self, commit: Commit, kind: Kind, code: str, number: int, entries: list[_Entry], reason: str
    ) -> tuple[list[int], Laid, int]:
        """Append a record an entry; returns the index of each, what was laid, and the time."""
        office = self._office
        now = max(commit.state.time, office.now())
        key = office.periods.make(period_of(now))
        kinds = sorted({(entry.items, entry.role) for entry in entries})
        shared = [self._shared(code, items, role, reason) for items, role in kinds]
        table = np.zeros(len(entries), dtype=ROW)
        table["person"] = [entry.person for entry in entries]
        table["outcome"] = [entry.outcome for entry in entries]
        table["decision"] = [kinds.index((entry.items, entry.role)) for entry in entries]
        table["kind"] = kind
        # Which record is whose entry is known by a mark in a column that is empty in these records.
        table["link"][:, 0] = np.arange(len(entries))
        table, person_keys = order_rows(table, key)
        place = np.argsort(table["link"][:, 0])
        table["link"] = 0
        fields = make_fields(shared, [(now, 0)] * len(shared), [(None, None)])
        laid = lay_records(fields, table, person_keys, office.keys, key)
        catalog = office.catalog()
        with office.store.snapshot() as snapshot:
            flagged = office.flagged.of(snapshot)
        marks = default_marks(
            flagged, key, now, np.ascontiguousarray(table["person"]), {REQUESTER: number},
            lambda other: catalog.institution_by_number(other).code,
        )  # fmt: skip
        first = append_records(commit, laid, now)
        put_new_marks(commit, marks, key.period, first)
        return (first + place).tolist(), laid, now

    def _shared(self, code: str, items: tuple[str, ...], role: str, reason: str) -> Shared:
        return Shared(
            inquiry=os.urandom(8),
            requester=code,
            on_behalf_of=None,
            procedure=PROCEDURE,
            items=items,
            role=role,
            section="",
            reference_date=None,
            catalog=self._office.catalog().digest,
            rule=0,
            reason=0,
            legal_basis=LEGAL_BASIS,
            supervised=bytes(32),
            remark=reason,
        )


def _names(differs: int) -> tuple[str, ...]:
    return tuple(word for flag, word in WORDS.items() if differs & flag)


def _check_rows(rows: int) -> None:
    if rows > LINKS_PER_CALL_MAX:
        raise RequestError(f"tickets: expected at most {LINKS_PER_CALL_MAX} in one call, got {rows}")
