"""Sorting the log into the inboxes, so that what is read of it at a time stays bounded (``inbox.py`` has the formats).

Done in the background of the writer, a few providers a transaction, so that no other commit waits long:

    the mark "delivering" names the stretch of the log -> providers ascending, each once -> "delivered" moves to its end

What a step writes follows from the log alone. If the process dies between two, the next one goes on at the provider
that the mark names; a reader takes of each inbox what it has, and the rest from the log behind its own base.
"""

from __future__ import annotations

import bisect
import itertools
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub._deliver import count_permits, place_permits
from hub.errors import StorageError
from hub.limits import INQUIRY_OPEN_DAYS_MAX
from hub.provision.inbox import (
    ARRIVALS,
    BOXES,
    ENTRY,
    INBOX,
    INBOXES,
    OUTCOMES,
    PERMITS,
    PERMITS_PER_SEGMENT,
    Inbox,
    Indexes,
    Later,
    Outcomes,
    Part,
    PermitRows,
    compact,
    join,
    parse_inbox,
    put_inbox,
    put_outcomes,
    put_segment,
    read_delivered,
    read_inbox,
    read_outcomes,
    read_segment,
    segment_key,
    stretch,
)
from hub.provision.tail import ENDING, LEAVING, Rows, ends_of, parts_of, read_chunks
from hub.records.bodies import HEAD, ROW_BYTES, Bodies, Chunk, Fields, Heads
from hub.storage.periods import PeriodKey, PeriodKeys, period_of
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.store import Store

DELIVER_FROM = 1 << 22
"""Records behind the inboxes from which on they are sorted in: a provider of 1,741 gets 2,400 of them, in one value."""

STRETCH_RECORDS_MAX = 1 << 23
"""Records that are sorted in at a time: about 250 MB of memory."""

CHUNKS_FROM = 2_048
"""Chunks behind the inboxes from which on they are sorted in: small ones cost a reader 0.1 ms each."""

FIELDS_FROM = 1 << 24
"""Bytes of chunks' fields behind the inboxes from which on they are sorted in: those of 100,000 small inquiries, whose
permits share nothing, so that a reader holds 500 bytes of each in memory."""

SMALL_SEGMENT = 2_048
"""A segment of fewer permits is written again with others, when there are several of them."""

TINY_SEGMENTS, SMALL_SEGMENTS = 7, 14
"""So many of an eighth of that, or of all small ones, are joined: a permit is written some three times in all."""

FEW_PARTS = 16
"""Decisions of a chunk up to which equal ones are looked for among all chunks: of bulk, whose chunks have the same."""

STEP_BYTES = 1 << 21
"""Written by one transaction, about: 5 ms."""

STEP_INBOXES = 64
"""And so many inboxes: each costs some 30 us however little is written, and whoever writes waits for it."""

CHUNKS_A_SNAPSHOT = 32
"""Chunks that are read from one snapshot: a long one would keep every page that is rewritten meanwhile."""

_MARK = struct.Struct("<QQI")
_DAY_S = 86_400
DROP_AFTER_S = (INQUIRY_OPEN_DAYS_MAX + 1) * _DAY_S
"""A segment whose permits have all ended is dropped so long after the last one was requested: nobody names it."""


Column = npt.NDArray[np.uint32]


class Stretch(NamedTuple):
    """What a stretch of the log does to the inboxes, sorted by provider.

    Attributes:
        base: index of its first record. offsets: uint32[N] of its permits behind that; persons, which, parts: as of
            ``PermitRows``. starts: int64[131073], where those of each inbox begin. links, ends: as of ``tail.Changes``.
        ended_of: uint32[M], the inboxes of those, ascending. boxes: all inboxes, those that get nothing too, ascending.
    """

    base: int
    offsets: Column
    persons: Column
    which: Column
    parts: list[Part]
    starts: npt.NDArray[np.int64]
    links: Indexes
    ends: Outcomes
    ended_of: npt.NDArray[np.uint32]
    boxes: list[int]

    def __repr__(self) -> str:
        return f"Stretch(left={len(self.persons)}, ended={len(self.ended_of)})"

    def permits(self, inbox: int) -> PermitRows:
        """The permits of an inbox, in the order of the log."""
        rows = slice(*self.starts[inbox : inbox + 2].tolist())
        # Indexes are made of an inbox at a time: of all eight million, others would wait 30 ms for the interpreter.
        indexes = self.offsets[rows] + np.uint64(self.base)
        return PermitRows(indexes, self.persons[rows], self.which[rows], self.parts)


class Mark(NamedTuple):
    """A stretch that is being sorted in: records from ``begin`` to before ``end``, and the next provider."""

    begin: int
    end: int
    provider: int


def read_mark(snapshot: Snapshot | Commit) -> Mark | None:
    """The stretch that is being sorted in, or None."""
    value = snapshot.get(INBOX, b"delivering")
    return None if value is None else Mark(*_MARK.unpack(unseal(INBOX, b"delivering", value)))


class Counted(NamedTuple):
    """What is behind the inboxes from ``base`` to before ``upto``: chunks, and bytes of their fields."""

    base: int
    upto: int
    chunks: int
    fields: int


class Deliverer:
    """Sorts the log of a store into its inboxes. Steps are done by one thread at a time: under a lock of the caller.

    Nothing else writes the inboxes, so that what a step writes is put together from a snapshot before it takes the
    writer's lock.

    Args:
        rest: called every 0.1 ms of work or so, where no lock but the caller's is held.
    """

    def __init__(self, store: Store, periods: PeriodKeys, rest: Callable[[], None] = lambda: None) -> None:
        self._store, self._periods, self.rest = store, periods, rest
        self._heads = Heads()
        self._mark: Mark | None = None
        self._stretch: Stretch | None = None
        self._counted = Counted(0, 0, 0, 0)

    def __repr__(self) -> str:
        return "Deliverer()"

    def behind(self) -> int:
        """Records of the log that are in no inbox yet."""
        with self._store.snapshot() as snapshot:
            return snapshot.state.records - read_delivered(snapshot)

    def _is_much(self, snapshot: Snapshot, delivered: int) -> bool:
        """Whether so many chunks, or so much that permits do not share, is behind; nothing is counted twice."""
        counted = self._counted if self._counted.base == delivered else Counted(delivered, delivered, 0, 0)
        chunks = snapshot.items("records", counted.upto.to_bytes(8, "big"), limit=CHUNKS_FROM - counted.chunks)
        if chunks:
            fields = sum(HEAD.unpack_from(value)[6] for _, value in chunks)
            upto = int.from_bytes(chunks[-1][0], "big") + 1
            counted = Counted(delivered, upto, counted.chunks + len(chunks), counted.fields + fields)
        self._counted = counted
        return counted.chunks >= CHUNKS_FROM or counted.fields >= FIELDS_FROM

    def is_due(self) -> bool:
        """Whether so much is behind that it should be sorted in, or a stretch was begun."""
        with self._store.snapshot() as snapshot:
            if read_mark(snapshot) is not None:
                return True
            delivered = read_delivered(snapshot)
            behind = snapshot.state.records - delivered
            return behind >= DELIVER_FROM or (behind > 0 and self._is_much(snapshot, delivered))

    def step(self) -> bool:
        """Sort in the next few providers; False where nothing is behind.

        Raises:
            StorageError: a chunk or a segment is damaged, or the disk failed; nothing of the step was kept.
        """
        with self._store.snapshot() as snapshot:
            # An inbox that is not found would be begun anew, and what it had be lost.
            for name in (INBOX, INBOXES):
                self._store.compare_sum(snapshot, name)
            mark = read_mark(snapshot)
            records = snapshot.state.records
            delivered = read_delivered(snapshot)
        if mark is None:
            if delivered == records:
                return False
            mark = Mark(delivered, self._end_of(delivered), 0)
        if self._stretch is None or self._mark is None or self._mark[:2] != mark[:2]:
            self._stretch = self._read(mark)
        self._mark = mark
        now = max(self._time(), 0)
        key = self._periods.make(period_of(now))
        later = Later()
        provider = self._prepare(later, mark, key, now)
        if provider is None:
            later.put_sealed(INBOX, b"delivered", mark.end.to_bytes(8, "little"))
            later.delete(INBOX, b"delivering")
        else:
            mark = mark._replace(provider=provider)
            later.put_sealed(INBOX, b"delivering", _MARK.pack(*mark))
        with self._store.commit() as commit:
            later.write(commit)
        self._mark = mark
        if provider is None:
            self._mark = self._stretch = None
            self._counted = Counted(0, 0, 0, 0)
        return True

    def _time(self) -> int:
        with self._store.snapshot() as snapshot:
            return snapshot.state.time

    def _end_of(self, begin: int) -> int:
        """Where a stretch ends: between two chunks."""
        with self._store.snapshot() as snapshot:
            found = snapshot.items("records", (begin + STRETCH_RECORDS_MAX).to_bytes(8, "big"), limit=1)
            return int.from_bytes(found[0][0], "big") if found else snapshot.state.records

    def _read(self, mark: Mark) -> Stretch:
        chunks: list[tuple[int, Fields, Rows]] = []
        counts = np.zeros(BOXES, dtype=np.uint32)
        at = mark.begin
        while at < mark.end:
            with self._store.snapshot() as snapshot:
                bodies = Bodies(snapshot, self._periods, self._heads)
                found = list(self._some(read_chunks(snapshot, bodies, at, mark.end)))
            if not found:
                break
            for chunk, table in found:
                chunks.append((chunk.first, chunk.fields, table))
                count_permits(_plain(table), LEAVING, counts)
            at = chunk.first + chunk.rows
        placed = self._place(chunks, counts)
        several = [self._join_ends(chunks, arrivals=arrivals) for arrivals in (False, True)]
        links = np.concatenate([one[0] for one in several])
        words = np.concatenate([one[1] for one in several])
        released = np.concatenate([one[2] for one in several])
        ended_of = np.concatenate([one[3] for one in several])
        with self._store.snapshot() as snapshot:
            stored = [int.from_bytes(name, "big") for name, _ in snapshot.items(INBOXES, b"")]
        boxes = sorted({*stored, *np.flatnonzero(counts).tolist(), *np.unique(ended_of).tolist()})
        return Stretch(*placed, links, Outcomes(words, released), ended_of, boxes)

    def _some(self, chunks: Iterator[tuple[Chunk, Rows]]) -> Iterator[tuple[Chunk, Rows]]:
        """The first few, with a rest behind each."""
        for one in itertools.islice(chunks, CHUNKS_A_SNAPSHOT):
            yield one
            self.rest()

    def _join_ends(
        self, chunks: list[tuple[int, Fields, Rows]], *, arrivals: bool
    ) -> tuple[Indexes, npt.NDArray[np.uint64], npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
        """Links, words, released and inboxes of the permits, or arrivals, that some chunks end, sorted by inbox."""
        ends = []
        for first, fields, table in chunks:
            if (ENDING[table["kind"]] == 1 + arrivals).any():
                ends.append(ends_of(first, fields, table, arrivals=arrivals))
            self.rest()
        links = np.concatenate([np.empty(0, np.uint64), *(one[0] for one in ends)])
        words = np.concatenate([np.empty(0, np.uint64), *(one[1].words for one in ends)])
        released = np.concatenate([np.empty(0, np.uint32), *(one[1].released for one in ends)])
        provider = np.concatenate([np.empty(0, np.uint16), *(one[2] for one in ends)])
        # Of 16 bits, as they are here, they are sorted several times as fast as with the inbox's bit.
        by = np.argsort(provider, kind="stable")
        boxes = provider[by].astype(np.uint32) + np.uint32(ARRIVALS * arrivals)
        return links[by], words[by], released[by], boxes

    def _place(
        self, chunks: list[tuple[int, Fields, Rows]], counts: npt.NDArray[np.uint32]
    ) -> tuple[int, Column, Column, Column, list[Part], npt.NDArray[np.int64]]:
        """The permits of some chunks by inbox, in the order of the log: the first fields of :class:`Stretch`."""
        starts = np.zeros(BOXES + 1, dtype=np.int64)
        np.cumsum(counts, out=starts[1:])
        places = starts[:-1].astype(np.uint32)
        offsets, persons, which = (np.empty(int(starts[-1]), np.uint32) for _ in range(3))
        parts: list[Part] = []
        numbers: dict[Part, int] = {}
        base = chunks[0][0] if chunks else 0
        for first, fields, table in chunks:
            own = parts_of(fields)
            if len(own) > FEW_PARTS:
                # Of single inquiries, no two alike; each inbox looks at its own.
                shared = np.arange(len(parts), len(parts) + len(own), dtype=np.uint32)
                parts += own
            else:
                for one in own:
                    if one not in numbers:
                        numbers[one] = len(parts)
                        parts.append(one)
                shared = np.array([numbers[one] for one in own], np.uint32)
            try:
                place_permits(_plain(table), LEAVING, first - base, shared, places, offsets, persons, which)
            except IndexError:
                raise StorageError(f"records from {first}: expected decisions of the chunk, got another") from None
            self.rest()
        return base, offsets, persons, which, parts, starts

    def _prepare(self, later: Later, mark: Mark, key: PeriodKey, now: int) -> int | None:
        """Sort in some providers from the mark's on; the next one, or None where that was the last."""
        found = self._stretch
        assert found is not None
        written = inboxes = 0
        with self._store.snapshot() as snapshot:
            for number in found.boxes[bisect.bisect_left(found.boxes, mark.provider) :]:
                if written >= STEP_BYTES or inboxes >= STEP_INBOXES:
                    return number
                before = written
                written += self._sort_in(later, snapshot, found, mark, number, key, now)
                inboxes += written > before
                self.rest()
        return None

    def _sort_in(
        self, later: Later, snapshot: Snapshot, found: Stretch, mark: Mark, number: int, key: PeriodKey, now: int
    ) -> int:
        """Sort what there is into one provider's inbox; returns about how many bytes were written."""
        inbox = read_inbox(snapshot, number)
        if inbox.base >= mark.end:
            return 0
        permits = found.permits(number)
        begin, end = stretch(found.ended_of, number, number + 1)
        links = found.links[begin:end]
        order = np.argsort(links, kind="stable")
        links = links[order]
        words, released = found.ends.words[begin:end][order], found.ends.released[begin:end][order]
        entries, written = self._drop(later, inbox, now)
        kept = _kept(entries["permits"]) if len(permits.indexes) else len(entries)
        fresh, before = [], []
        for entry in entries[kept:]:
            fresh.append(read_segment(snapshot, self._periods, number, entry))
            before.append(read_outcomes(snapshot, number, entry))
            later.delete(PERMITS, segment_key(number, int(entry["first"])))
            later.delete(OUTCOMES, segment_key(number, int(entry["first"])))
        entries = entries[:kept]
        if len(permits.indexes):
            fresh.append(compact(permits))
        for i in range(len(entries)):
            entry = entries[i : i + 1]
            low, high = stretch(links, int(entry[0]["first"]), int(entry[0]["last"]) + 1)
            if low < high:
                ends = Outcomes(words[low:high], released[low:high])
                written += self._end(later, snapshot, number, entry, links[low:high], ends)
        joined = join(fresh)
        state = Outcomes(np.zeros(len(joined.indexes), np.uint64), np.zeros(len(joined.indexes), np.uint32))
        at = 0
        for segment, outcomes in zip(fresh, before, strict=False):
            if outcomes is not None:
                state.words[at : at + len(outcomes.words)] = outcomes.words
                state.released[at : at + len(outcomes.words)] = outcomes.released
            at += len(segment.indexes)
        _enter(joined.indexes, state, links, words, released)
        made = []
        for start in range(0, len(joined.indexes), PERMITS_PER_SEGMENT):
            rows = slice(start, start + PERMITS_PER_SEGMENT)
            segment = PermitRows(joined.indexes[rows], joined.persons[rows], joined.which[rows], joined.parts)
            if len(segment.indexes) < len(joined.indexes):
                segment = compact(segment)
            outcomes = Outcomes(state.words[rows], state.released[rows])
            put_segment(later, key, number, segment)
            written += 12 * len(segment.indexes) + 400
            if outcomes.words.any():
                put_outcomes(later, number, int(segment.indexes[0]), outcomes)
                written += 12 * len(segment.indexes)
            made.append(make_entry(segment, outcomes))
        put_inbox(later, Inbox(number, mark.end, np.concatenate([entries, *made])))
        return written + ENTRY.itemsize * (len(entries) + len(made)) + 200

    def _drop(self, later: Later, inbox: Inbox, now: int) -> tuple[npt.NDArray[np.void], int]:
        """Leave out the segments that nobody can ask for any more; the others, to be changed."""
        entries = inbox.entries.copy()
        gone = (entries["open"] == 0) & (entries["requested"] + DROP_AFTER_S < now)
        for first in entries["first"][gone].tolist():
            later.delete(PERMITS, segment_key(inbox.provider, first))
            later.delete(OUTCOMES, segment_key(inbox.provider, first))
        return entries[~gone], 4096 * int(np.count_nonzero(gone))

    def _end(
        self, later: Later, snapshot: Snapshot, number: int, entry: npt.NDArray[np.void], links: Indexes,
        ends: Outcomes,
    ) -> int:  # fmt: skip
        """Enter ends of permits into a segment that is there already."""
        segment = read_segment(snapshot, self._periods, number, entry[0])
        before = read_outcomes(snapshot, number, entry[0])
        n = len(segment.indexes)
        state = Outcomes(np.zeros(n, np.uint64), np.zeros(n, np.uint32))
        if before is not None:
            state.words[:], state.released[:] = before.words, before.released
        _enter(segment.indexes, state, links, ends.words, ends.released)
        put_outcomes(later, number, int(entry[0]["first"]), state)
        entry[:] = make_entry(segment, state)
        return 12 * n


def _kept(permits: npt.NDArray[np.uint32]) -> int:
    """How many segments (with so many permits each) stay as they are where permits are added."""
    tiny = _small_ones(permits, SMALL_SEGMENT // 8)
    small = _small_ones(permits, SMALL_SEGMENT)
    return len(permits) - (small if small >= SMALL_SEGMENTS else tiny if tiny >= TINY_SEGMENTS else 0)


def _small_ones(permits: npt.NDArray[np.uint32], below: int) -> int:
    """How many of the last segments have fewer permits."""
    large = np.flatnonzero(permits >= below)
    return len(permits) - (int(large[-1]) + 1 if len(large) else 0)


def _plain(table: Rows) -> npt.NDArray[np.uint8]:
    return table.view(np.uint8).reshape(-1, ROW_BYTES)


def _enter(
    indexes: Indexes, state: Outcomes, links: Indexes, words: npt.NDArray[np.uint64], released: npt.NDArray[np.uint32]
) -> None:
    """Enter those ends (sorted by link) whose permits are among these (ascending)."""
    if not len(indexes) or not len(links):
        return
    low, high = stretch(links, int(indexes[0]), int(indexes[-1]) + 1)
    links, words, released = links[low:high], words[low:high], released[low:high]
    place = np.searchsorted(indexes, links)
    if (indexes[place] != links).any() or state.words[place].any() or (links[1:] == links[:-1]).any():
        raise StorageError("inbox: expected ends of open permits in the log, got another")
    state.words[place], state.released[place] = words, released


def make_entry(segment: PermitRows, outcomes: Outcomes) -> npt.NDArray[np.void]:
    """What an inbox says of a segment: ``ENTRY``[1]."""
    entry = np.zeros(1, ENTRY)
    waiting = outcomes.words == 0
    deadlines = np.array([part.deadline for part in segment.parts], dtype=np.int64)
    entry["first"], entry["last"] = segment.indexes[0], segment.indexes[-1]
    entry["permits"], entry["open"] = len(segment.indexes), np.count_nonzero(waiting)
    entry["deadline"] = deadlines[segment.which[waiting]].min() if waiting.any() else 0
    entry["requested"] = max(part.requested_at for part in segment.parts)
    entry["released"] = outcomes.released.max()
    return entry


def all_inboxes(snapshot: Snapshot) -> list[Inbox]:
    """Every inbox, by provider."""
    return [parse_inbox(key, value) for key, value in snapshot.items(INBOXES, b"")]
