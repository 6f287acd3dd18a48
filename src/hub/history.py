"""Which records are about whom: candidates from the index (``runs/index.py``), made certain by the bodies."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice

from hub._bodies import Body
from hub.errors import StorageError
from hub.records.bodies import Bodies, KeyGoneError
from hub.records.erasures import read_erasures
from hub.runs.index import find_indexes
from hub.storage.periods import PeriodKeys
from hub.storage.snapshot import Snapshot


class GapError(StorageError):
    """Some records are in no run of the index: a page of it is damaged, or a period has lost its key."""


def person_keys(periods: PeriodKeys, person: int) -> dict[int, int]:
    """A person's key in each period that can still be read."""
    found = {}
    for period in periods.periods():
        key = periods.of(period)
        if key is not None:
            found[period] = key.person_key(person)
    return found


def find_records(
    snapshot: Snapshot,
    bodies: Bodies,
    keys: dict[int, int],
    person: int,
    below: int,
    *,
    since: float | None = None,
    until: float | None = None,
    batch: int,
) -> Iterator[list[Body]]:
    """The records about a person with an index under ``below``, newest first, in batches read together.

    Args:
        keys: of :func:`person_keys`.
        since, until: runs without a record of this time are skipped; the caller still compares.
        batch: records that are looked for at a time.

    Raises:
        StorageError: index or bodies are damaged.
        GapError: the index does not have every record that was not erased; the same can be seen in a snapshot from
            before an erasure whose key has gone since.
    """
    erasures = read_erasures(snapshot)
    begin = erasures[-1].end if erasures else 0

    def check(spans: list[tuple[int, int]]) -> None:
        # A damaged page of the environment may hide an entry whole, which no checksum of a value would show.
        at = begin
        for first, last in spans:
            if last < begin:
                # An erasure is under way, its key is still there.
                continue
            if first != at:
                raise GapError(f"history index: expected a run from record {at} on, got one from {first}")
            at = last + 1
        if at < min(below, snapshot.state.records):
            raise GapError(f"history index: expected a run from record {at} on, got none")

    indexes = find_indexes(
        snapshot,
        keys,
        below,
        since=None if since is None else int(since),
        until=None if until is None else int(until) + 1,
        check=check,
    )
    while some := list(islice(indexes, batch)):
        # Two persons may share a key of 64 bits.
        yield [one for one in _read(bodies, some) if one.person == person]


def find_all_records(
    snapshot: Snapshot,
    bodies: Bodies,
    periods: PeriodKeys,
    persons: Sequence[int],
    below: int,
    *,
    since: float | None = None,
    until: float | None = None,
    batch: int,
) -> Iterator[list[Body]]:
    """As :func:`find_records`, of several persons who are one now or were (``persons/merges.py``)."""
    found = [
        find_records(
            snapshot, bodies, person_keys(periods, person), person, below, since=since, until=until, batch=batch
        )
        for person in persons
    ]
    if len(found) == 1:
        return found[0]
    records = (_one_by_one(batches) for batches in found)
    return _batches(heapq.merge(*records, key=lambda one: -one.index), batch)


def _one_by_one(batches: Iterator[list[Body]]) -> Iterator[Body]:
    for some in batches:
        yield from some


def _batches(records: Iterator[Body], batch: int) -> Iterator[list[Body]]:
    while some := list(islice(records, batch)):
        yield some


def _read(bodies: Bodies, indexes: list[int]) -> list[Body]:
    try:
        return bodies.read(indexes)
    except KeyGoneError:
        # Erased since the search began: it is nobody's history any more.
        return bodies.read([index for index in indexes if bodies.readable(index)])
