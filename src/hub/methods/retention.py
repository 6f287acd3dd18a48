"""How long records are kept: the Hub's methods for retention and legal holds; rules in docs/log.md.

The work is done in ``records/retain.py``, ``records/holds.py`` and ``records/held.py``.
"""

from __future__ import annotations

import datetime as dt
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from hub.catalog import Catalog
from hub.errors import BusyError, RequestError
from hub.records.bodies import Heads
from hub.records.held import HeldRecord, iterate_held
from hub.records.holds import Hold, HoldKeys, add_hold, extend_hold, make_hold, read_holds, release_hold
from hub.records.log import Log
from hub.records.retain import Parts, PeriodState, Retained, list_periods, retain_records
from hub.storage.periods import PeriodKeys
from hub.storage.snapshot import Snapshot
from hub.store import Store


class Keeping(ABC):
    """The part of :class:`hub.Hub` that erases what has expired, and keeps what it must not."""

    _store: Store
    _periods: PeriodKeys
    _heads: Heads
    _hold_keys: HoldKeys
    _retaining: threading.Lock
    _clock: Callable[[], float]

    @property
    @abstractmethod
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""

    @abstractmethod
    def _now(self) -> int:
        """Seconds since 1970, never before the last record."""

    @abstractmethod
    def _published(self) -> Log:
        """The record log."""

    @abstractmethod
    def _find_citizen(self, snapshot: Snapshot, portal_alias: Any, *, closed: bool = False) -> int:
        """The person of a portal alias."""

    @abstractmethod
    def _settle_permits(self) -> None:
        """Let lapse what is due, and sort it in."""

    def retain(self, *, confirm: bool = False, progress: Callable[[int], None] | None = None) -> Retained:
        """Erase the records that have been kept for seven years, and the copies of legal holds that are over.

        Other work goes on beside it. Entries, tree, proofs and checkpoints stay; the erasure is itself a record.
        Idempotent; after a crash or an exception the next call goes on.

        Args:
            confirm: a person has looked at the clock: erase also where it is far ahead of the last record, or where
                more than two periods would go at once.
            progress: called with the records erased so far; an exception from it stops there.

        Raises:
            RequestError: the clock is far ahead, or many periods would go; nothing was changed.
            BusyError: another thread is at it.
            StorageError: the disk failed or is full, or a body under a hold is damaged.
        """
        if not self._retaining.acquire(blocking=False):
            raise BusyError("retain: under way in another thread")
        try:
            return retain_records(
                self._retention(), clock=self._clock, catalog=self.catalog.digest, confirm=confirm, progress=progress,
                settle=self._settle_permits,
            )  # fmt: skip
        finally:
            self._retaining.release()

    def retention(self) -> list[PeriodState]:
        """Every period of the log, oldest first, and when it is erased; changes nothing."""
        now = self._now()
        with self._store.snapshot() as snapshot:
            return list_periods(snapshot, now)

    def hold(
        self,
        *,
        ground: str,
        until: dt.date,
        by: str,
        inquiry: str | None = None,
        requester: str | None = None,
        since: dt.date | None = None,
        last: dt.date | None = None,
        portal_alias: Any = None,
    ) -> Hold:
        """Keep records from being erased: a legal hold. Where several of its criteria are given, all must fit.

        Args:
            ground: why, for auditors. until: its last day in Japan. by: who sets it.
            inquiry: the name of an inquiry as in :class:`Record`, 16 hex digits.
            requester: institution code; with since and last, days in Japan (both included), only what it asked then.
            portal_alias: only records about this person.

        Raises:
            RequestError: an argument has the wrong form, or nothing is named; nothing was changed.
        """
        number = None
        if portal_alias is not None:
            with self._store.snapshot() as snapshot:
                number = self._find_citizen(snapshot, portal_alias, closed=True)
        if requester is not None:
            self.catalog.institution(requester)
        now = self._now()
        hold = make_hold(now, ground, until, by, inquiry=inquiry, requester=requester, since=since, last=last)
        if not (hold.inquiry or hold.requester or number is not None):
            raise RequestError("hold: expected an inquiry, a requester or a person, got none")
        return add_hold(self._store, self._hold_keys, hold, number)

    def extend_hold(self, number: int, *, until: dt.date, ground: str, by: str) -> Hold:
        """Let a hold in force last longer; what was copied out for it stays.

        Raises:
            RequestError: no such hold, it is over, or the day is not later than its last one.
        """
        return extend_hold(self._store, number, self._now(), until, ground, by)

    def release_hold(self, number: int, *, ground: str, by: str) -> Hold:
        """End a hold before its last day; the next ``retain`` shreds what was copied out for it.

        Raises:
            RequestError: no such hold, or it is over.
        """
        return release_hold(self._store, number, self._now(), ground, by)

    def holds(self) -> list[Hold]:
        """All holds that ever were, with what happened to them."""
        with self._store.snapshot() as snapshot:
            return read_holds(snapshot)

    def held(self, number: int) -> Iterator[HeldRecord]:
        """What was copied out for a hold, in the order of the log, each with its proof.

        Raises:
            RequestError: no such hold, or its copies were shredded. StorageError: a copy is damaged.
        """
        return iterate_held(self._store, self._published(), self._hold_keys, self.catalog, number)

    def _retention(self) -> Parts:
        return Parts(self._store, self._published(), self._periods, self._heads, self._hold_keys)
