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
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from hub.agency.agency import Agency
from hub.agency.comparesums import Sums
from hub.agency.differences import SHOWN_MAX, Comparison, Found, blame, row_place
from hub.agency.owncopy import AskedRows, is_final, read_asked, read_requests
from hub.decode import CLASSES_FROM
from hub.errors import RequestError
from hub.limits import REQUEST_DAYS
from hub.methods.copies import NOBODY, CopyReader, HubAsked, HubProvided

ALIGNED_MAX = 1_000
"""Rows of a chunk that are missing one by one; of more the end of the chunk is said to be missing."""
_DAY_S = 86_400

Bools = npt.NDArray[np.bool_]


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
        self.copies, self.catalog, self._now = copies, catalog, now
        self.key = np.frombuffer(os.urandom(16), "<u8").astype(np.uint64)
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
        found = Found()
        requested = waiting = gone = provided = unfinished = 0
        inquiries: dict[bytes, int] = {}
        low = max(since or 0, self._now - REQUEST_DAYS * _DAY_S) if requester is not None else 0
        if requester is not None:
            requested, waiting, gone, inquiries = self._compare_asked(requester, low, found)
        sums = Sums(self, providers, since or 0)
        # Providers' answers of all years are compared, a requester's rows of 30 days.
        first = self.copies.first_since(since or 0 if providers else low)
        for chunk, rows in self.copies.chunks(first):
            some = self.provided(chunk, rows)
            if some is not None and providers:
                sums.add_hub(some)
            if requester is not None and chunk.time >= low:
                for inquiry, received_at in self.copies.inquiries(chunk, rows, requester.institution).items():
                    if inquiry not in inquiries and received_at >= low:
                        inquiries[inquiry] = -1
                        place = f"request of another id, received at {received_at}"
                        found.add("requester", "missing", "", requester.institution, place)
            self.step(len(rows))
        if providers:
            provided, unfinished = sums.compare(found)
        places = blame(found.places)
        return Comparison(
            requested=requested, provided=provided, waiting=waiting, gone=gone, unfinished=unfinished,
            differences=tuple(places), more=found.more,
        )  # fmt: skip

    def provided(self, chunk: Any, rows: Any) -> HubProvided | None:
        return self.copies.provided(chunk, rows)

    def asked(self, key: bytes, first: int) -> HubAsked | None:
        return self.copies.asked(key, first)

    def step(self, lines: int) -> None:
        self._done += lines
        self._progress(self._done)

    # -- the requester's

    def _compare_asked(self, agency: Agency, low: int, found: Found) -> tuple[int, int, int, dict[bytes, int]]:
        """Lines compared, lines that wait, lines that the hub keeps no longer, names of the inquiries that it has."""
        number = self.catalog.institution(agency.institution).number
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
                    theirs = self.asked(key, part.first)
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
                    self.step(len(part.aliases))
                for row in range(at, min(rows, at + SHOWN_MAX)):
                    found.add("requester", "missing", "", agency.institution, row_place(name, row))
        return compared, waiting, gone, inquiries

    def _compare_rows(
        self, institution: str, number: int, name: str, asked: Any, own: AskedRows, theirs: HubAsked, found: Found
    ) -> int:
        if own.status is None or own.told is None or own.reason is None or own.told_reason is None:
            found.add("requester", "missing", "answer", institution, row_place(name, own.first))
            return 0
        persons = self.copies.persons(number, own.aliases)
        if len(persons) != len(theirs.persons):
            # One line that is not there must not make every line behind it another's.
            mine, other = _align(persons, theirs.persons)
            for row in np.flatnonzero(~other).tolist():
                found.add("requester", "missing", "", institution, row_place(name, own.first + row))
            for row in np.flatnonzero(~mine).tolist():
                found.add("requester", "extra", "", institution, row_place(name, own.first + row))
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
            place = row_place(name, own.first + int(places[row]))
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
