"""A record log in memory that offers what the tree and the export read, and RFC 6962 spelled out to compare with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from hub.tlog import tree
from hub.tlog.checkpoint import LogKey
from hub.tlog.entry import hash_entry, hash_leaf, hash_node, hash_shared, pack_row, subject_tag

KEY = LogKey(bytes(range(32)), "log.example.jp/records")
OTHER_KEY = LogKey(bytes(range(1, 33)), "log.example.jp/records")
OTHER_LOG = LogKey(bytes(range(32)), "log.example.jp/others")


class MemoryLog:
    """Entries of any length, leaf hashes and complete nodes at levels 4, 8, 12 ...; counts its reads."""

    def __init__(self, entries: Sequence[bytes] = (), key: LogKey = KEY) -> None:
        self.key = key
        self.stored: list[bytes] = []
        self.levels: list[list[bytes]] = [[]]
        self.reads = 0
        self.append(entries)

    @property
    def size(self) -> int:
        return len(self.stored)

    @property
    def checkpoint(self) -> str:
        return self.key.sign(self.size, tree.root(self, self.size))

    def append(self, entries: Sequence[bytes]) -> None:
        self.stored += entries
        self.levels[0] += map(hash_leaf, entries)
        level = 0
        while len(self.levels[level]) >= 2:
            if level + 1 == len(self.levels):
                self.levels.append([])
            below, own = self.levels[level], self.levels[level + 1]
            for number in range(len(own), len(below) // 2):
                own.append(hash_node(below[2 * number], below[2 * number + 1]))
            level += 1

    def entries(self, first: int, count: int) -> bytes:
        assert 0 <= first <= first + count <= self.size
        return b"".join(self.stored[first : first + count])

    def leaf_hashes(self, first: int, count: int) -> bytes:
        self.reads += 1
        assert 0 <= first < first + count <= self.size
        return b"".join(self.levels[0][first : first + count])

    def nodes(self, level: int, first: int, count: int) -> bytes:
        self.reads += 1
        assert level % 4 == 0
        assert level > 0
        assert 0 <= first < first + count <= self.size >> level
        return b"".join(self.levels[level][first : first + count])


def entries_of(count: int, seed: int = 0) -> list[bytes]:
    """Entries of 32 bytes, all different."""
    return [hashlib.sha256(b"%d/%d" % (seed, number)).digest() for number in range(count)]


def split_below(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << (count - 1).bit_length() - 1


def naive_root(entries: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, word for word."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hash_leaf(entries[0])
    k = split_below(len(entries))
    return hash_node(naive_root(entries[:k]), naive_root(entries[k:]))


def naive_path(index: int, entries: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962, 2.1.1, word for word."""
    if len(entries) == 1:
        return []
    k = split_below(len(entries))
    if index < k:
        return [*naive_path(index, entries[:k]), naive_root(entries[k:])]
    return [*naive_path(index - k, entries[k:]), naive_root(entries[:k])]


def naive_proof(old: int, entries: Sequence[bytes]) -> list[bytes]:
    """PROOF of RFC 6962, 2.1.2, word for word."""

    def subproof(m: int, part: Sequence[bytes], whole: bool) -> list[bytes]:
        if m == len(part):
            return [] if whole else [naive_root(part)]
        k = split_below(len(part))
        if m <= k:
            return [*subproof(m, part[:k], whole), naive_root(part[k:])]
        return [*subproof(m - k, part[k:], False), naive_root(part[:k])]

    return subproof(old, entries, True)


def record_parts(shared: bytes, number: int = 0, disclosure_key: bytes = bytes(16)) -> tuple[bytes, bytes, bytes]:
    """Salt, row and entry of a record under these shared fields."""
    salt = hashlib.sha256(b"salt/%d" % number).digest()[:16]
    row = pack_row(101, 0, 1, 1_790_000_000 + number, 0, 0, subject_tag(salt, disclosure_key))
    return salt, row, hash_entry(salt, hash_shared(shared), row)
