"""Days in Japan and the moments at which they begin: law changes at midnight in Tokyo, whatever the clock's zone."""

from __future__ import annotations

import datetime as dt
import math
import re

from hub.errors import RequestError

JAPAN = dt.timezone(dt.timedelta(hours=9), "JST")
"""Japan has one zone and no summer time; a fixed offset needs no zone data on the machine."""

_DAY = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})")


def day_starts(day: dt.date) -> float:
    """Seconds since 1970 at which a day begins in Japan."""
    return dt.datetime(day.year, day.month, day.day, tzinfo=JAPAN).timestamp()


def starts_at(valid_from: dt.date | None) -> float:
    """The first second of a period; a period without a first day has always run."""
    return -math.inf if valid_from is None else day_starts(valid_from)


def ends_at(valid_to: dt.date | None) -> float:
    """The first second after a period whose last day is ``valid_to``; without one it runs on."""
    if valid_to is None or valid_to == dt.date.max:
        return math.inf
    return day_starts(valid_to + dt.timedelta(days=1))


def seconds_of(at: dt.datetime | dt.date | float) -> float:
    """Seconds since 1970 of a moment.

    Args:
        at: a datetime (without a zone it is Japan's time), a date (the beginning of that day in Japan) or seconds.

    Raises:
        RequestError: it is none of them.
    """
    if isinstance(at, dt.datetime):
        return (at if at.tzinfo is not None else at.replace(tzinfo=JAPAN)).timestamp()
    if isinstance(at, dt.date):
        return day_starts(at)
    if isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at):
        raise RequestError(f"at: expected a datetime, a date or seconds since 1970, got {type(at).__name__}")
    return float(at)


def day_of(text: str) -> dt.date | None:
    """Read ``2026-06-26`` (or ``2026/6/26``, as spreadsheets write it); empty is None.

    Raises:
        ValueError: the text is no day.
    """
    if not text:
        return None
    found = _DAY.fullmatch(text)
    try:
        return dt.date(*map(int, found.groups())) if found else _refuse(text)
    except (ValueError, OverflowError):
        return _refuse(text)


def read_period(line: dict[str, str]) -> tuple[dt.date | None, dt.date | None]:
    """valid_from and valid_to of a line.

    Raises:
        ValueError: a day cannot be read, or the last is before the first.
    """
    valid_from, valid_to = day_of(line["valid_from"]), day_of(line["valid_to"])
    if valid_from and valid_to and valid_to < valid_from:
        raise ValueError(f"valid_to: expected a day from {valid_from} on, got {valid_to}")
    return valid_from, valid_to


def _refuse(text: str) -> dt.date:
    raise ValueError(f"date: expected YYYY-MM-DD, got {text[:20]!r}")


def bound_of(value: dt.datetime | dt.date | None, *, end_of_day: bool) -> float | None:
    """A bound of a time range in seconds since 1970: a date is its beginning in Japan, or the end of that day.

    Raises:
        RequestError: it is neither None, a date nor a datetime with its zone.
    """
    if value is None:
        return None
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise RequestError("since, until: expected a date or a datetime with its time zone, got one without")
        return value.timestamp()
    if not isinstance(value, dt.date):
        raise RequestError(f"since, until: expected a date or datetime, got {type(value).__name__}")
    return ends_at(value) if end_of_day else day_starts(value)
