"""What files of people's attributes mean: claims, a register, and a file beside what the register says.

Attributes stand in the columns ``name``, ``kana`` (may be missing), ``address``, ``sex`` and ``birth``, as the office
writes them (``mislinks/folding.py``). A **claim file** has ``ticket`` beside them, a **register** ``code``. A **linked
file** has them twice, the institution's own and, under names that begin with ``registered_``, those of the person whom
the register named; where wanted ``id``, the institution's own id, and ``alias``. Else as in ``inquiries.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.files.columns import decode_aliases, decode_digits, decode_texts
from hub.files.inquiries import ALIAS, ATTRIBUTES, CODE, CODE_DIGITS, PART_ROWS, TICKET, Rejected, in_parts, judge_rows
from hub.files.tables import Block, Table, open_table
from hub.messages import Aliases
from hub.mislinks.attributes import TEXT_CHARS_MAX, People

REQUIRED = ("name", "address", "sex", "birth")
REGISTERED = "registered_"
ID_CHARS_MAX = 100


class PeoplePart(NamedTuple):
    """Rows of such a file; columns that it has not are None.

    Attributes:
        row: int64[N], numbers counted from 1. keys: uint8[N, 16], tickets or aliases. codes: int64[N]. ids: N texts.
        people, registered: their attributes. rejected: lines left out. rows_read: in all.
    """

    row: npt.NDArray[np.int64]
    keys: Aliases | None
    codes: npt.NDArray[np.int64] | None
    ids: list[str] | None
    people: People
    registered: People | None
    rejected: Rejected
    rows_read: int

    def __repr__(self) -> str:
        return f"PeoplePart(rows={len(self.row)}, rejected={len(self.rejected.line)})"


def read_claims(path: str | os.PathLike[str], *, encoding: str = "auto", rows: int = PART_ROWS) -> PeopleFile:
    """Open a claim file; as ``files.read_codes``."""
    return PeopleFile(open_table(path, ("ticket", *REQUIRED), ("kana",), encoding, unread=("row",)), rows)


def read_register(path: str | os.PathLike[str], *, encoding: str = "auto", rows: int = PART_ROWS) -> PeopleFile:
    """Open a register; as ``files.read_codes``."""
    return PeopleFile(open_table(path, ("code", *REQUIRED), ("kana",), encoding), rows)


def read_linked(path: str | os.PathLike[str], *, encoding: str = "auto", rows: int = PART_ROWS) -> PeopleFile:
    """Open a linked file; as ``files.read_codes``."""
    twice = (*REQUIRED, *(REGISTERED + name for name in REQUIRED))
    optional = ("id", "alias", "kana", REGISTERED + "kana")
    return PeopleFile(open_table(path, twice, optional, encoding, unread=("row", "status")), rows)


class PeopleFile:
    """A file of people; iterate over its parts. ``rows_max``: no more rows than that."""

    def __init__(self, table: Table, rows: int) -> None:
        self.rows_max = table.rows_max
        self._table, self._rows = table, rows

    def __iter__(self) -> Iterator[PeoplePart]:
        first = 1
        for blocks in in_parts(self._table.blocks(), self._rows):
            names = blocks[0].columns
            checks: list[tuple[npt.NDArray[np.bool_], int]] = []
            keys = codes = registered = None
            for name, cause in (("ticket", TICKET), ("alias", ALIAS)):
                if name in names:
                    keys, ok = _join([decode_aliases(b.columns[name]) for b in blocks])
                    checks.append((ok, cause))
            if "code" in names:
                codes, ok = _join([decode_digits(b.columns["code"], CODE_DIGITS) for b in blocks])
                checks.append((ok, CODE))
            ids: npt.NDArray[np.object_] | None = None
            if "id" in names:
                ids = _texts(blocks, "id", ID_CHARS_MAX, checks)
            people = _people(blocks, "", checks)
            if REGISTERED + "name" in names:
                registered = _people(blocks, REGISTERED, checks)
            row, keep, rejected, read = judge_rows(blocks, first, checks)
            at = np.flatnonzero(keep)
            yield PeoplePart(
                row,
                None if keys is None else np.ascontiguousarray(keys[at]),
                None if codes is None else codes[at],
                None if ids is None else ids[at].tolist(),
                people.take(at),
                None if registered is None else registered.take(at),
                rejected,
                read,
            )
            first += read


def _people(blocks: list[Block], prefix: str, checks: list[tuple[npt.NDArray[np.bool_], int]]) -> People:
    rows = sum(len(b.line) for b in blocks)
    columns = {
        name: _texts(blocks, prefix + name, TEXT_CHARS_MAX, checks)
        for name in ("name", "kana", "address", "sex", "birth")
        if prefix + name in blocks[0].columns
    }
    return People(**{"kana": np.full(rows, "", object), **columns})


def _texts(
    blocks: list[Block], name: str, chars_max: int, checks: list[tuple[npt.NDArray[np.bool_], int]]
) -> npt.NDArray[np.object_]:
    parts = [decode_texts(b.columns[name], chars_max) for b in blocks]
    checks.append((np.concatenate([ok for _, ok in parts]), ATTRIBUTES))
    texts = [text for part, _ in parts for text in part]
    out = np.empty(len(texts), object)
    out[:] = texts
    return out


def _join(pairs: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
    values, oks = zip(*pairs, strict=True)
    return np.concatenate(values), np.concatenate(oks)
