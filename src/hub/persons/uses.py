"""How many identifiers from outside are asked by: counted by day, body and namespace, durably before the answer leaves.

Database ``identified``, key u32 day (since 1970, in Japan), u16 institution number, u32 number of the namespace, big
endian; value sealed: 5 x u64, little endian: how many rows were asked that day, by ``Identity``. Whose they were is
kept nowhere.

Calls that come at the same time share a commit: whoever has the turn counts for all who wait.
"""

from __future__ import annotations

import datetime as dt
import struct
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from hub.errors import StorageError
from hub.messages import Identity
from hub.storage.periods import JAPAN_TIME
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.store import Store

NAME = "identified"

_KEY = struct.Struct(">IHI")
_COUNTS = np.dtype("<u8")
_EPOCH = dt.date(1970, 1, 1)

Counts = npt.NDArray[np.uint64]


class _Waiting:
    """A call that waits for its count: what it adds to which value; done, or why it was not."""

    __slots__ = ("counts", "done", "error", "key")

    def __init__(self, key: bytes, counts: Counts) -> None:
        self.key, self.counts = key, counts
        self.done = False
        self.error: Exception | None = None


class Uses:
    """The counts of an open hub; may be used from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Waiting] = []
        self._queue = threading.Lock()
        """Held while ``_waiting`` is changed; nothing else is taken under it."""
        self._turn = threading.Lock()
        """Held by who commits for all that wait; taken before ``store.writer``."""

    def __repr__(self) -> str:
        return "Uses()"

    def count(self, now: int, institution: int, number: int, status: npt.NDArray[np.uint8]) -> None:
        """Add a call's rows to the counts of the day; durable when it returns.

        Raises:
            StorageError: the disk is full or failed; nothing may be answered.
        """
        counts = np.bincount(status, minlength=len(Identity)).astype(np.uint64)
        own = _Waiting(_KEY.pack(day_number(now), institution, number), counts)
        with self._queue:
            self._waiting.append(own)
        with self._turn:
            if not own.done:
                self._count_all()
        if own.error is not None or not own.done:
            raise own.error or StorageError("write: the count of this call was interrupted", retry_safe=True)

    def _count_all(self) -> None:
        """Count for all who wait; an interrupt is this thread's alone, the others hear that nothing was kept."""
        with self._queue:
            some, self._waiting = self._waiting, []
        error: Exception | None = StorageError("write: the count of this call was interrupted", retry_safe=True)
        try:
            with self._store.commit() as commit:
                for one in some:
                    _add(commit, one.key, one.counts)
            error = None
        except Exception as failure:
            error = failure
        finally:
            for one in some:
                one.done, one.error = True, error


def _add(commit: Commit, key: bytes, counts: Counts) -> None:
    value = commit.get(NAME, key)
    before = 0 if value is None else parse_counts(key, value)
    commit.put_sealed(NAME, key, (counts + before).astype(_COUNTS).tobytes())


def parse_counts(key: bytes, value: Any) -> Counts:
    """Stored counts, by ``Identity``.

    Raises:
        StorageError: they are damaged.
    """
    body = unseal(NAME, key, value)
    if len(key) != _KEY.size or len(body) != len(Identity) * _COUNTS.itemsize:
        raise StorageError(f"{NAME}: expected a day's counts, got something else")
    return np.frombuffer(body, _COUNTS)


def read_counts(snapshot: Snapshot, day: dt.date) -> list[tuple[int, int, Counts]]:
    """(institution number, number of the namespace, counts) of a day."""
    found = []
    number = _days(day)
    for key, value in snapshot.items(NAME, number.to_bytes(4, "big"), (number + 1).to_bytes(4, "big")):
        _, institution, namespace = _KEY.unpack(key)
        found.append((institution, namespace, parse_counts(key, value)))
    return found


def day_number(now: int) -> int:
    """Days since 1970 of a moment, in Japan."""
    return _days(dt.datetime.fromtimestamp(now, JAPAN_TIME).date())


def _days(day: dt.date) -> int:
    return max(0, (day - _EPOCH).days)
