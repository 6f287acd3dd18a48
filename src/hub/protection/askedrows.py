"""Rows that were asked, and the judgement of those that a table is not sure of; see ``asked.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Persons = npt.NDArray[np.uint32]
Items = tuple[str, ...]
Question = tuple[str, Items]
"""Requester's code, items as its records store them."""

_PROVIDER_BITS = np.uint64(16)
_FEW = 64


class People:
    """Some persons, to be found in columns: ``np.isin`` would sort each column again."""

    def __init__(self, persons: Persons) -> None:
        self.persons = persons
        self._table: npt.NDArray[np.bool_] | None = None
        if len(persons) > _FEW:
            # A byte a person at most; one more, which is nobody's, for whoever lies beyond.
            self._table = np.zeros(int(persons.max()) + 2, dtype=np.bool_)
            self._table[persons] = True

    def __repr__(self) -> str:
        return f"People({len(self.persons)})"

    def among(self, persons: Persons) -> npt.NDArray[np.bool_]:
        """bool[N]: which of a column, uint32[N], are of them."""
        if self._table is None:
            return np.isin(persons, self.persons)
        return self._table.take(persons, mode="clip")


class Rows(NamedTuple):
    """Some rows that were asked of their providers: uint32[N] each."""

    question: Question
    persons: Persons
    providers: Persons

    def __repr__(self) -> str:
        return f"Rows({len(self.persons)})"

    def of(self, people: People) -> Rows:
        """Those about some persons."""
        at = people.among(self.persons)
        return Rows(self.question, self.persons[at], self.providers[at])


def count_together(one: Question, other: Question) -> bool:
    """Whether two questions are one requester's and share an item."""
    return one[0] == other[0] and not set(one[1]).isdisjoint(other[1])


class Judged(NamedTuple):
    """Attributes: held: the rows that are. known: person -> (provider asked last, different providers in all)."""

    held: list[int]
    known: dict[int, tuple[int, int]]

    def __repr__(self) -> str:
        return f"Judged(held={len(self.held)})"


def judge_rows(
    judged: Rows, wanted: npt.NDArray[np.bool_], unsure: npt.NDArray[np.bool_], past: Sequence[Rows], most: int
) -> Judged:
    """Which rows are the question to one body too many, in their order.

    Where the bound is reached already and the body is a new one nothing in the rows can change that, so those are found
    all at once: whoever asks everybody about everybody must not keep the others waiting. The rest go one by one.

    Args:
        judged: the rows, all of them. wanted: bool[N], which are asked. unsure: which of those may be too many.
        past: what was asked today about the persons of the unsure rows, of questions that count together.
        most: different bodies a day for each item.
    """
    at = np.flatnonzero(unsure)
    pairs = [_pairs(item, past) for item in judged.question[1]]
    persons = judged.persons[at].astype(np.uint64)
    keys = persons << _PROVIDER_BITS | judged.providers[at]
    beyond = np.zeros(len(at), dtype=np.bool_)
    for known in pairs:
        first, end = _places(known, persons)
        beyond |= (end - first >= most) & ~_has(known, keys)
    held = at[beyond]
    people = np.unique(judged.persons[at[~beyond]])
    asked = {person: _bodies(pairs, person) for person in people.tolist()}
    rest = wanted & People(people).among(judged.persons) if len(people) else np.zeros(len(wanted), np.bool_)
    rest[held] = False
    rows = np.flatnonzero(rest)
    columns = (column.tolist() for column in (rows, judged.persons[rows], judged.providers[rows], unsure[rows]))
    more: list[int] = []
    last: dict[int, int] = {}
    for row, person, provider, is_unsure in zip(*columns, strict=True):
        bodies = asked[person]
        if is_unsure and any(provider not in one and len(one) >= most for one in bodies):
            more.append(row)
            continue
        for one in bodies:
            one.add(provider)
        last[person] = provider
    known_now = {person: (provider, len(set().union(*asked[person]))) for person, provider in last.items()}
    return Judged([*held.tolist(), *more], known_now)


def _pairs(item: str, past: Sequence[Rows]) -> npt.NDArray[np.uint64]:
    """Person and provider of what was asked for an item, ascending, each once."""
    found = [
        rows.persons.astype(np.uint64) << _PROVIDER_BITS | rows.providers for rows in past if item in rows.question[1]
    ]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.uint64)


def _places(pairs: npt.NDArray[np.uint64], persons: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.intp], ...]:
    """Where the pairs of each person begin and end."""
    bounds = persons << _PROVIDER_BITS, (persons + np.uint64(1)) << _PROVIDER_BITS
    return np.searchsorted(pairs, bounds[0]), np.searchsorted(pairs, bounds[1])


def _has(pairs: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    if not len(pairs):
        return np.zeros(len(keys), dtype=np.bool_)
    return pairs.take(np.searchsorted(pairs, keys), mode="clip") == keys


def _bodies(pairs: Sequence[npt.NDArray[np.uint64]], person: int) -> list[set[int]]:
    """The providers asked about a person, of each item."""
    one = np.array([person], dtype=np.uint64)
    found = []
    for known in pairs:
        first, end = _places(known, one)
        found.append({pair & 0xFFFF for pair in known[first[0] : end[0]].tolist()})
    return found
