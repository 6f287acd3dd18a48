"""Who holds a person: which institution of a class, since when and until when, as the register body says.

A *fact* says that an institution held a person, as a member of a class, from one day to another. Database ``holders``,
values sealed, numbers in keys big endian, in values little endian:

| key | value |
|---|---|
| u32 class, u32 block | the facts of persons 256 x block to 256 x block + 255, n x 12 bytes |
| "c", u32 class | label of the class, UTF-8 |

The number of a class is 31 bits of a hash of its label, see ``catalog/classes.py``. Fact:

| at | type | what |
|---|---|---|
| 0 | u8 | person - 256 x block |
| 1 | u8 | 0 |
| 2 | u16 | institution number |
| 4 | i32 | first day, counted from 1970-01-01 |
| 8 | i32 | last day, 0x7FFFFFFF while it is open |

Facts stand in the order of person, institution, first day; no two agree in all three. An open fact is closed by the
next one of the same person and class that begins later, at whatever institution: its last day is the one before. So
what is stored does not depend on the order in which facts came, and the same facts again change nothing. Two facts that
overlap are two holders; only who said it can say which is right.

Like the alias tables the facts stand in the clear of the environment. Persons who were acquired together have
neighbouring numbers, so a push or an inquiry about many of them touches few blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub.errors import RequestError, StorageError
from hub.limits import HOLDER_BLOCKS_AT_A_TIME, HOLDER_BLOCKS_PER_COMMIT, HOLDER_FACTS_MAX
from hub.persons.successions import successions_of
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.store import Store

NAME = "holders"
OPEN = 0x7FFFFFFF
"""The last day of a fact that has none."""

PERSONS_PER_BLOCK_BITS = 8

FACT = np.dtype([("place", "u1"), ("zero", "u1"), ("institution", "<u2"), ("since", "<i4"), ("until", "<i4")])
assert FACT.itemsize == 12

HELD = np.dtype([("person", "<u4"), ("institution", "<u4"), ("since", "<i4"), ("until", "<i4")])
"""A fact with the person's whole number, as it is worked with."""

Facts = npt.NDArray[np.void]
Numbers = npt.NDArray[np.uint32]
Rows = npt.NDArray[np.intp]

_NOBODY = 0xFFFFFFFF
_LABEL = b"c"


class Counted(NamedTuple):
    """What became of pushed facts: rows taken; rows of persons who have ``HOLDER_FACTS_MAX`` others already."""

    taken: int
    full: int


# -- writing


def push_facts(
    store: Store, number: int, label: str, facts: Facts, told: Callable[[Commit, int], None],
    progress: Callable[[int], None] | None = None,
) -> Counted:  # fmt: skip
    """Put facts of one class in; durable when it returns, each transaction whole or not there at all.

    Args:
        number, label: of the class.
        facts: ``HELD``[N], of two with the same person, institution and first day the later one counts. One whose last
            day lies before its first takes the fact back.
        told: called in each transaction with the number of persons of whom it changes something.
        progress: called with the rows done after each transaction.

    Raises:
        RequestError: the number is another label's; nothing was changed.
        StorageError: the disk failed or is full; the transactions before stand, the same call completes the rest.
    """
    facts = facts[np.argsort(facts["person"], kind="stable")]
    blocks, starts = np.unique(facts["person"] >> PERSONS_PER_BLOCK_BITS, return_index=True)
    bounds = np.append(starts, len(facts))
    full = 0
    for first in range(0, len(blocks), HOLDER_BLOCKS_PER_COMMIT):
        some = blocks[first : first + HOLDER_BLOCKS_PER_COMMIT]
        end = int(bounds[first + len(some)])
        full += _push_some(store, number, label, some, facts[bounds[first] : end], told)
        if progress is not None:
            progress(end)
    return Counted(len(facts) - full, full)


def _push_some(
    store: Store, number: int, label: str, blocks: Numbers, facts: Facts, told: Callable[[Commit, int], None]
) -> int:
    """Merge the facts of some blocks into what is there; returns the rows that had no room."""
    # Read under the writer's lock: between the snapshot and the commit nothing moves.
    with store.writer:
        with store.snapshot() as snapshot:
            _check_label(snapshot, number, label)
            before = _read_facts(snapshot, number, blocks)
            labelled = snapshot.get(NAME, _label_key(number)) is not None
        after, full = _merge(before, facts)
        changed = _changed(before, after)
        if not len(changed):
            return full
        with store.commit() as commit:
            if not labelled:
                commit.put_sealed(NAME, _label_key(number), label.encode())
            _write_facts(commit, number, np.unique(changed >> PERSONS_PER_BLOCK_BITS), after)
            told(commit, len(np.unique(changed)))
        return full


def _merge(before: Facts, pushed: Facts) -> tuple[Facts, int]:
    """Facts as they stand with what was pushed, in stored order; and the pushed rows that had no room."""
    merged = _unite(before, pushed)
    persons, counts = np.unique(merged["person"], return_counts=True)
    crowded = persons[counts > HOLDER_FACTS_MAX]
    if not len(crowded):
        return merged, 0
    out = np.isin(pushed["person"], crowded)
    return _unite(before, pushed[~out]), int(np.count_nonzero(out))


def _unite(before: Facts, pushed: Facts) -> Facts:
    facts = np.concatenate((before, pushed))
    # lexsort is stable: of equal ones the last that came stands last.
    facts = facts[np.lexsort((facts["institution"], facts["since"], facts["person"]))]
    person, since = facts["person"], facts["since"]
    same_start = (person[1:] == person[:-1]) & (since[1:] == since[:-1])
    again = same_start & (facts["institution"][1:] == facts["institution"][:-1])
    facts = facts[np.append(~again, True)] if len(facts) else facts
    facts = facts[facts["until"] >= facts["since"]]
    if not len(facts):
        return facts
    person, since = facts["person"], facts["since"]
    starts = np.append(True, (person[1:] != person[:-1]) | (since[1:] != since[:-1]))
    firsts = np.flatnonzero(starts)
    following = np.append(firsts[1:], firsts[-1])
    next_since = np.where(person[following] == person[firsts], since[following], OPEN)
    next_since[-1] = OPEN
    following_since = next_since[np.cumsum(starts) - 1]
    closed = (facts["until"] == OPEN) & (following_since != OPEN)
    facts["until"][closed] = following_since[closed] - 1
    return facts[np.lexsort((since, facts["institution"], person))]


def _changed(before: Facts, after: Facts) -> Numbers:
    """The person of each fact that only one of the two has."""
    both = np.concatenate((before, after))
    order = np.lexsort((both["until"], both["since"], both["institution"], both["person"]))
    ordered = both[order]
    # No fact stands twice in either, so one that is in both is next to its twin.
    same = ordered[1:] == ordered[:-1]
    alone = ~(np.append(same, False) | np.append(False, same)) if len(ordered) else np.zeros(0, np.bool_)
    persons: Numbers = ordered["person"][alone].astype(np.uint32)
    return persons


def _write_facts(commit: Commit, number: int, blocks: Numbers, facts: Facts) -> None:
    """Write whole blocks; ``facts`` in stored order, with all that these blocks hold."""
    stored = np.zeros(len(facts), FACT)
    stored["place"] = facts["person"] & 0xFF
    for field in ("institution", "since", "until"):
        stored[field] = facts[field]
    places = facts["person"] >> PERSONS_PER_BLOCK_BITS
    starts, ends = np.searchsorted(places, blocks), np.searchsorted(places, blocks, "right")
    for block, start, end in zip(blocks.tolist(), starts.tolist(), ends.tolist(), strict=True):
        if start == end:
            commit.delete(NAME, _block_key(number, block))
        else:
            commit.put_sealed(NAME, _block_key(number, block), stored[start:end].tobytes())


def _check_label(snapshot: Snapshot, number: int, label: str) -> None:
    value = snapshot.get(NAME, _label_key(number))
    if value is not None and unseal(NAME, _label_key(number), value) != label.encode():
        raise RequestError(f"class: expected one whose number is its own, got {label}")


# -- of one person

def read_person(snapshot: Snapshot, person: int, numbers: Iterable[int]) -> dict[int, Facts]:
    """Class -> facts (``HELD``[N], in stored order) of one person, of these classes those that have any."""
    block = np.array([person >> PERSONS_PER_BLOCK_BITS], dtype=np.uint32)
    found = {number: _read_facts(snapshot, number, block) for number in numbers if _has_label(snapshot, number)}
    own = {number: facts[facts["person"] == person] for number, facts in found.items()}
    return {number: facts for number, facts in own.items() if len(facts)}


def unite(before: Facts, more: Facts, person: int) -> Facts:
    """Facts of two persons as of one, in stored order; an open one is closed by the next."""
    added = more.copy()
    added["person"] = person
    return _unite(before, added)[-HOLDER_FACTS_MAX:]


def put_person(commit: Commit, snapshot: Snapshot, person: int, number: int, facts: Facts) -> None:
    """Replace the facts of one person and class (``HELD``[N], in stored order).

    Args:
        snapshot: of the state before the commit.
    """
    block = np.array([person >> PERSONS_PER_BLOCK_BITS], dtype=np.uint32)
    before = _read_facts(snapshot, number, block)
    low, high = np.searchsorted(before["person"], person), np.searchsorted(before["person"], person, "right")
    _write_facts(commit, number, block, np.concatenate((before[:low], facts, before[high:])))


def _has_label(snapshot: Snapshot, number: int) -> bool:
    return snapshot.get(NAME, _label_key(number)) is not None


# -- look up


def find_holders(
    snapshot: Snapshot, persons: Numbers, number: int, day: int
) -> tuple[npt.NDArray[np.uint8], Numbers]:
    """Who of a class holds each person on a day.

    Args:
        persons: uint32[N], in any order, repeated or nobody. number: of the class.
        day: counted from 1970-01-01.

    Returns:
        holders uint8[N] (255 = that many or more) and an institution number uint32[N]: the holder's, of several that
        of the one whose fact began last, 0 where there is none.

    Raises:
        StorageError: a block is damaged; nothing is answered.
    """
    count, institution = np.zeros(len(persons), np.uint8), np.zeros(len(persons), np.uint32)
    for rows, held, start, end in _search(snapshot, persons, number, day):
        found = end - start
        count[rows] = np.minimum(found, 255)
        if len(held):
            latest = held["institution"][np.maximum(end, 1) - 1]
            institution[rows] = np.where(found > 0, latest, 0)
    return count, institution


def list_holders(snapshot: Snapshot, persons: Numbers, number: int, day: int) -> tuple[Rows, Numbers]:
    """All who hold each person on a day, as of :func:`find_holders`.

    Returns:
        (row of ``persons``, institution number) of each holder, ordered by both.
    """
    which: list[Rows] = [np.empty(0, np.intp)]
    institutions: list[Numbers] = [np.empty(0, np.uint32)]
    for rows, held, start, end in _search(snapshot, persons, number, day):
        found = end - start
        # Each row's holders stand behind each other: one run of places a row.
        places = np.arange(int(found.sum())) + np.repeat(start - (np.cumsum(found) - found), found)
        which.append(np.repeat(rows, found))
        institutions.append(held["institution"][places])
    row, institution = np.concatenate(which), np.concatenate(institutions)
    order = np.lexsort((institution, row))
    return row[order], institution[order]


def holders_of(snapshot: Snapshot, person: int, number: int, day: int) -> list[int]:
    """The institutions of a class that hold one person on a day, by number.

    Raises:
        StorageError: the block is damaged.
    """
    numbers: list[int] = list_holders(snapshot, np.array([person], np.uint32), number, day)[1].tolist()
    return numbers


def _search(
    snapshot: Snapshot, persons: Numbers, number: int, day: int
) -> Iterator[tuple[Rows, Facts, Rows, Rows]]:
    """Rows whose persons stand in some blocks, who is held there on that day, and from where to where each row is."""
    rows = np.argsort(persons, kind="stable")
    rows = rows[: np.searchsorted(persons[rows], _NOBODY)]
    wanted = persons[rows]
    blocks, starts = np.unique(wanted >> PERSONS_PER_BLOCK_BITS, return_index=True)
    bounds = np.append(starts, len(wanted))
    for first in range(0, len(blocks), HOLDER_BLOCKS_AT_A_TIME):
        some = blocks[first : first + HOLDER_BLOCKS_AT_A_TIME]
        part = slice(int(bounds[first]), int(bounds[first + len(some)]))
        held = _held_on(_succeeded(snapshot, _read_facts(snapshot, number, some)), day)
        holder = np.ascontiguousarray(held["person"])
        start, end = np.searchsorted(holder, wanted[part]), np.searchsorted(holder, wanted[part], "right")
        yield rows[part], held, start, end


def _succeeded(snapshot: Snapshot, facts: Facts) -> Facts:
    """Facts with the bodies that are at work instead of those that were succeeded, in stored order."""
    found = successions_of(snapshot)
    if not found.sum:
        return facts
    facts["institution"] = found.current(np.ascontiguousarray(facts["institution"]))
    return facts[np.lexsort((facts["since"], facts["institution"], facts["person"]))]


def _held_on(facts: Facts, day: int) -> Facts:
    """Those of a day, one a person and institution, ordered by person, the one that began last at the end."""
    held = facts[(facts["since"] <= day) & (day <= facts["until"])]
    person = held["person"]
    same_person = person[1:] == person[:-1]
    if not same_person.any():
        return held
    again = same_person & (held["institution"][1:] == held["institution"][:-1])
    held = held[np.append(~again, True)]
    return held[np.lexsort((held["institution"], held["since"], held["person"]))]


def _read_facts(snapshot: Snapshot, number: int, blocks: Numbers) -> Facts:
    """All facts of some blocks, ``HELD``[N], in stored order; ``blocks`` ascending."""
    keys = [_block_key(number, block) for block in blocks.tolist()]
    database = snapshot.databases[NAME]
    with snapshot.reading:
        values = [snapshot.txn.get(key, db=database) for key in keys]
    bodies = [b"" if value is None else unseal(NAME, key, value) for key, value in zip(keys, values, strict=True)]
    lengths = np.fromiter(map(len, bodies), np.int64, len(bodies))
    if (lengths % FACT.itemsize).any():
        raise StorageError(f"{NAME}: expected facts of {FACT.itemsize} bytes, got something else")
    stored = np.frombuffer(b"".join(bodies), FACT)
    facts = np.empty(len(stored), HELD)
    facts["person"] = np.repeat(blocks << PERSONS_PER_BLOCK_BITS, lengths // FACT.itemsize) | stored["place"]
    for field in ("institution", "since", "until"):
        facts[field] = stored[field]
    return facts


def _block_key(number: int, block: int) -> bytes:
    return number.to_bytes(4, "big") + block.to_bytes(4, "big")


def _label_key(number: int) -> bytes:
    return _LABEL + number.to_bytes(4, "big")
