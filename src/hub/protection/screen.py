"""Between resolve and record: what of resolved rows changes for the protection of the persons asked about.

1. *Manual.* Where some institution lets only clerks answer for a person (MANUAL), every institution seems to know that
   person: a row that is allowed and found no alias at its provider becomes OK. Nobody receives that permit, and it
   lapses. Otherwise a protected person could be looked for body by body.
2. *Withheld.* New records of a person whom a party to them has flagged WITHHELD are withheld on that party's side from
   the beginning, with a mark as ``Hub.withhold`` makes it.

3. *Held.* Who asks too many bodies about one person in a day has to give a reason first (``asked.py``).
4. *Suspended.* Where the provider has stopped the linkage of a person, or of everybody, a row that would leave a
   permit with it becomes SUSPENDED: it is recorded and leaves none. Behind the others: a row about whom the first
   covers stays like that, and a row to one body too many is held, suspended or not.

The same for chunks (``record.py``) and for groups of small inquiries (``singles/group.py``). It is true of one snapshot
only;
:class:`Basis` says of which, and under the writer's lock what has moved since is done again: a flag counts for every
row whose commit comes behind its own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub.messages import Flag, Status, Withhold
from hub.protection.asked import Limit
from hub.protection.flags import NAME, Flagged
from hub.protection.marks import Marking, NewMark, prepare_marks
from hub.records.handles import PROVIDER, REQUESTER, reached
from hub.storage.periods import JAPAN_TIME, PeriodKey
from hub.storage.snapshot import Snapshot, State

DEFAULT_GROUND = "default of the person"
REVIEW_DAYS = 365
"""A default mark is to be reviewed this many days after its record was requested; it does not end by itself."""

Numbers = npt.NDArray[np.uint32]
Statuses = npt.NDArray[np.uint8]


class Basis(NamedTuple):
    """What rows were resolved and screened from.

    Attributes:
        tables_commit: of the alias tables. flagged: sum of the flags, and of who is suspended.
    """

    tables_commit: int
    flagged: int

    def stands(self, state: State) -> bool:
        """Whether it is still so in a state."""
        return state.tables_commit == self.tables_commit and state.sums.get(NAME, 0) == self.flagged


class Question(NamedTuple):
    """Who asks for what; of a group several."""

    requester: int
    items: tuple[str, ...]


class Screen:
    """What one snapshot knows for the protection of persons.

    Attributes:
        basis: what it is true of. flagged: everybody's flags. limit: how many bodies may be asked.
    """

    __slots__ = ("basis", "flagged", "limit")

    def __init__(self, snapshot: Snapshot, flagged: Flagged, limit: Limit) -> None:
        self.basis = Basis(snapshot.state.tables_commit, flagged.sum)
        self.flagged = flagged
        self.limit = limit

    def __repr__(self) -> str:
        return f"Screen({self.flagged})"

    def statuses(
        self,
        questions: Sequence[Question],
        which: npt.NDArray[np.intp] | None,
        providers: Numbers,
        persons: Numbers,
        status: Statuses,
    ) -> Statuses:
        """The statuses of rows, once decided and resolved, as they are recorded and answered; may change ``status``.

        Args:
            questions: of the rows. which: intp[N], which of them a row belongs to; None: there is one only.
            providers, persons: uint32[N], NOBODY where the alias is unknown. status: uint8[N] of ``Status``.
        """
        manual = self.flagged.manual_anywhere(persons)
        if manual is not None:
            # Only rows that the law allows are resolved at their provider, so none that is denied comes here.
            status[manual & (status == Status.NO_ALIAS_AT_PROVIDER)] = Status.OK
        # Behind it: a row that is held must be one whether the body knows the person or not.
        self.limit.hold(which, providers, persons, status)
        suspended = self.flagged.suspended(persons, providers)
        if suspended is not None:
            stopped = suspended & (status == Status.OK)
            if manual is not None:
                # To be told that it is suspended is to be told that the body knows the person.
                stopped &= ~manual
            status[stopped] = Status.SUSPENDED
        return status

    def marks(
        self,
        key: PeriodKey,
        at: int,
        rows: npt.NDArray[np.void],
        requesters: Numbers | int,
        code_of: Callable[[int], str],
        *,
        besides: Collection[int] = (),
    ) -> list[NewMark]:
        """The marks with which records of inquiries begin.

        Args:
            key, at, code_of: see :func:`default_marks`. rows: ``ROW``[N], in the order in which the records will stand.
            requesters: uint32[N] or a number for all. besides: positions that the requester marks of its own accord.
        """
        if not self.flagged.has(Flag.WITHHELD):
            return []
        parties = {REQUESTER: requesters, PROVIDER: np.where(reached(rows["outcome"]), rows["provider"], 0)}
        found = default_marks(self.flagged, key, at, rows["person"], parties, code_of)
        return [mark for mark in found if mark.side != REQUESTER or mark.position not in besides]


def default_marks(
    flagged: Flagged,
    key: PeriodKey,
    at: int,
    persons: Numbers,
    parties: dict[int, Numbers | int],
    code_of: Callable[[int], str],
) -> list[NewMark]:
    """The marks of new records, of whatever kind, whose persons a party to them has flagged WITHHELD.

    Args:
        key: of the period in which they are written. at: seconds since 1970, when they were requested.
        persons: uint32[N], in the order in which the records will stand.
        parties: side -> number of the institution there, uint32[N] or one for all; 0 = the record has no party there.
        code_of: an institution's code by its number.

    Returns:
        for ``put_new_marks``, in the transaction that appends the records.
    """
    anywhere = flagged.withheld_anywhere(persons)
    at_all = np.flatnonzero(anywhere) if anywhere is not None else ()
    if not len(at_all):
        return []
    mark = Withhold(ground=DEFAULT_GROUND, until=review_day(at))
    rows = []
    for side, institutions in parties.items():
        numbers = np.broadcast_to(np.asarray(institutions, dtype=np.uint32), persons.shape)[at_all]
        withheld = flagged.withheld(persons[at_all], numbers)
        assert withheld is not None
        chosen = zip(at_all[withheld].tolist(), numbers[withheld].tolist(), strict=True)
        rows += [Marking(position, side, code_of(number), None, mark) for position, number in chosen]
    return prepare_marks(key, at, rows)


def review_day(at: int) -> dt.date:
    """The day on which a mark that a record of this moment begins with is to be reviewed."""
    return dt.datetime.fromtimestamp(at, JAPAN_TIME).date() + dt.timedelta(days=REVIEW_DAYS)
