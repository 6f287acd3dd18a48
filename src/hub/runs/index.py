"""The history index: which records are about whom, as sorted runs of person keys that merge as they grow in number.

A *run* covers records of one period: the keys of all of them in order, each with where its record stands. Every chunk
of records adds a run of tier 0; neighbours are merged in the background (``merge.py``), about eightfold, so that a
log of any size has a few dozen runs. Runs of a period never overlap: the indexes of one all lie before the next one's.

``rundir``, numbers in keys big endian, values sealed (``storage/sealed.py``) and little endian:

| key | value |
|---|---|
| u8 1, u16 period, u64 first index | entry of a run, see below |
| u8 2, u16 period, u64 first index | a merge under way, see ``directory.py`` |
| u8 3, begin of keys in ``runs`` | empty: these blocks are nobody's, and leave step by step |

Entry of a run:

| at | type | what |
|---|---|---|
| 0 | u64 | xxh3-64 as of every sealed value |
| 8 | u64 | index of the last record |
| 16 | u32 | records |
| 20 | u32 | blocks in ``runs``; 0: the only block stands here, behind the entry |
| 24 | u8 | k, bytes of a remainder, 1 to 8 |
| 25 | u8 | o, bytes of an offset, 0 to 4 |
| 26 | u8 | tier: 0 as added, else one more than the highest merged |
| 27 | 5 | 0 |
| 32 | i64 | time of the first record, seconds since 1970 |
| 40 | i64 | time of the last |
| 48 | | where blocks is 0: block 0 of 1 from its u32 on |

``runs``: key u16 period, u64 first index, u32 records, u32 block. Of all runs with the same first index each merge has
more records than what it was made of, so that the key names one run for ever. Block b of B holds the person keys with
floor(key x B / 2^64) = b, that is from ceil(b x 2^64 / B) on; keys are uniform, so blocks fill alike. Value:

| at | type | what |
|---|---|---|
| 0 | u64 | xxh3-64 as of every sealed value |
| 8 | u32 | records of the run in the blocks before |
| 12 | n x k | remainders: person key - ceil(b x 2^64 / B), ascending |
| | n x o | offsets: index of the record - first index of the run, ascending among equal keys |

Where o is 0 (tier 0) the offset of a record is its position in the order of keys, since a chunk of records is stored in
that order. n follows from the length.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from hub import _runs
from hub.errors import StorageError
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot

RUN, MERGE, LEFTOVER = b"\1", b"\2", b"\3"
ENTRY = struct.Struct("<QIIBBB5xqq")

BLOCK_BYTES = 2 * 4096 - 16
"""What fits two pages of LMDB's: a look-up in a run reads one block whole. With one page a record takes 8 % more space,
since the last page of each block is half empty, with four pages a cold look-up reads twice as much for 2 % less."""

INLINE_BYTES_MAX = 1_600
"""Block of a small run that stands in its entry (196 records of tier 0): one put, and no look-up of its own."""

TIER0_BLOCK_ROWS = 1_000

RUN_RECORDS_MAX = 2**32 - 1
INDEX_MAX = 2**64 - 1
TIME_MIN, TIME_MAX = -(2**63), 2**63 - 1

FIND_RUNS_FIRST = 4
FIND_RUNS_MAX = 64
"""Runs whose blocks are asked for at once, at first and at most: the first page of a history needs few of the newest,
and every further step doubles, so that a disk is asked for many pages at a time."""


class Run(NamedTuple):
    """A run as its entry tells.

    Attributes:
        period, first, last: its period, and the indexes of its first and last record.
        records, blocks: how many; blocks is 0 where ``inline`` has the only block.
        key_bytes, offset_bytes: of a remainder and of an offset. tier: how often merged.
        time_min, time_max: seconds since 1970.
        inline: the block behind the entry, with eight bytes for a sum before it; empty where there are blocks.
    """

    period: int
    first: int
    last: int
    records: int
    blocks: int
    key_bytes: int
    offset_bytes: int
    tier: int
    time_min: int
    time_max: int
    inline: bytes

    @property
    def key(self) -> bytes:
        """The entry's key in ``rundir``."""
        return RUN + self.period.to_bytes(2, "big") + self.first.to_bytes(8, "big")

    @property
    def head(self) -> bytes:
        """The first 14 bytes of its blocks' keys in ``runs``."""
        return block_head(self.period, self.first, self.records)

    @property
    def name(self) -> str:
        """How messages call it."""
        return run_name(self.period, self.first)


def run_name(period: int, first: int) -> str:
    """How messages call a run."""
    return f"run {period >> 2:04d}Q{(period & 3) + 1} from {first}"


def block_head(period: int, first: int, records: int) -> bytes:
    """The first 14 bytes of the keys of a run's blocks."""
    return period.to_bytes(2, "big") + first.to_bytes(8, "big") + records.to_bytes(4, "big")


def key_bytes_for(blocks: int) -> int:
    """Bytes of the largest remainder in a run of so many blocks."""
    return max(1, (((1 << 64) + blocks - 1) // blocks - 1).bit_length() + 7 >> 3)


def base_of(block: int, blocks: int) -> int:
    """The smallest key of a block; of the block behind the last 2^64."""
    return ((block << 64) + blocks - 1) // blocks


# -- writing


def add_run(
    commit: Commit, period: int, first: int, person_keys: npt.NDArray[np.uint64], times: tuple[int, int]
) -> None:
    """Enter a chunk of records in the transaction that writes it.

    Args:
        period: number of the quarter. first: index of the chunk's first record.
        person_keys: uint64[1 to 65,536], ascending, in the order of the records.
        times: of the records, the first and the last, seconds since 1970.
    """
    records = len(person_keys)
    assert person_keys.dtype == np.uint64
    one_block = 4 + 8 * records <= INLINE_BYTES_MAX
    blocks = 0 if one_block else -(-records // TIER0_BLOCK_ROWS)
    key_bytes = key_bytes_for(blocks or 1)
    entry = ENTRY.pack(first + records - 1, records, blocks, key_bytes, 0, 0, *times)
    if one_block:
        entry += bytes(4) + person_keys.tobytes()
    else:
        keys = np.ascontiguousarray(person_keys)
        packed = _runs.pack_blocks(keys, np.empty(0, np.uint32), 0, blocks, blocks, key_bytes, 0, 0)
        put_blocks(commit, block_head(period, first, records), 0, packed)
    commit.put_sealed("rundir", RUN + period.to_bytes(2, "big") + first.to_bytes(8, "big"), entry)


def put_blocks(
    commit: Commit, head: bytes, first_block: int, packed: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
) -> int:
    """Put the blocks that ``_runs.pack_blocks`` laid out, each under its sum; returns their bytes."""
    values = packed[0].data
    begins = packed[1].tolist()
    database, txn = commit.databases["runs"], commit.txn
    lead = xxhash.xxh3_64(b"runs\x0018\0" + head)
    for number in range(len(begins) - 1):
        key = (first_block + number).to_bytes(4, "big")
        value = values[begins[number] : begins[number + 1]]
        total = lead.copy()
        total.update(key)
        total.update(value[8:])
        value[:8] = total.intdigest().to_bytes(8, "little")
        txn.put(head + key, value, db=database)
    return len(values)


# -- reading


def parse_run(key: bytes, value: object) -> Run:
    """Check an entry of ``rundir`` and read it.

    Raises:
        StorageError: it is damaged.
    """
    if len(key) != 11:
        raise StorageError("rundir: expected the stored key of a run, got a damaged one")
    period, first = int.from_bytes(key[1:3], "big"), int.from_bytes(key[3:], "big")
    try:
        body = unseal("rundir", key, value)
        last, records, blocks, key_bytes, offset_bytes, tier, time_min, time_max = ENTRY.unpack_from(body)
    except (StorageError, struct.error):
        raise StorageError(f"{run_name(period, first)}: expected the stored checksum, got a damaged entry") from None
    inline = b"" if blocks else bytes(8) + body[ENTRY.size :]
    run = Run(period, first, last, records, blocks, key_bytes, offset_bytes, tier, time_min, time_max, inline)
    if not 0 < records <= last - first + 1 or key_bytes != key_bytes_for(blocks or 1) or offset_bytes > 4:
        raise StorageError(f"{run.name}: expected an entry that agrees with itself, got another")
    return run


def read_runs(snapshot: Snapshot, period: int) -> list[Run]:
    """The runs of a period, ascending.

    Raises:
        StorageError: an entry is damaged.
    """
    start = RUN + period.to_bytes(2, "big")
    stop = RUN + (period + 1).to_bytes(2, "big") if period < 0xFFFF else MERGE
    return [parse_run(key, value) for key, value in snapshot.items("rundir", start, stop)]


def find_indexes(
    snapshot: Snapshot,
    keys: dict[int, int],
    below: int,
    *,
    since: int | None = None,
    until: int | None = None,
    check: Callable[[list[tuple[int, int]]], None] | None = None,
) -> Iterator[int]:
    """Indexes of the records about a person, newest first, found as they are asked for.

    Args:
        keys: period -> person key in it; other periods are not searched.
        below: no record from this index on.
        since, until: seconds since 1970, both included; runs without a record between them are left out whole, so
            that what is found still has to be compared with them.
        check: called before the first index is given out, with (first, last) index of every run of these periods that
            has a record under ``below``, ascending.

    Returns:
        Indexes, descending. Two persons may have the same key of 64 bits: the caller compares the record's person.

    Raises:
        StorageError: an entry or a block that was looked at is damaged; its run is named.
    """
    low = TIME_MIN if since is None else since
    high = TIME_MAX if until is None else until
    found: list[tuple[int, int, int, int, int, int, int, list[int] | None]] = []
    spans: list[tuple[int, int]] = []
    if below > 0:
        with snapshot.reading, snapshot.txn.cursor(db=snapshot.databases["rundir"]) as cursor:
            for period, key in keys.items():
                found += _runs.find_entries(cursor, period, key, min(below, INDEX_MAX), low, high, spans)
    if check is not None:
        check(sorted(spans))
    # Periods may have indexes between each other's where the year's quarter ended: what is found waits until no
    # other run can hold a newer one.
    found.sort(key=lambda entry: entry[0], reverse=True)
    waiting: list[int] = []
    at, step = 0, FIND_RUNS_FIRST
    while at < len(found):
        upto = at
        blocks = 0
        while upto < len(found) and blocks < step:
            blocks += found[upto][7] is None
            upto += 1
        waiting = sorted(waiting + _search(snapshot, keys, min(below, INDEX_MAX), found[at:upto]))
        newest = found[upto][0] if upto < len(found) else -1
        certain = bisect_right(waiting, newest)
        yield from reversed(waiting[certain:])
        del waiting[certain:]
        at, step = upto, min(2 * step, FIND_RUNS_MAX)


def _search(
    snapshot: Snapshot,
    keys: dict[int, int],
    below: int,
    entries: list[tuple[int, int, int, int, int, int, int, list[int] | None]],
) -> list[int]:
    """Hits of some runs, in no order. All blocks are asked of the disk before the first is waited for."""
    hits: list[int] = []
    wanted: list[tuple[bytes, int, int, int, int]] = []
    for _, first, records, blocks, key_bytes, offset_bytes, period, inline in entries:
        if inline is not None:
            hits += inline
            continue
        block = (keys[period] * blocks >> 64).to_bytes(4, "big")
        wanted.append((block_head(period, first, records) + block, keys[period], key_bytes, offset_bytes, blocks))
    if not wanted:
        return hits
    database = snapshot.databases["runs"]
    with snapshot.reading:
        values = [snapshot.txn.get(entry[0], db=database) for entry in wanted]
    _runs.prefetch([value for value in values if value is not None])
    for value, (key, person_key, key_bytes, offset_bytes, blocks) in zip(values, wanted, strict=True):
        if value is None:
            period, first = int.from_bytes(key[:2], "big"), int.from_bytes(key[2:10], "big")
            raise StorageError(f"{run_name(period, first)}: expected {blocks} blocks, found one missing")
        hits += _runs.find_in_block(value, key, person_key, below, key_bytes, offset_bytes, blocks)
    return hits


def blocks_of(snapshot: Snapshot, run: Run, first_block: int, last_block: int) -> list[memoryview]:
    """The values of some blocks of a run, both ends included, unchecked."""
    if not run.blocks:
        return [memoryview(run.inline)]
    start, stop = run.head + first_block.to_bytes(4, "big"), run.head + last_block.to_bytes(4, "big")
    found = snapshot.items("runs", start, stop + b"\0")
    for number, (key, _) in enumerate(found, first_block):
        if key != run.head + number.to_bytes(4, "big"):
            raise StorageError(f"{run.name}: expected block {number}, found it missing")
    if len(found) != last_block - first_block + 1:
        raise StorageError(f"{run.name}: expected {run.blocks} blocks, found some missing")
    return [value for _, value in found]
