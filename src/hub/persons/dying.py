"""Deaths that are told, corrected and taken back; what they close.

A death closes the person's portal alias in the same transaction in which it is entered: it answers nobody any more, and
no new one is acquired. Every other alias stays at work: survivors' pensions, inheritance tax and thirty procedures more
ask about the dead. A call of many is several transactions; the same call again completes it and changes nothing twice.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.acquisition.additions import complete_pending
from hub.acquisition.tableedits import TableEdits
from hub.aliases import CLOSED, Persons, Statuses, find_aliases, find_persons
from hub.catalog.moments import JAPAN
from hub.errors import RowsError
from hub.messages import Aliases, Kind, Status
from hub.persons.deaths import (
    ALIVE,
    DEATH,
    NAME,
    Entries,
    entered_after,
    put_deaths,
    put_entered,
    read_deaths,
    read_entered,
)
from hub.persons.liferecords import append_life_records
from hub.persons.merges import current, lives_of
from hub.protection.withholding import Office
from hub.records.events import EventKind, Told
from hub.storage.confidential import HUB
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers

PORTAL = "portal"
DEATHS_PER_COMMIT = 8_192
"""Each rewrites a block of the portal's table by alias, 24 KB, which LMDB holds in memory: 200 MB at most."""

OPEN = 0x7FFFFFFF
_EPOCH = dt.date(1970, 1, 1)
_ALONE = Workers(1)

Days = npt.NDArray[np.int32]
Find = Callable[[Snapshot], tuple[Persons, Statuses]]
"""The persons of a call's rows in a snapshot, and whether each was found (0)."""


class Deaths(msgspec.Struct, frozen=True, kw_only=True):
    """What became of deaths that were told: persons who are dead by this call, whose day it corrected, known before."""

    told: int
    corrected: int
    known: int


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """Portal aliases that deaths have closed.

    Attributes:
        aliases: uint8[N, 16]. upto: hand it to the next call as ``since``.
    """

    aliases: Aliases
    upto: int

    def __repr__(self) -> str:
        return f"Closed(rows={len(self.aliases)})"


class Teller(NamedTuple):
    """Who tells, corrects or takes back; the second clerk is needed for the latter two."""

    institution: str
    clerk: str | None
    second_clerk: str | None
    reason: str = ""


class Dying:
    """Deaths in an open hub; ``appended`` is called with each call, also a repeated one, before it returns."""

    def __init__(self, office: Office, workers: Workers, appended: Callable[[], None]) -> None:
        self._office, self._workers, self._appended = office, workers, appended

    def __repr__(self) -> str:
        return "Dying()"

    def deaths(
        self, find: Find, days: Days, born: Days, correct: bool, teller: Teller
    ) -> Deaths:
        """See ``Hub.deaths``; ``find`` gives the rows' persons and whether each was found (0)."""
        store = self._office.store
        today = (dt.datetime.fromtimestamp(self._office.now(), JAPAN).date() - _EPOCH).days
        _refuse(days > today, f"days: expected days up to {_EPOCH + dt.timedelta(today)}, got a later one", "future")
        _refuse((born != OPEN) & (born > days), "days: expected none before the day of birth, got one", "born")
        with store.acquiring:
            complete_pending(store, self._workers)
            with store.snapshot() as snapshot:
                store.compare_sum(snapshot, NAME)
                persons, days = self._each_once(snapshot, find, days)
                before = read_deaths(snapshot, persons)
                rows, others = _dead_members(snapshot, persons)
            another = (before["day"] != ALIVE) & (before["day"] != days)
            if not correct and another.any():
                raise RowsError(
                    "days: expected the day that was told before, got another: correct it",
                    rows=np.flatnonzero(another).tolist(), cause="corrects",
                )  # fmt: skip
            known = before["day"] == days
            entries, after = before[~known], days[~known]
            # Whoever was merged into the person, dead as they were, is corrected with them.
            moved = others["day"] != days[rows]
            entries = np.concatenate((entries, others[moved]))
            after = np.concatenate((after, days[rows][moved]))
            owners = np.concatenate((persons[~known], persons[rows][moved]))
            for some in _stretches(owners):
                self._enter(entries[some], after[some], teller)
        self._appended()
        corrected = int(np.count_nonzero(another))
        return Deaths(told=int(np.count_nonzero(~known)) - corrected, corrected=corrected,
                      known=int(np.count_nonzero(known)))  # fmt: skip

    def _each_once(
        self, snapshot: Snapshot, find: Find, days: Days
    ) -> tuple[Persons, Days]:
        """The persons of the rows and their days, each once."""
        persons, status = find(snapshot)
        _refuse(status != 0, "aliases: expected those of persons whom the institution knows, got another", "unknown")
        people, first, which = np.unique(persons, return_index=True, return_inverse=True)
        _refuse(days != days[first][which], "days: expected one day for each person, got two", "twice")
        return people, days[first]

    def _enter(self, before: Entries, days: Days, teller: Teller) -> None:
        """One transaction: records, entries, closed aliases, events."""
        office = self._office
        with office.store.commit() as commit, office.store.snapshot() as snapshot:
            fresh = before["day"] == ALIVE
            self._close(commit, snapshot, before["person"][fresh], closed=True)
            links = [None if new else int(one) for one, new in zip(before["record"], fresh, strict=True)]
            after = before.copy()
            after["day"] = days
            after["commit"][fresh] = commit.state.commit
            self._put(commit, after, links, Status.OK, teller)
            put_entered(commit, commit.state.commit, before["person"][fresh])
            new = int(np.count_nonzero(fresh))
            grounds = [f"{new} told"] * bool(new) + [f"{len(before) - new} corrected"] * (new < len(before))
            for ground in grounds:
                self._tell(commit, EventKind.DIED, ground, teller)

    def _put(
        self, commit: Commit, deaths: Entries, links: list[int | None], outcome: Status, teller: Teller
    ) -> None:
        """Write entries with a new record about each."""
        office = self._office
        persons = np.ascontiguousarray(deaths["person"])
        first, laid = append_life_records(
            office, commit, Kind.DIED, teller.institution, persons, clerk=teller.clerk, outcome=outcome, links=links
        )
        # Records stand in an order of their own.
        stood = np.argsort(laid.table["person"], kind="stable")
        deaths = deaths[np.argsort(deaths["person"], kind="stable")]
        deaths["record"] = first + stood
        put_deaths(commit, deaths)
        office.wake(first, laid)

    def _close(self, commit: Commit, snapshot: Snapshot, persons: Persons, *, closed: bool) -> None:
        """Close or open the portal aliases of these persons."""
        portal = self._office.catalog().institution(PORTAL).number
        now = current(snapshot, np.ascontiguousarray(persons))
        aliases, none = find_aliases(snapshot, portal, now, _ALONE)
        aliases, now = aliases[none == 0], now[none == 0]
        _, flags, _ = find_persons(snapshot, portal, aliases, _ALONE)
        edits = TableEdits()
        for alias, person, before in zip(aliases, now.tolist(), flags.tolist(), strict=True):
            after = before | CLOSED if closed else before & ~CLOSED
            edits.lead(portal, alias.tobytes(), person, after)
        edits.write(commit, snapshot, self._workers)

    def _tell(self, commit: Commit, kind: EventKind, ground: str, teller: Teller) -> None:
        told = Told(
            at=self._office.now(), kind=kind, institution=teller.institution, clerk=teller.clerk,
            second_clerk=teller.second_clerk, ground=ground,
        )  # fmt: skip
        self._office.tell(told, commit, HUB)

    def alive(self, find: Find, teller: Teller) -> int:
        """See ``Hub.alive``."""
        store = self._office.store
        with store.acquiring:
            complete_pending(store, self._workers)
            with store.snapshot() as snapshot:
                store.compare_sum(snapshot, NAME)
                persons, status = find(snapshot)
                _refuse(status != 0, "aliases: expected those of persons whom the institution knows, got another",
                        "unknown")  # fmt: skip
                before = read_deaths(snapshot, np.unique(persons))
                before = before[before["day"] != ALIVE]
                done = len(before)
                rows, others = _dead_members(snapshot, before["person"])
            owners = np.concatenate((before["person"], before["person"][rows]))
            before = np.concatenate((before, others))
            for some in _stretches(owners):
                self._take_back(before[some], teller)
        self._appended()
        return done

    def _take_back(self, before: Entries, teller: Teller) -> None:
        office = self._office
        with office.store.commit() as commit, office.store.snapshot() as snapshot:
            self._close(commit, snapshot, before["person"], closed=False)
            after = before.copy()
            after["day"] = ALIVE
            self._put(commit, after, before["record"].tolist(), Status.EMPTY, teller)
            for number in np.unique(before["commit"]).tolist():
                rest = np.setdiff1d(read_entered(commit, number), before["person"])
                put_entered(commit, number, rest)
            self._tell(commit, EventKind.ALIVE, f"{len(before)}: {teller.reason}", teller)

    def closed(self, since: int, limit: int) -> Closed:
        """See ``Hub.closed``."""
        portal = self._office.catalog().institution(PORTAL).number
        persons, upto, found = [np.empty(0, np.uint32)], since, 0
        with self._office.store.snapshot() as snapshot:
            self._office.store.compare_sum(snapshot, NAME)
            while found < limit:
                some = entered_after(snapshot, upto, 256)
                for number, entered in some:
                    upto = number
                    persons.append(entered)
                    found += len(entered)
                    if found >= limit:
                        break
                if len(some) < 256:
                    break
            now = np.unique(current(snapshot, np.concatenate(persons)))
            aliases, none = find_aliases(snapshot, portal, now, _ALONE)
        return Closed(aliases=np.ascontiguousarray(aliases[none == 0]), upto=upto)


def _stretches(owners: Persons) -> Iterator[npt.NDArray[np.intp]]:
    """Rows (uint32[N], whose each is) in parts of one transaction each; those of one person stay together."""
    order = np.argsort(owners, kind="stable")
    first = 0
    while first < len(order):
        end = min(first + DEATHS_PER_COMMIT, len(order))
        while end < len(order) and owners[order[end]] == owners[order[end - 1]]:
            end += 1
        yield order[first:end]
        first = end


def _dead_members(snapshot: Snapshot, persons: Persons) -> tuple[npt.NDArray[np.intp], Entries]:
    """The entries of those who were merged, dead, into some persons (uint32[N]), and of which row each is."""
    lives = lives_of(snapshot)
    if not len(lives):
        return np.empty(0, np.intp), np.empty(0, DEATH)
    pairs = [(at, member) for at, one in enumerate(persons.tolist()) for member in lives.members(one)[1:]]
    found = read_deaths(snapshot, np.array([member for _, member in pairs], dtype=np.uint32))
    rows = np.array([at for at, _ in pairs], dtype=np.intp)
    ended = found["day"] != ALIVE
    return rows[ended], found[ended]


def _refuse(wrong: npt.NDArray[np.bool_], message: str, cause: str) -> None:
    if wrong.any():
        rows = np.flatnonzero(wrong).tolist()
        raise RowsError(f"{message} in row {rows[0]}", rows=rows, cause=cause)
