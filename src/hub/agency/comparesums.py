"""Providers' answers of two copies compared: sums by parts of the permit numbers, then lines of parts that differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from hub.agency.agency import Agency
from hub.agency.differences import Found, permit_place
from hub.agency.owncopy import AnsweredRows, read_answered
from hub.agency.runs import Words, mix_keys
from hub.messages import Status
from hub.methods.copies import CopyReader, HubProvided

PARTS_BITS = 16
LINES_AGAIN_MAX = 1 << 22
"""Lines that are read again and compared one by one, on each side; about 100 MB."""

Bools = npt.NDArray[np.bool_]


class Side(Protocol):
    """The hub's side of a comparison; key: uint64[2], random."""

    copies: CopyReader
    catalog: Any
    key: Words

    def provided(self, chunk: Any, rows: Any) -> HubProvided | None:
        """The provisions of a chunk of the log."""

    def step(self, lines: int) -> None:
        """Say that so many lines were read."""


class Line(NamedTuple):
    """A provider's line of either copy: permit number, person, outcome, reason, and when."""

    person: int
    outcome: int
    reason: int
    at: int


class Sums:
    """Sums of the providers' lines, by parts of the permit numbers, of both copies."""

    def __init__(self, side: Side, agencies: list[Agency], since: int) -> None:
        self._side, self._since = side, since
        self._agencies = {
            side.catalog.institution(one.institution).number: one for one in agencies
        }  # fmt: skip
        self._hub = {number: np.zeros(1 << PARTS_BITS, np.uint64) for number in self._agencies}
        self._counts = {number: np.zeros(1 << PARTS_BITS, np.int64) for number in self._agencies}

    def __repr__(self) -> str:
        return "Sums()"

    def add_hub(self, some: HubProvided) -> None:
        """Add the provisions of a chunk of the log."""
        for number, part in self._of_agencies(some):
            permits = self._side.copies.numbers.number(number, part.permits)
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
        words[:, 0] = permits ^ self._side.key[0]
        words[:, 1] = persons.astype(np.uint64) | outcomes.astype(np.uint64) << np.uint64(32)
        words[:, 1] |= reasons.astype(np.uint64) << np.uint64(40)
        words[:, 1] ^= self._side.key[1]
        hashed, _ = mix_keys(words.view(np.uint8).reshape(-1, 16))
        parts = (permits >> np.uint64(64 - PARTS_BITS)).astype(np.intp)
        np.add.at(sums, parts, hashed)
        counts += np.bincount(parts, minlength=len(counts))

    def compare(self, found: Found) -> tuple[int, int]:
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
                persons = self._side.copies.persons(number, some.aliases)
                self._add(sums, counts, some.permits, persons, some.outcomes, some.reasons)
                lines += len(some.permits)
                self._side.step(len(some.permits))
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

    def _compare_again(self, again: dict[int, Bools], found: Found) -> None:
        """Compare the lines of some parts one by one; here no line is left out by its time."""
        theirs: dict[int, dict[int, Line]] = {number: {} for number in again}
        since, self._since = self._since, 0
        for chunk, rows in self._side.copies.chunks():
            some = self._side.provided(chunk, rows)
            for number, part in self._of_agencies(some) if some is not None else ():
                if number in again:
                    permits = self._side.copies.numbers.number(number, part.permits)
                    columns = (part.persons, part.outcomes, part.reasons, part.provided_at)
                    _collect(theirs[number], again[number], permits, *columns)
        for number, parts in again.items():
            own: dict[int, Line] = {}
            twice: list[int] = []
            for one in self._own(self._agencies[number]):
                some_rows = _final_rows(one)
                if one.given_at is None or not len(some_rows.permits):
                    continue
                persons = self._side.copies.persons(number, some_rows.aliases)
                at = np.full(len(persons), one.given_at, np.int64)
                twice += _collect(own, parts, some_rows.permits, persons, some_rows.outcomes, some_rows.reasons, at)
            self._compare_lines(number, own, theirs[number], twice, since, found)

    def _compare_lines(
        self, number: int, own: dict[int, Line], theirs: dict[int, Line], twice: list[int], since: int, found: Found
    ) -> None:
        code = self._agencies[number].institution
        index_of = self._side.copies.numbers.index
        for permit in sorted(own.keys() | theirs.keys()):
            mine, other = own.get(permit), theirs.get(permit)
            if mine == other or (mine is not None and other is not None and mine[:3] == other[:3]):
                continue
            if max(line.at for line in (mine, other) if line is not None) < since:
                continue
            index = int(index_of(number, np.array([permit], np.uint64))[0])
            if mine is not None and other is not None and other.outcome == Status.NO_RECORD and (
                mine.person == other.person and self._side.copies.is_blocked(index, other.person, number)
            ):  # fmt: skip
                # The provider answered, and the hub kept to itself that there is something (NO_SELF).
                continue
            said = None if mine is None else (mine.outcome, mine.reason)
            kind = "missing" if mine is None else "extra" if other is None else "differs"
            what = ""
            if mine is not None and other is not None:
                words = ("person", "outcome", "reason")
                what = ", ".join(word for word, a, b in zip(words, mine, other, strict=False) if a != b)
            found.add("provider", kind, what, code, permit_place(permit), index, said)
        for permit in twice:
            found.add("provider", "extra", "twice", code, permit_place(permit))


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
    lines: dict[int, Line], parts: Bools, permits: Words, persons: npt.NDArray[np.uint32],
    outcomes: npt.NDArray[np.uint8], reasons: npt.NDArray[np.uint8], at: npt.NDArray[np.int64],
) -> list[int]:  # fmt: skip
    """Enter the lines of some parts; returns the permits that were there already."""
    rows = np.flatnonzero(parts[(permits >> np.uint64(64 - PARTS_BITS)).astype(np.intp)])
    twice = []
    columns = (permits, persons, outcomes, reasons, at)
    for permit, *line in zip(*(column[rows].tolist() for column in columns), strict=True):
        if permit in lines:
            twice.append(permit)
        lines[permit] = Line(*line)
    return twice
