"""The exchange between two institutions: permits that wait for a provider, its answers, deadlines.

A permitted row of an inquiry is a state machine, and every step of it is a record of the log:

    OK (a permit waits) -> PROVIDED | EMPTY | NO_RECORD | REFUSED (a provision) | LAPSED (a lapse)

What is sent unasked (``sending/send.py``) is one as well, in inboxes of its own: OK (an arrival waits) -> TAKEN, by its
receiver or not in its time. Below, a "provider" is the number of an inbox (``inbox.ARRIVALS``).

MANUAL (a clerk must decide) is no step: only the provider sees it, for everybody else the row stays PENDING. All of it
is read from the log and from what was sorted out of it (``provision/inbox.py``, ``provision/tail.py``); permits of one
provider change state under its lock, so that each ends once. If the process dies before a commit nothing happened;
behind it the same answer given again is accepted and recorded no second time.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub.errors import RequestError
from hub.messages import Kind
from hub.provision.deliver import all_inboxes
from hub.provision.inbox import (
    ENTRY,
    INBOX,
    INBOXES,
    MANUAL,
    Inbox,
    Indexes,
    Outcomes,
    Part,
    PermitRows,
    ended_by,
    join,
    read_delivered,
    read_inbox,
    read_manual,
    read_outcomes,
    read_segment,
    segment_key,
    stretch,
)
from hub.provision.tail import SMALL_ROWS, Tail
from hub.records.bodies import Bodies, Fields, Heads, Joined
from hub.storage.periods import OpenedKeys, PeriodKeys
from hub.storage.snapshot import Snapshot
from hub.store import Store

NOTED_ROWS_MAX = 1 << 14
"""Rows of small inquiries that wait in memory until somebody asks for permits, half a kilobyte each; of more, the log
is read again."""

SPAN_PER_ROW, SPAN_MIN = 16, 1 << 14
"""Permits that stand so close to each other in the log are entered into a column over all of that stretch."""


class Open(NamedTuple):
    """Permits of a provider in a stretch of the log, and what became of them."""

    rows: PermitRows
    outcomes: Outcomes

    def __repr__(self) -> str:
        return f"Open({len(self.rows.indexes)})"


class Seen(NamedTuple):
    """What a provider names in an answer.

    Attributes:
        found: bool[N], whether it is one of its permits. persons: uint32[N]; which: uint32[N], place in ``parts``: both
            only of permits that are open or in a segment. outcomes: what became of them.
    """

    found: npt.NDArray[np.bool_]
    persons: npt.NDArray[np.uint32]
    which: npt.NDArray[np.uint32]
    parts: list[Part]
    outcomes: Outcomes

    def __repr__(self) -> str:
        return f"Seen({len(self.found)})"


class Exchange:
    """Reads the state of permits; shared by all threads of a process."""

    def __init__(self, store: Store, periods: PeriodKeys) -> None:
        self._store, self._periods = store, periods
        self._heads = Heads()
        self._tail: Tail | None = None
        self._noted: list[tuple[int, Joined, npt.NDArray[np.void]]] = []
        """Chunks of small inquiries behind the tail, that it has not taken yet, each where the one before ends."""
        self._noted_rows = 0
        self._lock = threading.RLock()
        """Held while the tail is read or grows; taken after a snapshot."""
        self._providers: dict[int, threading.RLock] = {}

    def __repr__(self) -> str:
        return "Exchange()"

    def lock(self, provider: int) -> threading.RLock:
        """Held by who changes the state of a provider's permits; taken before the writer's, several by number."""
        return self._providers.get(provider) or self._providers.setdefault(provider, threading.RLock())

    @contextlib.contextmanager
    def state(self) -> Iterator[State]:
        """The newest state, held until the block ends.

        Raises:
            StorageError: an inbox is damaged or missing: what it had would be no one's permit any more.
        """
        with self._store.snapshot() as snapshot:
            for name in (INBOX, INBOXES):
                self._store.compare_sum(snapshot, name)
            yield State(self._store, snapshot, OpenedKeys(self._periods), self._lock, self._tail_of(snapshot))

    def note(self, first: int, fields: Fields | Joined, table: npt.NDArray[np.void]) -> None:
        """Say that a chunk of records is durable: where it follows what was read, it is not read again.

        A large one of inquiries, or of what was sent, is left to who asks for its permits.
        """
        if len(table) > SMALL_ROWS and int(table[0]["kind"]) in _LEFT:
            return
        with self._lock:
            if self._tail is None or self._upto != first:
                return
            if isinstance(fields, Joined):
                # Taken when somebody asks: row by row it costs as much as all the rest of an inquiry.
                if self._noted_rows < NOTED_ROWS_MAX:
                    self._noted.append((first, fields, table))
                    self._noted_rows += len(table)
                return
            self._take_noted()
            self._tail.take(first, fields, table)

    @property
    def _upto(self) -> int:
        """Up to where the tail has, or can take, all records."""
        assert self._tail is not None
        return self._noted[-1][0] + len(self._noted[-1][2]) if self._noted else self._tail.upto

    def _take_noted(self) -> None:
        """Let the tail take what was noted, where it has not read it from the log meanwhile."""
        assert self._tail is not None
        for first, fields, table in self._noted:
            if first == self._tail.upto:
                self._tail.take(first, fields.fields(), table)
        self._noted.clear()
        self._noted_rows = 0

    def _tail_of(self, snapshot: Snapshot) -> Tail:
        base = read_delivered(snapshot)
        with self._lock:
            tail = self._tail
            if tail is None or tail.base != base:
                fresh = Tail(base)
                # Another thread may hold an older snapshot, whose inboxes end earlier: it reads a tail of its own.
                if tail is None or tail.base < base:
                    self._tail = fresh
                tail = fresh
            if tail is self._tail:
                self._take_noted()
            if tail.upto < snapshot.state.records:
                tail.read(snapshot, Bodies(snapshot, self._periods, self._heads))
            return tail


class State:
    """The permits as of one snapshot; ends that came behind it may already be seen."""

    def __init__(
        self, store: Store, snapshot: Snapshot, periods: OpenedKeys, lock: threading.RLock, tail: Tail
    ) -> None:
        self.snapshot = snapshot
        self.periods = periods
        self._store, self._lock, self._tail = store, lock, tail

    def __repr__(self) -> str:
        return "State()"

    def inbox(self, provider: int) -> Inbox:
        """A provider's inbox."""
        return read_inbox(self.snapshot, provider)

    def manual(self, provider: int) -> set[int]:
        """Indexes of the permits that a provider answered MANUAL and that have not ended.

        Raises:
            StorageError: one is damaged or missing: a machine's answer would take a clerk's place.
        """
        self._store.compare_sum(self.snapshot, MANUAL)
        return read_manual(self.snapshot, provider)

    def manual_among(self, provider: int, indexes: Indexes) -> set[int]:
        """Of these permits (uint64[N]) those that were answered MANUAL, as :meth:`manual`."""
        self._store.compare_sum(self.snapshot, MANUAL)
        low, high = segment_key(provider, 0), segment_key(provider + 1, 0)
        if not self.snapshot.items(MANUAL, low, high, limit=1):
            return set()
        return {
            index
            for index in indexes.tolist()
            if self.snapshot.get(MANUAL, segment_key(provider, index)) is not None
        }

    def between(self, inbox: Inbox, first: int, below: int, *, waiting: bool, due: int | None = None) -> Open:
        """The permits of a provider whose records have an index in this range, in the order of the log.

        Args:
            waiting: only those that are open. due: segments without an open permit that lapses by then are left out.
        """
        rows: list[PermitRows] = []
        states: list[Outcomes] = []
        entries = inbox.entries
        low, _ = stretch(entries["last"], first, first)
        for entry in entries[low:]:
            if int(entry["first"]) >= below:
                break
            if waiting and not int(entry["open"]):
                continue
            if due is not None and int(entry["deadline"]) > due:
                continue
            one = self._segment(inbox.provider, entry)
            begin, end = stretch(one.rows.indexes, first, below)
            rows.append(_cut(one.rows, slice(begin, end)))
            states.append(Outcomes(one.outcomes.words[begin:end], one.outcomes.released[begin:end]))
        with self._lock:
            left = self._tail.left(inbox.provider, max(first, inbox.base), below)
            rows.append(left)
            states.append(_none(len(left.indexes)))
            joined = join(rows)
            outcomes = Outcomes(
                np.concatenate([one.words for one in states]), np.concatenate([one.released for one in states])
            )
            self._tail.end(inbox.provider, joined.indexes, outcomes)
        if waiting and outcomes.words.any():
            at = outcomes.words == 0
            return Open(_cut(joined, at), Outcomes(outcomes.words[at], outcomes.released[at]))
        return Open(joined, outcomes)

    def see(self, provider: int, indexes: Indexes) -> Seen:
        """What a provider's answer names: uint64[N], any order, untrusted.

        Raises:
            RequestError: one is there twice.
        """
        order = np.argsort(indexes)
        inbox = self.inbox(provider)
        n = len(indexes)
        sorted_indexes = indexes[order]
        if (sorted_indexes[1:] == sorted_indexes[:-1]).any():
            raise RequestError("permits: expected each once, got one twice")
        seen = Seen(np.zeros(n, np.bool_), np.zeros(n, np.uint32), np.zeros(n, np.uint32), [], _none(n))
        outcomes = seen.outcomes
        place = np.searchsorted(inbox.entries["first"], sorted_indexes, side="right") - 1
        for number in np.unique(place[place >= 0]).tolist():
            at = np.flatnonzero((place == number) & (sorted_indexes <= inbox.entries[number]["last"]))
            if len(at):
                one = self._segment(provider, inbox.entries[number])
                _enter(seen, one, at, sorted_indexes)
        at = np.flatnonzero((sorted_indexes >= inbox.base) & (sorted_indexes < self._tail.upto))
        with self._lock:
            if len(at):
                low, high = int(sorted_indexes[at[0]]), int(sorted_indexes[at[-1]]) + 1
                left = self._tail.left(provider, low, high)
                _enter(seen, Open(left, _none(len(left.indexes))), at, sorted_indexes)
            self._tail.end(provider, sorted_indexes, outcomes)
        seen.found[outcomes.words != 0] = True
        back = np.empty(n, dtype=np.intp)
        back[order] = np.arange(n)
        which, parts = seen.which[back], seen.parts
        if len(parts) > n:
            # Of a segment of many small inquiries a few permits: what is not named here is not to be decoded either.
            used, place = np.unique(which, return_inverse=True)
            which, parts = place.astype(np.uint32), [parts[one] for one in used.tolist()]
        outcomes = Outcomes(outcomes.words[back], outcomes.released[back])
        return Seen(seen.found[back], seen.persons[back], which, parts, outcomes)

    def ends(self, inboxes: Sequence[Inbox], indexes: Indexes) -> Outcomes:
        """What became of permits (uint64[N], any order) of these providers; nothing where they have none of them.

        Only what the snapshot has: an end that came behind it has no payload there yet.
        """
        if not len(indexes):
            return _none(0)
        first, last = int(indexes.min()), int(indexes.max())
        span = last + 1 - first
        if span > SPAN_PER_ROW * len(indexes) + SPAN_MIN:
            order = np.argsort(indexes)
            found = self._ends_among(inboxes, indexes[order])
            back = np.empty(len(order), dtype=np.intp)
            back[order] = np.arange(len(order))
            at = back
        else:
            # Rows of one request are neighbours in the log: each end has a place of its own, and nothing is searched.
            found = _none(span)
            for inbox in inboxes:
                self._ends_from(inbox, first, found)
            at = (indexes - np.uint64(first)).astype(np.intp)
        words, released = found.words[at], found.released[at]
        behind = ended_by(words) >= self.snapshot.state.records
        if behind.any():
            words[behind] = released[behind] = 0
        return Outcomes(words, released)

    def _ends_from(self, inbox: Inbox, first: int, found: Outcomes) -> None:
        """Enter a provider's ends, each at its index - first."""
        base, below = np.uint64(first), first + len(found.words)
        for entry in self._ended_entries(inbox, first, below):
            one = self._segment(inbox.provider, entry)
            low, high = stretch(one.rows.indexes, first, below)
            place = (one.rows.indexes[low:high] - base).astype(np.intp)
            found.words[place] = one.outcomes.words[low:high]
            found.released[place] = one.outcomes.released[low:high]
        with self._lock:
            self._tail.end_from(inbox.provider, first, found)

    def _ends_among(self, inboxes: Sequence[Inbox], indexes: Indexes) -> Outcomes:
        """The ends of these permits, ascending."""
        found = _none(len(indexes))
        for inbox in inboxes:
            for entry in self._ended_entries(inbox, int(indexes[0]), int(indexes[-1]) + 1):
                one = self._segment(inbox.provider, entry)
                place = np.minimum(np.searchsorted(indexes, one.rows.indexes), len(indexes) - 1)
                hit = indexes[place] == one.rows.indexes
                found.words[place[hit]] = one.outcomes.words[hit]
                found.released[place[hit]] = one.outcomes.released[hit]
            with self._lock:
                self._tail.end(inbox.provider, indexes, found)
        return found

    def _ended_entries(self, inbox: Inbox, first: int, below: int) -> list[np.void]:
        """Entries of segments with ends of permits in this range."""
        entries = inbox.entries
        some = (entries["last"] >= np.uint64(first)) & (entries["first"] < np.uint64(below))
        return list(entries[some & (entries["open"] < entries["permits"])])

    def providers(self) -> list[Inbox]:
        """Every inbox that ever had a permit, or an arrival."""
        stored = all_inboxes(self.snapshot)
        known = {inbox.provider for inbox in stored}
        base = self._tail.base
        with self._lock:
            fresh = [number for number in self._tail.providers() if number not in known]
        return stored + [Inbox(number, base, _NO_ENTRIES) for number in fresh]

    def has_left(self, provider: int) -> bool:
        """Whether some of a provider's permits are not sorted in yet."""
        with self._lock:
            return self._tail.has_left(provider)

    def _segment(self, provider: int, entry: np.void) -> Open:
        rows = read_segment(self.snapshot, self.periods, provider, entry)
        return Open(rows, read_outcomes(self.snapshot, provider, entry) or _none(len(rows.indexes)))


_LEFT = frozenset(map(int, (Kind.INQUIRY, Kind.PUSH, Kind.UPDATE, Kind.NOTICE)))
_NO_ENTRIES = np.empty(0, ENTRY)


def _none(n: int) -> Outcomes:
    return Outcomes(np.zeros(n, np.uint64), np.zeros(n, np.uint32))


def _cut(rows: PermitRows, at: slice | npt.NDArray[np.bool_]) -> PermitRows:
    return PermitRows(rows.indexes[at], rows.persons[at], rows.which[at], rows.parts)


def _enter(seen: Seen, one: Open, at: npt.NDArray[np.intp], indexes: Indexes) -> None:
    """Enter those permits that are among the named ones at these places (indexes ascending)."""
    if not len(one.rows.indexes):
        return
    place = np.minimum(np.searchsorted(one.rows.indexes, indexes[at]), len(one.rows.indexes) - 1)
    hit = one.rows.indexes[place] == indexes[at]
    at, place = at[hit], place[hit]
    seen.found[at] = True
    seen.persons[at] = one.rows.persons[place]
    seen.which[at] = one.rows.which[place] + np.uint32(len(seen.parts))
    seen.parts.extend(one.rows.parts)
    seen.outcomes.words[at], seen.outcomes.released[at] = one.outcomes.words[place], one.outcomes.released[place]
