"""Judged rows of a copy register -> bytes as they are kept, and kept bytes -> payloads.

A row as it is kept, of a register with k items in the order of its layout:

| at | type | what |
|---|---|---|
| 0 | k x u16 | bytes of each item's part, little endian; 0: all its cells are empty |
| 2 k | | the parts, one behind the other |

A part is MessagePack: the item's name (str), then a map from the names of its columns, in the order of the layout, to
their cells: nil where it is empty, an integer of type int, else str as it stood in the file; each in its shortest form,
an integer below 0 in 64 bits.

A payload is a MessagePack map from item to such a map of those items that were asked for and have anything, in the
order of the layout: its head (0x80 + items) and their parts.
"""

from __future__ import annotations

import itertools
import mmap
import struct
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.agency.judge import Ints, Judged
from hub.agency.layout import Layout
from hub.errors import RequestError
from hub.limits import REGISTER_CELL_BYTES_MAX, REGISTER_ITEM_BYTES_MAX, REGISTER_ROW_BYTES_MAX

GATHER_BYTES = 1 << 25

_NIL = 0xC0
_HEAD_ROOM = 3


def _text_heads() -> bytes:
    """Heads of MessagePack texts by length, ``_HEAD_ROOM`` bytes each."""
    heads = []
    for size in range(REGISTER_CELL_BYTES_MAX + 1):
        if size < 32:
            head = bytes([0xA0 | size])
        elif size < 256:
            head = bytes([0xD9, size])
        else:
            head = struct.pack(">BH", 0xDA, size)
        heads.append(head.ljust(_HEAD_ROOM, b"\0"))
    return b"".join(heads)


_TEXT_HEADS = np.frombuffer(_text_heads(), np.uint8)


class Encoder:
    """Encodes rows of one layout."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._items = list(layout.items)
        self._columns = [[at for at, one in enumerate(layout.column) if one.item == item] for item in self._items]
        constants = [bytes([_NIL])]
        self._places: dict[str, tuple[int, int]] = {}
        for item, columns in zip(self._items, self._columns, strict=True):
            count = len(columns)
            head = bytes([0x80 | count]) if count < 16 else struct.pack(">BH", 0xDE, count)
            self._add(constants, "item " + item, msgspec.msgpack.encode(item) + head)
        for one in layout.column:
            self._add(constants, "column " + one.name, msgspec.msgpack.encode(one.name))
        self._constants = np.frombuffer(b"".join(constants), np.uint8)

    def __repr__(self) -> str:
        return "Encoder()"

    def _add(self, constants: list[bytes], name: str, value: bytes) -> None:
        self._places[name] = sum(map(len, constants)), len(value)
        constants.append(value)

    def encode(self, rows: Judged) -> tuple[npt.NDArray[np.uint8], Ints]:
        """Rows as they are kept: their bytes, and where each begins (int64[N]).

        Raises:
            RequestError: what a row has of an item is too long.
        """
        n, k = len(rows.key.start), len(self._items)
        source = _Source(self._constants)
        heads = source.add(_TEXT_HEADS)
        starts: list[Ints | int] = [0]
        sizes: list[Ints | int] = [2 * k]
        parts = np.zeros((n, k), "<u2")
        for number, (item, columns) in enumerate(zip(self._items, self._columns, strict=True)):
            pieces: list[tuple[Ints | int, Ints | int]] = [self._places["item " + item]]
            without = np.ones(n, np.bool_)
            for at in columns:
                without &= rows.empty[at]
                pieces.append(self._places["column " + self._layout.column[at].name])
                pieces += _value(source, heads, rows, at)
            size = np.zeros(n, np.int64)
            for begin, length in pieces:
                length = np.where(without, 0, length)
                size += length
                starts.append(begin)
                sizes.append(length)
            if int(size.max(initial=0)) > REGISTER_ITEM_BYTES_MAX:
                raise RequestError(
                    f"register: expected at most {REGISTER_ITEM_BYTES_MAX} bytes of item {item} in a row, got more"
                )
            parts[:, number] = size
        if n and int(parts.sum(axis=1, dtype=np.int64).max()) > REGISTER_ROW_BYTES_MAX:
            raise RequestError(f"register: expected at most {REGISTER_ROW_BYTES_MAX} bytes in a row, got more")
        starts[0] = source.add(parts.view(np.uint8).reshape(-1)) + 2 * k * np.arange(n)
        return gather(source.joined(), starts, sizes, n)


def _value(source: _Source, heads: int, rows: Judged, at: int) -> list[tuple[Ints | int, Ints | int]]:
    """Pieces of a column's values."""
    empty, cells, numbers = rows.empty[at], rows.cells[at], rows.numbers[at]
    if numbers is not None:
        begin, size = _integers(numbers)
        base = source.add(begin[0].reshape(-1))
        return [(np.where(empty, 0, base + begin[1]), np.where(empty, 1, size))]
    base = source.add_cells(cells.buffer, int(cells.start.min(initial=0)), int(cells.end.max(initial=0)))
    length = cells.end - cells.start
    head = np.where(length < 32, 1, np.where(length < 256, 2, 3))
    return [
        (np.where(empty, 0, heads + _HEAD_ROOM * length), np.where(empty, 1, head)),
        (cells.start + base, length),
    ]


def _integers(values: Ints) -> tuple[tuple[npt.NDArray[np.uint8], Ints], Ints]:
    """Integers in MessagePack: (uint8[N, 9] that they end, where each begins in all of it), and their sizes."""
    raw = np.zeros((len(values), 9), np.uint8)
    raw[:, 1:] = values.astype(">i8").view(np.uint8).reshape(-1, 8)
    size = np.full(len(values), 9)
    raw[:, 0] = np.where(values < 0, 0xD3, 0xCF)
    for width, bound, head in ((5, 1 << 32, 0xCE), (3, 1 << 16, 0xCD), (2, 1 << 8, 0xCC), (1, 1 << 7, None)):
        fits = (values >= 0) & (values < bound)
        size[fits] = width
        if head is not None:
            raw[fits, 9 - width] = head
    return (raw, 9 * np.arange(len(values)) + 9 - size), size


class _Source:
    """Buffers that pieces are taken from, as one."""

    def __init__(self, constants: npt.NDArray[np.uint8]) -> None:
        self._buffers = [constants]
        self._size = len(constants)
        self._cells: list[tuple[object, int, int, int]] = []

    def __repr__(self) -> str:
        return f"_Source({self._size})"

    def add(self, buffer: npt.NDArray[np.uint8]) -> int:
        """Append a buffer; returns where it begins."""
        begin = self._size
        self._buffers.append(buffer)
        self._size += len(buffer)
        return begin

    def add_cells(self, buffer: npt.NDArray[np.uint8], first: int, end: int) -> int:
        """Append what some cells take of a buffer; returns what is to be added to their places in it."""
        for known, low, high, base in self._cells:
            if known is buffer and low <= first and end <= high:
                return base
        # Columns of the same lines lie between each other: a little more covers them all.
        low, high = max(0, first - 4_096), min(len(buffer), end + 4_096)
        base = self.add(buffer[low:high]) - low
        self._cells.append((buffer, low, high, base))
        return base

    def joined(self) -> npt.NDArray[np.uint8]:
        """All of it."""
        return np.concatenate(self._buffers)


def gather(
    source: npt.NDArray[np.uint8], starts: Sequence[Ints | int], sizes: Sequence[Ints | int], n: int
) -> tuple[npt.NDArray[np.uint8], Ints]:
    """Put n rows together of pieces, (start, size) of each: their bytes, and where each begins (int64[N + 1])."""
    size = np.empty((n, len(sizes)), np.int64)
    start = np.empty((n, len(sizes)), np.int64)
    for at, (begin, length) in enumerate(zip(starts, sizes, strict=True)):
        start[:, at], size[:, at] = begin, length
    rows = np.zeros(n + 1, np.int64)
    np.cumsum(size.sum(axis=1), out=rows[1:])
    if rows[-1] <= GATHER_BYTES:
        return _gather(source, start, size), rows
    cuts = [0]
    while cuts[-1] < n:
        cuts.append(max(cuts[-1] + 1, int(np.searchsorted(rows, rows[cuts[-1]] + GATHER_BYTES, side="right")) - 1))
    cut = [_gather(source, start[low:high], size[low:high]) for low, high in itertools.pairwise(cuts)]
    return np.concatenate(cut), rows


def _gather(source: npt.NDArray[np.uint8], start: Ints, size: Ints) -> npt.NDArray[np.uint8]:
    size = size.reshape(-1)
    ends = np.cumsum(size)
    total = int(ends[-1]) if len(ends) else 0
    kind = np.int32 if max(total, len(source)) < 1 << 31 else np.int64
    shift = (start.reshape(-1) - (ends - size)).astype(kind)
    places = np.repeat(shift, size)
    places += np.arange(total, dtype=kind)
    return source[places]


class Pieces(NamedTuple):
    """Where in a register's file the parts of rows stand.

    Attributes:
        starts, sizes: int64[N, k]; where a row is not there its sizes are 0.
    """

    starts: Ints
    sizes: Ints

    def __repr__(self) -> str:
        return f"Pieces({len(self.starts)})"

    def part(self, rows: slice) -> Pieces:
        """Those of some rows."""
        return Pieces(self.starts[rows], self.sizes[rows])


def find_parts(file: npt.NDArray[np.uint8], at: Ints, items: int) -> Pieces:
    """The parts of rows that begin at these places of a register's file."""
    if not len(at):
        return Pieces(np.zeros((0, items), np.int64), np.zeros((0, items), np.int64))
    kind = np.dtype(f"V{2 * items}")
    windows: npt.NDArray[np.void] = np.ndarray((len(file) - 2 * items + 1,), kind, file, strides=(1,))
    sizes = windows[at].view("<u2").reshape(len(at), items).astype(np.int64)
    starts = np.cumsum(sizes, axis=1) - sizes + at[:, None] + 2 * items
    return Pieces(starts, sizes)


_MAP_HEADS = [bytes([0x80 | items]) for items in range(16)]


def make_payloads(file: mmap.mmap | None, parts: Pieces, asked: Sequence[int]) -> list[bytes]:
    """The payloads of rows, of these items of theirs (places in the layout, ascending)."""
    if file is None or not len(parts.starts):
        return []
    starts, sizes = parts.starts[:, asked], parts.sizes[:, asked]
    counts = (sizes > 0).sum(axis=1)
    # Slices of the map: with numpy their bytes would be gathered one by one, at five times the cost.
    if list(asked) == list(range(asked[0], asked[-1] + 1)):
        begins, ends = starts[:, 0].tolist(), (starts[:, -1] + sizes[:, -1]).tolist()
        if (counts == len(asked)).all():
            head = _MAP_HEADS[len(asked)]
            return [head + file[begin:end] for begin, end in zip(begins, ends, strict=True)]
        heads = map(_MAP_HEADS.__getitem__, counts.tolist())
        return [head + file[begin:end] for head, begin, end in zip(heads, begins, ends, strict=True)]
    heads = map(_MAP_HEADS.__getitem__, counts.tolist())
    rows = zip(starts.tolist(), (starts + sizes).tolist(), strict=True)
    return [
        head + b"".join([file[begin:end] for begin, end in zip(low, high, strict=True)])
        for head, (low, high) in zip(heads, rows, strict=True)
    ]
