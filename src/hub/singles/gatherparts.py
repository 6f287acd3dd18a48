"""What the gathering of small inquiries needs of the hub, and how a group of them, of either kind, becomes durable."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from hub.catalog import Catalog
from hub.errors import HubError, StorageError
from hub.limits import FOLD_PER_CALL
from hub.protection.asked import Asked
from hub.protection.flags import Flagged
from hub.protection.marks import NewMark, put_new_marks
from hub.protection.screen import Basis
from hub.records.append import Laid, append_records
from hub.requests.groups import RequestGroups
from hub.storage.periods import PeriodKeys, period_of, period_start
from hub.storage.snapshot import Snapshot
from hub.store import Store

RETRY_AFTER_S = 0.5

logger = logging.getLogger("hub")


class Parts:
    """What of the hub the gathering needs.

    Attributes:
        catalog: the one in force now. now: seconds since 1970. day: the database of today's request ids, made.
        flagged: everybody's flags in a snapshot. asked: who was asked about whom today.
        publish: makes everything that is durable answerable. wake: says which records were added.
        check_bodies: refuses institutions (uint32[N]) that were succeeded; called where there is one.
    """

    def __init__(
        self,
        store: Store,
        groups: RequestGroups,
        periods: PeriodKeys,
        *,
        catalog: Callable[[], Catalog],
        now: Callable[[], int],
        clock: Callable[[], float],
        day: Callable[[int], str],
        flagged: Callable[[Snapshot], Flagged],
        asked: Asked,
        publish: Callable[[], None],
        wake: Callable[[int, Laid], None],
        check_bodies: Callable[[npt.NDArray[np.uint32]], None],
    ) -> None:
        self.store, self.groups, self.periods = store, groups, periods
        self.catalog, self.now, self.clock, self.day = catalog, now, clock, day
        self.flagged, self.asked, self.publish, self.wake = flagged, asked, publish, wake
        self.check_bodies = check_bodies


class Group(Protocol):
    """A group, ready but for its place in the log."""

    @property
    def basis(self) -> Basis: ...
    @property
    def laid(self) -> Laid: ...
    @property
    def requests(self) -> bytes: ...
    @property
    def marks(self) -> list[NewMark]: ...
    @property
    def owner(self) -> Any: ...
    @property
    def keys(self) -> npt.NDArray[np.uint8]: ...


G = TypeVar("G", bound=Group)


def write_group(parts: Parts, name: str, group: G, lay_again: Callable[[G], G]) -> G:
    """Make a group durable: its records, its requests, and a few keys of earlier ones in the index.

    Returns:
        what was written: another group where aliases, flags or the period had changed since.
    """
    try:
        with parts.store.commit(hurry=True) as commit:
            now = max(int(parts.clock()), commit.state.time)
            if not group.basis.stands(commit.state) or period_of(now) != group.laid.period:
                # Under the writer's lock nothing moves any more.
                group = lay_again(group)
                now = max(now, period_start(group.laid.period))
            number = commit.state.commit
            parts.groups.put(commit, name, group.requests)
            fold = parts.groups.fold(commit, name, FOLD_PER_CALL * len(group.keys))
            first = append_records(commit, group.laid, now)
            put_new_marks(commit, group.marks, group.laid.period, first)
    except BaseException:
        parts.groups.doubt()
        parts.asked.give_up(group.owner)
        raise
    parts.asked.settle(group.owner)
    # Before the calls are no longer under way: the same request id must be found in one of the two.
    parts.groups.note(name, number, group.keys)
    if fold is not None:
        parts.groups.folded(fold)
    parts.wake(first, group.laid)
    return group


def own_error(error: BaseException) -> HubError:
    """An error for one caller: raised in several threads at once, one object would gather all their traces."""
    if isinstance(error, HubError):
        own = copy.copy(error)
        own.__cause__ = error.__cause__
        return own
    logger.error("inquire: a group failed", exc_info=error)
    return StorageError(f"inquire: failed with {type(error).__name__}")
