"""Detectors of wrong links, on columns: what an institution's file says of its people beside what the register says.

In 2023 links went wrong in few ways, each of which leaves its own trace:

| finding | what it looks like | how it came about |
|---|---|---|
| SHIFTED | rows in a run, each the person of a row so many further | a column that slipped against another |
| ELSEWHERE | one row, the person of another row of the file | two rows changed for each other |
| HOUSEHOLD | same address and surname, another birth date | a parent's number given for a child |
| SAME_NAME | name and birth date alike, address or sex not | two persons of one name, looked up by it |
| NAME_ALONE | the name alike, nothing that tells persons apart is | looked up by the name alone |
| OTHER | none of these | |
| TWO_ALIASES | one own id with several aliases | a file that was linked twice |
| TWO_IDS | one alias with several own ids | two files of one person, or two persons on one link |

A detector says where to look, a person decides: who has moved looks like SAME_NAME.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub.errors import RequestError
from hub.messages import Aliases, Differs
from hub.mislinks.attributes import People, compare_people
from hub.mislinks.folding import fold_address, fold_birth, fold_kana, fold_name

Rows = npt.NDArray[np.int64]

RUN_MIN = 2
"""Rows from which a displacement is a shift: two rows that changed places have different ones."""

CANDIDATES_MAX = 16
"""Rows of one name and birth date that are compared; of more a file says nothing."""

_IDENTITY = int(Differs.NAME | Differs.BIRTH)


class Mislink(Enum):
    """What a row looks like; the words that files and terminals show."""

    SHIFTED = "SHIFTED"
    ELSEWHERE = "ELSEWHERE"
    HOUSEHOLD = "HOUSEHOLD"
    SAME_NAME = "SAME_NAME"
    NAME_ALONE = "NAME_ALONE"
    OTHER = "OTHER"
    TWO_ALIASES = "TWO_ALIASES"
    TWO_IDS = "TWO_IDS"


class Run(NamedTuple):
    """Rows that are displaced alike: ``first`` to ``last``, counted from 0, each the person ``offset`` rows further."""

    first: int
    last: int
    offset: int

    @property
    def rows(self) -> int:
        """How many."""
        return self.last - self.first + 1


class Findings(NamedTuple):
    """What was found in a file.

    Attributes:
        differs: uint8[N] of ``Differs``. kind: what each row looks like, of the rows where something differs.
        runs: the shifts. other: of a row that is ELSEWHERE or HOUSEHOLD, the row whose person the register named.
    """

    differs: npt.NDArray[np.uint8]
    kind: dict[int, Mislink]
    runs: list[Run]
    other: dict[int, int]

    def __repr__(self) -> str:
        return f"Findings({self.counts})"

    @property
    def counts(self) -> dict[str, int]:
        """How many rows look like what."""
        found = Counter(kind.value for kind in self.kind.values())
        return {kind.value: found[kind.value] for kind in Mislink if found[kind.value]}

    def rows(self, kind: Mislink) -> Rows:
        """The rows that look like this, ascending."""
        return np.array(sorted(row for row, one in self.kind.items() if one == kind), np.int64)


def find_mislinks(claimed: People, registered: People) -> Findings:
    """Judge each row of a file: the institution's own attributes beside those of the person whom the register named.

    Args:
        claimed, registered: row by row, in the order of the institution's file.
    """
    if claimed.rows != registered.rows:
        raise RequestError(f"registered: expected {claimed.rows} rows, got {registered.rows}")
    differs = compare_people(claimed, registered)
    wrong = np.flatnonzero(differs).astype(np.int64)
    stands, named = _places(claimed, registered, wrong)
    runs = _runs(stands, named, RUN_MIN)
    kind: dict[int, Mislink] = {}
    other: dict[int, int] = {}
    for run in runs:
        kind.update(dict.fromkeys(range(run.first, run.last + 1), Mislink.SHIFTED))
    households = _Households(claimed)
    for row in wrong.tolist():
        if row in kind:
            continue
        kind[row] = _judge(claimed, registered, row, int(differs[row]))
        if kind[row] == Mislink.HOUSEHOLD:
            member = households.member(row, registered)
            if member is not None:
                other[row] = member
        elif row in stands or row in named:
            kind[row] = Mislink.ELSEWHERE
            if row in named:
                other[row] = named[row][0]
    return Findings(differs, dict(sorted(kind.items())), runs, other)


def find_shifts(claimed: People, registered: People, *, rows_min: int = RUN_MIN) -> list[Run]:
    """Runs of rows that are displaced alike, and are not right where they stand."""
    wrong = np.flatnonzero(compare_people(claimed, registered)).astype(np.int64)
    return _runs(*_places(claimed, registered, wrong), rows_min)


def find_doubles(ids: Sequence[str], aliases: Aliases) -> tuple[list[Rows], list[Rows]]:
    """Rows of one own id with several aliases, and of one alias with several own ids; the same pair twice is neither.

    Args:
        ids: the institution's own, N of them. aliases: uint8[N, 16].

    Returns:
        (groups of rows with one id, groups of rows with one alias), each ascending, in the order of their first row.
    """
    if len(ids) != len(aliases):
        raise RequestError(f"ids: expected {len(aliases)} rows, got {len(ids)}")
    names: dict[str, int] = {}
    own = np.fromiter((names.setdefault(one, len(names)) for one in ids), np.int64, len(ids))
    whole = np.ascontiguousarray(aliases).view("V16")[:, 0]
    theirs = np.unique(whole, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return _groups(own, theirs), _groups(theirs, own)


def _groups(key: Rows, value: Rows) -> list[Rows]:
    """Rows of each key that stands with more than one value."""
    if not len(key):
        return []
    order = np.lexsort((value, key))
    one, other = key[order], value[order]
    starts = np.flatnonzero(np.r_[True, one[1:] != one[:-1]])
    changes = np.r_[False, (one[1:] == one[:-1]) & (other[1:] != other[:-1])].astype(np.int64)
    several = np.add.reduceat(changes, starts) > 0
    groups = np.split(order, starts[1:])
    found = [np.sort(groups[at]) for at in np.flatnonzero(several).tolist()]
    return sorted(found, key=lambda rows: int(rows[0]))


# -- displaced rows


def _places(
    claimed: People, registered: People, wrong: Rows
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Of wrong rows, where in the register's column their person stands, and whose row the person is whom it named."""
    found: tuple[dict[int, list[int]], dict[int, list[int]]] = {}, {}
    for rows, mine, theirs in zip(found, (claimed, registered), (registered, claimed), strict=True):
        pairs = _pairs(mine, theirs, wrong)
        same = compare_people(mine.take(pairs[:, 0]), theirs.take(pairs[:, 1])) == 0
        for row, place in pairs[same].tolist():
            rows.setdefault(row, []).append(place)
    return found


def _pairs(mine: People, theirs: People, wrong: Rows) -> Rows:
    """int64[M, 2]: wrong rows of one column, and rows of the other with that birth date and name or reading."""
    found: set[tuple[int, int]] = set()
    births = list(map(fold_birth, theirs.birth.tolist()))
    for names, others, folded in ((mine.name, theirs.name, fold_name), (mine.kana, theirs.kana, fold_kana)):
        wanted: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        for row, birth, name in zip(wrong.tolist(), mine.birth[wrong].tolist(), names[wrong].tolist(), strict=True):
            if name:
                wanted.setdefault((fold_birth(birth), folded(name)), ([], []))[0].append(row)
        for place, key in enumerate(zip(births, map(folded, others.tolist()), strict=True)):
            if key in wanted:
                wanted[key][1].append(place)
        for rows, places in wanted.values():
            if len(places) <= CANDIDATES_MAX:
                found.update((row, place) for row in rows for place in places if row != place)
    return np.array(sorted(found), np.int64).reshape(-1, 2)


def _runs(stands: dict[int, list[int]], named: dict[int, list[int]], rows_min: int) -> list[Run]:
    """Runs of neighbours that are displaced alike.

    By where each row's own person stands; at the end of a run that person stands nowhere, but another row's here.
    """
    offsets = {row: {place - row for place in places} for row, places in stands.items()}
    for row in named.keys() - stands.keys():
        offsets[row] = {row - place for place in named[row]}
    votes = Counter(offset for some in offsets.values() for offset in some)
    runs: list[Run] = []
    for row in sorted(offsets):
        offset = max(offsets[row], key=lambda one: (votes[one], -abs(one), one))
        if runs and runs[-1].last == row - 1 and runs[-1].offset == offset:
            runs[-1] = runs[-1]._replace(last=row)
        else:
            runs.append(Run(row, row, offset))
    return [run for run in runs if run.rows >= rows_min]


# -- single rows


def _judge(claimed: People, registered: People, row: int, differs: int) -> Mislink:
    if not differs & Differs.ADDRESS and differs & _IDENTITY and _same_surname(claimed, registered, row):
        return Mislink.HOUSEHOLD
    if not differs & _IDENTITY:
        return Mislink.SAME_NAME
    return Mislink.OTHER if differs & Differs.NAME else Mislink.NAME_ALONE


def _same_surname(claimed: People, registered: People, row: int) -> bool:
    """Whether two names begin with one surname: the first word, or where there is none the first character."""
    one, other = claimed.name[row], registered.name[row]
    mine, theirs = one.split(maxsplit=1), other.split(maxsplit=1)
    if len(mine) == len(theirs) == 2:
        return fold_name(mine[0]) == fold_name(theirs[0])
    return fold_name(one)[:1] == fold_name(other)[:1] != ""


class _Households:
    """Who lives with whom by an institution's file; made when first asked."""

    def __init__(self, people: People) -> None:
        self._people = people
        self._rows: dict[tuple[str, str], list[int]] | None = None

    def member(self, row: int, registered: People) -> int | None:
        """Another row of the same address whose birth date and name are those that the register has for this row."""
        if self._rows is None:
            self._rows = {}
            for other in range(self._people.rows):
                key = fold_address(self._people.address[other]).key
                self._rows.setdefault((key, fold_birth(self._people.birth[other])), []).append(other)
        at = fold_address(self._people.address[row]).key, fold_birth(registered.birth[row])
        others = [other for other in self._rows.get(at, ()) if other != row]
        named = [
            other for other in others if fold_name(self._people.name[other]) == fold_name(registered.name[row])
        ]
        return next(iter(named), next(iter(others), None))
