"""What a file of holders means: a fact a row, see ``persons/holders.py``.

The columns are ``code`` (a resident record code of 11 digits), ``class`` (a label), ``institution`` (the code of a body
of that class), ``from`` and ``to`` (days such as 2026-04-01; ``to`` is empty while nobody knows of an end). Else as in
``inquiries.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.catalog import Catalog
from hub.catalog.moments import day_of
from hub.files.columns import Cells, CodeTable, decode_digits, decode_texts
from hub.files.inquiries import CLASS, CODE, CODE_DIGITS, FROM, MEMBER, PART_ROWS, TO, Rejected, in_parts, judge_rows
from hub.files.tables import Table, open_table

Days = npt.NDArray[np.datetime64]

_DAY_CHARS_MAX = 10


class HolderPart(NamedTuple):
    """Rows of a file of holders: codes int64[N], class and institution numbers, days, rejected lines, rows read."""

    codes: npt.NDArray[np.int64]
    classes: npt.NDArray[np.uint32]
    institutions: npt.NDArray[np.uint32]
    since: Days
    until: Days
    rejected: Rejected
    rows_read: int

    def __repr__(self) -> str:
        return f"HolderPart(rows={len(self.codes)}, rejected={len(self.rejected.line)})"


def read_holders(
    path: str | os.PathLike[str], catalog: Catalog, *, encoding: str = "auto", rows: int = PART_ROWS
) -> HolderFile:
    """Open a file of holders; as ``files.read_codes``."""
    return HolderFile(open_table(path, ("code", "class", "institution", "from", "to"), (), encoding), catalog, rows)


class HolderFile:
    """A file of holders; iterate over its parts. ``rows_max``: no more rows than that."""

    def __init__(self, table: Table, catalog: Catalog, rows: int) -> None:
        self.rows_max = table.rows_max
        self._table, self._rows, self._catalog = table, rows, catalog
        self._classes = CodeTable({label: catalog.class_number(label) for label in catalog.class_labels})
        self._bodies = CodeTable({body.code: body.number for body in catalog.institutions()})

    def __iter__(self) -> Iterator[HolderPart]:
        first = 1
        for blocks in in_parts(self._table.blocks(), self._rows):
            codes, code_ok = join_columns(decode_digits(b.columns["code"], CODE_DIGITS) for b in blocks)
            classes, class_ok = join_columns(self._classes.decode(b.columns["class"]) for b in blocks)
            bodies, body_ok = join_columns(self._bodies.decode(b.columns["institution"]) for b in blocks)
            since, since_ok = join_columns(decode_day_cells(b.columns["from"], open_end=False) for b in blocks)
            until, until_ok = join_columns(decode_day_cells(b.columns["to"], open_end=True) for b in blocks)
            # One day earlier takes the fact back.
            until_ok &= np.isnat(until) | np.isnat(since) | (until >= since - 1)
            body_ok &= self._are_members(classes, bodies)
            checks = [(code_ok, CODE), (class_ok, CLASS), (body_ok, MEMBER), (since_ok, FROM), (until_ok, TO)]
            _, keep, rejected, read = judge_rows(blocks, first, checks)
            yield HolderPart(
                codes[keep], classes[keep], bodies[keep], since[keep], until[keep], rejected, read
            )
            first += read

    def _are_members(self, classes: npt.NDArray[np.uint32], bodies: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(classes), np.bool_)
        for label in self._catalog.class_labels:
            rows = np.flatnonzero(classes == self._catalog.class_number(label))
            if len(rows):
                members = np.zeros(self._catalog.numbers_end, np.bool_)
                members[list(self._catalog.members_of(label))] = True
                found[rows] = members[bodies[rows]]
        return found


def decode_day_cells(cells: Cells, *, open_end: bool) -> tuple[Days, npt.NDArray[np.bool_]]:
    """A column of days, and which cells are any; with ``open_end`` an empty one is NaT."""
    texts, ok = decode_texts(cells, _DAY_CHARS_MAX)
    # A register file has few different days.
    known = {text: _day_of(text) for text in set(texts)}
    days = np.array([known[text] for text in texts], dtype="datetime64[D]")
    # A text that was too long is empty here, and no open end.
    return days, ok & (~np.isnat(days) | (open_end & np.fromiter((not text for text in texts), np.bool_, len(texts))))


def _day_of(text: str) -> np.datetime64:
    try:
        return np.datetime64(day_of(text) or "NaT", "D")
    except ValueError:
        return np.datetime64("NaT", "D")


def join_columns(pairs: Iterator[tuple[Any, Any]]) -> tuple[Any, Any]:
    """The blocks of a column and of what is right in it, in one piece each."""
    values, oks = zip(*pairs, strict=True)
    return np.concatenate(values), np.concatenate(oks)
