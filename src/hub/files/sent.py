"""What files of pushes, updates, notices and of what was taken mean; else as in ``inquiries.py``.

A file of **notices** has ``alias`` and, where each person gets a text of their own, ``text``; of **pushes** ``alias``,
``receiver`` (an institution's code) and, where wanted, ``payload`` (base64); of **updates** ``alias`` or ``permit``,
and ``payload``; of what was **taken** ``number`` (16 hex digits, of ``hub arrived``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.catalog import Catalog
from hub.errors import RequestError
from hub.files.columns import CodeTable, decode_aliases, decode_payloads, decode_permits, decode_texts
from hub.files.inquiries import (
    ALIAS,
    NUMBER,
    PARTS_MAX,
    PAYLOAD_ROWS,
    PAYLOAD_SENT,
    PERMIT,
    RECEIVER,
    TEXT,
    Rejected,
    in_parts,
    judge_rows,
)
from hub.files.tables import Table, open_table
from hub.limits import NOTICE_BYTES_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_PER_COMMIT_MAX, ROWS_PER_CHUNK
from hub.messages import Aliases
from hub.sending.notify import is_text

OTHERS = (
    "alias", "payload", "corrects", "kind", "sender", "sender_name", "on_behalf_of", "procedure", "items", "role",
    "section", "reference_date", "event", "legal_basis", "valid_until",
)  # fmt: skip
"""Columns of ``hub arrived`` that ``hub taken`` leaves alone."""


class SentPart(NamedTuple):
    """Rows of a file: row numbers, line numbers, and those columns that it has.

    Attributes:
        names: aliases uint8[N, 16], or permits or numbers uint64[N]. receivers: uint32[N] or None.
        texts, payloads: N, or None.
    """

    number: int
    row: npt.NDArray[np.int64]
    line: npt.NDArray[np.int64]
    names: Aliases | npt.NDArray[np.uint64]
    receivers: npt.NDArray[np.uint32] | None
    texts: list[str] | None
    payloads: list[bytes | None] | None
    rejected: Rejected
    rows_read: int

    def __repr__(self) -> str:
        return f"SentPart({self.number}, rows={len(self.row)}, rejected={len(self.rejected.line)})"


def read_notices(path: str | os.PathLike[str], *, each: bool, encoding: str = "auto") -> SentFile:
    """Open a file of notices, each with a text of its own or none of them."""
    return SentFile(open_table(path, ("alias", *(("text",) if each else ())), (), encoding), "alias", ROWS_PER_CHUNK)


def read_pushes(path: str | os.PathLike[str], catalog: Catalog, *, encoding: str = "auto") -> SentFile:
    """Open a file of pushes."""
    table = open_table(path, ("alias", "receiver"), ("payload",), encoding, rows=PAYLOAD_ROWS)
    return SentFile(table, "alias", ROWS_PER_CHUNK, catalog)


def read_updates(path: str | os.PathLike[str], name: str, rows: int, *, encoding: str = "auto") -> SentFile:
    """Open a file of updates whose rows are named by ``alias`` or by ``permit``."""
    return SentFile(open_table(path, (name, "payload"), (), encoding, rows=PAYLOAD_ROWS), name, rows)


def read_taken(path: str | os.PathLike[str], *, encoding: str = "auto") -> SentFile:
    """Open a file of what was taken; ``hub arrived`` writes one, whose other columns are not looked at."""
    return SentFile(open_table(path, ("number",), (), encoding, unread=OTHERS), "number", ROWS_PER_CHUNK)


class SentFile:
    """Iterate over its parts. ``rows_max``: no more rows than that."""

    def __init__(
        self, table: Table, name: str, rows: int, catalog: Catalog | None = None
    ) -> None:
        self.rows_max = table.rows_max
        self._table, self._name, self._rows = table, name, rows
        codes = {} if catalog is None else {body.code: body.number for body in catalog.institutions()}
        self._codes = CodeTable(codes)

    def __repr__(self) -> str:
        return "SentFile()"

    def __iter__(self) -> Iterator[SentPart]:
        first = 1
        parts = in_parts(self._table.blocks(), self._rows, bytes_max=PAYLOAD_BYTES_PER_COMMIT_MAX)
        for number, blocks in enumerate(parts):
            if number == PARTS_MAX:
                raise RequestError(f"file: expected at most {PARTS_MAX} parts, got more")
            # Of what was taken nothing else is looked at.
            has = set(blocks[0].columns) if self._name != "number" else set()
            decode = decode_aliases if self._name == "alias" else decode_permits
            names, ok = _join(decode(b.columns[self._name]) for b in blocks)
            checks = [(ok, {"alias": ALIAS, "permit": PERMIT, "number": NUMBER}[self._name])]
            receivers, texts, payloads = None, None, None
            if "receiver" in has:
                receivers, ok = _join(self._codes.decode(b.columns["receiver"]) for b in blocks)
                checks.append((ok, RECEIVER))
            if "text" in has:
                found = [decode_texts(b.columns["text"], NOTICE_BYTES_MAX) for b in blocks]
                texts = [one for part, _ in found for one in part]
                checks.append((np.fromiter(map(is_text, texts), np.bool_, len(texts)), TEXT))
            if "payload" in has:
                opened = [decode_payloads(b.columns["payload"], PAYLOAD_BYTES_MAX) for b in blocks]
                payloads = [one for part, _ in opened for one in part]
                checks.append((np.concatenate([ok for _, ok in opened]), PAYLOAD_SENT))
            row, keep, rejected, read = judge_rows(blocks, first, checks)
            line = np.concatenate([b.line for b in blocks])[keep]
            at = np.flatnonzero(keep).tolist()
            yield SentPart(
                number, row, line, np.ascontiguousarray(names[keep]), None if receivers is None else receivers[keep],
                None if texts is None else [texts[i] for i in at],
                None if payloads is None else [payloads[i] for i in at], rejected, read,
            )  # fmt: skip
            first += read


def _join(pairs: Iterator[tuple[Any, Any]]) -> tuple[Any, Any]:
    values, oks = zip(*pairs, strict=True)
    return np.concatenate(values), np.concatenate(oks)
