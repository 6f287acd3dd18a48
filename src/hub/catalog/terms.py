"""The terms of an exchange: how long a permit waits, and how many providers may be asked about one person in a day.

A line is for one procedure, or for ``*``, every procedure that no line names. Without either the defaults of
``limits.py`` hold.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from hub.catalog.csvfile import CsvFile, Source
from hub.limits import FAN_OUT_PROVIDERS_MAX, PERMIT_DAYS, PERMIT_DAYS_MAX, PROVIDERS_PER_PERSON_MAX


class Term(msgspec.Struct, frozen=True, array_like=True):
    """The terms of one procedure.

    Attributes:
        procedure: its id; ``*`` is every procedure that no line names.
        permit_days: days that a permit waits for its provider's answer, 1 to ``PERMIT_DAYS_MAX``.
        providers_per_person_max: different providers that one requester may ask about one person and item in a day, 1
            to ``FAN_OUT_PROVIDERS_MAX``.
    """

    procedure: str
    permit_days: int = PERMIT_DAYS
    providers_per_person_max: int = PROVIDERS_PER_PERSON_MAX


class Terms:
    """The terms of every procedure."""

    def __init__(self, lines: Iterable[Term]) -> None:
        self._lines = {line.procedure: line for line in lines}
        self._others = self._lines.get("*", Term("*"))

    def of(self, procedure_id: str) -> Term:
        """The line that holds for a procedure: its own, else that for ``*``, else the defaults."""
        return self._lines.get(procedure_id, self._others)


def read_terms(source: Source) -> list[Term]:
    """Read terms: procedure, permit_days, providers_per_person_max; an empty number is the default.

    Raises:
        CatalogError: the file is broken.
    """
    return CsvFile(source).parse(_parse_term, ("procedure", "permit_days", "providers_per_person_max"))


def _parse_term(line: dict[str, str]) -> Term:
    if not line["procedure"]:
        raise ValueError("procedure: expected an id or *, got nothing")
    return Term(
        line["procedure"],
        _read_number(line, "permit_days", PERMIT_DAYS, PERMIT_DAYS_MAX),
        _read_number(line, "providers_per_person_max", PROVIDERS_PER_PERSON_MAX, FAN_OUT_PROVIDERS_MAX),
    )


def _read_number(line: dict[str, str], name: str, default: int, most: int) -> int:
    text = line[name]
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
        raise ValueError(f"{name}: expected 1 to {most}, got {text[:20]!r}")
    return int(text)
