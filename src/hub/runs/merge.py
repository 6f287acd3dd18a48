"""Merges the runs of the history index in bounded steps that may be cut off anywhere; ``merger.py`` does them.

A step reads and merges without a lock, then writes at most a few megabytes in a transaction of its own. The blocks of a
merge that takes several steps are in nobody's way until it is whole; then one transaction exchanges the entries, and
the blocks of the old runs leave in further steps. What is under way stands in ``rundir`` and is taken up again by the
next step, also after a crash: there is nothing to clean up when a folder is opened.
What it looks like there stands in ``directory.py``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hub import _runs
from hub.errors import StorageError
from hub.runs.directory import MERGE_HEAD, Directory, Known, Merge, pack_merge, read_directory
from hub.runs.due import due_runs, new_merge
from hub.runs.index import (
    BLOCK_BYTES,
    ENTRY,
    INLINE_BYTES_MAX,
    LEFTOVER,
    MERGE,
    RUN,
    Run,
    base_of,
    block_head,
    blocks_of,
    parse_run,
    put_blocks,
)
from hub.storage.sealed import unseal
from hub.storage.snapshot import Commit, Snapshot
from hub.store import Store

STEP_BYTES = 1 << 20
"""Bytes that a step writes: a transaction of that size delays an inquiry by two or three milliseconds."""

BYTES_PER_REMOVED = 1 << 10
"""What the removal of a block counts: it writes little (a tenth of this), but takes 2 us in the transaction."""

LEFTOVERS_FIRST_FROM = 100_000
"""Records of a merge before which old blocks leave: small merges keep look-ups short, the space may wait for them."""


def merge_once(store: Store, *, bytes_max: int = STEP_BYTES) -> bool:
    """Do one step: part of a merge, or old blocks removed. False when nothing was due.

    One at a time and store. Whatever it is cut off by, the next one goes on.

    Args:
        bytes_max: what the step's transaction writes, about.

    Raises:
        StorageError: a run is damaged, it is named and stays as it was; or the step could not be kept.
    """
    return do_step(store, bytes_max, {}, set())


def do_step(store: Store, bytes_max: int, known: Known, failed: set[int]) -> bool:
    """:func:`merge_once` but for the periods in ``failed``; one whose merge fails is added to them."""
    with store.snapshot() as snapshot:
        directory = read_directory(snapshot, known)
        merge = _choose(directory, failed)
        if directory.leftovers and (merge is None or merge.records >= LEFTOVERS_FIRST_FROM):
            merge = None
            old = _touch_blocks(snapshot, directory.leftovers, bytes_max)
        elif merge is None:
            return False
        else:
            try:
                end, records, packed = _merge_blocks(snapshot, merge, bytes_max)
            except StorageError:
                failed.add(merge.period)
                raise
    # The snapshot is let go first: the pages that it holds may be used again by this commit.
    with store.commit() as commit:
        if merge is None:
            _remove_blocks(commit, old)
        else:
            _write_step(commit, merge, end, records, packed)
    return True


def _choose(directory: Directory, failed: set[int]) -> Merge | None:
    """The smallest merge that is under way or due: look-ups pay for each small run as much as for a large one."""
    candidates = [merge for merge in directory.merges if merge.period not in failed]
    newest = max(directory.runs, default=0)
    for period, runs in directory.runs.items():
        if period not in failed and len(runs) > 1:
            busy = {run.first for merge in directory.merges if merge.period == period for run in merge.inputs}
            inputs = due_runs(runs, busy, closed=period < newest)
            if inputs:
                candidates.append(new_merge(inputs))
    return min(candidates, key=lambda merge: merge.records, default=None)


def _merge_blocks(
    snapshot: Snapshot, merge: Merge, bytes_max: int
) -> tuple[int, int, tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
    """Merge the next blocks: the block behind them, records in them, and the values as ``pack_blocks`` gives them."""
    begin = merge.next_block
    end = min(merge.blocks, begin + max(1, bytes_max // BLOCK_BYTES))
    low, high = base_of(begin, merge.blocks), base_of(end, merge.blocks) - 1
    taken: list[tuple[Run, int, int, list[memoryview]]] = []
    for run in merge.inputs:
        blocks = run.blocks or 1
        first_block, last_block = low * blocks >> 64, high * blocks >> 64
        taken.append((run, first_block, last_block, blocks_of(snapshot, run, first_block, last_block)))
        _runs.prefetch(taken[-1][3])
    pairs = _runs.Pairs(merge.records * (end - begin) // merge.blocks * 9 // 8 + 1024)
    for run, first_block, last_block, values in taken:
        before, behind = pairs.add(
            values,
            run.head,
            first_block,
            run.blocks or 1,
            run.key_bytes,
            run.offset_bytes,
            run.last - run.first,
            run.first - merge.first,
            low,
            high,
            run.blocks > 0,
        )
        if (first_block == 0 and before) or (last_block + 1 == (run.blocks or 1) and behind != run.records):
            raise StorageError(f"{run.name}: expected {run.records} records in its blocks, got another number")
    keys, offsets = pairs.merged()
    if end == merge.blocks and merge.written + len(keys) != merge.records:
        raise StorageError(f"{merge.inputs[0].name}: expected {merge.records} records to merge, got another number")
    packed = _runs.pack_blocks(
        keys, offsets, begin, end, merge.blocks, merge.key_bytes, merge.offset_bytes, merge.written
    )
    return end, len(keys), packed


def _write_step(
    commit: Commit,
    merge: Merge,
    end: int,
    records: int,
    packed: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]],
) -> None:
    """Write what was merged, if it is still wanted: the period may have been dropped since."""
    rundir = commit.databases["rundir"]
    stored = commit.txn.get(merge.key, db=rundir)
    if (b"" if stored is None else bytes(stored)) != merge.raw:
        return
    if any(commit.txn.get(run.key, db=rundir) is None for run in merge.inputs):
        return
    written = merge.written + records
    inline = merge.blocks == 1 and len(packed[0]) - 8 <= INLINE_BYTES_MAX
    if not inline:
        put_blocks(commit, block_head(merge.period, merge.first, merge.records), merge.next_block, packed)
    if end < merge.blocks:
        commit.put_sealed("rundir", merge.key, pack_merge(merge._replace(next_block=end, written=written)))
        return
    # The exchange: a reader sees the entries of before or the one of after.
    for run in merge.inputs:
        commit.delete("rundir", run.key)
        if run.blocks:
            commit.put_sealed("rundir", LEFTOVER + run.head, b"")
    if merge.raw:
        commit.delete("rundir", merge.key)
    entry = ENTRY.pack(
        merge.inputs[-1].last,
        merge.records,
        0 if inline else merge.blocks,
        merge.key_bytes,
        merge.offset_bytes,
        merge.tier,
        min(run.time_min for run in merge.inputs),
        max(run.time_max for run in merge.inputs),
    )
    key = RUN + merge.period.to_bytes(2, "big") + merge.first.to_bytes(8, "big")
    commit.put_sealed("rundir", key, entry + (packed[0][8:].tobytes() if inline else b""))


def _touch_blocks(snapshot: Snapshot, prefixes: list[bytes], bytes_max: int) -> list[tuple[bytes, list[bytes], bool]]:
    """The next old blocks to remove: begin of their keys, keys, and whether these are the last.

    LMDB reads the head of a value's first page to free it: they are read here, where nobody waits for the disk.
    """
    room = max(1, bytes_max // BYTES_PER_REMOVED)
    old: list[tuple[bytes, list[bytes], bool]] = []
    for prefix in prefixes:
        stop = (int.from_bytes(prefix, "big") + 1).to_bytes(len(prefix) + 1, "big")[1:]
        found = snapshot.items("runs", prefix, stop, limit=room)
        _runs.prefetch([value for _, value in found])
        for _, value in found:
            bytes(value[:1])
        old.append((prefix, [key for key, _ in found], len(found) < room))
        room -= len(found) + 1
        if room <= 0:
            break
    return old


def _remove_blocks(commit: Commit, old: list[tuple[bytes, list[bytes], bool]]) -> None:
    for prefix, keys, done in old:
        for key in keys:
            commit.delete("runs", key)
        if done:
            commit.delete("rundir", LEFTOVER + prefix)


def drop_period(store: Store, period: int, *, bytes_max: int = STEP_BYTES) -> bool:
    """Do one step of removing all runs of a period; False when none of it is left. Goes on where it was cut off.

    After the first step no history finds any of them.

    Raises:
        StorageError: an entry is damaged, or the step could not be kept.
    """
    head = period.to_bytes(2, "big")
    with store.snapshot() as snapshot:
        runs = snapshot.items("rundir", RUN + head, RUN + head + b"\xff" * 9, limit=1)
        leftover = snapshot.items("rundir", LEFTOVER + head, LEFTOVER + head + b"\xff" * 13)
        if not runs and not leftover:
            return False
        if not runs:
            old = _touch_blocks(snapshot, [key[1:] for key, _ in leftover], bytes_max)
    with store.commit() as commit:
        if runs:
            _drop_entries(commit, head)
        else:
            _remove_blocks(commit, old)
    return True


def _drop_entries(commit: Commit, head: bytes) -> None:
    """Make all blocks of a period nobody's. Read in the transaction: a merge may have ended since any snapshot."""
    rundir = commit.databases["rundir"]
    heads: list[bytes] = []
    for kind in (MERGE, RUN):
        with commit.txn.cursor(db=rundir) as cursor:
            while cursor.set_range(kind + head) and cursor.key()[:3] == kind + head:
                key = bytes(cursor.key())
                if kind == RUN:
                    run = parse_run(key, cursor.value())
                    heads += [run.head] if run.blocks else []
                else:
                    records = MERGE_HEAD.unpack_from(unseal("rundir", key, cursor.value()))[0]
                    heads.append(head + key[3:] + records.to_bytes(4, "big"))
                commit.delete("rundir", key)
    for one in heads:
        commit.put_sealed("rundir", LEFTOVER + one, b"")
