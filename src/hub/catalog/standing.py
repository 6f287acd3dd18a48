"""What lets a body act or stops it beside its classes: delegations, narrowed procedures, assessments."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from hub.catalog.classes import split_parts
from hub.catalog.csvfile import CsvFile, Source, expect
from hub.catalog.institutions import Institution
from hub.catalog.law import BASES, split_list
from hub.catalog.moments import day_of, ends_at, read_period, starts_at

SIDES = ("requester", "provider", "both")


class Delegation(msgspec.Struct, frozen=True, array_like=True):
    """A body that acts by law for every body of a class, in its own right: ``nenkin`` for 厚生労働大臣.

    Attributes:
        delegate: institution code.
        principal: class string on whose behalf it acts; records name it.
        law, article: what delegates it.
        rows: ids of rows, ``19-8/72``.
        side: requester, provider or both.
        valid_from, valid_to: first and last day.
    """

    delegate: str
    principal: str
    law: str
    article: str
    rows: tuple[str, ...]
    side: str
    valid_from: dt.date | None
    valid_to: dt.date | None

    def covers(self, row_id: str, side: str, at: float | None) -> bool:
        """Whether it holds for a row and side, at a moment or (None) at any."""
        return (
            row_id in self.rows
            and self.side in (side, "both")
            and (at is None or starts_at(self.valid_from) <= at < ends_at(self.valid_to))
        )


class Narrowing(msgspec.Struct, frozen=True, array_like=True):
    """A procedure that only some of the bodies may use that its row names.

    Attributes:
        procedure: its id.
        parts: the union of bodies, as classes.csv writes it.
        reason: for people.
    """

    procedure: str
    parts: tuple[str, ...]
    reason: str


class Assessment(msgspec.Struct, frozen=True, array_like=True):
    """When a body published its assessment (特定個人情報保護評価, Art. 28 of the Act) for a row.

    Attributes:
        institution: a code; ``*`` is every body that no line names.
        row: the id of a row; ``*`` is every row.
        side: requester, provider or both.
        published_on: first day on which it counts; None is never.
    """

    institution: str
    row: str
    side: str
    published_on: dt.date | None

    @property
    def published_at(self) -> float:
        return math.inf if self.published_on is None else starts_at(self.published_on)


class Assessments:
    """From when on each institution may take part in a row. A line that names a body replaces those for ``*``."""

    def __init__(self, lines: Iterable[Assessment], institutions: Sequence[Institution]) -> None:
        numbers = {body.code: body.number for body in institutions}
        self._star: dict[tuple[str, str], float] = {}
        self._named: dict[tuple[str, str], dict[int, float]] = {}
        self._has_own = np.zeros(len(institutions) + 1, dtype=bool)
        for line in lines:
            number = numbers.get(line.institution)
            if number is not None:
                self._has_own[number] = True
            for side in ("requester", "provider") if line.side == "both" else (line.side,):
                key = (line.row, side)
                if line.institution == "*":
                    self._star[key] = min(self._star.get(key, math.inf), line.published_at)
                elif number is not None:
                    named = self._named.setdefault(key, {})
                    named[number] = min(named.get(number, math.inf), line.published_at)

    def published_at(self, number: int, row_id: str, side: str) -> float:
        """Seconds since 1970 from which one institution's assessment counts; infinity is never."""
        rows = (("*", side), (row_id, side))
        if self._has_own[number]:
            return min(self._named.get(row, {}).get(number, math.inf) for row in rows)
        return min(self._star.get(row, math.inf) for row in rows)

    def published(self, row_id: str, side: str) -> npt.NDArray[np.float64]:
        """The same for every institution number at once."""
        rows = (("*", side), (row_id, side))
        times = np.where(self._has_own, np.inf, min(self._star.get(row, math.inf) for row in rows))
        for row in rows:
            named = self._named.get(row)
            if named:
                numbers = np.fromiter(named, dtype=np.intp, count=len(named))
                times[numbers] = np.minimum(times[numbers], np.fromiter(named.values(), np.float64, len(named)))
        return times


def read_delegations(source: Source) -> list[Delegation]:
    """Read delegations.csv.

    Raises:
        CatalogError: the file is broken.
    """
    columns = ("delegate", "principal", "law", "article", "rows", "side")
    return CsvFile(source).parse(_parse_delegation, columns, ("valid_from", "valid_to"))


def read_narrowings(source: Source) -> list[Narrowing]:
    """Read narrowings.csv.

    Raises:
        CatalogError: the file is broken.
    """
    return CsvFile(source).parse(_parse_narrowing, ("procedure", "members"), ("reason",))


def read_assessments(source: Source) -> list[Assessment]:
    """Read assessments.csv.

    Raises:
        CatalogError: the file is broken.
    """
    return CsvFile(source).parse(_parse_assessment, ("institution", "row", "side", "published_on"))


def _row_id(row: str) -> str:
    """``73`` is short for ``19-8/73``."""
    if row == "*" or (row.partition("/")[0] in BASES and "/" in row):
        return row
    if not row or "/" in row:
        raise ValueError(f"row: expected a row like 73 or 19-9/1, got {row[:40]!r}")
    return f"19-8/{row}"


def _parse_delegation(line: dict[str, str]) -> Delegation:
    rows = tuple(_row_id(row) for row in split_list(line["rows"], "rows"))
    side = expect("side", line["side"], SIDES)
    for name in ("delegate", "principal", "law", "article"):
        if not line[name]:
            raise ValueError(f"{name}: expected a value, got nothing")
    valid_from, valid_to = read_period(line)
    return Delegation(
        line["delegate"], line["principal"], line["law"], line["article"], rows, side, valid_from, valid_to
    )


def _parse_narrowing(line: dict[str, str]) -> Narrowing:
    if not line["procedure"]:
        raise ValueError("procedure: expected an id, got nothing")
    return Narrowing(line["procedure"], split_parts(line["members"]), line["reason"])


def _parse_assessment(line: dict[str, str]) -> Assessment:
    if not line["institution"]:
        raise ValueError("institution: expected a code or *, got nothing")
    side = expect("side", line["side"], SIDES)
    return Assessment(line["institution"], _row_id(line["row"]), side, day_of(line["published_on"]))
