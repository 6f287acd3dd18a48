"""Reissue and revocation: an institution's aliases that stop for good, with a new one in their place or none.

A call is one commit: who reads sees all old aliases at work or all stopped, and the new ones from the same moment on.
By alias an old entry is marked revoked and stays, so that it answers REVOKED and not that nobody knows it; by person
the entry gets the new alias, or goes. Flags of a person at the institution go on with the new alias.
"""

from __future__ import annotations

import os

import numpy as np

from hub._blocks import MARK, REMOVE, REPLACE
from hub.acquisition.additions import BLOCK_BYTES, Addition, complete_pending, cut_parts, put_parts
from hub.aliases import (
    BY_ALIAS,
    BY_PERSON,
    REPLACED,
    REVOKED,
    Persons,
    Statuses,
    count_aliases,
    count_key,
    directory,
    find_aliases,
    find_persons,
    table_number,
)
from hub.errors import RequestError
from hub.limits import REISSUE_BYTES_MAX, ROWS_PER_REISSUE_MAX
from hub.messages import Acquired, Acquisition, Aliases, Status
from hub.persons.merges import current
from hub.storage.snapshot import Commit, Snapshot
from hub.storage.workers import Workers
from hub.store import Store


def reissue(store: Store, number: int, aliases: Aliases, workers: Workers) -> Acquired:
    """Give whoever has one of these aliases a new one; the old one stops in the same commit.

    Args:
        number: the institution's. aliases: uint8[N, 16], any order, duplicates allowed, untrusted.

    Raises:
        RequestError: more rows than one transaction takes; nothing was changed.
        StorageError: the disk is full or failed; nothing was kept.
    """
    with store.acquiring:
        complete_pending(store, workers)
        # Nobody else writes alias tables while ``acquiring`` is held.
        with store.snapshot() as snapshot:
            _check_rows(snapshot, number, len(aliases))
            persons, flags, found = find_persons(snapshot, number, aliases, workers)
            # An alias that ended leads to its person as they were numbered then.
            persons = current(snapshot, persons)
            out, none = find_aliases(snapshot, number, persons, workers)
        status = np.full(len(aliases), Acquisition.NONE, np.uint8)
        # A revoked alias leads on only where a reissue revoked it: asked again, it tells the one that holds now.
        replaced = (found == Status.REVOKED) & (flags & REPLACED != 0) & (none == 0)
        status[replaced] = Acquisition.ALREADY
        rows = np.flatnonzero(found == Status.OK)
        people, first = np.unique(persons[rows], return_index=True)
        first = rows[first]
        if len(people):
            fresh = np.frombuffer(os.urandom(16 * len(people)), np.uint8).reshape(-1, 16)
            _change(store, number, aliases[first], flags[first], people, fresh, workers)
            # Rows of the same person, by whichever of their aliases, get the one that holds from now on.
            at = np.minimum(np.searchsorted(people, persons), len(people) - 1)
            anew = (people[at] == persons) & ((found == Status.OK) | replaced)
            out[anew] = fresh[at[anew]]
            status[rows] = Acquisition.ALREADY
            status[first] = Acquisition.CREATED
        out[status == Acquisition.NONE] = 0
        return Acquired(out, status)


def revoke(store: Store, number: int, aliases: Aliases, workers: Workers) -> int:
    """End these aliases without giving new ones; returns how many of them this call ended. Errors as of a reissue."""
    with store.acquiring:
        complete_pending(store, workers)
        with store.snapshot() as snapshot:
            _check_rows(snapshot, number, len(aliases))
            persons, flags, found = find_persons(snapshot, number, aliases, workers)
        rows = np.flatnonzero(found == Status.OK)
        people, first = np.unique(persons[rows], return_index=True)
        first = rows[first]
        if len(people):
            _change(store, number, aliases[first], flags[first], people, None, workers)
        return len(people)


def rows_max(by_alias: int, by_person: int) -> int:
    """How many rows one call takes at an institution whose two tables have so many blocks.

    Aliases are random: each row may rewrite two blocks by alias, of the old one and the new one, and one by person.
    """
    budget = REISSUE_BYTES_MAX // BLOCK_BYTES
    rows = budget // 3
    if by_alias + by_person <= budget:
        rows = ROWS_PER_REISSUE_MAX
    elif by_alias < 2 * rows:
        rows = budget - by_alias
    elif by_person < rows:
        rows = (budget - by_person) // 2
    return min(rows, ROWS_PER_REISSUE_MAX)


def _check_rows(snapshot: Snapshot, number: int, rows: int) -> None:
    by_alias, by_person = (directory(snapshot, table_number(number, kind)).blocks for kind in (BY_ALIAS, BY_PERSON))
    most = rows_max(by_alias, by_person)
    if rows > most:
        raise RequestError(f"aliases: expected at most {most} rows in one call at this institution, got {rows}")


def _change(
    store: Store,
    number: int,
    aliases: Aliases,
    flags: Statuses,
    persons: Persons,
    fresh: Aliases | None,
    workers: Workers,
) -> None:
    """Stop each person's alias; ``fresh`` takes its place. One commit."""
    n = len(persons)
    ended = np.full(n, MARK | REVOKED | (0 if fresh is None else REPLACED), np.uint16)
    if fresh is None:
        by_alias = Addition(number, aliases, persons, edits=ended)
        by_person = Addition(number, aliases, persons, edits=np.full(n, REMOVE, np.uint16))
    else:
        by_alias = Addition(
            number,
            np.concatenate((aliases, fresh)),
            np.concatenate((persons, persons)),
            edits=np.concatenate((ended, flags.astype(np.uint16))),
        )
        by_person = Addition(number, fresh, persons, edits=np.full(n, REPLACE, np.uint16))
    with store.commit() as commit, store.snapshot() as snapshot:
        generation = commit.state.commit
        parts = cut_parts(snapshot, by_alias, BY_ALIAS, generation)
        parts += cut_parts(snapshot, by_person, BY_PERSON, generation)
        put_parts(commit, parts, workers)
        if fresh is None:
            _put_count(commit, snapshot, number, -n)


def _put_count(commit: Commit, snapshot: Snapshot, number: int, more: int) -> None:
    after = count_aliases(snapshot, number) + more
    commit.put_sealed("meta", count_key(number), after.to_bytes(8, "little"))
