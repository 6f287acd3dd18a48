"""Who has died, and when: as it is stored, and as it is asked about in bulk.

Database ``deaths``, values sealed, numbers in keys big endian, in values little endian:

| key | value |
|---|---|
| "p", u32 block | the dead of persons 256 x block to 256 x block + 255, n x 24 bytes, ascending, at least one |
| "c", u64 commit | u32 persons whose deaths this commit entered and nobody took back, ascending, at least one |

An entry of "p":

| at | type | what |
|---|---|---|
| 0 | u8 | person - 256 x block |
| 1 | 3 | 0 |
| 4 | i32 | day of death, counted from 1970-01-01 |
| 8 | u64 | number of the commit that entered the death, under which "c" has it |
| 16 | u64 | index of the record that tells of it, of a correction the newest |

Blocks, for the dead are many: of a nation one in a hundred every year. A day of birth is compared and not stored.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from hub.aliases import CLOSED, Persons, find_aliases, find_persons
from hub.errors import StorageError
from hub.persons.merges import current
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers

_ALONE = Workers(1)

NAME = "deaths"
BLOCK, COMMIT = b"p", b"c"
ENTRY = np.dtype([("place", "u1"), ("zero", "u1", (3,)), ("day", "<i4"), ("commit", "<u8"), ("record", "<u8")])
PERSONS_PER_BLOCK_BITS = 8
ALIVE = -(1 << 31)
"""Instead of a day: nobody said that they died."""

Entries = npt.NDArray[np.void]

DEATH = np.dtype([("person", "<u4"), ("day", "<i4"), ("commit", "<u8"), ("record", "<u8")])
"""An entry with the person's whole number, as it is worked with; of the living day = ALIVE."""


def read_deaths(source: Snapshot | Commit, persons: Persons) -> Entries:
    """How each person stands, by this number alone: ``DEATH``[N], in the order of ``persons``.

    Finding nothing proves nothing by itself: whoever relies on it has ``Store.compare_sum`` first.

    Raises:
        StorageError: a block is damaged.
    """
    found = np.zeros(len(persons), DEATH)
    found["person"], found["day"] = persons, ALIVE
    order = np.argsort(persons, kind="stable")
    blocks, starts = np.unique(persons[order] >> PERSONS_PER_BLOCK_BITS, return_index=True)
    for block, rows in zip(blocks.tolist(), np.split(order, starts[1:]), strict=True) if len(persons) else ():
        entries = _read_block(source, block)
        if not len(entries):
            continue
        place = (persons[rows] & 0xFF).astype(np.uint8)
        hit = np.minimum(entries["place"].searchsorted(place), len(entries) - 1)
        ended = entries["place"][hit] == place
        for field in ("day", "commit", "record"):
            found[field][rows[ended]] = entries[field][hit[ended]]
    return found


def dead(snapshot: Snapshot, persons: Persons) -> npt.NDArray[np.bool_]:
    """bool[N]: who of these persons (uint32[N]) has died, whatever number they were told dead by."""
    if not snapshot.state.sums.get(NAME, 0):
        return np.zeros(len(persons), np.bool_)
    mask: npt.NDArray[np.bool_] = read_deaths(snapshot, current(snapshot, persons))["day"] != ALIVE
    return mask


def closed_at(snapshot: Snapshot, portal: int, persons: Persons) -> npt.NDArray[np.bool_]:
    """bool[N]: whose alias at the portal is closed (uint32[N], NOBODY allowed), by the alias tables, in bulk.

    Raises:
        StorageError: a block is damaged.
    """
    if not snapshot.state.sums.get(NAME, 0):
        return np.zeros(len(persons), np.bool_)
    aliases, none = find_aliases(snapshot, portal, persons, _ALONE)
    flags = find_persons(snapshot, portal, aliases, _ALONE)[1]
    mask: npt.NDArray[np.bool_] = (none == 0) & (flags & CLOSED != 0)
    return mask


def is_closed(snapshot: Snapshot, person: int) -> bool:
    """Whether a person has died: their portal alias is closed, and so is what hangs on it, such as proxies."""
    return bool(dead(snapshot, np.array([person], dtype=np.uint32))[0])


def day_of_death(snapshot: Snapshot, person: int) -> int | None:
    """The day, counted from 1970-01-01, on which a person died by this number alone; None while nobody says so."""
    day = int(read_deaths(snapshot, np.array([person], dtype=np.uint32))["day"][0])
    return None if day == ALIVE else day


def put_deaths(commit: Commit, deaths: Entries) -> None:
    """Write how persons stand (``DEATH``[N], each person once): an entry each, none of whoever lives."""
    order = np.argsort(deaths["person"], kind="stable")
    deaths = deaths[order]
    blocks, starts = np.unique(deaths["person"] >> PERSONS_PER_BLOCK_BITS, return_index=True)
    for block, some in zip(blocks.tolist(), np.split(deaths, starts[1:]), strict=True):
        before = _read_block(commit, block)
        places = (some["person"] & 0xFF).astype(np.uint8)
        fresh = np.zeros(len(some), ENTRY)
        fresh["place"] = places
        for field in ("day", "commit", "record"):
            fresh[field] = some[field]
        fresh = fresh[some["day"] != ALIVE]
        after = np.concatenate((before[~np.isin(before["place"], places)], fresh))
        after = after[np.argsort(after["place"])]
        if len(after):
            commit.put_sealed(NAME, _block_key(block), after.tobytes())
        else:
            commit.delete(NAME, _block_key(block))


def put_entered(commit: Commit, number: int, persons: Persons) -> None:
    """Write whose deaths a commit entered; nobody removes the list."""
    key = COMMIT + number.to_bytes(8, "big")
    if len(persons):
        commit.put_sealed(NAME, key, np.sort(persons).astype("<u4").tobytes())
    else:
        commit.delete(NAME, key)


def read_entered(source: Snapshot | Commit, number: int) -> Persons:
    """Whose deaths a commit entered: uint32[N], ascending."""
    key = COMMIT + number.to_bytes(8, "big")
    value = source.get(NAME, key)
    return np.empty(0, np.uint32) if value is None else _parse_entered(key, value)


def entered_after(snapshot: Snapshot, number: int, limit: int) -> list[tuple[int, Persons]]:
    """The next commits behind one that entered deaths, with whose."""
    items = snapshot.items(NAME, COMMIT + (number + 1).to_bytes(8, "big"), bytes([COMMIT[0] + 1]), limit=limit)
    return [(int.from_bytes(key[1:], "big"), _parse_entered(key, value)) for key, value in items]


def all_deaths(snapshot: Snapshot) -> Mapping[int, tuple[int, int, int]]:
    """Person -> (day, commit, record), of all."""
    found = {}
    first, below = BLOCK, bytes([BLOCK[0] + 1])
    while items := snapshot.items(NAME, first, below, limit=1_000):
        for key, _ in items:
            block = int.from_bytes(key[1:], "big")
            for place, _, day, commit, record in _read_block(snapshot, block).tolist():
                found[block << PERSONS_PER_BLOCK_BITS | place] = day, commit, record
        first = items[-1][0] + b"\0"
    return found


def _parse_entered(key: bytes, value: object) -> Persons:
    body = unseal(NAME, key, value)
    if not body or len(body) % 4:
        raise StorageError(f"{NAME}: expected persons, got {len(body)} bytes")
    return np.frombuffer(body, "<u4").astype(np.uint32)


def _read_block(source: Snapshot | Commit, block: int) -> Entries:
    key = _block_key(block)
    value = source.get(NAME, key)
    if value is None:
        return np.empty(0, ENTRY)
    body = unseal(NAME, key, value)
    if not body or len(body) % ENTRY.itemsize:
        raise StorageError(f"{NAME}: expected entries of {ENTRY.itemsize} bytes, got {len(body)} bytes")
    entries = np.frombuffer(body, ENTRY)
    if entries["zero"].any() or (np.diff(entries["place"].astype(np.int16)) <= 0).any():
        raise StorageError(f"{NAME}: expected entries by person, got something else")
    return entries


def _block_key(block: int) -> bytes:
    return BLOCK + block.to_bytes(4, "big")
