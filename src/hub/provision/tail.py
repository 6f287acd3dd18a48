"""The log behind the inboxes: permits and their ends, read from the records themselves.

What a record does to the inboxes:

| kind | outcome | |
|---|---|---|
| INQUIRY, RELEASE | OK | leaves a permit with its provider |
| PROVISION, LAPSE | any | ends the permit that the linked record left |
| PUSH, UPDATE | OK | leaves an arrival with its provider, in another inbox than its permits: ``inbox.ARRIVALS`` |
| TAKEN | any | ends the arrival that the linked record left |

So the state of every permit is in the log, and nothing more has to be made durable when one is left or answered. A
process reads the chunks that came since it last looked; how many there can be is bounded by ``deliver.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub._deliver import unsupervised
from hub.messages import Kind, Status
from hub.provision.inbox import ARRIVALS, Indexes, Outcomes, Part, PermitRows, join, stretch, word
from hub.records.bodies import ROW, Bodies, Chunk, Fields, KeyGoneError
from hub.storage.snapshot import Snapshot
from hub.tlog.entry import decode_shared, unsupervise

SMALL_ROWS = 64
"""Permits of one chunk and provider up to which each is kept by itself."""

BULK_ENDS_MAX = 8
"""Arrays of ends of one provider that are searched one by one; more are joined."""

Rows = npt.NDArray[np.void]

# As plain ints: a member of an enum is compared ten times as slowly.
_LEAVING = frozenset(map(int, (Kind.INQUIRY, Kind.RELEASE, Kind.PUSH, Kind.UPDATE)))
_ENDING = frozenset(map(int, (Kind.PROVISION, Kind.LAPSE, Kind.TAKEN)))
_ARRIVING = frozenset(map(int, (Kind.PUSH, Kind.UPDATE, Kind.TAKEN)))
_WITH_REASON = frozenset(map(int, (Status.REFUSED, Status.NO_RECORD)))
_KINDS = np.arange(256)
# Of each kind: 0 nothing, 1 of the inbox of permits, 2 of that of arrivals.
LEAVING = (np.isin(_KINDS, sorted(_LEAVING)) * (1 + np.isin(_KINDS, sorted(_ARRIVING)))).astype(np.uint8)
"""uint8[256]: kinds of records that leave something where their outcome is OK: 1 a permit, 2 an arrival."""
ENDING = (np.isin(_KINDS, sorted(_ENDING)) * (1 + np.isin(_KINDS, sorted(_ARRIVING)))).astype(np.uint8)
"""uint8[256]: kinds of records that end something: 1 a permit, 2 an arrival."""


class Changes(NamedTuple):
    """What a chunk of records does to the inboxes.

    Attributes:
        left: permits that it leaves, sorted by inbox; numbers: their inboxes, starts: where each begins, and the
            end. ended: links, words and released of those that it ends, in the same form.
        end: index behind the chunk.
    """

    left: PermitRows
    numbers: list[int]
    starts: list[int]
    links: Indexes
    ends: Outcomes
    ended_numbers: list[int]
    ended_starts: list[int]
    end: int

    def __repr__(self) -> str:
        return f"Changes(left={len(self.left.indexes)}, ended={len(self.links)})"


def read_chunks(snapshot: Snapshot, bodies: Bodies, first: int, below: int) -> Iterator[tuple[Chunk, Rows]]:
    """The chunks from ``first`` on, to before ``below``, with their rows (``ROW``[N]); erased ones are left out.

    Raises:
        StorageError: a chunk is damaged.
    """
    while first < below:
        found = snapshot.items("records", first.to_bytes(8, "big"), limit=1)
        if not found or int.from_bytes(found[0][0], "big") >= below:
            return
        first = int.from_bytes(found[0][0], "big")
        try:
            chunk, rows = bodies.whole(first)
        except KeyGoneError:
            first += 1
            continue
        yield chunk, rows.view(ROW)[:, 0]
        first = chunk.first + chunk.rows


def read_changes(snapshot: Snapshot, bodies: Bodies, first: int, below: int) -> Iterator[Changes]:
    """What the chunks from ``first`` on, to before ``below``, do to the inboxes; see :func:`read_chunks`."""
    for chunk, table in read_chunks(snapshot, bodies, first, below):
        yield changes_of(chunk.first, chunk.fields, table)


def changes_of(first: int, fields: Fields, table: Rows) -> Changes:
    """What a chunk of records (``ROW``[N]) whose first has this index does to the inboxes."""
    kind, provider = table["kind"], table["provider"]
    leaves, ends = LEAVING.take(kind) * (table["outcome"] == Status.OK), ENDING.take(kind)
    at, numbers, starts = _by_inbox(leaves, provider)
    decision = table["decision"][at].astype(np.uint32)
    parts: list[Part] = []
    place = np.zeros(len(fields.shared), dtype=np.uint32)
    for one in np.flatnonzero(np.bincount(decision, minlength=1)).tolist():
        place[one] = len(parts)
        parts.append(part_of(fields, one))
    base = np.uint64(first)
    left = PermitRows(at.astype(np.uint64) + base, table["person"][at], place[decision], parts)
    at, ended_numbers, ended_starts = _by_inbox(ends, provider)
    links, outcomes = _ends(fields, table, at, base)
    return Changes(left, numbers, starts, links, outcomes, ended_numbers, ended_starts, first + len(table))


def ends_of(
    first: int, fields: Fields, table: Rows, *, arrivals: bool
) -> tuple[Indexes, Outcomes, npt.NDArray[np.uint16]]:
    """Links, ends and providers of the permits, or of the arrivals, that a chunk ends, in the order of its records."""
    at = np.flatnonzero(ENDING[table["kind"]] == 1 + arrivals)
    links, ends = _ends(fields, table, at, np.uint64(first))
    return links, ends, table["provider"][at]


def part_of(fields: Fields, decision: int) -> Part:
    """What permits of this decision of a chunk have in common."""
    deadline = fields.moments[decision] if fields.moments else 0
    return Part(unsupervise(fields.shared[decision]), fields.times[decision][0], deadline)


def parts_of(fields: Fields) -> list[Part]:
    """What permits have in common, of each decision of a chunk; in small chunks each permit has its own."""
    shared = [
        unsupervise(raw) if plain is None else plain
        for raw, plain in zip(fields.shared, unsupervised(fields.shared), strict=True)
    ]
    requested = [requested_at for requested_at, _ in fields.times]
    return list(map(Part, shared, requested, fields.moments or [0] * len(shared)))


def _by_inbox(
    boxes: npt.NDArray[np.uint8], provider: npt.NDArray[np.uint16]
) -> tuple[npt.NDArray[np.intp], list[int], list[int]]:
    """Places of the rows that have an inbox (uint8[N]: 1 permits, 2 arrivals), sorted by it; the inboxes; where each
    begins, and the end.

    Each kind by itself: numbers of 16 bits are sorted several times as fast as longer ones.
    """
    if not len(boxes) or int(boxes.max()) < 2:
        # Of truth values the places are found several times as fast as of numbers.
        return _by_provider(np.flatnonzero(boxes != 0), provider)
    at, numbers, starts = _by_provider(np.flatnonzero(boxes == 1), provider)
    others, other_numbers, other_starts = _by_provider(np.flatnonzero(boxes == 2), provider)
    numbers += [ARRIVALS + number for number in other_numbers]
    return np.concatenate((at, others)), numbers, starts[:-1] + [len(at) + start for start in other_starts]


def _by_provider(
    at: npt.NDArray[np.intp], provider: npt.NDArray[np.uint16]
) -> tuple[npt.NDArray[np.intp], list[int], list[int]]:
    """Places sorted by provider; the providers; where each begins, and the end."""
    if not len(at):
        return at, [], [0]
    of = provider[at]
    order = np.argsort(of, kind="stable")
    of = of[order]
    begins = np.flatnonzero(np.concatenate(([True], of[1:] != of[:-1])))
    return at[order], of[begins].tolist(), [*begins.tolist(), len(of)]


def _ends(fields: Fields, table: Rows, at: npt.NDArray[np.intp], base: np.uint64) -> tuple[Indexes, Outcomes]:
    link = table["link"][at].astype(np.uint64)
    links = (link[:, 0] | link[:, 1] << np.uint64(16) | link[:, 2] << np.uint64(32)) - np.uint64(1)
    decision = table["decision"][at]
    if not len(at):
        return links, Outcomes(np.empty(0, np.uint64), np.empty(0, np.uint32))
    reasons = np.array([decode_shared(shared).reason for shared in fields.shared], dtype=np.uint64)
    words = at.astype(np.uint64) + base + np.uint64(1)
    words |= table["outcome"][at].astype(np.uint64) << np.uint64(48)
    words |= reasons[decision] << np.uint64(56)
    moments = np.array(fields.moments or [0] * len(reasons), dtype=np.uint32)
    return links, Outcomes(words, moments[decision])


class _Left:
    """Permits of one provider: a few each by itself, many as arrays."""

    __slots__ = ("bulk", "small")

    def __init__(self) -> None:
        self.small: dict[int, tuple[int, Part]] = {}
        self.bulk: list[PermitRows] = []


class _Ended:
    """Ends of one provider's permits: link -> (word, released), or arrays sorted by link."""

    __slots__ = ("bulk", "small")

    def __init__(self) -> None:
        self.small: dict[int, tuple[int, int]] = {}
        self.bulk: list[tuple[Indexes, Outcomes]] = []


class Tail:
    """Permits and their ends in the log from ``base`` on; grows. Used under the lock of who holds it.

    Attributes:
        base: index from which on it has everything. upto: and to before which.
    """

    def __init__(self, base: int) -> None:
        self.base = self.upto = base
        self._left: dict[int, _Left] = {}
        self._ended: dict[int, _Ended] = {}

    def __repr__(self) -> str:
        return f"Tail(base={self.base}, upto={self.upto})"

    def read(self, snapshot: Snapshot, bodies: Bodies) -> None:
        """Go on to the newest record of a snapshot."""
        below = snapshot.state.records
        for chunk, rows in read_chunks(snapshot, bodies, self.upto, below):
            self.take(chunk.first, chunk.fields, rows)
        self.upto = max(self.upto, below)

    def take(self, first: int, fields: Fields, table: Rows) -> None:
        """Enter a chunk of records."""
        if len(table) > SMALL_ROWS:
            self._take_many(changes_of(first, fields, table))
        else:
            for index, row in enumerate(table.tolist(), first):
                self._take_one(index, fields, *row)
        self.upto = first + len(table)

    def _take_one(
        self, index: int, fields: Fields, person: int, provider: int, decision: int, outcome: int, kind: int,
        link: npt.NDArray[np.uint16],
    ) -> None:  # fmt: skip
        if kind in _ARRIVING:
            provider |= ARRIVALS
        if kind in _LEAVING:
            if outcome == 0:
                left = self._left.get(provider) or self._left.setdefault(provider, _Left())
                left.small[index] = person, part_of(fields, decision)
        elif kind in _ENDING:
            reason = decode_shared(fields.shared[decision]).reason if outcome in _WITH_REASON else 0
            ended = self._ended.get(provider) or self._ended.setdefault(provider, _Ended())
            # Out of numpy's 16 bits first: shifted within them it would be another record's.
            low, middle, high = map(int, link)
            at = (low | middle << 16 | high << 32) - 1
            ended.small[at] = word(index, outcome, reason), fields.moments[decision] if fields.moments else 0
            waiting = self._left.get(provider)
            if waiting is not None:
                waiting.small.pop(at, None)

    def _take_many(self, changes: Changes) -> None:
        for i, number in enumerate(changes.numbers):
            rows = slice(changes.starts[i], changes.starts[i + 1])
            left = self._left.get(number) or self._left.setdefault(number, _Left())
            indexes, persons, which = changes.left.indexes[rows], changes.left.persons[rows], changes.left.which[rows]
            if len(indexes) > SMALL_ROWS:
                left.bulk.append(PermitRows(indexes, persons, which, changes.left.parts))
                continue
            for index, person, part in zip(indexes.tolist(), persons.tolist(), which.tolist(), strict=True):
                left.small[index] = person, changes.left.parts[part]
        for i, number in enumerate(changes.ended_numbers):
            rows = slice(changes.ended_starts[i], changes.ended_starts[i + 1])
            self._end(number, changes.links[rows], changes.ends.words[rows], changes.ends.released[rows])

    def _end(
        self, number: int, links: Indexes, words: npt.NDArray[np.uint64], released: npt.NDArray[np.uint32]
    ) -> None:
        ended = self._ended.get(number) or self._ended.setdefault(number, _Ended())
        if len(links) <= SMALL_ROWS:
            left = self._left.get(number)
            for link, one, time in zip(links.tolist(), words.tolist(), released.tolist(), strict=True):
                ended.small[link] = one, time
                if left is not None:
                    # Nobody looks for it among the open ones any more; it would be passed over at each collection.
                    left.small.pop(link, None)
            return
        order = np.argsort(links)
        ended.bulk.append((links[order], Outcomes(words[order], released[order])))
        if len(ended.bulk) > BULK_ENDS_MAX:
            joined = np.concatenate([one for one, _ in ended.bulk])
            order = np.argsort(joined)
            words = np.concatenate([outcomes.words for _, outcomes in ended.bulk])[order]
            released = np.concatenate([outcomes.released for _, outcomes in ended.bulk])[order]
            ended.bulk = [(joined[order], Outcomes(words, released))]

    # -- asked

    def providers(self) -> list[int]:
        """Inboxes of which there are permits or ends here, ascending."""
        return sorted(self._left.keys() | self._ended.keys())

    def has_left(self, provider: int) -> bool:
        """Whether it has permits of a provider that may be open."""
        left = self._left.get(provider)
        return left is not None and bool(left.small or left.bulk)

    def left(self, provider: int, first: int, below: int) -> PermitRows:
        """The permits of a provider with an index in this range, in the order of the log, without some that ended."""
        found = self._left.get(provider)
        if found is None:
            return join([])
        several = []
        for one in found.bulk:
            begin, end = stretch(one.indexes, first, below)
            if begin < end:
                several.append(
                    PermitRows(one.indexes[begin:end], one.persons[begin:end], one.which[begin:end], one.parts)
                )
        chosen = [index for index in found.small if first <= index < below]
        if chosen:
            numbers: dict[Part, int] = {}
            persons, which = [], []
            for index in chosen:
                person, part = found.small[index]
                persons.append(person)
                which.append(numbers.setdefault(part, len(numbers)))
            several.append(
                PermitRows(
                    np.array(chosen, dtype=np.uint64),
                    np.array(persons, dtype=np.uint32),
                    np.array(which, dtype=np.uint32),
                    list(numbers),
                )
            )
        joined = join(several)
        if len(several) > 1:
            order = np.argsort(joined.indexes)
            joined = PermitRows(joined.indexes[order], joined.persons[order], joined.which[order], joined.parts)
        return joined

    def end(self, provider: int, indexes: Indexes, outcomes: Outcomes) -> None:
        """Enter into ``outcomes`` what became of these permits (uint64[N], ascending) of a provider in the tail."""
        found = self._ended.get(provider)
        if found is None or not len(indexes):
            return
        first, last = int(indexes[0]), int(indexes[-1])
        for links, ends in found.bulk:
            begin, end = stretch(links, first, last + 1)
            if begin == end:
                continue
            place = np.searchsorted(indexes, links[begin:end])
            hit = indexes[np.minimum(place, len(indexes) - 1)] == links[begin:end]
            outcomes.words[place[hit]] = ends.words[begin:end][hit]
            outcomes.released[place[hit]] = ends.released[begin:end][hit]
        if len(found.small) > len(indexes):
            for row, index in enumerate(indexes.tolist()):
                one = found.small.get(index)
                if one is not None:
                    outcomes.words[row], outcomes.released[row] = one
            return
        for link, (ended, released) in found.small.items():
            row, _ = stretch(indexes, link, link)
            if row < len(indexes) and int(indexes[row]) == link:
                outcomes.words[row], outcomes.released[row] = ended, released

    def end_from(self, provider: int, first: int, outcomes: Outcomes) -> None:
        """Enter what became of a provider's permits from this index on, each at its index - first."""
        found = self._ended.get(provider)
        if found is None:
            return
        below = first + len(outcomes.words)
        for links, ends in found.bulk:
            low, high = stretch(links, first, below)
            place = (links[low:high] - np.uint64(first)).astype(np.intp)
            outcomes.words[place] = ends.words[low:high]
            outcomes.released[place] = ends.released[low:high]
        if len(found.small) > below - first:
            for link in range(first, below):
                one = found.small.get(link)
                if one is not None:
                    outcomes.words[link - first], outcomes.released[link - first] = one
            return
        for link, (ended, released) in found.small.items():
            if first <= link < below:
                outcomes.words[link - first], outcomes.released[link - first] = ended, released
