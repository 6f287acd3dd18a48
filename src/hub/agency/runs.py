"""Sorted columns of 64-bit words by which keys of 128 bits are found: links, and the rows of a register.

An index is a list of runs, the newest last; of a key that stands in several, the newest counts. A run is a part of a
file, in blocks of at most ``BLOCK_ROWS`` entries, ascending by (hi, lo); a block of n entries with c columns is
c x n x u64, little endian: hi, lo, and what the index keeps. Database ``runs``, key name of the index, value
MessagePack array of :class:`Run`. A block's xxh3-64 is checked before its first use in a process.

Keys are mixed first, so that they are spread evenly whatever they were: a Feistel network of four rounds over their two
halves, (w0, w1) of 16 bytes in little endian, with f(x) = (x * A ^ x * A >> 32) * B ^ that >> 29 modulo 2**64, and of
each round ``_ROUNDS`` added to x:

    w0 ^= f(w1), w1 ^= f(w0), w0 ^= f(w1), w1 ^= f(w0); hi = w0, lo = w1

When ``FAN_OUT`` runs of a level are there they are merged to one of the next, so that there are few.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from hub import _columns
from hub.agency.store import AgencyStore, Reader, write_all
from hub.errors import StorageError

BLOCK_ROWS = 1 << 20
FAN_OUT = 8
KEY_COLUMNS = 2

Words = npt.NDArray[np.uint64]

_A, _B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_ROUNDS = tuple(np.uint64(x) for x in (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89))


class Block(msgspec.Struct, array_like=True, frozen=True):
    """A block of a run: hi of its first entry, entries, where it begins in the file, its checksum."""

    first: int
    rows: int
    at: int
    sum: int


class Run(msgspec.Struct, array_like=True, frozen=True):
    """A run: its file, level (0 = as it was added), columns, blocks in the order of their keys."""

    file: int
    level: int
    columns: int
    blocks: list[Block]

    @property
    def rows(self) -> int:
        """Entries in it."""
        return sum(block.rows for block in self.blocks)

    @property
    def bytes(self) -> int:
        """Where its last block ends."""
        return max((block.at + 8 * self.columns * block.rows for block in self.blocks), default=0)


def mix_keys(raw: npt.NDArray[np.uint8]) -> tuple[Words, Words]:
    """Keys of 16 bytes (uint8[N, 16]) to (hi, lo), uint64[N] each."""
    words = np.ascontiguousarray(raw).view("<u8").reshape(-1, 2)
    w0, w1 = words[:, 0].copy(), words[:, 1].copy()
    for number, added in enumerate(_ROUNDS):
        if number % 2 == 0:
            w0 ^= _spread(w1, added)
        else:
            w1 ^= _spread(w0, added)
    return w0, w1


def unmix_keys(hi: Words, lo: Words) -> npt.NDArray[np.uint8]:
    """What :func:`mix_keys` was given."""
    words = np.empty((len(hi), 2), "<u8")
    w0, w1 = hi.copy(), lo.copy()
    for number, added in reversed(list(enumerate(_ROUNDS))):
        if number % 2 == 0:
            w0 ^= _spread(w1, added)
        else:
            w1 ^= _spread(w0, added)
    words[:, 0], words[:, 1] = w0, w1
    return words.view(np.uint8).reshape(-1, 16)


def _spread(x: Words, added: np.uint64) -> Words:
    x = (x + added) * _A
    x ^= x >> np.uint64(32)
    x *= _B
    x ^= x >> np.uint64(29)
    return x


def order_keys(hi: Words, lo: Words, shift: int = 0) -> npt.NDArray[np.integer]:
    """The rows in ascending order of (hi, lo); rows of one key stay in their order.

    Args:
        shift: so many upper bits of hi are the same in all rows.
    """
    keys = hi << np.uint64(shift) if shift else np.ascontiguousarray(hi)
    order: npt.NDArray[np.integer] = _columns.order_by_key(keys)
    ordered = hi[order]
    ties = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(ties) and (lo[order[ties]] > lo[order[ties + 1]]).any():
        order = np.lexsort((lo, hi))
    return order


class Mapped:
    """A file of an agency in memory, and which of its blocks were checked. Grows where the file has grown."""

    def __init__(self, store: AgencyStore, number: int) -> None:
        self._path, self._number = store.path(number), number
        self.map: mmap.mmap | None = None
        self.bytes: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._checked: set[int] = set()

    def __repr__(self) -> str:
        return f"Mapped({self._number:016x})"

    def upto(self, size: int) -> npt.NDArray[np.uint8]:
        """The file, at least so many bytes of it.

        Raises:
            StorageError: it is missing or shorter.
        """
        if len(self.bytes) < size:
            try:
                handle = os.open(self._path, os.O_RDONLY)
                try:
                    length = os.fstat(handle).st_size
                    if length < size:
                        raise StorageError(f"file {self._number:016x}: expected {size} bytes, got {length}")
                    self.map = mmap.mmap(handle, length, prot=mmap.PROT_READ)
                finally:
                    os.close(handle)
            except OSError as error:
                raise StorageError(f"file {self._number:016x}: {error.strerror}") from error
            self.bytes = np.frombuffer(self.map, np.uint8)
        return self.bytes

    def check(self, at: int, size: int, expected: int) -> npt.NDArray[np.uint8]:
        """A piece of the file, its checksum compared at the first use.

        Raises:
            StorageError: it is damaged.
        """
        piece = self.upto(at + size)[at : at + size]
        if at not in self._checked:
            if xxhash.xxh3_64_intdigest(piece.data) != expected:
                raise StorageError(f"file {self._number:016x}: expected the stored checksum, got a damaged piece")
            self._checked.add(at)
        return piece


class Maps:
    """The files that an open agency has in memory."""

    def __init__(self, store: AgencyStore) -> None:
        self._store = store
        self.maps: dict[int, Mapped] = {}

    def __repr__(self) -> str:
        return f"Maps({len(self.maps)})"

    def of(self, number: int) -> Mapped:
        """A file."""
        return self.maps.get(number) or self.maps.setdefault(number, Mapped(self._store, number))

    def forget(self, numbers: Sequence[int]) -> None:
        """Let go of files that are removed; whoever still reads them keeps them."""
        for number in numbers:
            self.maps.pop(number, None)

    def block(self, run: Run, block: Block) -> Words:
        """uint64[c, n]: a block of a run, checked."""
        size = 8 * run.columns * block.rows
        return self.of(run.file).check(block.at, size, block.sum).view("<u8").reshape(run.columns, block.rows)


def read_runs(reader: Reader, name: str) -> list[Run]:
    """The runs of an index, the oldest first."""
    value = reader.get("runs", name.encode())
    return [] if value is None else msgspec.msgpack.decode(value, type=list[Run])


def encode_runs(runs: Sequence[Run]) -> bytes:
    """As they are stored."""
    return msgspec.msgpack.encode(list(runs))


def write_blocks(handle: int, at: int, blocks: Iterator[list[Words]]) -> list[Block]:
    """Write blocks of sorted columns from ``at`` on, of at most ``BLOCK_ROWS`` rows each."""
    written = []
    for columns in blocks:
        for first in range(0, len(columns[0]), BLOCK_ROWS):
            data = np.concatenate([column[first : first + BLOCK_ROWS] for column in columns]).astype("<u8", copy=False)
            rows = len(data) // len(columns)
            written.append(Block(int(data[0]), rows, at, xxhash.xxh3_64_intdigest(data.data)))
            write_all(handle, data)
            at += data.nbytes
    return written


def find_keys(maps: Maps, runs: Sequence[Run], hi: Words, lo: Words) -> tuple[npt.NDArray[np.bool_], list[Words]]:
    """Look keys up, any order: bool[N] found, and the columns behind the key, uint64[N] each, 0 where it was not.

    Raises:
        StorageError: a block is damaged or missing.
    """
    n = len(hi)
    extra = (runs[0].columns if runs else KEY_COLUMNS + 1) - KEY_COLUMNS
    found = np.zeros(n, np.bool_)
    out = [np.zeros(n, np.uint64) for _ in range(extra)]
    if not n or not runs:
        return found, out
    order = order_keys(hi, lo)
    shi, slo = hi[order], lo[order]
    hit = np.zeros(n, np.bool_)
    values = [np.zeros(n, np.uint64) for _ in range(extra)]
    for run in runs:
        # The oldest first: a newer run's entry takes the place of an older one's.
        firsts = np.array([block.first for block in run.blocks[1:]], dtype=np.uint64)
        # Keys equal to a block's first hi may have their entry at the end of the block before.
        cuts = [0, *np.searchsorted(shi, firsts, side="right").tolist(), n]
        lows = [0, *np.searchsorted(shi, firsts, side="left").tolist()]
        for number, block in enumerate(run.blocks):
            low, high = lows[number], cuts[number + 1]
            if low == high:
                continue
            data = maps.block(run, block)
            _find_in(data, shi[low:high], slo[low:high], hit[low:high], [one[low:high] for one in values])
    found[order] = hit
    for one, value in zip(out, values, strict=True):
        one[order] = value
    return found, out


def _find_in(data: Words, hi: Words, lo: Words, hit: npt.NDArray[np.bool_], values: list[Words]) -> None:
    """Enter what a block has of sorted keys."""
    rows = data.shape[1]
    place = np.searchsorted(data[0], hi)
    waiting = np.arange(len(hi))
    while len(waiting):
        at = place[waiting]
        inside = at < rows
        waiting, at = waiting[inside], at[inside]
        same = data[0][at] == hi[waiting]
        waiting, at = waiting[same], at[same]
        fits = data[1][at] == lo[waiting]
        rows_found, at_found = waiting[fits], at[fits]
        hit[rows_found] = True
        for column, value in enumerate(values):
            value[rows_found] = data[KEY_COLUMNS + column][at_found]
        waiting = waiting[~fits]
        place[waiting] += 1


def merge_runs(
    maps: Maps, runs: Sequence[Run], judge: Callable[[list[Words]], list[Words]]
) -> Iterator[list[Words]]:
    """The entries of several runs (or of unsorted blocks as runs), sorted, a part of the keys at a time.

    Args:
        judge: is given the columns of a part, sorted by key and, of one key, the oldest first; says what stays.
    """
    total = sum(run.rows for run in runs)
    bits = max(0, (-(-total // BLOCK_ROWS) - 1).bit_length())
    cuts = [(run, block, *_cuts(maps.block(run, block)[0], bits)) for run in runs for block in run.blocks]
    for part in range(1 << bits):
        pieces = [
            maps.block(run, block)[:, edges[part] : edges[part + 1]] for run, block, edges in cuts
            if edges[part] < edges[part + 1]
        ]  # fmt: skip
        if not pieces:
            continue
        columns = [np.concatenate([piece[i] for piece in pieces]) for i in range(len(pieces[0]))]
        order = order_keys(columns[0], columns[1], bits)
        kept = judge([column[order] for column in columns])
        if len(kept[0]):
            yield kept


def _cuts(hi: Words, bits: int) -> tuple[list[int]]:
    edges = np.arange(1, 1 << bits, dtype=np.uint64) << np.uint64(64 - bits) if bits else np.zeros(0, np.uint64)
    return ([0, *np.searchsorted(hi, edges).tolist(), len(hi)],)


def newest_of(columns: list[Words]) -> list[Words]:
    """Of each key the newest entry."""
    last = np.ones(len(columns[0]), np.bool_)
    last[:-1] = (columns[0][1:] != columns[0][:-1]) | (columns[1][1:] != columns[1][:-1])
    return columns if last.all() else [column[last] for column in columns]


def due_merge(runs: Sequence[Run]) -> int:
    """How many of the newest runs are to be merged to one of the next level; 0 = none."""
    count = 0
    for run in reversed(runs):
        if run.level != runs[-1].level:
            break
        count += 1
    return count if count >= FAN_OUT else 0
