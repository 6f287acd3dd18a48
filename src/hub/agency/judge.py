"""A chunk of a copy register -> checked columns, or the first line and column that do not fit.

    bytes -> text of one encoding -> header -> lines cut at their commas -> each cell against its column's type

Nothing of a cell is ever in a message: line, column and what was expected are.
"""

from __future__ import annotations

import codecs
import csv
import datetime as dt
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub.agency.layout import Column, Layout
from hub.agency.ownids import fitting_ids
from hub.errors import RequestError
from hub.files.columns import Cells, cells_of_texts, decode_aliases, find_lines, split_lines
from hub.files.tables import check_cp932, check_surely_cp932

ROWS_AT_A_TIME = 1 << 14
"""Rows that are judged and encoded together: their bytes and places stay in the cache."""

CHECKED_SHARE = 0.95
CHECKED_ROWS_MIN = 20
"""Check digits are judged where a chunk has so many of them."""

_MOD11 = tuple(2 + at % 6 for at in range(31))

NEWLINE = b"\n"

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class Judged(NamedTuple):
    """Some rows of a chunk, each cell of its column's type.

    Attributes:
        key: the key's cells. cells: of each column of the layout, in its order. numbers: int64[N] of a column of type
            int, else None. empty: bool[N] of each column.
    """

    key: Cells
    cells: list[Cells]
    numbers: list[Ints | None]
    empty: list[Bools]

    def __repr__(self) -> str:
        return f"Judged({len(self.key.start)})"


def judge_csv(layout: Layout, data: bytes, where: str) -> Iterator[Judged]:
    """The rows of a CSV with a header, judged; lines are counted from 1, the header is line 1.

    Raises:
        RequestError: another encoding, other columns, a line or a cell that does not fit: it is named.
    """
    text = _decode(data, layout.encoding, where)
    judge = Judge(layout, where)
    if b'"' in text or text.count(b"\r") != text.count(b"\r\n"):
        yield from _quoted(judge, text, where)
    else:
        yield from _plain(judge, text, where)
    judge.finish()


def judge_cells(layout: Layout, blocks: Iterator[dict[str, Cells]], where: str) -> Iterator[Judged]:
    """As :func:`judge_csv` of columns by name, as of a Parquet file; a row's line is its number."""
    judge = Judge(layout, where)
    line = 1
    for block in blocks:
        names = list(block)
        judge.take_header(names)
        rows = len(block[names[0]].start)
        yield from judge.rows([block[name] for name in names], np.arange(line, line + rows))
        line += rows
    judge.finish()


def _decode(data: bytes, encoding: str, where: str) -> bytes:
    """The chunk in UTF-8, without a byte order mark."""
    mark = data.startswith(codecs.BOM_UTF8)
    if mark and encoding == "cp932":
        raise RequestError(f"{where}: expected cp932, found the byte order mark of UTF-8")
    data = data[len(codecs.BOM_UTF8) :] if mark else data
    if data.isascii():
        return data
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if mark or encoding == "utf-8":
            line = data.count(b"\n", 0, error.start) + 1
            raise RequestError(f"{where}: line {line}: expected text in UTF-8") from None
    else:
        # Japanese in CP932 is hardly ever valid UTF-8, while UTF-8 is mostly valid CP932.
        if encoding == "cp932":
            line = data.count(b"\n", 0, next(i for i, byte in enumerate(data) if byte > 127)) + 1
            raise RequestError(f"{where}: line {line}: expected text in CP932, found UTF-8")
        return data
    bad = check_cp932(data) if encoding == "cp932" else check_surely_cp932(data)
    if bad is not None:
        names = "CP932" if encoding == "cp932" else "UTF-8 or CP932, one of them throughout"
        raise RequestError(f"{where}: line {data[:bad].count(NEWLINE) + 1}: expected text in {names}")
    return data.decode("cp932").encode()


def _plain(judge: Judge, text: bytes, where: str) -> Iterator[Judged]:
    lines = find_lines(text)
    if not len(lines.start):
        raise RequestError(f"{where}: expected a first line with the columns, found an empty chunk")
    head = text[int(lines.start[0]) : int(lines.end[0])].decode()
    names = judge.take_header(head.split(","))
    for first in range(1, len(lines.start), ROWS_AT_A_TIME):
        some = lines.part(first, first + ROWS_AT_A_TIME)
        cells, whole = split_lines(some, len(names))
        if not whole.all():
            line = first + 1 + int(np.argmin(whole))
            raise RequestError(f"{where}: line {line}: expected {len(names)} cells, got another number")
        yield from judge.rows(cells, np.arange(first + 1, first + 1 + len(some.start)))


def _quoted(judge: Judge, text: bytes, where: str) -> Iterator[Judged]:
    reader = csv.reader(io.StringIO(text.decode(), newline=""), strict=True)
    line = 1
    try:
        head = next(reader, None)
        if head is None:
            raise RequestError(f"{where}: expected a first line with the columns, found an empty chunk")
        names = judge.take_header(head)
        rows: list[list[str]] = []
        lines: list[int] = []
        line = reader.line_num + 1
        for row in reader:
            if len(row) != len(names):
                raise RequestError(f"{where}: line {line}: expected {len(names)} cells, got {len(row)}")
            rows.append(row)
            lines.append(line)
            line = reader.line_num + 1
            if len(rows) == ROWS_AT_A_TIME:
                yield from judge.rows([cells_of_texts(column) for column in zip(*rows, strict=True)], np.array(lines))
                rows, lines = [], []
        if rows:
            yield from judge.rows([cells_of_texts(column) for column in zip(*rows, strict=True)], np.array(lines))
    except csv.Error as error:
        # The module's messages name what was expected and never what was found.
        raise RequestError(f"{where}: line {line}: broken CSV: {error}") from None


class Judge:
    """Judges the rows of one chunk."""

    def __init__(self, layout: Layout, where: str) -> None:
        self._layout, self._where = layout, where
        self._places: list[int] | None = None
        self._checked = [0] * len(layout.column)
        self._right = [0] * len(layout.column)

    def __repr__(self) -> str:
        return "Judge()"

    def take_header(self, names: Sequence[str]) -> Sequence[str]:
        """Say in which order the columns come.

        Raises:
            RequestError: one is missing, twice, or unknown. They are not repeated: a chunk without a header shows its
                first row here.
        """
        wanted = self._layout.header
        if sorted(names) != sorted(wanted):
            missing = [name for name in wanted if name not in names]
            hint = f", missing {missing[0]}" if missing else ""
            raise RequestError(f"{self._where}: line 1: expected the columns of the layout{hint}, found others")
        self._places = [list(names).index(name) for name in wanted]
        return names

    def rows(self, columns: Sequence[Cells], lines: npt.NDArray[np.integer]) -> Iterator[Judged]:
        """Judge rows whose columns come as the header said.

        Raises:
            RequestError: the first cell that does not fit, by line and column.
        """
        assert self._places is not None
        for first in range(0, len(lines), ROWS_AT_A_TIME):
            some = [columns[place].part(first, first + ROWS_AT_A_TIME) for place in self._places]
            yield self._judge(some, lines[first : first + ROWS_AT_A_TIME])

    def _judge(self, cells: list[Cells], lines: npt.NDArray[np.integer]) -> Judged:
        key = cells[0]
        if self._layout.key.kind == "alias":
            self._expect(decode_aliases(key)[1], self._layout.key.column, "32 hex digits", lines)
        else:
            self._expect(fitting_ids(key), self._layout.key.column, "an own id of 1 to 64 bytes", lines)
        numbers: list[Ints | None] = []
        empty: list[Bools] = []
        for at, (column, some) in enumerate(zip(self._layout.column, cells[1:], strict=True)):
            without = some.start == some.end
            if column.required:
                self._expect(~without, column.name, "no empty cell", lines)
            found, fits, wanted = _fit(column, some)
            self._expect(fits | without, column.name, wanted, lines)
            if column.check is not None:
                self._count(at, column, some, without)
            numbers.append(found)
            empty.append(without)
        return Judged(key, cells[1:], numbers, empty)

    def _expect(self, fits: Bools, column: str, wanted: str, lines: npt.NDArray[np.integer]) -> None:
        if fits.all():
            return
        line = int(lines[int(np.argmin(fits))])
        # Where most of a column does not fit it holds another one's cells.
        more = "; most of the column does not fit: shifted?" if 2 * int(fits.sum()) < len(fits) else ""
        raise RequestError(f"{self._where}: line {line}, column {column}: expected {wanted}, got something else{more}")

    def _count(self, at: int, column: Column, cells: Cells, without: Bools) -> None:
        digits = _digits(cells, column.width or 1)[~without]
        self._checked[at] += len(digits)
        self._right[at] += int(_check_digits(digits, column.check or "").sum())

    def finish(self) -> None:
        """Judge what is known of the whole chunk only.

        Raises:
            RequestError: too few check digits of a column hold.
        """
        for column, checked, right in zip(self._layout.column, self._checked, self._right, strict=True):
            if checked >= CHECKED_ROWS_MIN and right < CHECKED_SHARE * checked:
                raise RequestError(
                    f"{self._where}: column {column.name}: expected check digits that hold, got {right} of {checked}:"
                    " shifted?"
                )


def _fit(column: Column, cells: Cells) -> tuple[Ints | None, Bools, str]:
    """Numbers where it has some, which cells fit, and what was expected."""
    if column.type == "int":
        return _fit_int(column, cells)
    if column.type == "date":
        return None, *_fit_date(column, cells)
    size = cells.end - cells.start
    if column.type == "digits":
        width = column.width or 1
        return None, (size == width) & (_digits(cells, width) <= 9).all(axis=1), f"{width} digits"
    fits = size <= column.max_bytes
    if column.values:
        return None, fits & _among(cells, column.values), "one of the layout's values"
    return None, fits, f"text of at most {column.max_bytes} bytes"


def _windows(cells: Cells, width: int) -> npt.NDArray[np.uint8]:
    """uint8[N, width]: the bytes from each start on; what stands behind the cell is in it too."""
    kind = np.dtype(f"V{width}")
    every: npt.NDArray[np.void] = np.ndarray((len(cells.buffer) - width + 1,), kind, cells.buffer, strides=(1,))
    return every[cells.start].view(np.uint8).reshape(-1, width)


def _digits(cells: Cells, width: int) -> npt.NDArray[np.uint8]:
    return _windows(cells, width) - np.uint8(ord("0"))


def _number(cells: Cells, most: int) -> tuple[Ints, Bools]:
    """A number of at most ``most`` digits, and whether the cell is one."""
    size = cells.end - cells.start
    width = max(1, min(most, int(size.max(initial=1))))
    digits = _digits(cells, width)
    ok = (size > 0) & (size <= width)
    value = np.zeros(len(size), np.int64)
    for at in range(width):
        inside = at < size
        digit = digits[:, at]
        ok &= (digit <= 9) | ~inside
        value = np.where(inside, value * 10 + digit, value)
    return value, ok


def _fit_int(column: Column, cells: Cells) -> tuple[Ints, Bools, str]:
    buffer = cells.buffer
    minus = (buffer[cells.start] == ord("-")) & (cells.end > cells.start)
    value, ok = _number(Cells(buffer, cells.start + minus, cells.end), 18)
    value = np.where(minus, -value, value)
    wanted = "a whole number"
    if column.min is not None:
        ok &= value >= column.min  # type: ignore[operator]
        wanted += f" from {column.min}"
    if column.max is not None:
        ok &= value <= column.max  # type: ignore[operator]
        wanted += f" to {column.max}"
    return value, ok, wanted


def _fit_date(column: Column, cells: Cells) -> tuple[Bools, str]:
    size = cells.end - cells.start
    long = size == 10
    text = _windows(cells, 10)
    hyphens = (text[:, 4] == ord("-")) & (text[:, 7] == ord("-"))
    digits = np.where(long[:, None], text[:, [0, 1, 2, 3, 5, 6, 8, 9]], text[:, :8]) - np.uint8(ord("0"))
    ok = ((long & hyphens) | (size == 8)) & (digits <= 9).all(axis=1)
    parts = digits.astype(np.int64)
    year = parts[:, :4] @ np.array([1000, 100, 10, 1])
    month, day = parts[:, 4] * 10 + parts[:, 5], parts[:, 6] * 10 + parts[:, 7]
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    ends = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    ok &= (year >= 1) & (month >= 1) & (month <= 12)
    last = ends[np.where(ok, month, 0)] + (leap & (month == 2))
    ok &= (day >= 1) & (day <= last)
    spelled = year * 10_000 + month * 100 + day
    wanted = "a date"
    for bound, word in ((column.min, "from"), (column.max, "to")):
        if isinstance(bound, dt.date):
            number = bound.year * 10_000 + bound.month * 100 + bound.day
            ok &= spelled >= number if word == "from" else spelled <= number
            wanted += f" {word} {bound.isoformat()}"
    return ok, wanted


def _among(cells: Cells, values: Sequence[str]) -> Bools:
    """Which cells are one of a few texts."""
    size = cells.end - cells.start
    fits = np.zeros(len(size), np.bool_)
    for raw in {value.encode() for value in values}:
        some = np.flatnonzero(size == len(raw))
        if len(raw) and len(some):
            windows = _windows(Cells(cells.buffer, cells.start[some], cells.end[some]), len(raw))
            fits[some] |= (windows == np.frombuffer(raw, np.uint8)).all(axis=1)
    return fits


def _check_digits(digits: npt.NDArray[np.uint8], kind: str) -> Bools:
    """Which numbers (uint8[N, width]) have a last digit that follows from those before it."""
    body, last = digits[:, -2::-1].astype(np.int64), digits[:, -1]
    if kind == "luhn":
        doubled = body.copy()
        doubled[:, ::2] *= 2
        doubled -= 9 * (doubled > 9)
        return (10 - doubled.sum(axis=1) % 10) % 10 == last
    # 11 - (sum mod 11), and 0 where that is 10 or 11; weights 2 to 7 and again, from the right.
    rest = (body * np.array(_MOD11[: body.shape[1]])).sum(axis=1) % 11
    return np.where(rest <= 1, 0, 11 - rest) == last
