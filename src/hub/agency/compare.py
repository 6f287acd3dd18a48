"""Three copies of the records compared: the requester's, the provider's, the hub's. A supervisor's tool: it needs all.

The requester's copy is read in the order of its requests, beside what the hub says of the same rows. A provider's
answers stand in another order than the log: both sides are summed up in 65,536 parts of the permit numbers, a keyed
hash a line, and only parts whose sums differ are read again and compared line by line. So memory is bounded whatever
the size, and one line in millions shows. That a row and a permit are one record the hub's folder alone can say.

Whose copy is wrong: where requester and provider agree with each other and not with the hub, it is the hub's; else the
copy that differs from the hub's, which its signed checkpoints hold in place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.agency.agency import Agency
from hub.agency.owncopy import AnsweredRows, AskedRows, is_final, read_answered, read_asked, read_requests
from hub.agency.runs import Words, mix_keys
from hub.copies import NOBODY, CopyReader, HubAsked, HubProvided
from hub.decode import CLASSES_FROM
from hub.errors import RequestError
from hub.limits import REQUEST_DAYS
from hub.messages import Status

PARTS_BITS = 16
LINES_AGAIN_MAX = 1 << 22
"""Lines that are read again and compared one by one, on each side; about 100 MB."""
SHOWN_MAX = 10_000
"""Differences that are listed; the others are counted."""
ALIGNED_MAX = 1_000
"""Rows of a chunk that are missing one by one; of more the end of the chunk is said to be missing."""
_DAY_S = 86_400

Bools = npt.NDArray[np.bool_]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One line that the copies do not agree about.

    Attributes:
        copy: whose is wrong: "requester", "provider" or "hub". kind: "missing", "extra" or "differs".
        what: of "differs" the columns. place: where in that copy: request and row (counted from 1), or permit.
        institution: whose copy the place is in.
    """

    copy: str
    kind: str
    what: str
    institution: str
    place: str

    def __str__(self) -> str:
        words = f" ({self.what})" if self.what else ""
        return f"{self.copy}: {self.kind}{words}: {self.institution} {self.place}"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison found.

    Attributes:
        requested, provided: lines compared of the requester's copy and of the providers'.
        waiting: rows of the requester's copy whose end it has not been told yet; gone: rows of requests that the hub
            keeps no longer, not compared; unfinished: permits in the providers' copies without a receipt.
        differences: at most ``SHOWN_MAX``; more: how many are not listed.
    """

    requested: int
    provided: int
    waiting: int
    gone: int
    unfinished: int
    differences: tuple[Difference, ...]
    more: int

    @property
    def ok(self) -> bool:
        """Whether all copies agree."""
        return not self.differences and not self.more


class _Place(NamedTuple):
    """A difference, and the permit's record that it is about (-1: none), with what the copy says it ended with."""

    found: Difference
    record: int
    ended: tuple[int, int] | None


class _Found:
    """Collects differences."""

    def __init__(self) -> None:
        self.places: list[_Place] = []
        self.more = 0

    def add(self, copy: str, kind: str, what: str, institution: str, place: str, record: int = -1,
            ended: tuple[int, int] | None = None) -> None:  # fmt: skip
        """Note one."""
        if len(self.places) >= SHOWN_MAX:
            self.more += 1
            return
        found = Difference(copy=copy, kind=kind, what=what, institution=institution, place=place)
        self.places.append(_Place(found, record, ended))


def compare(
    h: Any,
    *,
    requester: Agency | None = None,
    providers: Iterable[Agency] = (),
    since: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Comparison:
    """Compare copies of the records: the hub's with a requester's, with providers', or with both.

    Args:
        h: an open :class:`hub.Hub`, with its folder. requester, providers: open agencies.
        since: seconds since 1970 from which on lines are compared; default: the last 30 days of the requester's, for so
            long the hub keeps request ids, and all of the providers'.
        progress: called with the lines read so far.

    Raises:
        RequestError: no copy to compare with. StorageError: a copy or the log is damaged.
    """
    return Comparer(h._copies, h.catalog, int(h._now())).compare(requester, list(providers), since, progress)


class Comparer:
    """Compares copies with an open hub's."""

    def __init__(self, copies: CopyReader, catalog: Any, now: int) -> None:
        self._copies, self._catalog, self._now = copies, catalog, now
        self._key = np.frombuffer(os.urandom(16), "<u8").astype(np.uint64)
        self._done = 0
        self._progress: Callable[[int], None] = lambda lines: None

    def __repr__(self) -> str:
        return "Comparer()"

    def compare(
        self, requester: Agency | None, providers: list[Agency], since: int | None,
        progress: Callable[[int], None] | None,
    ) -> Comparison:  # fmt: skip
        """See :func:`compare`."""
        if requester is None and not providers:
            raise RequestError("compare: expected a requester's or a provider's copy, got none")
        self._progress = progress or self._progress
        found = _Found()
        requested = waiting = gone = provided = unfinished = 0
        inquiries: dict[bytes, int] = {}
        low = max(since or 0, self._now - REQUEST_DAYS * _DAY_S) if requester is not None else 0
        if requester is not None:
            requested, waiting, gone, inquiries = self._compare_asked(requester, low, found)
        sums = _Sums(self, providers, since or 0)
        # Providers' answers of all years are compared, a requester's rows of 30 days.
        first = self._copies.first_since(since or 0 if providers else low)
        for chunk, rows in self._copies.chunks(first):
            some = self._provided(chunk, rows)
            if some is not None and providers:
                sums.add_hub(some)
            if requester is not None and chunk.time >= low:
                for inquiry, received_at in self._copies.inquiries(chunk, rows, requester.institution).items():
                    if inquiry not in inquiries and received_at >= low:
                        inquiries[inquiry] = -1
                        place = f"request of another id, received at {received_at}"
                        found.add("requester", "missing", "", requester.institution, place)
            self._step(len(rows))
        if providers:
            provided, unfinished = sums.compare(found)
        places = _blame(found.places)
        return Comparison(
            requested=requested, provided=provided, waiting=waiting, gone=gone, unfinished=unfinished,
            differences=tuple(places), more=found.more,
        )  # fmt: skip

    def _provided(self, chunk: Any, rows: Any) -> HubProvided | None:
        return self._copies.provided(chunk, rows)

    def _asked(self, key: bytes, first: int) -> HubAsked | None:
        return self._copies.asked(key, first)

    def _step(self, lines: int) -> None:
        self._done += lines
        self._progress(self._done)

    # -- the requester's

    def _compare_asked(self, agency: Agency, low: int, found: _Found) -> tuple[int, int, int, dict[bytes, int]]:
        """Lines compared, lines that wait, lines that the hub keeps no longer, names of the inquiries that it has."""
        number = self._catalog.institution(agency.institution).number
        compared = waiting = gone = 0
        inquiries: dict[bytes, int] = {}
        with agency._store.read() as reader:
            for key, asked in read_requests(reader):
                name = asked.request_id if asked is not None else key.hex()
                if asked is not None and asked.received_at < low:
                    gone += asked.rows
                    continue
                rows = at = 0
                for part in read_asked(reader, key):
                    theirs = self._asked(key, part.first)
                    if theirs is None:
                        # Begun, and the hub never had it: nothing to compare. Answered, and it must have it.
                        if asked is None:
                            gone += len(part.aliases)
                        elif not part.first:
                            place = f"request {name}, all {asked.rows} rows"
                            found.add("requester", "extra", "", agency.institution, place)
                        continue
                    rows = theirs.stand.rows
                    inquiries[theirs.stand.inquiry] = rows
                    waits = self._compare_rows(agency.institution, number, name, asked, part, theirs, found)
                    at = part.first + max(len(part.aliases), len(theirs.persons))
                    compared += len(part.aliases)
                    waiting += waits
                    self._step(len(part.aliases))
                for row in range(at, min(rows, at + SHOWN_MAX)):
                    found.add("requester", "missing", "", agency.institution, _row_place(name, row))
        return compared, waiting, gone, inquiries

    def _compare_rows(
        self, institution: str, number: int, name: str, asked: Any, own: AskedRows, theirs: HubAsked, found: _Found
    ) -> int:
        if own.status is None or own.told is None or own.reason is None or own.told_reason is None:
            found.add("requester", "missing", "answer", institution, _row_place(name, own.first))
            return 0
        persons = self._copies.persons(number, own.aliases)
        if len(persons) != len(theirs.persons):
            # One line that is not there must not make every line behind it another's.
            mine, other = _align(persons, theirs.persons)
            for row in np.flatnonzero(~other).tolist():
                found.add("requester", "missing", "", institution, _row_place(name, own.first + row))
            for row in np.flatnonzero(~mine).tolist():
                found.add("requester", "extra", "", institution, _row_place(name, own.first + row))
            places = np.flatnonzero(other)
            own, persons, theirs = _some_rows(own, mine), persons[mine], _some_asked(theirs, other)
        else:
            places = np.arange(len(persons))
        n, stand = len(persons), theirs.stand
        assert own.status is not None
        assert own.reason is not None
        assert own.told is not None
        assert own.told_reason is not None
        recorded = theirs.persons != NOBODY
        wrong = {
            "person": recorded & (persons != theirs.persons),
            "provider": recorded & (own.providers < CLASSES_FROM) & (own.providers != theirs.providers),
            "status": own.status != stand.first_status,
            "reason": own.reason != stand.first_reason,
        }
        if asked is not None and asked.received_at != stand.received_at:
            wrong["time"] = np.ones(n, np.bool_)
        final, ended = is_final(own.told), is_final(stand.status)
        # What the requester has not been told yet is no difference; what it says without the hub is one.
        # Own data that is blocked may have been told before it was.
        now = (own.told == stand.status) & (own.told_reason == stand.reason)
        before = (own.told == stand.ended) & (own.told_reason == stand.ended_reason)
        other = (own.told != stand.status) & (own.told != stand.ended)
        wrong["outcome"] = final & other
        wrong["reason of the outcome"] = final & ~other & ~now & ~before
        any_wrong = np.zeros(n, np.bool_)
        for rows in wrong.values():
            any_wrong |= rows
        for row in np.flatnonzero(any_wrong).tolist():
            what = ", ".join(word for word, rows in wrong.items() if rows[row])
            is_end = bool(wrong["outcome"][row] or wrong["reason of the outcome"][row])
            said = (int(own.told[row]), int(own.told_reason[row])) if is_end else None
            place = _row_place(name, own.first + int(places[row]))
            found.add("requester", "differs", what, institution, place, int(stand.permits[row]), said)
        return int((ended & ~final).sum())


def _align(mine: npt.NDArray[np.uint32], other: npt.NDArray[np.uint32]) -> tuple[Bools, Bools]:
    """Which rows of two columns of different lengths belong together: of the longer one those are left out behind which
    the shorter one goes on."""
    keep_mine, keep_other = np.ones(len(mine), np.bool_), np.ones(len(other), np.bool_)
    short, long, keep = (mine, other, keep_other) if len(mine) < len(other) else (other, mine, keep_mine)
    surplus = len(long) - len(short)
    for left in range(surplus, 0, -1):
        kept = np.flatnonzero(keep)
        differ = np.flatnonzero(long[kept[: len(short)]] != short)
        if not len(differ) or surplus - left >= ALIGNED_MAX:
            keep[kept[len(short) :]] = False
            break
        keep[kept[int(differ[0])]] = False
    return keep_mine, keep_other


def _some_rows(own: AskedRows, rows: Bools) -> AskedRows:
    if rows.all():
        return own
    columns = [None if column is None else column[rows] for column in own[3:]]
    return AskedRows(own.first, own.aliases[rows], own.providers[rows], *columns)


def _some_asked(theirs: HubAsked, rows: Bools) -> HubAsked:
    if rows.all():
        return theirs
    stand = theirs.stand
    columns = {
        name: getattr(stand, name)[rows]
        for name in ("first_status", "first_reason", "status", "reason", "ended", "ended_reason", "indexes", "permits")
    }
    return HubAsked(stand._replace(**columns), theirs.persons[rows], theirs.providers[rows])


class _Line(NamedTuple):
    """A provider's line of either copy: permit number, person, outcome, reason, and when."""

    person: int
    outcome: int
    reason: int
    at: int


class _Sums:
    """Sums of the providers' lines, by parts of the permit numbers, of both copies."""

    def __init__(self, comparer: Comparer, agencies: list[Agency], since: int) -> None:
        self._comparer, self._since = comparer, since
        self._agencies = {
            comparer._catalog.institution(one.institution).number: one for one in agencies
        }  # fmt: skip
        self._hub = {number: np.zeros(1 << PARTS_BITS, np.uint64) for number in self._agencies}
        self._counts = {number: np.zeros(1 << PARTS_BITS, np.int64) for number in self._agencies}

    def __repr__(self) -> str:
        return "_Sums()"

    def add_hub(self, some: HubProvided) -> None:
        """Add the provisions of a chunk of the log."""
        for number, part in self._of_agencies(some):
            permits = self._comparer._copies.numbers.number(number, part.permits)
            self._add(self._hub[number], self._counts[number], permits, part.persons, part.outcomes, part.reasons)

    def _of_agencies(self, some: HubProvided) -> Iterator[tuple[int, HubProvided]]:
        present = np.unique(some.providers).tolist()
        for number in present:
            if number in self._agencies:
                rows = (some.providers == number) & (some.provided_at >= self._since)
                part = some if rows.all() else some.part(rows)
                if len(part.permits):
                    yield number, part

    def _add(
        self, sums: Words, counts: npt.NDArray[np.int64], permits: Words, persons: npt.NDArray[np.uint32],
        outcomes: npt.NDArray[np.uint8], reasons: npt.NDArray[np.uint8],
    ) -> None:  # fmt: skip
        words = np.empty((len(permits), 2), np.uint64)
        words[:, 0] = permits ^ self._comparer._key[0]
        words[:, 1] = persons.astype(np.uint64) | outcomes.astype(np.uint64) << np.uint64(32)
        words[:, 1] |= reasons.astype(np.uint64) << np.uint64(40)
        words[:, 1] ^= self._comparer._key[1]
        hashed, _ = mix_keys(words.view(np.uint8).reshape(-1, 16))
        parts = (permits >> np.uint64(64 - PARTS_BITS)).astype(np.intp)
        np.add.at(sums, parts, hashed)
        counts += np.bincount(parts, minlength=len(counts))

    def compare(self, found: _Found) -> tuple[int, int]:
        """Compare all; returns lines compared and lines without a receipt."""
        lines = unfinished = 0
        again: dict[int, Bools] = {}
        for number, agency in self._agencies.items():
            sums = np.zeros(1 << PARTS_BITS, np.uint64)
            counts = np.zeros(1 << PARTS_BITS, np.int64)
            for rows in self._own(agency):
                if rows.given_at is None:
                    unfinished += len(rows.permits)
                    continue
                some = _final_rows(rows)
                if rows.given_at < self._since or not len(some.permits):
                    continue
                persons = self._comparer._copies.persons(number, some.aliases)
                self._add(sums, counts, some.permits, persons, some.outcomes, some.reasons)
                lines += len(some.permits)
                self._comparer._step(len(some.permits))
            differ = (sums != self._hub[number]) | (counts != self._counts[number])
            if differ.any():
                # So many parts as are read again at once; the rest is counted.
                size = np.cumsum(np.where(differ, counts + self._counts[number], 0))
                kept = differ & (size <= LINES_AGAIN_MAX)
                if not kept.any():
                    kept[int(np.argmax(differ))] = True
                found.more += int((differ & ~kept).sum())
                again[number] = kept
        if again:
            self._compare_again(again, found)
        return lines, unfinished

    def _own(self, agency: Agency) -> Iterator[AnsweredRows]:
        with agency._store.read() as reader:
            yield from read_answered(reader)

    def _compare_again(self, again: dict[int, Bools], found: _Found) -> None:
        """Compare the lines of some parts one by one; here no line is left out by its time."""
        theirs: dict[int, dict[int, _Line]] = {number: {} for number in again}
        since, self._since = self._since, 0
        for chunk, rows in self._comparer._copies.chunks():
            some = self._comparer._provided(chunk, rows)
            for number, part in self._of_agencies(some) if some is not None else ():
                if number in again:
                    permits = self._comparer._copies.numbers.number(number, part.permits)
                    columns = (part.persons, part.outcomes, part.reasons, part.provided_at)
                    _collect(theirs[number], again[number], permits, *columns)
        for number, parts in again.items():
            own: dict[int, _Line] = {}
            twice: list[int] = []
            for one in self._own(self._agencies[number]):
                some_rows = _final_rows(one)
                if one.given_at is None or not len(some_rows.permits):
                    continue
                persons = self._comparer._copies.persons(number, some_rows.aliases)
                at = np.full(len(persons), one.given_at, np.int64)
                twice += _collect(own, parts, some_rows.permits, persons, some_rows.outcomes, some_rows.reasons, at)
            self._compare_lines(number, own, theirs[number], twice, since, found)

    def _compare_lines(
        self, number: int, own: dict[int, _Line], theirs: dict[int, _Line], twice: list[int], since: int, found: _Found
    ) -> None:
        code = self._agencies[number].institution
        index_of = self._comparer._copies.numbers.index
        for permit in sorted(own.keys() | theirs.keys()):
            mine, other = own.get(permit), theirs.get(permit)
            if mine == other or (mine is not None and other is not None and mine[:3] == other[:3]):
                continue
            if max(line.at for line in (mine, other) if line is not None) < since:
                continue
            index = int(index_of(number, np.array([permit], np.uint64))[0])
            if mine is not None and other is not None and other.outcome == Status.NO_RECORD and (
                mine.person == other.person and self._comparer._copies.is_blocked(index, other.person, number)
            ):  # fmt: skip
                # The provider answered, and the hub kept to itself that there is something (NO_SELF).
                continue
            said = None if mine is None else (mine.outcome, mine.reason)
            kind = "missing" if mine is None else "extra" if other is None else "differs"
            what = ""
            if mine is not None and other is not None:
                words = ("person", "outcome", "reason")
                what = ", ".join(word for word, a, b in zip(words, mine, other, strict=False) if a != b)
            found.add("provider", kind, what, code, _permit_place(permit), index, said)
        for permit in twice:
            found.add("provider", "extra", "twice", code, _permit_place(permit))


def _final_rows(rows: AnsweredRows) -> AnsweredRows:
    """Without those that a clerk was to decide: they are no answers yet."""
    final = rows.outcomes != Status.MANUAL
    if final.all():
        return rows
    return rows._replace(
        permits=rows.permits[final], aliases=rows.aliases[final], outcomes=rows.outcomes[final],
        reasons=rows.reasons[final],
    )  # fmt: skip


def _collect(
    lines: dict[int, _Line], parts: Bools, permits: Words, persons: npt.NDArray[np.uint32],
    outcomes: npt.NDArray[np.uint8], reasons: npt.NDArray[np.uint8], at: npt.NDArray[np.int64],
) -> list[int]:  # fmt: skip
    """Enter the lines of some parts; returns the permits that were there already."""
    rows = np.flatnonzero(parts[(permits >> np.uint64(64 - PARTS_BITS)).astype(np.intp)])
    twice = []
    columns = (permits, persons, outcomes, reasons, at)
    for permit, *line in zip(*(column[rows].tolist() for column in columns), strict=True):
        if permit in lines:
            twice.append(permit)
        lines[permit] = _Line(*line)
    return twice


def _blame(places: list[_Place]) -> list[Difference]:
    """Where requester and provider say the same against the hub, one line of the hub's instead of one of each."""
    requesters = {place.record: place for place in places if place.found.copy == "requester" and place.ended}
    both = {
        place.record for place in places
        if place.found.copy == "provider" and place.record in requesters and place.ended is not None
        and place.ended == requesters[place.record].ended
    }  # fmt: skip
    out = []
    for place in places:
        if place.record not in both or place.record < 0:
            out.append(place.found)
        elif place.found.copy == "provider":
            kind = {"extra": "missing", "missing": "extra"}.get(place.found.kind, place.found.kind)
            out.append(msgspec.structs.replace(place.found, copy="hub", kind=kind))
    return out


def _row_place(name: str, row: int) -> str:
    return f"request {name} row {row + 1}"


def _permit_place(permit: int) -> str:
    return f"permit {permit:016x}"
