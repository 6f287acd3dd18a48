"""Which request ids the days that are over may have: a filter in memory for each, made in the background.

Every inquiry's id is looked for in the databases of 31 days, and hardly ever found. A look-up in a tree of a million
ids takes a microsecond, so all of them would cost more than the inquiry itself; of 31 filters it takes less than one.

A filter counts only while the sum of its database (``storage/sealed.py``) is the one that it was made of: whatever is
written to a day, by whatever process, leaves its filter without effect until it is made anew. Days that can still be
written are looked up in their pages, and so are those whose filter is not there yet.
"""

from __future__ import annotations

import logging
import threading

from hub._small import Filter
from hub.errors import HubError
from hub.limits import FILTER_BYTES_MAX, FILTER_FROM, FILTER_STEP
from hub.storage.snapshot import Snapshot
from hub.store import Store

_DAY_S = 86_400
_PREFIX = len("requests.")

logger = logging.getLogger("hub")


class DayFilters:
    """The filters of a store's days, and the thread that makes them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._made: dict[str, tuple[int, Filter]] = {}
        """Name -> the sum of the database and its filter; entries are exchanged, a filter in it never changes."""
        self._lock = threading.Lock()
        """Held while ``_wanted`` and ``_thread`` are read or changed."""
        self._wanted: list[str] = []
        self._left_out: dict[str, int] = {}
        """Days that have no filter, with their sums: too small, or no room."""
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def __repr__(self) -> str:
        return f"DayFilters({len(self._made)})"

    @property
    def bytes(self) -> int:
        """Memory that they take."""
        return sum(filter.bytes for _, filter in list(self._made.values()))

    def of(self, snapshot: Snapshot, names: list[str], now: int) -> tuple[list[Filter], list[str], list[str]]:
        """Filters that are true of a snapshot, their days' names, and the names of all other days."""
        filters, filtered, others, missing = [], [], [], []
        sums, over = snapshot.state.sums, now // _DAY_S - 1
        for name in names:
            total = sums.get(name, 0)
            made = self._made.get(name)
            if made is not None and made[0] == total:
                filters.append(made[1])
                filtered.append(name)
                continue
            others.append(name)
            # Yesterday's may still be written: by a batch that began then, and by folding.
            if int(name[_PREFIX:]) < over and self._left_out.get(name) != total:
                missing.append(name)
        if missing and not self._closing.is_set():
            self._want(missing)
        return filters, filtered, others

    def close(self) -> None:
        """End the thread; may be called again."""
        self._closing.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _want(self, names: list[str]) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._wanted = names
                self._thread = threading.Thread(target=self._work, name="hub-filters", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        try:
            for name in list(self._made):
                if name not in self._store.databases:
                    del self._made[name]
            for name in self._wanted:
                if self._closing.is_set():
                    return
                self._make(name)
        except HubError as error:
            # Without filters the same is found, slower.
            if not self._closing.is_set():
                logger.warning("request ids: %s; looked up without a filter", error)
                self._closing.set()

    def _make(self, name: str) -> None:
        with self._store.snapshot() as snapshot:
            total = snapshot.state.sums.get(name, 0)
            entries = snapshot.pages.entries_of(name.encode())
        self._made.pop(name, None)
        if entries < FILTER_FROM or self.bytes + 2 * entries > FILTER_BYTES_MAX:
            self._left_out[name] = total
            return
        filter, first = Filter(entries), b""
        while not self._closing.is_set():
            # A snapshot each: a long one would keep every page that is rewritten meanwhile.
            with self._store.snapshot() as snapshot:
                if snapshot.state.sums.get(name, 0) != total:
                    return
                last = snapshot.pages.fill(name.encode(), filter, first, FILTER_STEP)
            if last is None:
                self._made[name] = total, filter
                return
            first = last + b"\0"
