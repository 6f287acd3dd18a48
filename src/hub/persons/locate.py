"""Between stages 2 and 3, of rows that name a class: who holds the person -> the body that is asked.

A row such as "the 市町村長 of this person on 1 January" goes to the one body that holds the person, as if it had named
that body; to none where nobody does; and to none where several do of which the law allows more than one: the requester
is told which, and asks one of them. Nothing is ever sent to several.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import numpy.typing as npt

from hub.aliases import find_persons
from hub.catalog import Catalog, Consents, DecisionTable
from hub.catalog.moments import JAPAN
from hub.limits import CLASSES_FROM
from hub.messages import Status
from hub.persons.holders import NAME, find_holders, list_holders
from hub.protection.flags import Flagged
from hub.requests.batch import Batch, Decided, Destinations
from hub.requests.several import NONE, Several, join_several
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers

_EPOCH = dt.date(1970, 1, 1)
_ALONE = Workers(1)


def stand_in_providers(
    catalog: Catalog, table: DecisionTable, providers: npt.NDArray[np.uint32]
) -> npt.NDArray[np.uint32]:
    """The providers with a member instead of each class: one that the law allows if there is any, else the first.

    By its decision a row is judged that goes nowhere.
    """
    found = providers.copy()
    for number in np.unique(providers[providers >= CLASSES_FROM]).tolist():
        members = np.array(sorted(catalog.members_of(catalog.class_of_number(number - CLASSES_FROM))), dtype=np.intp)
        allowed = members[_allows(table, members)]
        found[providers == number] = (allowed if len(allowed) else members)[0]
    return found


def day_of_inquiry(batch: Batch, received_at: int) -> int:
    """The day whose holder is asked, counted from 1970-01-01: the reference date, else today in Japan at receipt."""
    day = batch.inquiry.reference_date
    if day is None:
        day = dt.datetime.fromtimestamp(received_at, JAPAN).date()
    return (day - _EPOCH).days


def locate_rows(
    snapshot: Snapshot, batch: Batch, decided: Decided, rows: slice, day: int, flagged: Flagged
) -> Destinations:
    """Find out where some rows of a batch with classes go.

    Whoever holds a person for whom a clerk must answer somewhere (MANUAL) is never named: of several holders the one
    whose fact began last is asked, as if it were the only one. Of none ``protection/screen.py`` makes one that was
    asked.

    Args:
        decided: of the batch, by :func:`stand_in_providers`. flagged: everybody's flags, of the same snapshot.

    Raises:
        StorageError: a block is damaged; nothing is answered.
    """
    providers, decision = batch.providers[rows].copy(), decided.decision[rows].copy()
    outcome = np.zeros(len(providers), np.uint8)
    lists: list[Several] = []
    persons, _, status = find_persons(snapshot, batch.requester, batch.aliases[rows], _ALONE)
    for number in np.unique(providers[providers >= CLASSES_FROM]).tolist():
        asked = np.flatnonzero(providers == number)
        # Whose alias is not known goes nowhere, whatever its class is.
        providers[asked] = 0
        asked = asked[status[asked] == Status.OK]
        consents = _consents_of(batch.consents, rows, asked)
        found = _Search(snapshot, decided.table, number - CLASSES_FROM, day, consents)
        found.run(persons[asked], flagged)
        providers[asked], outcome[asked] = found.providers, found.outcome
        lists.append(found.several._replace(rows=asked[found.several.rows]))
        at = np.flatnonzero(found.providers)
        decision[asked[at]] = decided.table.look_up(found.providers[at], _consents_of(consents, slice(None), at))
    return Destinations(providers, decision, outcome, join_several(lists), holders_sum(snapshot))


def holders_sum(snapshot: Snapshot) -> int:
    """Changes when a fact changes."""
    return snapshot.state.sums.get(NAME, 0)


class _Search:
    """The holders of persons in one class, as far as the law lets them be asked."""

    def __init__(self, snapshot: Snapshot, table: DecisionTable, number: int, day: int, consents: Consents) -> None:
        self._snapshot, self._table, self._number, self._day = snapshot, table, number, day
        self._consents = consents
        self.several = NONE

    def run(self, persons: npt.NDArray[np.uint32], flagged: Flagged) -> None:
        """Fill in ``providers``, ``outcome`` and ``several``."""
        count, latest = find_holders(self._snapshot, persons, self._number, self._day)
        # A catalog that is older than a fact does not know its institution: nobody there can be asked.
        latest[latest >= len(self._table.of_institution)] = 0
        self.outcome = np.zeros(len(persons), np.uint8)
        self.providers = latest
        several = count > 1
        manual = flagged.manual_anywhere(persons)
        if manual is not None:
            several &= ~manual
        if several.any():
            self._choose(np.flatnonzero(several), persons)
        self.outcome[(self.providers == 0) & (self.outcome == 0)] = Status.NO_ALIAS_AT_PROVIDER

    def _choose(self, rows: npt.NDArray[np.intp], persons: npt.NDArray[np.uint32]) -> None:
        """Of several holders the one that may be asked; more are left to the requester."""
        which, numbers = list_holders(self._snapshot, persons[rows], self._number, self._day)
        consents = _consents_of(self._consents, slice(None), rows[which])
        allowed = _allows(self._table, numbers.astype(np.intp), consents)
        which, numbers = which[allowed], numbers[allowed]
        count = np.bincount(which, minlength=len(rows))
        first = np.cumsum(count) - count
        # Where the law allows none, the row is denied as the one that began last would deny it.
        one, more = np.flatnonzero(count == 1), np.flatnonzero(count > 1)
        self.providers[rows[one]] = numbers[first[one]]
        self.providers[rows[more]] = 0
        self.outcome[rows[more]] = Status.MULTIPLE
        self.several = Several(rows[more], count[more], numbers[(count > 1)[which]])


def _consents_of(consents: Consents, rows: slice, some: npt.NDArray[np.intp]) -> Consents:
    """Those of some rows of a stretch."""
    return consents[rows][some] if isinstance(consents, np.ndarray) else consents


def _allows(
    table: DecisionTable, numbers: npt.NDArray[np.intp], consents: Consents = True
) -> npt.NDArray[np.bool_]:
    """Which institutions may be asked, each about a person who did or did not consent."""
    known = numbers < len(table.of_institution)
    entries = table.look_up(np.where(known, numbers, 1).astype(np.uint32), consents)
    allowed: npt.NDArray[np.bool_] = known & (table.status.take(entries) == Status.OK)
    return allowed
