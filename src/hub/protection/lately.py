"""How many bodies were asked about a person lately, which the clerk sees who decides about a permit.

A person may have thousands of records, and one collection hands out permits about many persons and the same ones again
and again. So nothing is read that was written before those days: the log's times never run backwards, and the first
record of them is found by halves. A person is read once a collection, for all requesters, and no more than
``LATELY_RECORDS_MAX`` of their records are. Who has more of them gets MANY: a number that stopped at those would let
a requester hide how many bodies it asked behind one that it asked often.
"""

from __future__ import annotations

from itertools import chain

from hub.history import find_all_records
from hub.limits import LATELY_DAYS, LATELY_RECORDS_MAX
from hub.messages import MANY
from hub.persons.merges import lives_of
from hub.protection.askedlog import first_since
from hub.protection.withholding import Office
from hub.records.handles import QUESTIONS, stood
from hub.storage.snapshot import Snapshot

_AT_A_TIME = 256
_DAY_S = 86_400
_CLOCK_S = 3_600
"""A clock that was set back between a request and its commit may leave the commit earlier by this."""


class Lately:
    """Of one collection: what one snapshot knows."""

    def __init__(self, office: Office, snapshot: Snapshot) -> None:
        self._office, self._snapshot = office, snapshot
        self._since = office.now() - LATELY_DAYS * _DAY_S
        self._first: int | None = None
        self._bodies: dict[int, dict[str, int] | None] = {}
        """Of each person that was read how many bodies a requester asked; None: too many records."""

    def __repr__(self) -> str:
        return f"Lately(persons={len(self._bodies)})"

    def bodies(self, person: int, requester: str) -> int:
        """How many bodies a requester has asked about a person; MANY where they have too many records to tell.

        Args:
            person: who they are now.

        Raises:
            StorageError: index or bodies are damaged.
        """
        if person not in self._bodies:
            self._bodies[person] = self._count(person)
        found = self._bodies[person]
        return MANY if found is None else min(found.get(requester, 0), MANY)

    def _count(self, person: int) -> dict[str, int] | None:
        office, snapshot = self._office, self._snapshot
        if self._first is None:
            self._first = first_since(snapshot, self._since - _CLOCK_S)
        sources = lives_of(snapshot).sources(person)
        batches = find_all_records(
            snapshot, office.bodies(snapshot), office.periods, sources, snapshot.state.records, since=self._since,
            batch=_AT_A_TIME,
        )  # fmt: skip
        asked: dict[str, set[int]] = {}
        read = 0
        for one in chain.from_iterable(batches):
            if one.index < self._first:
                break
            if read == LATELY_RECORDS_MAX:
                return None
            read += 1
            if one.kind not in QUESTIONS:
                continue
            record = stood(one)
            if record.requested_at >= self._since and office.owner(snapshot, record) == person:
                asked.setdefault(record.shared.requester, set()).add(record.provider)
        return {requester: len(providers) for requester, providers in asked.items()}
