"""What the files of acquisitions, inquiries and answers mean: columns, rows, parts of bounded size, rejected lines.

An **acquisition file** has the one column ``code``: a resident record code of 11 digits. An **inquiry file** has
``alias`` (32 hex digits), ``provider`` (an institution's code, or a class's label) and, where wanted, ``case`` (the
requester's own case number) and ``consent`` (1 where the person consented, else 0). A **file of aliases** has the
column ``alias``, one of **tickets** the column ``ticket`` (32 hex digits too); both may have the other columns that
``hub acquire`` and ``hub tickets`` write, which are not looked at. A **delivery** has ``ticket`` and ``code``. A
provider's **answer file** has ``permit`` (16 hex digits), ``outcome`` and, where wanted, ``reason`` (both by name) and
``payload`` (base64). The first line of a CSV names the columns, in any order.

A row's number counts from 1, the header left out, blank lines counted but skipped. A row of the wrong shape becomes
a rejected line with its cause; no cause repeats what the line holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.catalog import Consents
from hub.errors import RequestError
from hub.files.columns import (
    Choices,
    CodeTable,
    decode_aliases,
    decode_digits,
    decode_payloads,
    decode_permits,
    decode_texts,
)
from hub.files.tables import Block, Table, TableWriter, open_table
from hub.limits import (
    CASE_CHARS_MAX,
    IDENTIFIER_BYTES_MAX,
    NOTICE_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    PAYLOAD_BYTES_PER_COMMIT_MAX,
    ROWS_PER_CHUNK,
)
from hub.messages import REFUSALS, Aliases, Reason, Status
from hub.mislinks.attributes import TEXT_CHARS_MAX
from hub.provision.payloads import DATA_BYTES_MAX

PART_ROWS = 1 << 20
"""Rows of one part: 1,048,576 rows of an inquiry take about 150 MiB between file and answer."""

PARTS_MAX = 10_000
"""A part's number has four digits in its request id."""

CODE_DIGITS = 11

OUTCOMES = (Status.PROVIDED, Status.EMPTY, Status.NO_RECORD, Status.REFUSED, Status.MANUAL)

PAYLOAD_ROWS = 1_024
"""Rows of a block of a Parquet or Arrow file that has payloads: at most 88 MB."""

CAUSES = (
    "wrong number of columns",
    "code: expected 11 digits",
    "alias: expected 32 hex digits",
    "provider: no institution of the catalog has this code",
    f"case: expected text of at most {CASE_CHARS_MAX} characters",
    "consent: expected 1 or 0",
    "class: no class of the catalog has this label",
    "institution: no body of the class has this code",
    "from: expected a day such as 2026-04-01",
    "to: expected a day such as 2026-04-01, not before from, or nothing",
    "ticket: expected 32 hex digits",
    "permit: expected 16 hex digits",
    "outcome: expected " + ", ".join(one.name for one in OUTCOMES),
    "reason: expected with REFUSED, or NOT_LOADED with NO_RECORD, and nothing otherwise, "
    + ", ".join(one.name for one in REFUSALS),
    f"payload: expected with PROVIDED only, in base64, at most {PAYLOAD_BYTES_MAX} bytes",
    "permit: expected one of this institution, got another",
    "permit: has lapsed",
    "permit: was answered otherwise before",
    "payload: expected one sealed to the requester's key, got another",
    "payload: expected one sealed to this key, got another",
    f"payload: expected base64 of at most {DATA_BYTES_MAX} bytes",
    f"name, kana, address, sex, birth or id: expected text of at most {TEXT_CHARS_MAX} characters",
    "code: expected one of the register",
    "receiver: no institution of the catalog has this code",
    f"text: expected 1 to {NOTICE_BYTES_MAX} bytes of UTF-8, no control character but the line feed",
    "number: expected 16 hex digits",
    f"payload: expected base64 of at most {PAYLOAD_BYTES_MAX} bytes",
    f"identifier: expected text of 1 to {IDENTIFIER_BYTES_MAX} bytes",
    "died: expected a day such as 2026-04-01",
    "born: expected a day such as 2026-04-01, or nothing",
)
"""Why a line was rejected, numbered from 0."""
COLUMNS, CODE, ALIAS, PROVIDER, CASE, CONSENT, CLASS, MEMBER, FROM, TO, TICKET = range(11)
PERMIT, OUTCOME, REASON, PAYLOAD = range(11, 15)
UNFIT = {"unknown": 15, "lapsed": 16, "answered": 17, "payload": 18}
"""The same of lines of the right shape that the hub does not take, by the cause of a ``RowsError``."""
SEALED, DATA = 19, 20
ATTRIBUTES, UNREGISTERED = 21, 22
RECEIVER, TEXT, NUMBER, PAYLOAD_SENT = range(23, 27)
IDENTIFIER = 27
DIED, BORN = 28, 29


class Rejected(NamedTuple):
    """Lines that were left out: int64[K] line numbers (a CSV's header is line 1), uint8[K] numbers of ``CAUSES``."""

    line: npt.NDArray[np.int64]
    cause: npt.NDArray[np.uint8]

    def __repr__(self) -> str:
        return f"Rejected(rows={len(self.line)})"


class CodePart(NamedTuple):
    """Rows of an acquisition file: row numbers, codes as int64[N], rejected lines, rows read in all."""

    number: int
    row: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int64]
    rejected: Rejected
    rows_read: int

    def __repr__(self) -> str:
        return f"CodePart({self.number}, rows={len(self.row)}, rejected={len(self.rejected.line)})"


class AliasPart(NamedTuple):
    """Rows of a file of aliases or tickets, or of a delivery: row numbers, uint8[N, 16], codes or None, rejected lines,
    rows read in all; aliases that stand beside the tickets, or None."""

    number: int
    row: npt.NDArray[np.int64]
    aliases: Aliases
    codes: npt.NDArray[np.int64] | None
    rejected: Rejected
    rows_read: int
    beside: Aliases | None = None

    def __repr__(self) -> str:
        return f"AliasPart({self.number}, rows={len(self.row)}, rejected={len(self.rejected.line)})"


class InquiryPart(NamedTuple):
    """Rows of an inquiry file: row numbers, aliases, uint32[N] providers, cases, rejected lines, rows read, consents.

    Cases, and consents as bool[N], are None where the file has no such column; consents are True where all consented.
    """

    number: int
    row: npt.NDArray[np.int64]
    aliases: Aliases
    providers: npt.NDArray[np.uint32]
    cases: list[str] | None
    rejected: Rejected
    rows_read: int
    consents: Consents = None

    def __repr__(self) -> str:
        return f"InquiryPart({self.number}, rows={len(self.row)}, rejected={len(self.rejected.line)})"


class AnswerPart(NamedTuple):
    """Rows of an answer file: row and line numbers, permits as uint64[N], outcomes and reasons as uint8[N], payloads,
    rejected lines, rows read in all. Payloads are None where the file has no such column.
    """

    number: int
    row: npt.NDArray[np.int64]
    line: npt.NDArray[np.int64]
    permits: npt.NDArray[np.uint64]
    outcomes: npt.NDArray[np.uint8]
    reasons: npt.NDArray[np.uint8]
    payloads: list[bytes | None] | None
    rejected: Rejected
    rows_read: int

    def __repr__(self) -> str:
        return f"AnswerPart({self.number}, rows={len(self.row)}, rejected={len(self.rejected.line)})"


def read_codes(path: str | os.PathLike[str], *, encoding: str = "auto", rows: int = PART_ROWS) -> CodeFile:
    """Open an acquisition file.

    Args:
        encoding: one of ``ENCODINGS``; auto takes UTF-8 where the whole file is UTF-8, else CP932.
        rows: rows of a part.

    Raises:
        RequestError: not a regular file, no such column, mixed encodings, broken quotes; nothing was done.
    """
    return CodeFile(open_table(path, ("code",), (), encoding), rows)


def read_all_aliases(path: str | os.PathLike[str], *, encoding: str = "auto") -> Aliases:
    """All of a file of aliases, uint8[N, 16].

    Raises:
        RequestError: as of :func:`read_codes`; or a line is no alias, which refuses all of them. It is named by number.
    """
    found: list[Aliases] = [np.empty((0, 16), np.uint8)]
    for part in read_aliases(path, encoding=encoding):
        if len(part.rejected.line):
            raise RequestError(f"{path}: line {part.rejected.line[0]}: {CAUSES[part.rejected.cause[0]]}")
        found.append(part.aliases)
    return np.concatenate(found)


def read_aliases(
    path: str | os.PathLike[str],
    column: str = "alias",
    *,
    encoding: str = "auto",
    rows: int = PART_ROWS,
    beside: str | None = None,
) -> AliasFile:
    """Open a file of aliases, or of tickets (``column``), with aliases in ``beside``. Else as :func:`read_codes`."""
    columns = (column,) if beside is None else (column, beside)
    return AliasFile(open_table(path, columns, (), encoding, unread=("row", "status", "differs")), column, rows, beside)


def read_delivery(path: str | os.PathLike[str], *, encoding: str = "auto", rows: int = PART_ROWS) -> AliasFile:
    """Open a delivery: tickets with resident record codes. Else as :func:`read_codes`."""
    return AliasFile(open_table(path, ("ticket", "code"), (), encoding, unread=("row",)), "ticket", rows)


def read_inquiry(
    path: str | os.PathLike[str],
    numbers: Mapping[str, int],
    *,
    provider: str | None = None,
    encoding: str = "auto",
    rows: int = PART_ROWS,
    consent: bool = False,
) -> InquiryFile:
    """Open an inquiry file; else as :func:`read_codes`.

    Args:
        numbers: numbers by code, or by label. provider: one of these for all rows of a file without that column.
        consent: every person of the file consented; it then has no column that says so.

    Raises:
        RequestError: as of :func:`read_codes`, or the provider is none of these.
    """
    optional = ("case",) if consent else ("case", "consent")
    if provider is None:
        table = open_table(path, ("alias", "provider"), optional, encoding)
        return InquiryFile(table, CodeTable(numbers), rows, consent=consent)
    if provider not in numbers:
        raise RequestError("provider: expected the code of a connected body or the label of a class, got another")
    return InquiryFile(open_table(path, ("alias",), optional, encoding), numbers[provider], rows, consent=consent)


def read_answers(path: str | os.PathLike[str], *, encoding: str = "auto", rows: int = ROWS_PER_CHUNK) -> AnswerFile:
    """Open a provider's answer file; a part is of so many rows at most. Else as :func:`read_codes`."""
    table = open_table(path, ("permit", "outcome"), ("reason", "payload"), encoding, rows=PAYLOAD_ROWS)
    return AnswerFile(table, rows)


class CodeFile:
    """An acquisition file; iterate over its parts. ``rows_max``: no more rows than that."""

    def __init__(self, table: Table, rows: int) -> None:
        self.rows_max = table.rows_max
        self._table, self._rows = table, rows

    def __iter__(self) -> Iterator[CodePart]:
        first = 1
        for number, blocks in enumerate(in_parts(self._table.blocks(), self._rows)):
            codes, oks = zip(*(decode_digits(b.columns["code"], CODE_DIGITS) for b in blocks), strict=True)
            row, keep, rejected, read = judge_rows(blocks, first, [(np.concatenate(oks), CODE)])
            yield CodePart(number, row, np.concatenate(codes)[keep], rejected, read)
            first += read


class AliasFile:
    """A file of aliases or tickets, or a delivery; iterate over its parts. ``rows_max``: no more rows than that."""

    def __init__(self, table: Table, column: str, rows: int, beside: str | None = None) -> None:
        self.rows_max = table.rows_max
        self._table, self._column, self._rows, self._beside = table, column, rows, beside

    def __iter__(self) -> Iterator[AliasPart]:
        first, cause = 1, TICKET if self._column == "ticket" else ALIAS
        for number, blocks in enumerate(in_parts(self._table.blocks(), self._rows)):
            aliases, ok = _concatenate(decode_aliases(b.columns[self._column]) for b in blocks)
            checks = [(ok, cause)]
            codes = None
            if "code" in blocks[0].columns:
                codes, code_ok = _concatenate(decode_digits(b.columns["code"], CODE_DIGITS) for b in blocks)
                checks.append((code_ok, CODE))
            beside = None
            if self._beside is not None:
                beside, beside_ok = _concatenate(decode_aliases(b.columns[self._beside]) for b in blocks)
                checks.append((beside_ok, ALIAS))
            row, keep, rejected, read = judge_rows(blocks, first, checks)
            if not keep.all():
                aliases, codes = aliases[keep], None if codes is None else codes[keep]
                beside = None if beside is None else beside[keep]
            yield AliasPart(number, row, aliases, codes, rejected, read, beside)
            first += read


class InquiryFile:
    """An inquiry file; iterate over its parts. ``rows_max``: no more rows than that."""

    def __init__(self, table: Table, codes: CodeTable | int, rows: int, *, consent: bool = False) -> None:
        self.rows_max = table.rows_max
        self._table, self._codes, self._rows, self._consent = table, codes, rows, consent

    def __iter__(self) -> Iterator[InquiryPart]:
        first = 1
        for number, blocks in enumerate(in_parts(self._table.blocks(), self._rows)):
            if number == PARTS_MAX:
                raise RequestError(f"inquiry file: expected at most {PARTS_MAX * self._rows:,} rows")
            aliases, alias_ok = _concatenate(decode_aliases(b.columns["alias"]) for b in blocks)
            checks = [(alias_ok, ALIAS)]
            if isinstance(self._codes, int):
                providers = np.full(len(aliases), self._codes, np.uint32)
            else:
                providers, provider_ok = _concatenate(self._codes.decode(b.columns["provider"]) for b in blocks)
                checks.append((provider_ok, PROVIDER))
            cases: list[str] | None = None
            if "case" in blocks[0].columns:
                texts = [decode_texts(b.columns["case"], CASE_CHARS_MAX) for b in blocks]
                cases = [case for part, _ in texts for case in part]
                checks.append((np.concatenate([ok for _, ok in texts]), CASE))
            column: npt.NDArray[np.bool_] | None = None
            if "consent" in blocks[0].columns:
                digits, digit_ok = _concatenate(decode_digits(b.columns["consent"], 1) for b in blocks)
                column = digits == 1
                checks.append((digit_ok & (digits <= 1), CONSENT))
            row, keep, rejected, read = judge_rows(blocks, first, checks)
            if cases is not None and not keep.all():
                cases = [case for case, kept in zip(cases, keep.tolist(), strict=True) if kept]
            if not keep.all():
                aliases, providers = aliases[keep], providers[keep]
                column = None if column is None else column[keep]
            consents = self._consent or column
            yield InquiryPart(number, row, aliases, providers, cases, rejected, read, consents)
            first += read


class AnswerFile:
    """An answer file; iterate over its parts. ``rows_max``: no more rows than that.

    A part holds about ``PAYLOAD_BYTES_PER_COMMIT_MAX`` of text at most, and a block more.
    """

    def __init__(self, table: Table, rows: int) -> None:
        self.rows_max = table.rows_max
        self._table, self._rows = table, rows
        self._outcomes = CodeTable({one.name: int(one) for one in OUTCOMES})
        self._reasons = CodeTable({one.name: int(one) for one in (Reason.NONE, *REFUSALS, Reason.NOT_LOADED)})

    def __iter__(self) -> Iterator[AnswerPart]:
        first = 1
        parts = in_parts(self._table.blocks(), self._rows, bytes_max=PAYLOAD_BYTES_PER_COMMIT_MAX)
        for number, blocks in enumerate(parts):
            permits, permit_ok = _concatenate(decode_permits(b.columns["permit"]) for b in blocks)
            outcomes, outcome_ok = _concatenate(self._outcomes.decode(b.columns["outcome"]) for b in blocks)
            checks = [(permit_ok, PERMIT), (outcome_ok, OUTCOME)]
            reasons, reason_ok = np.zeros(len(outcomes), np.uint32), outcomes != Status.REFUSED
            if "reason" in blocks[0].columns:
                cells = [b.columns["reason"] for b in blocks]
                none = np.concatenate([c.start == c.end for c in cells])
                reasons, known = _concatenate(self._reasons.decode(c) for c in cells)
                not_loaded = (outcomes == Status.NO_RECORD) & (reasons == Reason.NOT_LOADED)
                without = none | (known & ((reasons == 0) | not_loaded))
                refusal = known & (reasons > 0) & (reasons != Reason.NOT_LOADED)
                reason_ok = np.where(reason_ok, without, refusal)
            checks.append((reason_ok, REASON))
            payloads: list[bytes | None] | None = None
            if "payload" in blocks[0].columns:
                texts = [decode_payloads(b.columns["payload"], PAYLOAD_BYTES_MAX) for b in blocks]
                payloads = [one for part, _ in texts for one in part]
                without = np.array([one is None for one in payloads], np.bool_)
                provided = outcomes == Status.PROVIDED
                checks.append((np.concatenate([ok for _, ok in texts]) & (provided | without), PAYLOAD))
            row, keep, rejected, read = judge_rows(blocks, first, checks)
            if payloads is not None and not keep.all():
                payloads = [one for one, kept in zip(payloads, keep.tolist(), strict=True) if kept]
            line = np.concatenate([b.line for b in blocks])[keep]
            columns = permits[keep], outcomes[keep].astype(np.uint8), reasons[keep].astype(np.uint8)
            yield AnswerPart(number, row, line, *columns, payloads, rejected, read)
            first += read


def _concatenate(pairs: Iterator[tuple[Any, Any]]) -> tuple[Any, Any]:
    values, oks = zip(*pairs, strict=True)
    return np.concatenate(values), np.concatenate(oks)


def judge_rows(
    blocks: list[Block], first: int, checks: list[tuple[npt.NDArray[np.bool_], int]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], Rejected, int]:
    """Row numbers of the accepted rows, which rows those are, the rejected ones with their first cause, rows read."""
    line = np.concatenate([b.line for b in blocks])
    blank = np.concatenate([b.blank for b in blocks])
    cause = np.full(len(line), 255, np.uint8)
    for ok, number in reversed([(np.concatenate([b.whole for b in blocks]), COLUMNS), *checks]):
        cause[~ok] = number
    keep = cause == 255
    bad = ~keep & ~blank
    row = np.flatnonzero(keep) + first
    return row, keep, Rejected(line[bad], cause[bad]), len(line)


def in_parts(blocks: Iterator[Block], rows: int, *, bytes_max: int | None = None) -> Iterator[list[Block]]:
    """Gather blocks to parts of exactly ``rows`` rows, the last one shorter: the same for every way of reading.

    Args:
        bytes_max: a part ends where its blocks have so many bytes, also with fewer rows; then reading matters.
    """
    held: list[Block] = []
    count = size = 0
    for block in blocks:
        block_bytes = max(len(cells.buffer) for cells in block.columns.values())
        if held and bytes_max is not None and size + block_bytes > bytes_max:
            yield held
            held, count, size = [], 0, 0
        at, length = 0, len(block.line)
        while at < length:
            take = min(rows - count, length - at)
            held.append(block.part(at, at + take))
            at, count = at + take, count + take
            if count == rows:
                yield held
                held, count, size = [], 0, 0
        size += block_bytes
    if held:
        yield held


class RejectedWriter:
    """``<name>.rejected.csv`` beside a result: written when a first line is rejected, else an old one is removed."""

    def __init__(self, source: str | os.PathLike[str], result: str | os.PathLike[str]) -> None:
        self.path = Path(result).parent / f"{Path(source).stem}.rejected.csv"
        self.counts = np.zeros(len(CAUSES), np.int64)
        self._writer: TableWriter | None = None

    def __enter__(self) -> RejectedWriter:
        return self

    def write(self, rejected: Rejected) -> None:
        """Append rejected lines."""
        if len(rejected.line) == 0:
            return
        if self._writer is None:
            self._writer = TableWriter(self.path, ("line", "cause")).__enter__()
        self._writer.write([rejected.line, Choices(rejected.cause, CAUSES)])
        self.counts += np.bincount(rejected.cause, minlength=len(CAUSES))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)
        elif kind is None:
            self.path.unlink(missing_ok=True)
