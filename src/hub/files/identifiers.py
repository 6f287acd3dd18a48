"""What files of identifiers from outside mean: an identifier a row, see ``persons/identifiers.py``.

The column ``identifier`` has text of 1 to 64 bytes in UTF-8, taken as it stands. To register them a file has ``alias``
(32 hex digits) or ``code`` (11 digits) beside it, to renew them ``new``. Else as in ``inquiries.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.files.columns import Cells, decode_aliases, decode_digits, decode_texts
from hub.files.inquiries import ALIAS, CODE, CODE_DIGITS, IDENTIFIER, PART_ROWS, Rejected, in_parts, judge_rows
from hub.files.tables import Table, open_table
from hub.limits import IDENTIFIER_BYTES_MAX
from hub.messages import Aliases


class IdentifierPart(NamedTuple):
    """Rows of such a file: row numbers, identifiers, what stands beside them or None; rejected lines, rows read."""

    row: npt.NDArray[np.int64]
    identifiers: list[str]
    people: Aliases | npt.NDArray[np.int64] | None
    new: list[str] | None
    rejected: Rejected
    rows_read: int

    def __repr__(self) -> str:
        return f"IdentifierPart(rows={len(self.row)}, rejected={len(self.rejected.line)})"


def read_identifiers(
    path: str | os.PathLike[str], beside: str | None = None, *, encoding: str = "auto", rows: int = PART_ROWS
) -> IdentifierFile:
    """Open a file of identifiers, with ``alias``, ``code`` or ``new`` beside them; as ``files.read_codes``."""
    columns = ("identifier",) if beside is None else ("identifier", beside)
    return IdentifierFile(open_table(path, columns, (), encoding), beside, rows)


class IdentifierFile:
    """A file of identifiers; iterate over its parts. ``rows_max``: no more rows than that."""

    def __init__(self, table: Table, beside: str | None, rows: int) -> None:
        self.rows_max = table.rows_max
        self._table, self._beside, self._rows = table, beside, rows

    def __iter__(self) -> Iterator[IdentifierPart]:
        first = 1
        for blocks in in_parts(self._table.blocks(), self._rows):
            texts, good = _texts([block.columns["identifier"] for block in blocks])
            checks = [(good, IDENTIFIER)]
            people: Any = None
            new: list[str] | None = None
            if self._beside == "new":
                new, good = _texts([block.columns["new"] for block in blocks])
                checks.append((good, IDENTIFIER))
            elif self._beside is not None:
                people, good = _people([block.columns[self._beside] for block in blocks], self._beside)
                checks.append((good, ALIAS if self._beside == "alias" else CODE))
            row, keep, rejected, read = judge_rows(blocks, first, checks)
            kept = np.flatnonzero(keep).tolist()
            yield IdentifierPart(
                row,
                [texts[at] for at in kept],
                None if people is None else np.ascontiguousarray(people[keep]),
                None if new is None else [new[at] for at in kept],
                rejected,
                read,
            )
            first += read


def _people(columns: list[Cells], beside: str) -> tuple[Any, npt.NDArray[np.bool_]]:
    decoded: list[tuple[Any, npt.NDArray[np.bool_]]] = [
        decode_aliases(cells) if beside == "alias" else decode_digits(cells, CODE_DIGITS) for cells in columns
    ]
    return np.concatenate([values for values, _ in decoded]), np.concatenate([ok for _, ok in decoded])


def _texts(columns: list[Cells]) -> tuple[list[str], npt.NDArray[np.bool_]]:
    texts = [text for cells in columns for text in decode_texts(cells, IDENTIFIER_BYTES_MAX)[0]]
    return texts, np.fromiter((1 <= len(text.encode()) <= IDENTIFIER_BYTES_MAX for text in texts), np.bool_, len(texts))
