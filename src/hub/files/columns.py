"""Text cells <-> numpy columns, a block of rows at a time, so that a file is no slower than the hub behind it.

A block is one buffer of bytes and, per cell, where it starts and ends (:class:`Cells`); CSV lines, rows of the csv
module and Arrow strings all come down to that, so that one decoder judges them. Decoders return the values and
a bool column of the rows that had the right shape; they never raise for what a cell holds and never repeat it.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.limits import ALIAS_BYTES
from hub.messages import Aliases

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

PADDING_BYTES = 64
"""Zero bytes behind every buffer: a fixed-width read that starts in the last cell stays inside."""

PERMIT_BYTES = 8
"""A permit number is 64 bits."""

COMMA, NEWLINE, RETURN = 0x2C, 0x0A, 0x0D


def _hex_tables() -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """Two characters (little-endian pair) -> byte, 256 = not hex; byte -> two lower-case characters."""
    decode = np.full(65536, 256, np.uint16)
    for value in range(256):
        low = f"{value:02x}"
        for text in {low, low.upper(), low[0] + low[1].upper(), low[0].upper() + low[1]}:
            decode[int.from_bytes(text.encode(), "little")] = value
    encode = np.array([int.from_bytes(f"{value:02x}".encode(), "little") for value in range(256)], np.uint16)
    return decode, encode


_DECODE, _ENCODE = _hex_tables()


class Cells(NamedTuple):
    """N byte strings in one buffer.

    Attributes:
        buffer: uint8, with ``PADDING_BYTES`` zeros behind the last cell.
        start, end: int64[N].
        encoding: of the bytes, where a cell is free text.
    """

    buffer: npt.NDArray[np.uint8]
    start: Ints
    end: Ints
    encoding: str = "utf-8"

    def __repr__(self) -> str:
        return f"Cells(rows={len(self.start)})"

    def part(self, first: int, stop: int) -> Cells:
        """Rows first to stop - 1; the buffer is shared."""
        return Cells(self.buffer, self.start[first:stop], self.end[first:stop], self.encoding)


def pad_bytes(data: bytes) -> npt.NDArray[np.uint8]:
    """Copy bytes into a buffer with the padding behind them."""
    return np.frombuffer(data + bytes(PADDING_BYTES), np.uint8)


def cells_of_texts(texts: Sequence[str]) -> Cells:
    """Lay texts out as UTF-8 cells."""
    encoded = [text.encode() for text in texts]
    end = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), dtype=np.int64)
    start = np.concatenate((np.zeros(min(1, len(end)), np.int64), end[:-1]))
    return Cells(pad_bytes(b"".join(encoded)), start, end)


def find_lines(data: bytes, encoding: str = "utf-8") -> Cells:
    """Cut bytes at their newlines; a last line without one counts. CR LF counts as one end of line."""
    buffer = pad_bytes(data)
    end = np.flatnonzero(buffer[: len(data)] == NEWLINE)
    if data and not data.endswith(b"\n"):
        end = np.append(end, len(data))
    start = np.empty_like(end)
    start[:1] = 0
    start[1:] = end[:-1] + 1
    if b"\r" in data:
        end = end - ((buffer[end - 1] == RETURN) & (end > start))
    return Cells(buffer, start, end, encoding)


def split_lines(lines: Cells, columns: int) -> tuple[list[Cells], Bools]:
    """Cut lines without quotes at their commas.

    Returns:
        One :class:`Cells` a column, and whether the line had exactly so many; where not, its cells are empty.
    """
    buffer, start, end, encoding = lines
    count = len(start)
    if count == 0:
        return [lines] * columns, np.zeros(0, np.bool_)
    base = int(start[0])
    commas = np.flatnonzero(buffer[base : int(end[-1])] == COMMA) + base
    between = columns - 1
    if len(commas) == count * between:
        # The usual case: that many commas in all, and each line's own lie inside it.
        cuts = commas.reshape(count, between)
        if between == 0 or bool(((cuts[:, 0] >= start) & (cuts[:, -1] < end)).all()):
            return _cells_between(lines, cuts), np.ones(count, np.bool_)
    first = np.searchsorted(commas, start)
    ok = np.searchsorted(commas, end) - first == between
    if between == 0:
        return [Cells(buffer, start, np.where(ok, end, start), encoding)], ok
    cuts = np.append(commas, 0)[np.minimum(first[:, None] + np.arange(between), len(commas))]
    cells = _cells_between(lines, cuts)
    return [Cells(buffer, np.where(ok, c.start, 0), np.where(ok, c.end, 0), encoding) for c in cells], ok


def _cells_between(lines: Cells, cuts: Ints) -> list[Cells]:
    starts = [lines.start, *(cuts[:, i] + 1 for i in range(cuts.shape[1]))]
    ends = [*(cuts[:, i] for i in range(cuts.shape[1])), lines.end]
    return [Cells(lines.buffer, start, end, lines.encoding) for start, end in zip(starts, ends, strict=True)]


def _fixed(cells: Cells, width: int) -> tuple[npt.NDArray[np.void], Bools]:
    """The first ``width`` bytes from each start, gathered into one array, and which cells are exactly so wide."""
    ok = cells.end - cells.start == width
    windows: npt.NDArray[np.void] = np.ndarray(
        (len(cells.buffer) - width + 1,), np.dtype(f"V{width}"), cells.buffer, strides=(1,)
    )
    return windows[cells.start], ok


def decode_aliases(cells: Cells) -> tuple[Aliases, Bools]:
    """32 hex digits of either case -> uint8[N, 16]; zeros where the shape is wrong."""
    return _decode_hex(cells, ALIAS_BYTES)


def decode_permits(cells: Cells) -> tuple[npt.NDArray[np.uint64], Bools]:
    """16 hex digits of either case -> uint64[N] permit numbers; 0 where the shape is wrong."""
    values, ok = _decode_hex(cells, PERMIT_BYTES)
    return values.view(">u8")[:, 0].astype(np.uint64), ok


def permit_column(permits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """uint64[N] permit numbers -> uint8[N, 8], a column that is written as 16 hex digits."""
    return permits.astype(">u8").view(np.uint8).reshape(-1, PERMIT_BYTES)


def _decode_hex(cells: Cells, width: int) -> tuple[npt.NDArray[np.uint8], Bools]:
    """Two hex digits a byte -> uint8[N, width]; zeros where the shape is wrong."""
    text, ok = _fixed(cells, 2 * width)
    values = _DECODE[text.view("<u2")].reshape(-1, width)
    found = values.astype(np.uint8)
    if len(values) and int(values.max()) > 255:
        ok &= values.max(axis=1) < 256
    found[~ok] = 0
    return found, ok


def encode_aliases(aliases: Aliases) -> npt.NDArray[np.uint8]:
    """uint8[N, k] -> uint8[N, 2 k], the lower-case hex digits."""
    return _ENCODE[aliases].astype("<u2", copy=False).view(np.uint8)


def decode_digits(cells: Cells, width: int) -> tuple[Ints, Bools]:
    """Exactly ``width`` ASCII digits -> int64[N]; 0 where the shape is wrong."""
    text, ok = _fixed(cells, width)
    digits = text.view(np.uint8).reshape(-1, width) - np.uint8(ord("0"))
    ok &= digits.max(axis=1, initial=0) <= 9
    values = np.zeros(len(ok), np.int64)
    for column in range(width):
        values *= 10
        values += digits[:, column]
    values[~ok] = 0
    return values, ok


class CodeTable:
    """Institution codes, or labels of classes, in text -> numbers, a column at a time."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        """Args: numbers: code -> number (uint32)."""
        self._given = dict(numbers)
        self._tables: dict[str, _EncodedTable] = {}

    def decode(self, cells: Cells) -> tuple[npt.NDArray[np.uint32], Bools]:
        """Look every cell up: uint32[N] numbers; 0 where nothing has the code."""
        # A byte order mark is no part of a cell.
        encoding = "cp932" if cells.encoding == "cp932" else "utf-8"
        if encoding not in self._tables:
            self._tables[encoding] = _EncodedTable(_encode_codes(self._given, encoding))
        return self._tables[encoding].decode(cells)


def _encode_codes(numbers: Mapping[str, int], encoding: str) -> dict[bytes, int]:
    """Codes as an encoding writes them, without those that it cannot."""
    encoded = {code.encode(encoding, "ignore"): (code, number) for code, number in numbers.items()}
    return {raw: number for raw, (code, number) in encoded.items() if raw.decode(encoding) == code}


class _EncodedTable:
    """The same of one encoding."""

    def __init__(self, numbers: Mapping[bytes, int]) -> None:
        self._long = {code: number for code, number in numbers.items() if len(code) > 8}
        short = sorted((int.from_bytes(code, "little"), len(code), number) for code, number in numbers.items())
        short = [entry for entry in short if entry[1] <= 8] or [(0, 9, 0)]
        self._keys = np.array([key for key, _, _ in short], np.uint64)
        self._lengths = np.array([length for _, length, _ in short], np.int64)
        self._numbers = np.array([number for _, _, number in short], np.uint32)

    def decode(self, cells: Cells) -> tuple[npt.NDArray[np.uint32], Bools]:
        """See :class:`CodeTable`."""
        length = cells.end - cells.start
        masks = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)
        text, _ = _fixed(cells, 8)
        keys = text.view("<u8") & masks[np.minimum(length, 8)]
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        ok = (self._keys[place] == keys) & (self._lengths[place] == length)
        numbers = np.where(ok, self._numbers[place], np.uint32(0))
        if self._long:
            for row in np.flatnonzero(length > 8):
                number = self._long.get(cells.buffer[cells.start[row] : cells.end[row]].tobytes())
                if number is not None:
                    numbers[row], ok[row] = number, True
        return numbers, ok


def decode_payloads(cells: Cells, bytes_max: int) -> tuple[list[bytes | None], Bools]:
    """Base64 (RFC 4648, padded, on one line) -> bytes; None where the cell is empty or the shape is wrong."""
    data = cells.buffer.data
    payloads: list[bytes | None] = []
    wrong = []
    for row, (start, end) in enumerate(zip(cells.start.tolist(), cells.end.tolist(), strict=True)):
        payload = None
        if end > start:
            try:
                payload = binascii.a2b_base64(data[start:end], strict_mode=True)
            except binascii.Error:
                wrong.append(row)
            if payload is not None and len(payload) > bytes_max:
                payload = None
                wrong.append(row)
        payloads.append(payload)
    ok = np.ones(len(payloads), np.bool_)
    ok[wrong] = False
    return payloads, ok


def payload_column(payloads: Sequence[bytes | None]) -> list[str]:
    """Payloads -> base64 texts; nothing where there is none."""
    return ["" if one is None else binascii.b2a_base64(one, newline=False).decode() for one in payloads]


def decode_texts(cells: Cells, chars_max: int) -> tuple[list[str], Bools]:
    """Cells -> texts of at most ``chars_max`` characters; empty where longer or not of the encoding."""
    data, encoding = cells.buffer.tobytes(), cells.encoding
    bounds = list(zip(cells.start.tolist(), cells.end.tolist(), strict=True))
    try:
        texts: list[str | None] = [data[a:b].decode(encoding) for a, b in bounds]
    except UnicodeDecodeError:
        # A CSV was checked before; strings of an Arrow file come as they are.
        texts = [_decode_text(data[a:b], encoding) for a, b in bounds]
    fits = [text is not None and len(text) <= chars_max for text in texts]
    kept = [text if fit and text else "" for text, fit in zip(texts, fits, strict=True)]
    return kept, np.array(fits, np.bool_)


def _decode_text(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


class Digits(NamedTuple):
    """A column of numbers written with leading zeros, ``width`` digits each."""

    values: Ints
    width: int


class Choices(NamedTuple):
    """A column of few distinct texts: ``names[numbers[row]]``."""

    numbers: npt.NDArray[np.integer]
    names: Sequence[str]


Column = npt.NDArray[np.integer] | Digits | Choices | Sequence[str]
"""What can be written: int[N], uint8[N, 16] aliases or uint8[N, 8] permits as hex digits,
:class:`Digits`, :class:`Choices` or texts."""


def column_rows(column: Column) -> int:
    """How many rows a column holds."""
    if isinstance(column, Digits):
        return len(column.values)
    return len(column.numbers) if isinstance(column, Choices) else len(column)


def column_part(column: Column, first: int, stop: int) -> Column:
    """Rows first to stop - 1 of a column."""
    if isinstance(column, Digits):
        return Digits(column.values[first:stop], column.width)
    if isinstance(column, Choices):
        return Choices(column.numbers[first:stop], column.names)
    return column[first:stop]


def _quote(text: str) -> str:
    """A CSV cell after RFC 4180."""
    if any(mark in text for mark in '",\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _byte_matrix(texts: Sequence[str], encoding: str) -> npt.NDArray[np.uint8]:
    """uint8[N, longest], zeros behind each text."""
    data = np.array([_quote(text).encode(encoding) for text in texts] or [b""])
    width = max(1, data.dtype.itemsize)
    return data.astype(f"S{width}").view(np.uint8).reshape(len(data), width)


def _digit_matrix(values: npt.NDArray[np.integer], width: int, *, leading: bool) -> npt.NDArray[np.uint8]:
    """uint8[N, width] ASCII digits of numbers that are not negative; zeros in front left out unless ``leading``."""
    matrix = np.empty((len(values), width), np.uint8)
    small = len(values) == 0 or int(values.max()) < 2**32
    rest: npt.NDArray[Any] = values.astype(np.uint32 if small else np.uint64)
    for column in range(width - 1, -1, -1):
        tenth = rest // 10
        digits = (rest - tenth * 10).astype(np.uint8) + np.uint8(ord("0"))
        matrix[:, column] = digits if leading or column == width - 1 else np.where(rest > 0, digits, 0)
        rest = tenth
    return matrix


def _matrix_of(column: Column, encoding: str) -> npt.NDArray[np.uint8]:
    if isinstance(column, Digits):
        return _digit_matrix(column.values, column.width, leading=True)
    if isinstance(column, Choices):
        return _byte_matrix(column.names, encoding)[column.numbers]
    if isinstance(column, np.ndarray):
        if column.ndim == 2:
            return encode_aliases(column.astype(np.uint8, copy=False))
        width = len(str(int(column.max(initial=0))))
        return _digit_matrix(column, width, leading=False)
    return _byte_matrix(column, encoding)


def encode_csv(columns: Sequence[Column], encoding: str) -> bytes:
    """Lay columns out as CSV lines.

    Every column becomes a matrix of bytes with zeros where a text is shorter than the longest; dropping the zeros
    leaves the lines (no text holds a zero byte, in UTF-8 or CP932). Quickest at about 65,536 rows a call.

    Raises:
        UnicodeEncodeError: a text has no form in the encoding.
    """
    count = column_rows(columns[0])
    matrices = [_matrix_of(column, encoding) for column in columns]
    lines = np.empty((count, sum(matrix.shape[1] + 1 for matrix in matrices)), np.uint8)
    at = 0
    for matrix in matrices:
        lines[:, at : at + matrix.shape[1]] = matrix
        at += matrix.shape[1]
        lines[:, at] = COMMA
        at += 1
    lines[:, -1] = NEWLINE
    return lines[lines != 0].tobytes()
