"""Rows of a chunk that named a class of which several bodies hold the person: in columns, and as they are stored.

Stored as MessagePack: of each row an array of its place in the chunk and the array of its holders' numbers, in the
order of the rows (see ``state.py``). A chunk may have 65,536 of them. Lists of lists would be looked through by
Python's collector again and again while they are made, which took longer than everything else; what is made here for a
row is of kinds that it does not look at, and rows with the same holders share theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.errors import StorageError

Places = npt.NDArray[np.intp]


class Several(NamedTuple):
    """Who may be asked about such rows.

    Attributes:
        rows: intp[M], ascending. counts: intp[M], how many holders each has.
        numbers: uint32, theirs, behind each other.
    """

    rows: Places
    counts: Places
    numbers: npt.NDArray[np.uint32]

    def __repr__(self) -> str:
        return f"Several({len(self.rows)})"


NONE = Several(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.uint32))


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One row as it is stored.

    Attributes:
        row: place in the chunk. numbers: MessagePack array of the holders' numbers.
    """

    row: int
    numbers: msgspec.Raw

    def __repr__(self) -> str:
        return "Entry()"


_ENCODER = msgspec.msgpack.Encoder()
_NUMBERS = msgspec.msgpack.Decoder(list[int])


def join_several(parts: Sequence[Several]) -> Several:
    """Those of several classes, no two of which have a row in common, in the order of the rows."""
    parts = [part for part in parts if len(part.rows)]
    if len(parts) <= 1:
        return parts[0] if parts else NONE
    rows, counts, numbers = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(rows)
    begins = (np.cumsum(counts) - counts)[order]
    counts = counts[order]
    # One run of places a row.
    places = np.arange(len(numbers)) + np.repeat(begins - (np.cumsum(counts) - counts), counts)
    return Several(rows[order], counts, numbers[places])


def encode_several(several: Several) -> bytes:
    """As they are stored."""
    listed, raw, size = several.numbers.tolist(), several.numbers.tobytes(), several.numbers.itemsize
    ends = np.cumsum(several.counts)
    begins = ends - several.counts
    known: dict[bytes, msgspec.Raw] = {}
    entries = []
    for row, begin, end in zip(several.rows.tolist(), begins.tolist(), ends.tolist(), strict=True):
        own = raw[begin * size : end * size]
        numbers = known.get(own)
        if numbers is None:
            numbers = known[own] = msgspec.Raw(_ENCODER.encode(listed[begin:end]))
        entries.append(Entry(row, numbers))
    return msgspec.msgpack.encode(entries)


def decode_several(stored: bytes | memoryview) -> list[Entry]:
    """The rows of a stored value.

    Raises:
        msgspec.DecodeError: it is something else.
    """
    return msgspec.msgpack.decode(stored, type=list[Entry])


def codes_of(entries: Sequence[Entry], start: int, code_of: Callable[[int], str]) -> dict[int, tuple[str, ...]]:
    """Row of the request -> codes of its holders; rows of equal holders have the same tuple.

    Args:
        start: row of the request at which the chunk begins. code_of: an institution's code by its number.

    Raises:
        StorageError: an entry has something else than numbers.
    """
    known: dict[bytes, tuple[str, ...]] = {}
    found: dict[int, tuple[str, ...]] = {}
    for entry in entries:
        own = bytes(entry.numbers)
        codes = known.get(own)
        if codes is None:
            try:
                numbers = _NUMBERS.decode(own)
            except msgspec.DecodeError:
                raise StorageError("request: expected the numbers of a row's holders, got something else") from None
            codes = known[own] = tuple(map(code_of, numbers))
        found[start + entry.row] = codes
    return found
