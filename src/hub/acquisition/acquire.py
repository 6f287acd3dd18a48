"""Acquisition: who has which alias already, who gets a new one.

Resident record codes (住民票コード) enter as keyed pseudonyms and are looked up in a namespace of their own; who is not
known yet becomes a new person. The institution never learns the code, and the hub never the individual number.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hub import _columns
from hub.acquisition.additions import Addition, Seed, add_entries, complete_pending, fresh_seed
from hub.aliases import RESIDENT_CODES, Persons, Statuses, count_aliases, find_aliases, find_persons
from hub.errors import StorageError
from hub.limits import PERSONS_MAX, ROWS_PER_ACQUIRE_CHUNK
from hub.messages import Acquired, Acquisition, Aliases
from hub.persons.deaths import NAME as DEATHS
from hub.persons.merges import lives_sum
from hub.storage.keys import Keys
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers
from hub.store import Store

T = TypeVar("T", bound=np.generic)

Barred = Callable[[Snapshot, Persons], npt.NDArray[np.bool_]]

FEW_ALIASES = 1024
_ROWS_PER_PIECE = 1 << 15


def acquire(
    store: Store, keys: Keys, number: int, codes: npt.NDArray[np.int64], workers: Workers, above: int,
    barred: Barred | None = None,
) -> Acquired:  # fmt: skip
    """Give an institution its aliases of the persons with these resident record codes.

    Idempotent: who has an alias there keeps it. Each chunk is durable or not there at all; after an error the
    chunks before it stand, and the same call again completes the rest.

    Args:
        number: the institution's number.
        codes: int64[N], each at least 0 and under ``above``.
        barred: of persons (uint32[N]) who gets none: status NONE, whether they have one or not.
    """
    n = len(codes)
    aliases, status = np.empty((n, 16), np.uint8), np.empty(n, np.uint8)
    chunks = max(1, -(-n // ROWS_PER_ACQUIRE_CHUNK))
    for chunk in range(chunks):
        rows = slice(n * chunk // chunks, n * (chunk + 1) // chunks)
        pseudonyms = code_pseudonyms(keys, codes[rows], above, workers)
        # One acquisition at a time; inquiries are recorded beside it.
        with store.acquiring:
            # What an error left half written is completed first; nearly always there is nothing.
            complete_pending(store, workers)
            _acquire_others(store, number, pseudonyms, aliases[rows], status[rows], workers, barred)
    return Acquired(aliases, status)


def code_pseudonyms(keys: Keys, codes: npt.NDArray[np.int64], above: int, workers: Workers) -> Aliases:
    """Resident record codes (int64[N], each under ``above``) to their pseudonyms: uint8[N, 16]."""
    out = np.empty((len(codes), 16), np.uint8)

    def encrypt(rows: slice) -> None:
        # Pieces that stay in the cache between the two steps.
        for start in range(rows.start, rows.stop, _ROWS_PER_PIECE):
            piece = slice(start, min(start + _ROWS_PER_PIECE, rows.stop))
            out[piece] = keys.pseudonyms(_columns.code_blocks(codes[piece], above)[0])

    workers.over_slices(len(codes), encrypt)
    return out


def _acquire_others(
    store: Store, number: int, pseudonyms: Aliases, aliases: Aliases, status: Statuses, workers: Workers,
    barred: Barred | None,
) -> None:  # fmt: skip
    """Fill in one chunk's rows, of those who are barred with nothing."""
    with store.snapshot() as snapshot:
        if lives_sum(snapshot.state):
            # Two codes may lead to one person: to look at each person once, all of theirs become one.
            persons, _, found = find_persons(snapshot, RESIDENT_CODES, pseudonyms, workers)
            pseudonyms[found == 0] = find_aliases(snapshot, RESIDENT_CODES, persons[found == 0], workers)[0]
    out = np.zeros(len(pseudonyms), np.bool_)
    if barred is not None:
        with store.snapshot() as snapshot:
            # Finding nothing must mean that there is nothing.
            store.compare_sum(snapshot, DEATHS)
            if count_aliases(snapshot, RESIDENT_CODES):
                persons, _, found = find_persons(snapshot, RESIDENT_CODES, pseudonyms, workers)
                out[found == 0] = barred(snapshot, persons[found == 0])
    if not out.any():
        _acquire_chunk(store, number, pseudonyms, aliases, status, workers)
        return
    rows = np.flatnonzero(~out)
    some, some_status = np.empty((len(rows), 16), np.uint8), np.empty(len(rows), np.uint8)
    if len(rows):
        _acquire_chunk(store, number, pseudonyms[rows], some, some_status, workers)
    aliases[:], status[:] = 0, Acquisition.NONE
    aliases[rows], status[rows] = some, some_status


def _acquire_chunk(
    store: Store, number: int, pseudonyms: Aliases, aliases: Aliases, status: Statuses, workers: Workers
) -> None:
    """Fill in aliases and status of one chunk's rows."""
    n = len(pseudonyms)
    # Nobody else writes alias tables while ``acquiring`` is held: this snapshot decides CREATED or ALREADY.
    with store.snapshot() as snapshot:
        first_person = snapshot.state.persons
        persons, unknown = np.empty(0, np.uint32), np.ones(n, np.bool_)
        missing = unknown
        if count_aliases(snapshot, RESIDENT_CODES):
            persons, _, found = find_persons(snapshot, RESIDENT_CODES, pseudonyms, workers)
            unknown = found != 0
            if count_aliases(snapshot, number):
                aliases[:], found = find_aliases(snapshot, number, persons, workers)
                missing = found != 0
    status[:] = Acquisition.ALREADY
    if not missing.any():
        return
    rows = None if missing.all() else np.flatnonzero(missing)
    first, rank = _first_and_rank(_pick(pseudonyms, rows), workers)
    # Of each person without an alias the first row; None stands for all rows, so that nothing is copied.
    fresh = rows if first is None else first if rows is None else rows[first]
    additions = []
    new_persons = _pick(unknown, fresh)
    count = int(np.count_nonzero(new_persons))
    if first_person + count > PERSONS_MAX:
        raise StorageError(f"acquire: expected at most {PERSONS_MAX} persons, got more")
    numbers = np.arange(first_person, first_person + count, dtype=np.uint32)
    if count == len(new_persons):
        persons = numbers
        additions.append(Addition(RESIDENT_CODES, _pick(pseudonyms, fresh), numbers))
    else:
        persons = _pick(persons, fresh)
        if count:
            persons[new_persons] = numbers
            additions.append(Addition(RESIDENT_CODES, _pick(pseudonyms, fresh)[new_persons], numbers))
    new = aliases if fresh is None else np.empty((len(persons), 16), np.uint8)
    seed = _draw(new, workers)
    if first is not None:
        aliases[slice(None) if rows is None else rows] = new[rank]
    elif rows is not None:
        aliases[rows] = new
    status[slice(None) if fresh is None else fresh] = Acquisition.CREATED
    additions.append(Addition(number, new, persons, seed))
    del pseudonyms
    add_entries(store, additions, workers)


def _pick(column: npt.NDArray[T], rows: npt.NDArray[np.int64] | None) -> npt.NDArray[T]:
    return column if rows is None else column[rows]


def _first_and_rank(
    keys: Aliases, workers: Workers
) -> tuple[npt.NDArray[np.int64] | None, npt.NDArray[np.int64] | None]:
    """Rows where a key occurs first, and for every row the rank of its key among those; None where none repeats."""
    some = _maybe_repeated(keys, workers)
    first = _columns.first_rows(keys[some])
    again = first != np.arange(len(some), dtype=np.uint32)
    if not again.any():
        return None, None
    own = np.ones(len(keys), np.bool_)
    own[some[again]] = False
    rank = np.cumsum(own) - 1
    rank[some[again]] = rank[some[first[again]]]
    return np.flatnonzero(own), rank


def _maybe_repeated(keys: Aliases, workers: Workers) -> npt.NDArray[np.uint32]:
    """Rows among which are all whose key occurs more than once, ascending, and few others.

    Two bitmaps of 8 to 16 bits a key instead of a table of keys: those of 10 M keys fit the cache, and at most one row
    in eight is left for the table.
    """
    words = 1 << max(0, (8 * len(keys) - 1).bit_length() - 6)
    seen, twice = np.zeros(words, np.uint64), np.zeros(words, np.uint64)
    if not sum(workers.over_slices(len(keys), lambda rows: _columns.mark_keys(keys[rows], seen, twice))):
        return np.empty(0, np.uint32)

    def look_up(rows: slice) -> npt.NDArray[np.uint32]:
        return _columns.marked_rows(keys[rows], twice) + np.uint32(rows.start)

    return np.concatenate(workers.over_slices(len(keys), look_up))


def _draw(aliases: Aliases, workers: Workers) -> Seed | None:
    """Fill uint8[N, 16] from the system's random source, many from a seed: ten times as fast."""
    if len(aliases) <= FEW_ALIASES:
        aliases[:] = np.frombuffer(os.urandom(aliases.size), np.uint8).reshape(-1, 16)
        return None
    seed = fresh_seed()
    workers.over_slices(len(aliases), lambda rows: seed.after(rows.start).draw(aliases[rows]))
    return seed
