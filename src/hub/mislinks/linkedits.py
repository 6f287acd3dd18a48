"""What one transaction changes in the two alias tables of an institution, and who becomes known by it."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from hub._blocks import MARK, REMOVE, REPLACE
from hub.acquisition.additions import Addition, cut_parts, put_parts
from hub.aliases import (
    BY_ALIAS,
    BY_PERSON,
    RESIDENT_CODES,
    REVOKED,
    Persons,
    Statuses,
    count_aliases,
    count_key,
    find_aliases,
)
from hub.messages import Aliases
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers
from hub.store import Store

_NO_ALIASES = np.empty((0, 16), np.uint8)
_NO_PERSONS = np.empty(0, np.uint32)
_NO_FLAGS = np.empty(0, np.uint8)


class Edits:
    """Edits of an institution's tables, decided in one snapshot; nobody writes alias tables until they are put."""

    def __init__(self, snapshot: Snapshot, number: int, workers: Workers) -> None:
        self._number, self._workers, self._snapshot = number, workers, snapshot
        self._codes, self._people = _NO_ALIASES, _NO_PERSONS
        self._closed, self._closed_persons, self._closed_flags = _NO_ALIASES, _NO_PERSONS, _NO_FLAGS
        self._stays = np.empty(0, np.bool_)
        self._fresh, self._new = _NO_ALIASES, _NO_PERSONS
        self._renewed = _NO_ALIASES
        self._given, self._had = _NO_PERSONS, _NO_ALIASES

    def __repr__(self) -> str:
        return f"Edits(closed={len(self._closed_persons)}, new={len(self._new)})"

    def enter(self, pseudonyms: Aliases, persons: Persons) -> None:
        """Persons that the hub does not know yet, by the pseudonyms of their codes; none twice."""
        self._codes, self._people = pseudonyms, persons

    def close(
        self, aliases: Aliases, persons: Persons, flags: Statuses, *, stays: npt.NDArray[np.bool_]
    ) -> None:
        """Aliases that stop, of different persons, ascending; who ``stays`` gets another in the same place."""
        self._closed, self._closed_persons, self._closed_flags, self._stays = aliases, persons, flags, stays
        self._renewed = _draw(int(np.count_nonzero(stays)))

    def give(self, persons: Persons) -> npt.NDArray[np.bool_]:
        """Give aliases to those of some persons who have none: bool[N], who gets one. Once, after ``close``."""
        self._given = persons
        self._had, none = find_aliases(self._snapshot, self._number, persons, self._workers)
        gets = none != 0
        self._new = np.unique(persons[gets])
        self._fresh = _draw(len(self._new))
        return gets

    def given(self) -> Aliases:
        """The aliases that the persons of ``give`` have when it is done: uint8[N, 16], in the same order."""
        out = self._had.copy()
        for people, aliases in ((self._new, self._fresh), (self._closed_persons[self._stays], self._renewed)):
            if len(people):
                at = np.minimum(np.searchsorted(people, self._given), len(people) - 1)
                hit = people[at] == self._given
                out[hit] = aliases[at[hit]]
        return out

    def put(self, commit: Commit, store: Store) -> None:
        """Put all of it into a transaction that has not written alias tables yet."""
        stays, leaves = self._stays, ~self._stays
        who = self._closed_persons
        ended = np.full(len(who), MARK | REVOKED, np.uint16)
        by_alias = Addition(
            self._number,
            np.concatenate((self._closed, self._renewed, self._fresh)),
            np.concatenate((who, who[stays], self._new)),
            edits=np.concatenate((ended, self._closed_flags[stays].astype(np.uint16), _zeros(len(self._new)))),
        )
        by_person = Addition(
            self._number,
            np.concatenate((self._closed[leaves], self._renewed, self._fresh)),
            np.concatenate((who[leaves], who[stays], self._new)),
            edits=np.concatenate(
                (
                    np.full(int(leaves.sum()), REMOVE, np.uint16),
                    np.full(int(stays.sum()), REPLACE, np.uint16),
                    _zeros(len(self._new)),
                )
            ),
        )
        known = Addition(RESIDENT_CODES, self._codes, self._people)
        with store.snapshot() as snapshot:
            generation = commit.state.commit
            parts = []
            for addition, kinds in ((known, (BY_ALIAS, BY_PERSON)), (by_alias, (BY_ALIAS,)), (by_person, (BY_PERSON,))):
                if len(addition.persons):
                    for kind in kinds:
                        parts += cut_parts(snapshot, addition, kind, generation)
            put_parts(commit, parts, self._workers)
            self._count(commit, snapshot, RESIDENT_CODES, len(self._people))
            self._count(commit, snapshot, self._number, len(self._new) - int(leaves.sum()))
            commit.state.persons += len(self._people)

    def _count(self, commit: Commit, snapshot: Snapshot, number: int, more: int) -> None:
        if more:
            after = count_aliases(snapshot, number) + more
            commit.put_sealed("meta", count_key(number), after.to_bytes(8, "little"))


def _draw(n: int) -> Aliases:
    return np.frombuffer(os.urandom(16 * n), np.uint8).reshape(-1, 16)


def _zeros(n: int) -> npt.NDArray[np.uint16]:
    return np.zeros(n, np.uint16)
