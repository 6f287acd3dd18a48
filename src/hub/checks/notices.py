"""Compares the texts of notices with the records that they belong to."""

from __future__ import annotations

import numpy as np

from hub.errors import StorageError
from hub.messages import Kind, Status
from hub.records.bodies import ROW, Bodies, Heads
from hub.sending.notices import NAME, open_texts
from hub.storage.periods import PeriodKeys
from hub.store import Store


def check_notices(store: Store, periods: PeriodKeys) -> None:
    """Check that texts can be decrypted, and belong to notices of one chunk: to all that reached somebody.

    Raises:
        StorageError: the first that does not fit is named.
    """
    heads = Heads()
    first, behind = b"", 0
    while True:
        # A snapshot each time: a long one would keep every page that is rewritten meanwhile.
        with store.snapshot() as snapshot:
            items = snapshot.items(NAME, first, limit=64)
            bodies = Bodies(snapshot, periods, heads)
            for key, value in items:
                behind = _check(bodies, periods, key, value, behind)
        if not items:
            return
        first = items[-1][0] + b"\0"


def _check(bodies: Bodies, periods: PeriodKeys, key: bytes, value: object, behind: int) -> int:
    """Check one value; returns the index behind its records."""
    first = int.from_bytes(key, "big")
    name = f"{NAME} of records from {first}"
    stored = open_texts(periods, key, value)
    if bodies.is_erased(first):
        return behind
    if stored is None:
        raise StorageError(f"{name}: expected the key of their period, got none")
    chunk, at = bodies.locate(first).chunk, first - bodies.locate(first).chunk.first
    n = len(stored.begins)
    if first < behind or at + n > chunk.rows or chunk.period != stored.period:
        raise StorageError(f"{name}: expected those of records of one chunk, got others")
    rows = bodies.whole(chunk.first)[1].view(ROW)[at : at + n, 0]
    if (rows["kind"] != Kind.NOTICE).any() or (stored.has_text() < (rows["outcome"] == Status.OK)).any():
        raise StorageError(f"{name}: expected a text of each notice that reached somebody, got others")
    times = np.array([requested for requested, _ in chunk.fields.times], np.int64)[rows["decision"]]
    if (times != stored.sent_at).any():
        raise StorageError(f"{name}: expected the time at which they were sent, got another")
    return first + n
