"""Records of one procedure as one story: asked -> provided, or lapsed; corrections where they belong; days.

A story is what follows one record (``Record.link``), as far as a page has it, and stands where it last moved. What a
page does not have is not guessed: an inquiry without its answer on a page is only "allowed".
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from hub.messages import Kind, Record, Status


class Outcome(StrEnum):
    """How a story stands, as the filter names it."""

    PROVIDED = "provided"
    NOTHING = "nothing"
    ALLOWED = "allowed"
    DENIED = "denied"
    LAPSED = "lapsed"
    OTHER = "other"


_OUTCOMES = {
    Status.PROVIDED: Outcome.PROVIDED,
    Status.EMPTY: Outcome.NOTHING,
    Status.NO_RECORD: Outcome.NOTHING,
    Status.NO_ALIAS_AT_PROVIDER: Outcome.NOTHING,
    Status.LAPSED: Outcome.LAPSED,
    Status.OK: Outcome.ALLOWED,
    Status.PENDING: Outcome.ALLOWED,
    Status.MANUAL: Outcome.ALLOWED,
}

EXCHANGE = frozenset({Kind.INQUIRY, Kind.RELEASE, Kind.PROVISION, Kind.LAPSE, Kind.PUSH, Kind.UPDATE, Kind.TAKEN})
"""Kinds about information that one institution has of another; the rest is told by its own sentence alone."""

CORRECTIONS = frozenset({Kind.CORRECTION_ASKED, Kind.CORRECTION, Kind.CONFIRMATION})
WARNINGS = frozenset({Kind.MISLINK, Kind.LINK_REPLACED})


JAPAN_S, DAY_S = 9 * 3_600, 86_400
EPOCH = dt.date(1970, 1, 1).toordinal()


class Story(NamedTuple):
    """Records that follow one another.

    Attributes:
        records: newest first; never empty.
    """

    records: tuple[Record, ...]

    def __repr__(self) -> str:
        return f"Story({len(self.records)})"

    @property
    def head(self) -> Record:
        """The record that the others follow, or what of them is oldest."""
        return self.records[-1]

    @property
    def moment(self) -> dt.datetime:
        """When something happened in it last."""
        records = self.records
        return moment_of(records[0]) if len(records) == 1 else max(map(moment_of, records))

    @property
    def outcome(self) -> Outcome:
        """How the exchange stands by what is here; OTHER where there is none."""
        for record in self.records:
            if record.kind in EXCHANGE:
                if record.kind == Kind.LAPSE:
                    return Outcome.LAPSED
                return _OUTCOMES.get(record.outcome, Outcome.DENIED)
        return Outcome.OTHER

    @property
    def corrected(self) -> bool:
        """Whether a correction is asked for or decided in it."""
        return any(record.kind in CORRECTIONS for record in self.records)

    @property
    def warns(self) -> bool:
        """Whether it tells of a wrong link."""
        return any(record.kind in WARNINGS for record in self.records)


class Day(NamedTuple):
    """A day in Japan and its stories, newest first."""

    date: dt.date
    stories: tuple[Story, ...]

    def __repr__(self) -> str:
        return f"Day({len(self.stories)})"


def moment_of(record: Record) -> dt.datetime:
    """When it happened: an answer has the time of its question beside its own, a lapse only that."""
    return record.provided_at or record.requested_at


def day_of(moment: dt.datetime) -> dt.date:
    """The day in Japan."""
    return dt.date.fromordinal(int(moment.timestamp() + JAPAN_S) // DAY_S + EPOCH)


def address_of(record: Record) -> str:
    """A record's address on the portal: what ``reading.py`` finds it by."""
    return f"{int(record.requested_at.timestamp())}-{record.index}"


def fold_records(records: Sequence[Record]) -> list[Story]:
    """Records, newest first, as stories, the one in which something happened last first."""
    links = {record.index: record.link for record in records}
    stories: dict[int, list[Record]] = {}
    for record in records:
        root = record.index
        # A link leads to an older record, so this ends.
        while (link := links.get(root)) is not None and link < root:
            root = link
        stories.setdefault(root, []).append(record)
    found = [Story(tuple(story)) for story in stories.values()]
    # The log's order is that of recording: what lapsed is recorded late, under the day of its question.
    return sorted(found, key=lambda story: story.moment, reverse=True)


def group_by_day(stories: Iterable[Story]) -> list[Day]:
    """Stories by the day on which something happened in them last."""
    days: dict[dt.date, list[Story]] = {}
    for story in stories:
        days.setdefault(day_of(story.moment), []).append(story)
    return [Day(date, tuple(found)) for date, found in days.items()]
