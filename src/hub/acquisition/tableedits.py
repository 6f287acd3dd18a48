"""Changes of single entries of many alias tables, in one transaction: who leads to whom, and who is known where."""

from __future__ import annotations

import numpy as np

from hub._blocks import LEAD, MARK, REMOVE
from hub.acquisition.additions import Addition, cut_parts, put_parts
from hub.aliases import BY_ALIAS, BY_PERSON, count_aliases, count_key, find_persons
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers

_ALONE = Workers(1)

Row = tuple[bytes, int, int]
"""Alias, person, edit."""


class TableEdits:
    """Changes of alias tables, by institution; no entry is named by two of them."""

    def __init__(self) -> None:
        self._by_alias: dict[int, list[Row]] = {}
        self._by_person: dict[int, list[Row]] = {}
        self._more: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"TableEdits(institutions={len(self._by_alias.keys() | self._by_person.keys())})"

    def lead(self, number: int, alias: bytes, person: int, flags: int) -> None:
        """From now on an alias that there is leads to this person, with exactly these flags."""
        self._by_alias.setdefault(number, []).append((alias, person, LEAD | flags))

    def mark(self, number: int, alias: bytes, person: int, flags: int) -> None:
        """An alias gets these flags as well."""
        self._by_alias.setdefault(number, []).append((alias, person, MARK | flags))

    def add(self, number: int, alias: bytes, person: int) -> None:
        """From now on the person is known there, by this alias; they were not before."""
        self._by_person.setdefault(number, []).append((alias, person, 0))
        self._more[number] = self._more.get(number, 0) + 1

    def remove(self, number: int, alias: bytes, person: int) -> None:
        """The person is not known there any more."""
        self._by_person.setdefault(number, []).append((alias, person, REMOVE))
        self._more[number] = self._more.get(number, 0) - 1

    def write(self, commit: Commit, snapshot: Snapshot, workers: Workers) -> None:
        """Put all of it into the transaction; the caller holds ``store.acquiring``.

        Args:
            snapshot: of the state before the commit.
        """
        for kind, rows in ((BY_ALIAS, self._by_alias), (BY_PERSON, self._by_person)):
            for number in sorted(rows):
                addition = _addition(number, rows[number])
                put_parts(commit, cut_parts(snapshot, addition, kind, commit.state.commit), workers)
        for number, more in self._more.items():
            if more:
                after = count_aliases(snapshot, number) + more
                commit.put_sealed("meta", count_key(number), after.to_bytes(8, "little"))


def _addition(number: int, rows: list[Row]) -> Addition:
    aliases = np.frombuffer(b"".join(alias for alias, _, _ in rows), np.uint8).reshape(-1, 16)
    persons = np.array([person for _, person, _ in rows], dtype=np.uint32)
    return Addition(number, aliases, persons, edits=np.array([edit for _, _, edit in rows], dtype=np.uint16))


def entry_of(snapshot: Snapshot, number: int, alias: bytes) -> tuple[int, int]:
    """(person, flags) of an alias that there is."""
    one = np.frombuffer(alias, np.uint8).reshape(1, 16)
    persons, flags, _ = find_persons(snapshot, number, one, _ALONE)
    return int(persons[0]), int(flags[0])


def entries_of(snapshot: Snapshot, found: dict[int, bytes]) -> dict[int, tuple[bytes, int]]:
    """Institution number -> (alias, its flags), of number -> alias."""
    return {number: (alias, entry_of(snapshot, number, alias)[1]) for number, alias in found.items()}
