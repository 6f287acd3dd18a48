"""The terms of an exchange: how long a permit waits, how many providers may be asked about one person in a day, and
whether a question by hand needs a second clerk.

A line is for one procedure, or for ``*``, every procedure that no line names. Without either the defaults of
``limits.py`` hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from hub.catalog.csvfile import CsvFile, Source, expect
from hub.limits import FAN_OUT_PROVIDERS_MAX, PERMIT_DAYS, PERMIT_DAYS_MAX, PROVIDERS_PER_PERSON_MAX


class Term(msgspec.Struct, frozen=True, array_like=True):
    """The terms of one procedure.

    Attributes:
        procedure: its id; ``*`` is every procedure that no line names.
        permit_days: days that a permit waits for its provider's answer, 1 to ``PERMIT_DAYS_MAX``.
        providers_per_person_max: different providers that one requester may ask about one person and item in a day, 1
            to ``FAN_OUT_PROVIDERS_MAX``.
        two_clerks: a question by hand is asked only when a second clerk has confirmed it (``hub desk``).
    """

    procedure: str
    permit_days: int = PERMIT_DAYS
    providers_per_person_max: int = PROVIDERS_PER_PERSON_MAX
    two_clerks: bool = False

    def packed(self) -> list[Any]:
        """As it is stored: a catalog whose terms say nothing of clerks keeps its digest."""
        fields = [self.procedure, self.permit_days, self.providers_per_person_max]
        return [*fields, True] if self.two_clerks else fields


class Terms:
    """The terms of every procedure."""

    def __init__(self, lines: Iterable[Term]) -> None:
        self._lines = {line.procedure: line for line in lines}
        self._others = self._lines.get("*", Term("*"))

    def of(self, procedure_id: str) -> Term:
        """The line that holds for a procedure: its own, else that for ``*``, else the defaults."""
        return self._lines.get(procedure_id, self._others)


def read_terms(source: Source) -> list[Term]:
    """Read terms: procedure, permit_days, providers_per_person_max, [two_clerks]; an empty number is the default, and
    two_clerks is 1 or empty.

    Raises:
        CatalogError: the file is broken.
    """
    needed = ("procedure", "permit_days", "providers_per_person_max")
    return CsvFile(source).parse(_parse_term, needed, ("two_clerks",))


def _parse_term(line: dict[str, str]) -> Term:
    if not line["procedure"]:
        raise ValueError("procedure: expected an id or *, got nothing")
    return Term(
        line["procedure"],
        _read_number(line, "permit_days", PERMIT_DAYS, PERMIT_DAYS_MAX),
        _read_number(line, "providers_per_person_max", PROVIDERS_PER_PERSON_MAX, FAN_OUT_PROVIDERS_MAX),
        expect("two_clerks", line["two_clerks"], ("", "0", "1")) == "1",
    )


def _read_number(line: dict[str, str], name: str, default: int, most: int) -> int:
    text = line[name]
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
        raise ValueError(f"{name}: expected 1 to {most}, got {text[:20]!r}")
    return int(text)
