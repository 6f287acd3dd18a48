"""Which records are about whom: candidates from the index (``runs.py``), made certain by the bodies."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub.bodies import Bodies, KeyGoneError, Located
from hub.periods import PeriodKeys
from hub.runs import find_indexes
from hub.snapshot import Snapshot


class Found(NamedTuple):
    """One record about a person: where it stands, and its row (a ``ROW``)."""

    located: Located
    row: np.void

    def __repr__(self) -> str:
        return f"Found(index={self.located.index})"


def person_keys(periods: PeriodKeys, person: int) -> dict[int, int]:
    """A person's key in each period that can still be read."""
    one: npt.NDArray[np.uint32] = np.array([person], dtype=np.uint32)
    found = {}
    for period in periods.periods():
        key = periods.of(period)
        if key is not None:
            found[period] = int(key.person_keys(one)[0])
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
) -> Iterator[list[Found]]:
    """The records about a person with an index under ``below``, newest first, in batches read together.

    Args:
        keys: of :func:`person_keys`.
        since, until: runs without a record of this time are skipped; the caller still compares.
        batch: records that are looked for at a time.

    Raises:
        StorageError: index or bodies are damaged.
    """
    indexes = find_indexes(
        snapshot,
        keys,
        below,
        since=None if since is None else int(since),
        until=None if until is None else int(until) + 1,
    )
    while some := list(islice(indexes, batch)):
        located, rows = _read(bodies, some)
        # Two persons may share a key of 64 bits.
        yield [Found(one, row) for one, row in zip(located, rows, strict=True) if row["person"] == person]


def _read(bodies: Bodies, indexes: list[int]) -> tuple[list[Located], npt.NDArray[np.void]]:
    try:
        return bodies.read(indexes)
    except KeyGoneError:
        # Erased since the search began: it is nobody's history any more.
        return bodies.read([index for index in indexes if bodies.readable(index)])
