"""Compares the history index with the records that it is about, and its runs with themselves."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from hub import _runs
from hub.errors import StorageError
from hub.runs.directory import read_directory
from hub.runs.index import INDEX_MAX, Run, block_head, blocks_of, read_runs, run_name
from hub.storage.snapshot import Snapshot

SUMS = 4_096
"""Parts of a run's range of indexes that are compared by a sum each; the first that differs is compared in full."""

WALK_BLOCKS = 256

Records = Callable[[int, int], Iterable[tuple[int, npt.NDArray[np.uint64]]]]
"""What the bodies say: (first, last) -> the period's records with an index in that range, both included, as pairs of a
first index and uint64[n] person keys of consecutive records, ascending. May be asked twice for the same range."""


def check_runs(snapshot: Snapshot, period: int, records: Records) -> int:
    """Compare the runs of a period with what the records themselves say; the number of records compared.

    Every block is read: sums, lengths, places, order, and that the runs hold each record once and no other. Both sides
    are hashed pair by pair in their own order, a few numbers a run; only where these differ are pairs compared.

    Raises:
        StorageError: the first run or record that does not fit is named.
    """
    checked, follows = 0, 0
    for run in read_runs(snapshot, period):
        if run.first < follows:
            raise StorageError(f"{run.name}: expected it to begin at {follows} or later, got an overlap")
        _expect_none(run_name(period, follows), records(follows, run.first - 1) if run.first > follows else ())
        step = (run.last - run.first) // SUMS + 1
        secret = secrets.randbits(64)
        ours, theirs = np.zeros(SUMS, np.uint64), np.zeros(SUMS, np.uint64)
        for keys, indexes in walk_run(snapshot, run):
            _runs.sum_pairs(keys, indexes, run.first, step, secret, ours)
        for first, keys in records(run.first, run.last):
            indexes = np.arange(first, first + len(keys), dtype=np.uint64)
            _runs.sum_pairs(np.ascontiguousarray(keys), indexes, run.first, step, secret, theirs)
        different = np.flatnonzero(ours != theirs)
        if len(different):
            low = run.first + int(different[0]) * step
            _name_difference(snapshot, run, low, min(run.last, low + step - 1), records)
        checked += run.records
        follows = run.last + 1
    _expect_none(run_name(period, follows), records(follows, INDEX_MAX))
    return checked


def check_blocks(snapshot: Snapshot) -> int:
    """Compare what ``runs`` holds with what ``rundir`` says it should: no block too few, none that is nobody's.

    Returns:
        the number of blocks.

    Raises:
        StorageError: the first that does not fit is named.
    """
    directory = read_directory(snapshot, {})
    expected = {run.head: run.blocks for runs in directory.runs.values() for run in runs if run.blocks}
    expected |= {block_head(m.period, m.first, m.records): m.next_block for m in directory.merges}
    leaving = set(directory.leftovers)
    found: dict[bytes, int] = {}
    with snapshot.reading, snapshot.txn.cursor(db=snapshot.databases["runs"]) as cursor:
        for key in cursor.iternext(values=False):
            head, number = bytes(key[:14]), int.from_bytes(key[14:], "big")
            if head in leaving:
                continue
            if len(key) != 18 or number != found.get(head, 0) or number >= expected.get(head, 0):
                name = run_name(int.from_bytes(head[:2], "big"), int.from_bytes(head[2:10], "big"))
                raise StorageError(f"{name}: expected {expected.get(head, 0)} blocks, found block {number}")
            found[head] = number + 1
    for head, blocks in expected.items():
        if found.get(head, 0) != blocks:
            name = run_name(int.from_bytes(head[:2], "big"), int.from_bytes(head[2:10], "big"))
            raise StorageError(f"{name}: expected {blocks} blocks, found {found.get(head, 0)}")
    return sum(found.values())


def walk_run(snapshot: Snapshot, run: Run) -> Iterator[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]]:
    """All of a run in the order of its keys, some blocks at a time: uint64[n] keys, uint64[n] indexes.

    Raises:
        StorageError: a block is damaged, missing or out of order; the run is named.
    """
    written, blocks = 0, run.blocks or 1
    for begin in range(0, blocks, WALK_BLOCKS):
        end = min(blocks, begin + WALK_BLOCKS)
        values = blocks_of(snapshot, run, begin, end - 1)
        _runs.prefetch(values)
        pairs = _runs.Pairs(run.records // blocks * (end - begin) * 9 // 8 + 1024)
        span = run.last - run.first
        start, behind = pairs.add(
            values,
            run.head,
            begin,
            blocks,
            run.key_bytes,
            run.offset_bytes,
            span,
            0,
            0,
            INDEX_MAX,
            run.blocks > 0,
        )
        if start != written:
            raise StorageError(f"{run.name}: expected {written} records before block {begin}, got {start}")
        written = behind
        keys, offsets = pairs.merged()
        if len(keys):
            # Equal keys share a block.
            if ((keys[1:] == keys[:-1]) & (offsets[1:] <= offsets[:-1])).any():
                raise StorageError(f"{run.name}: expected ascending offsets of equal keys, got others")
            yield keys, offsets.astype(np.uint64) + np.uint64(run.first)
    if written != run.records:
        raise StorageError(f"{run.name}: expected {run.records} records in its blocks, got {written}")


def _expect_none(name: str, chunks: Iterable[tuple[int, npt.NDArray[np.uint64]]]) -> None:
    for first, keys in chunks:
        if len(keys):
            raise StorageError(f"{name}: expected record {first} in the history index, found no run with it")


def _name_difference(snapshot: Snapshot, run: Run, low: int, high: int, records: Records) -> None:
    """Raise for the first record in a range of indexes of which a run and the bodies say different things."""
    there: list[tuple[int, int]] = []
    for keys, indexes in walk_run(snapshot, run):
        chosen = (indexes >= low) & (indexes <= high)
        there += zip(indexes[chosen].tolist(), keys[chosen].tolist(), strict=True)
    wanted = [
        (first + at, key)
        for first, keys in records(low, high)
        for at, key in enumerate(keys.tolist())
        if low <= first + at <= high
    ]
    for index, _ in sorted(set(there) ^ set(wanted)):
        raise StorageError(f"record {index}: expected {run.name} to name its person once, found it does not")
    raise StorageError(f"{run.name}: expected each record of {low} to {high} once, found one again")
