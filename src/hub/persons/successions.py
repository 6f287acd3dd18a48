"""Bodies that were succeeded by others, as when municipalities merge.

Database ``successions``, key u16 number of an institution that was succeeded (big endian), value sealed, little endian:

| at | type | what |
|---|---|---|
| 0 | u16 | number of its successor |
| 2 | u16 | 0 |
| 4 | i32 | day from which on, counted from 1970-01-01 |

The aliases of the one that was succeeded stay in its own tables, where nobody gets a new one by acquisition; whatever
looks one up for the successor looks there as well, in its own tables first. Records keep the code of their time. The
whole is small and kept in memory by its sum (``storage/sealed.py``), which is compared when it is read.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from hub.aliases import Persons, Statuses, find_aliases, find_persons
from hub.catalog import Catalog
from hub.errors import RequestError, StorageError
from hub.messages import Aliases, Status
from hub.storage.sealed import unseal, value_sum
from hub.storage.snapshot import SUM_MASK, Commit, Snapshot
from hub.storage.workers import Workers

NAME = "successions"
STATES_KEPT = 4

_ENTRY = struct.Struct("<HHi")

Numbers = npt.NDArray[np.uint32]


class Successions:
    """Who succeeded whom, in one state of the hub; immutable.

    Attributes:
        sum: of database ``successions`` in the states that this is true of; 0 = nobody was succeeded.
    """

    __slots__ = ("_entries", "_map", "_olds", "sum")

    def __init__(self, total: int, entries: Mapping[int, tuple[int, int]]) -> None:
        self.sum = total
        self._entries = entries
        self._olds: dict[int, list[int]] = {}
        self._map: Numbers = np.arange(max(entries, default=0) + 1, dtype=np.uint32)
        for old in entries:
            now = old
            for _ in entries:
                if now not in entries:
                    break
                now = entries[now][0]
            else:
                if now in entries:
                    raise StorageError(f"{NAME}: expected successions that end, got a circle")
            self._map[old] = now
            self._olds.setdefault(now, []).append(old)

    def __repr__(self) -> str:
        return f"Successions(entries={len(self._entries)})"

    def entry(self, number: int) -> tuple[int, int] | None:
        """(successor, day) of an institution; None where it is at work."""
        return self._entries.get(number)

    def items(self) -> Mapping[int, tuple[int, int]]:
        """Number -> (successor, day), of all that were succeeded."""
        return self._entries

    def olds(self, number: int) -> list[int]:
        """The bodies that an institution succeeded, also through others; none of one that was succeeded itself."""
        return self._olds.get(number, [])

    def now(self, number: int) -> int:
        """The body at work in the place of an institution; itself mostly."""
        return int(self._map[number]) if number < len(self._map) else number

    def current(self, numbers: Numbers) -> Numbers:
        """The same of many (uint32[N])."""
        if not self.sum:
            return numbers
        within = np.minimum(numbers, len(self._map) - 1)
        return np.where(numbers < len(self._map), self._map[within], numbers)


def put_succession(commit: Commit, old: int, new: int, day: int) -> None:
    """Write who succeeded an institution, from which day on."""
    commit.put_sealed(NAME, old.to_bytes(2, "big"), _ENTRY.pack(new, 0, day))


_NONE = Successions(0, {})
_known: tuple[Successions, ...] = (_NONE,)
"""What was read lately, by its sum; of whichever hub, equal sums are equal entries."""
_reading = threading.Lock()


def successions_of(snapshot: Snapshot) -> Successions:
    """Who succeeded whom, from memory where a snapshot with the same sum was read before.

    Raises:
        StorageError: a value is damaged or missing.
    """
    global _known
    total = snapshot.state.sums.get(NAME, 0)
    if not total:
        return _NONE
    found = next((one for one in _known if one.sum == total), None)
    if found is None:
        with _reading:
            found = _read(snapshot, total)
            _known = (found, *_known[: STATES_KEPT - 1])
    return found


def _read(snapshot: Snapshot, expected: int) -> Successions:
    found = 0
    entries = {}
    for key, value in snapshot.items(NAME, b""):
        body = unseal(NAME, key, value)
        if len(key) != 2 or len(body) != _ENTRY.size:
            raise StorageError(f"{NAME}: expected a successor, got something else")
        new, zero, day = _ENTRY.unpack(body)
        if zero or not new:
            raise StorageError(f"{NAME}: expected a successor, got something else")
        entries[int.from_bytes(key, "big")] = new, day
        found += value_sum(key, value)
    if found & SUM_MASK != expected:
        raise StorageError(f"{NAME}: expected the sum of what was written last, got another")
    return Successions(expected, entries)


def check_at_work(snapshot: Snapshot, catalog: Catalog, numbers: Numbers) -> None:
    """Refuse bodies that were succeeded, by their successor's name.

    Raises:
        RequestError: one of them (uint32[N]) was.
    """
    found = successions_of(snapshot)
    gone = np.flatnonzero(found.current(numbers) != numbers)
    if len(gone):
        old = int(numbers[gone[0]])
        code, by = (catalog.institution_by_number(one).code for one in (old, found.now(old)))
        raise RequestError(f"institution: expected a body that is at work, got {code}, which {by} succeeded")


def find_known_persons(
    snapshot: Snapshot, number: int, aliases: Aliases, workers: Workers
) -> tuple[Persons, Statuses, Statuses]:
    """:func:`hub.aliases.find_persons`, also by aliases of the bodies that this one succeeded."""
    persons, flags, status = find_persons(snapshot, number, aliases, workers)
    for old in successions_of(snapshot).olds(number):
        rows = np.flatnonzero(status == Status.UNKNOWN_ALIAS)
        if not len(rows):
            break
        persons[rows], flags[rows], status[rows] = find_persons(snapshot, old, aliases[rows], workers)
    return persons, flags, status


def find_known_aliases(
    snapshot: Snapshot, number: int, persons: Persons, workers: Workers
) -> tuple[Aliases, Statuses]:
    """:func:`hub.aliases.find_aliases`, of whom it has none the aliases of the bodies that it succeeded."""
    aliases, status = find_aliases(snapshot, number, persons, workers)
    for old in successions_of(snapshot).olds(number):
        rows = np.flatnonzero(status)
        if not len(rows):
            break
        aliases[rows], status[rows] = find_aliases(snapshot, old, persons[rows], workers)
    return aliases, status


def table_of(snapshot: Snapshot, number: int, aliases: Aliases, workers: Workers) -> Numbers:
    """uint32[N]: in whose tables these aliases of an institution are, its own or one's that it succeeded."""
    found = np.full(len(aliases), number, dtype=np.uint32)
    olds = successions_of(snapshot).olds(number)
    left = np.flatnonzero(find_persons(snapshot, number, aliases, workers)[2] == Status.UNKNOWN_ALIAS) if olds else ()
    for old in olds:
        if not len(left):
            break
        there = find_persons(snapshot, old, aliases[left], workers)[2] != Status.UNKNOWN_ALIAS
        found[left[there]] = old
        left = left[~there]
    return found
