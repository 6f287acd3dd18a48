"""The directory of the history index, read and checked as a whole: runs, merges under way, blocks that are nobody's.

A merge under way, in ``rundir`` under u8 2, u16 period, u64 first index; sealed, little endian:

| at | type | what |
|---|---|---|
| 0 | u64 | xxh3-64 as of every sealed value |
| 8 | u32 | records, blocks, next block to write, records written (four u32) |
| 24 | u8 | bytes of a remainder, bytes of an offset, tier (three u8), 0 |
| 28 | u32 | n, runs to merge |
| 32 | n x 12 | u64 first index, u32 records of each |
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from hub.errors import StorageError
from hub.runs.index import LEFTOVER, MERGE, RUN, Run, parse_run, run_name
from hub.storage.sealed import unseal
from hub.storage.snapshot import Snapshot

MERGE_HEAD = struct.Struct("<IIIIBBBxI")
_INPUT = struct.Struct("<QI")

Known = dict[bytes, tuple[bytes, Run]]
"""Entries that were checked before, by key, with their sum: an entry is never changed, only replaced."""


class Merge(NamedTuple):
    """A merge under way, or one that is due and has not begun (``raw`` is then empty).

    Attributes:
        next_block, written: blocks below are done, with so many records.
        inputs: the runs that it is made of, ascending. raw: as stored.
    """

    period: int
    first: int
    records: int
    blocks: int
    key_bytes: int
    offset_bytes: int
    tier: int
    next_block: int
    written: int
    inputs: tuple[Run, ...]
    raw: bytes = b""

    @property
    def key(self) -> bytes:
        """Its key in ``rundir``."""
        return MERGE + self.period.to_bytes(2, "big") + self.first.to_bytes(8, "big")


class Directory(NamedTuple):
    """All of ``rundir``: runs of each period, ascending; merges under way; begins of keys of old blocks."""

    runs: dict[int, list[Run]]
    merges: list[Merge]
    leftovers: list[bytes]


def read_directory(snapshot: Snapshot, known: Known) -> Directory:
    """Read and check all of ``rundir``.

    Raises:
        StorageError: an entry is damaged.
    """
    directory = Directory({}, [], [])
    merges: list[tuple[bytes, bytes]] = []
    for key, value in snapshot.items("rundir", b""):
        if key[:1] == RUN:
            found = known.get(key)
            if found is None or found[0] != value[:8]:
                found = known[key] = (bytes(value[:8]), parse_run(key, value))
            directory.runs.setdefault(found[1].period, []).append(found[1])
        elif key[:1] == MERGE:
            merges.append((key, bytes(value)))
        elif key[:1] == LEFTOVER and len(key) == 15:
            unseal("rundir", key, value)
            directory.leftovers.append(key[1:])
        else:
            raise StorageError("rundir: expected the stored key of a run, got a damaged one")
    directory.merges.extend(_parse_merge(directory, key, raw) for key, raw in merges)
    for gone in known.keys() - {run.key for runs in directory.runs.values() for run in runs}:
        del known[gone]
    return directory


def _parse_merge(directory: Directory, key: bytes, raw: bytes) -> Merge:
    period, first = int.from_bytes(key[1:3], "big"), int.from_bytes(key[3:], "big")
    try:
        body = unseal("rundir", key, raw)
        records, blocks, next_block, written, key_bytes, offset_bytes, tier, n = MERGE_HEAD.unpack_from(body)
        wanted = list(_INPUT.iter_unpack(body[MERGE_HEAD.size :]))
    except (StorageError, struct.error):
        raise StorageError(f"{run_name(period, first)}: expected the stored checksum, got a damaged merge") from None
    runs = {(run.first, run.records): run for run in directory.runs.get(period, ())}
    inputs = tuple(runs[one] for one in wanted if one in runs)
    if len(inputs) != len(wanted) or n != len(wanted) or not inputs:
        raise StorageError(f"{run_name(period, first)}: expected the {n} runs of its merge, found {len(inputs)}")
    return Merge(period, first, records, blocks, key_bytes, offset_bytes, tier, next_block, written, inputs, raw)


def pack_merge(merge: Merge) -> bytes:
    """A merge under way as it is sealed into ``rundir``."""
    head = MERGE_HEAD.pack(
        merge.records,
        merge.blocks,
        merge.next_block,
        merge.written,
        merge.key_bytes,
        merge.offset_bytes,
        merge.tier,
        len(merge.inputs),
    )
    return head + b"".join(_INPUT.pack(run.first, run.records) for run in merge.inputs)
