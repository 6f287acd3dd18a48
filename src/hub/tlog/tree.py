"""RFC 6962, 2.1 over stored hashes: roots, peaks, inclusion and consistency paths.

A *node* (level, number) is the root over the entries [number << level, (number + 1) << level); only complete ones are
stored, and only at levels 4, 8, 12 ...; leaf hashes come from the entries. The levels between are hashed from **rows**:
16 hashes of a stored level under one node four levels up. So a path in a tree of 500 million reads eight rows and
hashes eleven times a row, and a :class:`Walk` keeps the rows and nodes that several paths of one page share.

The *peaks* of a size are the complete subtrees that it names in binary, largest first. What lies right of the last
complete subtree is folded from them, so no hash over an incomplete subtree is ever read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Protocol

from hub.errors import RequestError, StorageError
from hub.tlog.entry import HASH_BYTES, hash_node

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""RFC 6962, 2.1: the root of no entries."""

ROW_LEVELS = 4
ROW_HASHES = 1 << ROW_LEVELS


class Hashes(Protocol):
    """What a store offers of its tree. What it returns has been checked against its checksums."""

    @property
    def size(self) -> int:
        """Entries stored."""

    def leaf_hashes(self, first: int, count: int) -> bytes:
        """Leaf hashes of the entries from ``first`` on, count * 32 bytes."""

    def nodes(self, level: int, first: int, count: int) -> bytes:
        """Complete nodes of level 4, 8, 12 ... from number ``first`` on, count * 32 bytes."""


class Walk:
    """Rows and nodes of one tree, kept while several paths are made. Used by one thread.

    Memory: 0.5 KiB a row, at most eight rows a path; make a new one for each page of records.
    """

    def __init__(self, hashes: Hashes) -> None:
        self._hashes = hashes
        self._size = hashes.size
        self._rows: dict[tuple[int, int], bytes] = {}
        self._nodes: dict[tuple[int, int], bytes] = {}
        self._ways: dict[tuple[int, int], list[bytes]] = {}
        self._ranges: dict[tuple[int, int], bytes] = {}

    @property
    def size(self) -> int:
        """Entries in the tree when the walk began."""
        return self._size

    def node(self, level: int, number: int) -> bytes:
        """A complete node, read or hashed from the row under it."""
        known = self._nodes.get((level, number))
        if known is None:
            base = level - level % ROW_LEVELS
            known = self._fold(base, level - base, number)
            self._nodes[level, number] = known
        return known

    def _fold(self, base: int, height: int, number: int) -> bytes:
        first = number << height
        row = self._row(base, first // ROW_HASHES)
        at = first % ROW_HASHES * HASH_BYTES
        part = row[at : at + (HASH_BYTES << height)]
        if len(part) != HASH_BYTES << height:
            raise StorageError(f"tree: expected a complete node at level {base + height}, got a part of one")
        for _ in range(height):
            part = hash_pairs(part)
        return part

    def _row(self, base: int, number: int) -> bytes:
        """All hashes of a stored level that there are in one row."""
        row = self._rows.get((base, number))
        if row is None:
            first = number * ROW_HASHES
            count = min(ROW_HASHES, (self._size >> base) - first)
            row = self._hashes.nodes(base, first, count) if base else self._hashes.leaf_hashes(first, count)
            if len(row) != count * HASH_BYTES:
                raise StorageError(f"tree: expected {count} hashes of level {base}, got {len(row)} bytes")
            self._rows[base, number] = row
        return row

    def _siblings(self, base: int, number: int) -> list[bytes]:
        """Siblings on the way up from a node of a stored level to the next stored level; the row is full."""
        known = self._ways.get((base, number))
        if known is None:
            known = self._ways[base, number] = row_siblings(self._row(base, number // ROW_HASHES), number % ROW_HASHES)
        return known

    def range_root(self, first: int, end: int) -> bytes:
        """MTH of the entries [first, end): ``first`` a multiple of the power of two that holds them all."""
        root = self._ranges.get((first, end))
        position = end if root is None else first
        while position > first:
            # From the smallest complete subtree on the right to the largest on the left.
            level = ((position - first) & (first - position)).bit_length() - 1
            position -= 1 << level
            peak = self.node(level, position >> level)
            root = peak if root is None else hash_node(peak, root)
        assert root is not None, "an empty range has no root"
        self._ranges[first, end] = root
        return root

    def path(self, level: int, number: int, size: int) -> list[bytes]:
        """Siblings of a complete node in the tree of ``size``, from its own level up (RFC 6962, 2.1.1)."""
        last = (size - 1) >> level
        # Below the height where the node's way and the last leaf's way part, every sibling is whole, but for
        # the topmost: that one holds the last leaf. Above, only siblings on the left exist, all whole.
        parting = (number ^ last).bit_length()
        path: list[bytes] = []
        up = 0
        if level == 0:
            while up + ROW_LEVELS < parting:
                path += self._siblings(up, number >> up)
                up += ROW_LEVELS
        path += [self.node(level + at, (number >> at) ^ 1) for at in range(up, parting - 1)]
        if parting:
            up = parting - 1
            path.append(self.range_root(((number >> up) | 1) << (level + up), size))
        rest, up = number >> parting, parting
        while rest:
            if rest & 1:
                path.append(self.node(level + up, rest ^ 1))
            rest >>= 1
            up += 1
        return path


def hash_pairs(hashes: bytes) -> bytes:
    """2k hashes -> the k nodes over them. A kernel may take its place."""
    sha256 = hashlib.sha256
    return b"".join(
        [sha256(b"\x01" + hashes[at : at + 2 * HASH_BYTES]).digest() for at in range(0, len(hashes), 2 * HASH_BYTES)]
    )


def row_siblings(row: bytes, position: int) -> list[bytes]:
    """A full row of 16 hashes -> the siblings of one of them, 4 hashes, lowest first. A kernel may take its place.

    This is where the time of a path goes: 11 hashes, 5 us. Written out, since calls would double it.
    """
    sha256, node = hashlib.sha256, b"\x01"
    one = (position ^ 1) * 32
    two = (position >> 1 ^ 1) * 64
    four = (position >> 2 ^ 1) * 128
    eight = (position >> 3 ^ 1) * 256
    left = sha256(node + row[four : four + 64]).digest()
    right = sha256(node + row[four + 64 : four + 128]).digest()
    a = sha256(node + row[eight : eight + 64]).digest()
    b = sha256(node + row[eight + 64 : eight + 128]).digest()
    c = sha256(node + row[eight + 128 : eight + 192]).digest()
    d = sha256(node + row[eight + 192 : eight + 256]).digest()
    return [
        row[one : one + 32],
        sha256(node + row[two : two + 64]).digest(),
        sha256(node + left + right).digest(),
        sha256(node + sha256(node + a + b).digest() + sha256(node + c + d).digest()).digest(),
    ]


def root(hashes: Hashes, size: int) -> bytes:
    """Root of the tree of the first ``size`` entries, 32 bytes.

    Raises:
        RequestError: the tree has fewer entries.
        StorageError: stored hashes could not be read.
    """
    _check_size(size, hashes.size)
    return Walk(hashes).range_root(0, size) if size else EMPTY_ROOT


def subtree_root(hashes: Hashes, first: int, end: int) -> bytes:
    """MTH of the entries [first, end), which must be a subtree of some tree.

    Raises:
        RequestError: no entry, entries that are not there, or ``first`` is not a multiple of the power of two that
            holds end - first entries.
    """
    _check_size(end, hashes.size)
    if not 0 <= first < end or first % (1 << (end - first - 1).bit_length()):
        raise RequestError(f"subtree: expected an aligned range, got {first} to {end}")
    return Walk(hashes).range_root(first, end)


def peaks_of(hashes: Hashes, size: int) -> list[bytes]:
    """Roots of the complete subtrees that ``size`` names in binary, largest first."""
    _check_size(size, hashes.size)
    walk = Walk(hashes)
    peaks, position = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            peaks.append(walk.node(level, position >> level))
            position += 1 << level
    return peaks


def root_from_peaks(size: int, peaks: Sequence[bytes]) -> bytes:
    """The root of a tree from its peaks, largest first.

    Raises:
        StorageError: not as many peaks as the size names, or one is not 32 bytes.
    """
    if size < 0 or len(peaks) != size.bit_count() or any(len(peak) != HASH_BYTES for peak in peaks):
        raise StorageError(f"peaks: expected {max(size, 0).bit_count()} of {HASH_BYTES} bytes, got {len(peaks)}")
    if not peaks:
        return EMPTY_ROOT
    result = peaks[-1]
    for peak in reversed(peaks[:-1]):
        result = hash_node(peak, result)
    return result


def inclusion_path(hashes: Hashes, index: int, size: int) -> list[bytes]:
    """Hashes from the sibling of the leaf ``index`` up to below the root of the tree of ``size`` entries.

    Raises:
        RequestError: no such entry, or no such tree.
    """
    return inclusion_paths(hashes, (index,), size)[0]


def inclusion_paths(hashes: Hashes, indexes: Iterable[int], size: int) -> list[list[bytes]]:
    """A path for each index, in the caller's order; rows and nodes that they share are read and hashed once."""
    _check_size(size, hashes.size)
    walk = Walk(hashes)
    paths = []
    for index in indexes:
        if not 0 <= index < size:
            raise RequestError(f"index: expected one below {size}, got {index}")
        paths.append(walk.path(0, index, size))
    return paths


def consistency_path(hashes: Hashes, old: int, new: int) -> list[bytes]:
    """RFC 6962, 2.1.2: hashes that lead from the root of ``old`` entries and to the root of ``new``.

    Empty where the sizes are equal or ``old`` is 0.

    Raises:
        RequestError: ``old`` is larger than ``new``, or the tree has fewer entries.
    """
    _check_size(new, hashes.size)
    if not 0 <= old <= new:
        raise RequestError(f"consistency: expected an old size of at most {new}, got {old}")
    if old in (0, new):
        return []
    walk = Walk(hashes)
    # The last complete subtree of the old tree is a node of both. Where it is the whole old tree, the verifier has it.
    level = (old & -old).bit_length() - 1
    number = (old - 1) >> level
    path = walk.path(level, number, new)
    return [walk.node(level, number), *path] if number else path


def _check_size(size: int, stored: int) -> None:
    if not 0 <= size <= stored:
        raise RequestError(f"tree size: expected at most {stored}, got {size}")
