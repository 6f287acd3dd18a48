"""A year at a glance: which institutions asked, how often in each month; a picture and the table it is made from."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hub.catalog.moments import JAPAN
from hub.messages import OWN_DATA, Kind, Record
from hub.portal.reading import Reader
from hub.portal.site import NotFoundError

MONTHS = 12
INSTITUTIONS = 5
"""So many by name, the others together: more colours cannot be told apart."""

LATELY_DAYS = 30
FIRSTS_MAX, OLDER_PAGES_MAX = 8, 3
"""Of so many institutions that may be new the years before are read, so many pages of a thousand records each."""

MANY_A_DAY = 10
"""More questions than these in a day are pointed out: an application asks for a few things of a few bodies."""

ASKING = frozenset({Kind.INQUIRY, Kind.RELEASE})

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 260, 40, 28


class Bar(NamedTuple):
    """A piece of a month's column: of which institution (place in ``names``, 0 at the bottom), how many, and where."""

    series: int
    many: int
    x: float
    y: float
    width: float
    height: float


class Year(NamedTuple):
    """The table and the picture.

    Attributes:
        months: first days, oldest first. names: codes, those that asked most first; "" for all others.
        counts: by place in names, by month. bars, ticks: of the picture; a tick is (y, how many).
        busiest: (day, how many). firsts: (code, day) of who asked for the first time in what was read, lately; newest
            first; ``never_before`` looks further back.
        crowded: (day, how many) of days with more than ``MANY_A_DAY``, lately; newest first.
    """

    months: list[dt.date]
    names: list[str]
    counts: list[list[int]]
    bars: list[Bar]
    ticks: list[tuple[float, int]]
    busiest: tuple[dt.date, int] | None
    firsts: list[tuple[str, dt.date]]
    crowded: list[tuple[dt.date, int]]

    def __repr__(self) -> str:
        return f"Year({sum(map(sum, self.counts))})"

    @property
    def total(self) -> int:
        """All questions."""
        return sum(map(sum, self.counts))

    def x_of(self, month: int) -> float:
        """The middle of a month's column."""
        return LEFT + (month + 0.5) * (WIDTH - LEFT) / MONTHS


def months_until(today: dt.date) -> list[dt.date]:
    """The first days of twelve months, the last one this month's."""
    end = today.year * 12 + today.month - 1
    return [dt.date(n // 12, n % 12 + 1, 1) for n in range(end - MONTHS + 1, end + 1)]


def count_year(records: Iterable[Record], today: dt.date) -> Year:
    """Questions about a person by institution and month."""
    months = months_until(today)
    places = {(month.year, month.month): i for i, month in enumerate(months)}
    by_body: dict[str, list[int]] = {}
    days: Counter[dt.date] = Counter()
    first: dict[str, dt.date] = {}
    for record in records:
        if not is_asked(record):
            continue
        day = record.requested_at.astimezone(JAPAN).date()
        place = places.get((day.year, day.month))
        if place is not None:
            by_body.setdefault(record.requester, [0] * MONTHS)[place] += 1
            days[day] += 1
            first[record.requester] = min(day, first.get(record.requester, day))
    order = sorted(by_body, key=lambda code: (-sum(by_body[code]), code))
    names, rest = order[:INSTITUTIONS], order[INSTITUTIONS:]
    counts = [by_body[code] for code in names]
    if rest:
        names = [*names, ""]
        counts.append([sum(by_body[code][month] for code in rest) for month in range(MONTHS)])
    bars, ticks = _draw(counts)
    busiest = max(days.items(), key=lambda item: (item[1], item[0])) if days else None
    since = today - dt.timedelta(days=LATELY_DAYS)
    lately = sorted(((code, day) for code, day in first.items() if day > since), key=lambda one: one[1], reverse=True)
    crowded = sorted(((day, many) for day, many in days.items() if day > since and many > MANY_A_DAY), reverse=True)
    return Year(months, names, counts, bars, ticks, busiest, lately, crowded)


async def never_before(
    firsts: Sequence[tuple[str, dt.date]], reader: Reader, before: dt.datetime
) -> list[tuple[str, dt.date]]:
    """Of who asked for the first time lately, those who never asked before in all the years that may be shown.

    Whoever asks so much beside it that it would take too long to say, is not said to be new.

    Args:
        before: what is older was not read yet.
    """
    found = []
    for code, day in firsts[:FIRSTS_MAX]:
        if not await _asked_before(code, reader, before):
            found.append((code, day))
    return found


async def _asked_before(code: str, reader: Reader, before: dt.datetime) -> bool:
    """Whether an institution asked before, or it would take too long to say."""
    pages = 0
    try:
        async for page in reader.pages(until=before, institution=code):
            pages += 1
            too_many = pages == OLDER_PAGES_MAX and page.cursor is not None
            if too_many or any(one.requester == code and is_asked(one) for one in page.records):
                return True
    except NotFoundError:
        # The catalog knows it no more.
        return True
    return False


def is_asked(record: Record) -> bool:
    """Whether it is an institution's question; a look at one's own data is one's own."""
    return record.kind in ASKING and not record.procedure.startswith(OWN_DATA)


def _draw(counts: list[list[int]]) -> tuple[list[Bar], list[tuple[float, int]]]:
    most = max((sum(column) for column in zip(*counts, strict=True)), default=0)
    step = next(s for e in range(12) for s in (10**e, 2 * 10**e, 5 * 10**e) if s * 4 >= most)
    top = max(step * -(-most // step), 1)
    room = HEIGHT - BOTTOM - 12
    column = (WIDTH - LEFT) / MONTHS
    bars = []
    for month in range(MONTHS):
        base = 0
        for series, line in enumerate(counts):
            if line[month]:
                height = line[month] * room / top
                y = HEIGHT - BOTTOM - (base + line[month]) * room / top
                bars.append(Bar(series, line[month], LEFT + month * column + column * 0.18, y, column * 0.64, height))
                base += line[month]
    ticks = [(HEIGHT - BOTTOM - n * room / top, n) for n in range(0, top + 1, step)]
    return bars, ticks
