"""Compares identifiers from outside with the events that tell of them, and each renewal with both its ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from hub.aliases import REPLACED, RESIDENT_CODES, count_aliases, find_persons
from hub.errors import StorageError
from hub.messages import Status
from hub.persons.identifiers import RENEWALS, parse_link
from hub.persons.uses import NAME as COUNTS
from hub.persons.uses import parse_counts
from hub.protection.withholding import Office
from hub.records.events import NAME as EVENTS
from hub.records.events import EventKind, ToldIdentifiers, read_told_as
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers

_KINDS = (EventKind.IDENTIFIERS_REGISTERED, EventKind.IDENTIFIERS_RENEWED, EventKind.IDENTIFIERS_REVOKED)
_AT_A_TIME = 10_000
_ALONE = Workers(1)


def check_identifiers(snapshot: Snapshot, office: Office) -> None:
    """Check that each namespace has as many identifiers and renewals as its events say, and that renewals fit.

    Raises:
        StorageError: the first thing that does not fit is named.
    """
    if snapshot.items("pending", b"", limit=1):
        # A registration is half in its table, and counted at its end.
        return
    namespaces = len(office.catalog().namespaces)
    gained: Counter[int] = Counter()
    renewed: Counter[int] = Counter()
    taken_back: Counter[int] = Counter()
    for number, _, told in read_told_as(snapshot, office.vault, ToldIdentifiers, _KINDS):
        if not 0 < told.namespace - RESIDENT_CODES <= namespaces:
            raise StorageError(f"{EVENTS}: expected a namespace of the catalog, got another in event {number}")
        gained[told.namespace] += told.gained
        renewed[told.namespace] += told.renewed
        taken_back[told.namespace] += max(0, -told.gained)
    for place in range(namespaces):
        number = RESIDENT_CODES + 1 + place
        if count_aliases(snapshot, number) != gained[number]:
            raise StorageError(f"namespace {place}: expected as many identifiers as its events say, got others")
        links, open_ends = map(sum, zip((0, 0), *_check_links(snapshot, number), strict=True))
        if links != renewed[number]:
            raise StorageError(f"{RENEWALS}: expected as many of namespace {place} as its events say, got others")
        # What took another's place, was revoked and is to be registered again may be out of the table for the moment.
        if open_ends > taken_back[number]:
            raise StorageError(f"{RENEWALS}: expected identifiers of namespace {place} at both ends, got others")
    for key, value in snapshot.items(COUNTS, b""):
        parse_counts(key, value)


def _check_links(snapshot: Snapshot, number: int) -> Iterator[tuple[int, int]]:
    """Check the renewals of a namespace, and tell how many they are, and of how many the new one is not there."""
    first, below = number.to_bytes(4, "big"), (number + 1).to_bytes(4, "big")
    while items := snapshot.items(RENEWALS, first, below, limit=_AT_A_TIME):
        old = np.frombuffer(b"".join(key[4:] for key, _ in items), np.uint8).reshape(-1, 16)
        new = np.frombuffer(b"".join(parse_link(key, value) for key, value in items), np.uint8).reshape(-1, 16)
        flags = find_persons(snapshot, number, old, _ALONE)[1]
        unknown = find_persons(snapshot, number, new, _ALONE)[2] == Status.UNKNOWN_ALIAS
        if (flags & REPLACED == 0).any():
            raise StorageError(f"{RENEWALS}: expected identifiers that were renewed, got others")
        yield len(items), int(np.count_nonzero(unknown))
        first = items[-1][0] + b"\0"
