"""What a file of deaths means: a person a row, by ``alias`` (32 hex digits) or ``code`` (11 digits).

The other columns are ``died`` and, if wished, ``born``: days such as 2026-04-01; ``born`` may be empty. Else as in
``inquiries.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.files.columns import decode_aliases, decode_digits
from hub.files.holders import Days, decode_day_cells, join_columns
from hub.files.inquiries import ALIAS, BORN, CODE, CODE_DIGITS, DIED, Rejected, in_parts, judge_rows
from hub.files.tables import Table, open_table


class DeathPart(NamedTuple):
    """Rows of a file of deaths: aliases uint8[N, 16] or codes int64[N], days, rejected lines, rows read."""

    people: npt.NDArray[Any]
    died: Days
    born: Days
    rejected: Rejected
    rows_read: int

    def __repr__(self) -> str:
        return f"DeathPart(rows={len(self.people)}, rejected={len(self.rejected.line)})"


class DeathFile:
    """A file of deaths; iterate over its parts. ``rows_max``: no more rows than that."""

    def __init__(self, table: Table, name: str, rows: int) -> None:
        self.rows_max = table.rows_max
        self._table, self._name, self._rows = table, name, rows

    def __iter__(self) -> Iterator[DeathPart]:
        first = 1
        for blocks in in_parts(self._table.blocks(), self._rows):
            if self._name == "alias":
                people, people_ok = join_columns(decode_aliases(b.columns["alias"]) for b in blocks)
            else:
                people, people_ok = join_columns(decode_digits(b.columns["code"], CODE_DIGITS) for b in blocks)
            died, died_ok = join_columns(decode_day_cells(b.columns["died"], open_end=False) for b in blocks)
            born, born_ok = np.full(len(died), np.datetime64("NaT", "D")), np.ones(len(died), np.bool_)
            if all("born" in b.columns for b in blocks):
                born, born_ok = join_columns(decode_day_cells(b.columns["born"], open_end=True) for b in blocks)
            checks = [(people_ok, ALIAS if self._name == "alias" else CODE), (died_ok, DIED), (born_ok, BORN)]
            _, keep, rejected, read = judge_rows(blocks, first, checks)
            yield DeathPart(people[keep], died[keep], born[keep], rejected, read)
            first += read


def read_deaths(path: str | os.PathLike[str], name: str, *, encoding: str = "auto", rows: int) -> DeathFile:
    """Open a file of deaths, whose people stand in the column ``alias`` or ``code``."""
    return DeathFile(open_table(path, (name, "died"), ("born",), encoding), name, rows)
