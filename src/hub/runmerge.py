"""Merges the runs of the history index in the background, in bounded steps that may be cut off anywhere.

A step reads and merges without a lock, then writes at most a few megabytes in a transaction of its own. The blocks of a
merge that takes several steps are in nobody's way until it is whole; then one transaction exchanges the entries, and
the blocks of the old runs leave in further steps. What is under way stands in ``rundir`` and is taken up again by the
next step, also after a crash: there is nothing to clean up when a folder is opened.

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

import functools
import logging
import math
import struct
import threading
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hub import _runs
from hub.errors import HubError, StorageError
from hub.runs import (
    BLOCK_BYTES,
    ENTRY,
    INLINE_BYTES_MAX,
    LEFTOVER,
    MERGE,
    RUN,
    RUN_RECORDS_MAX,
    Run,
    base_of,
    block_head,
    blocks_of,
    key_bytes_for,
    parse_run,
    put_blocks,
    run_name,
)
from hub.sealed import unseal
from hub.snapshot import Commit, Snapshot
from hub.store import Store

FAN_OUT = 8
SMALL_RECORDS = 512
SMALL_RUNS = 64
"""Runs under 512 records wait for 64 of their kind: a merge costs a commit of its own, as much as a single inquiry."""

MIXED_RUNS_MAX = 192
"""Runs of one chunk's size or less; more, in whatever order they come, are merged without regard to their sizes."""

INPUTS_MAX = 128
STEP_BYTES = 1 << 20
"""Bytes that a step writes: a transaction of that size delays an inquiry by two or three milliseconds."""

BYTES_PER_REMOVED = 1 << 10
"""What the removal of a block counts: it writes little (a tenth of this), but takes 2 us in the transaction."""

LEFTOVERS_FIRST_FROM = 100_000
"""Records of a merge before which old blocks leave: small merges keep look-ups short, the space may wait for them."""

DELAY_S = 0.03
RETRY_S = 1.0

_MERGE = struct.Struct("<IIIIBBBxI")
_INPUT = struct.Struct("<QI")

logger = logging.getLogger("hub")

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


# -- what is due


@functools.lru_cache(1 << 12)
def size_class(records: int) -> int:
    """0 for less than 512 records, then one more for each eightfold."""
    return 0 if records < SMALL_RECORDS else (records.bit_length() - 10) // 3 + 1


def due_runs(runs: list[Run], busy: set[int], *, closed: bool) -> list[Run]:
    """The neighbours of one period to be merged next, or none.

    Args:
        runs: of the period, ascending. busy: first indexes of those in a merge under way.
        closed: whether the period will hardly get any more records; then it ends as one run, or few.
    """
    stretches: list[list[Run]] = [[]]
    for run in runs:
        if run.first in busy:
            stretches.append([])
        else:
            stretches[-1].append(run)
    chosen = (
        _due_small(stretches)
        or _due_classes(stretches)
        or _due_mixed(stretches)
        or (_due_closed(runs) if closed and not busy else [])
    )[:INPUTS_MAX]
    # Offsets are 32 bits.
    while chosen and chosen[-1].last - chosen[0].first > RUN_RECORDS_MAX:
        chosen = chosen[:-1]
    return chosen if len(chosen) > 1 else []


def _groups(stretches: list[list[Run]], class_max: int) -> list[list[Run]]:
    """Neighbours that are all of this class or below."""
    groups: list[list[Run]] = []
    for stretch in stretches:
        groups.append([])
        for run in stretch:
            if size_class(run.records) > class_max:
                groups.append([])
            else:
                groups[-1].append(run)
    return groups


def _due_small(stretches: list[list[Run]]) -> list[Run]:
    groups = _groups(stretches, 0)
    if sum(map(len, groups)) < SMALL_RUNS:
        return []
    longest = max(groups, key=len)
    # Where small and large ones alternate, the small ones go with the large ones.
    return longest if len(longest) >= FAN_OUT else []


def _due_classes(stretches: list[list[Run]]) -> list[Run]:
    top = max((size_class(run.records) for stretch in stretches for run in stretch), default=0)
    for number in range(1, top + 1):
        for group in _groups(stretches, number):
            places = [at for at, run in enumerate(group) if size_class(run.records) == number]
            if len(places) >= FAN_OUT:
                # From the begin of the group: smaller ones left before a larger one would never find neighbours.
                return group[: places[-1] + 1]
    return []


def _due_mixed(stretches: list[list[Run]]) -> list[Run]:
    groups = _groups(stretches, size_class(1 << 16))
    return max(groups, key=len) if sum(map(len, groups)) > MIXED_RUNS_MAX else []


def _due_closed(runs: list[Run]) -> list[Run]:
    """The newest ones from the first that is at most twice the sum of the newer.

    What stays falls threefold from run to run, and a late record does not rewrite a whole period.
    """
    newer, begin = 0, len(runs)
    for at in range(len(runs) - 1, -1, -1):
        if runs[at].records <= 2 * newer:
            begin = at
        newer += runs[at].records
    return runs[begin:]


def new_merge(inputs: list[Run]) -> Merge:
    """A merge that has not begun."""
    records = sum(run.records for run in inputs)
    first, last = inputs[0].first, inputs[-1].last
    offset_bytes = max(1, (last - first).bit_length() + 7 >> 3)
    key_bytes = 8
    for _ in range(3):
        room = (BLOCK_BYTES - 12) // (key_bytes + offset_bytes)
        # Two standard deviations below what fits: about one block in fifty takes a third page.
        blocks = max(1, math.ceil(records / (room - 2 * math.isqrt(room))))
        key_bytes = key_bytes_for(blocks)
    tier = min(255, 1 + max(run.tier for run in inputs))
    return Merge(inputs[0].period, first, records, blocks, key_bytes, offset_bytes, tier, 0, 0, tuple(inputs))


# -- rundir


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
        records, blocks, next_block, written, key_bytes, offset_bytes, tier, n = _MERGE.unpack_from(body)
        wanted = list(_INPUT.iter_unpack(body[_MERGE.size :]))
    except (StorageError, struct.error):
        raise StorageError(f"{run_name(period, first)}: expected the stored checksum, got a damaged merge") from None
    runs = {(run.first, run.records): run for run in directory.runs.get(period, ())}
    inputs = tuple(runs[one] for one in wanted if one in runs)
    if len(inputs) != len(wanted) or n != len(wanted) or not inputs:
        raise StorageError(f"{run_name(period, first)}: expected the {n} runs of its merge, found {len(inputs)}")
    return Merge(period, first, records, blocks, key_bytes, offset_bytes, tier, next_block, written, inputs, raw)


def _pack_merge(merge: Merge) -> bytes:
    head = _MERGE.pack(
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


# -- steps


def merge_once(store: Store, *, bytes_max: int = STEP_BYTES) -> bool:
    """Do one step: part of a merge, or old blocks removed. False when nothing was due.

    One at a time and store. Whatever it is cut off by, the next one goes on.

    Args:
        bytes_max: what the step's transaction writes, about.

    Raises:
        StorageError: a run is damaged, it is named and stays as it was; or the step could not be kept.
    """
    return _step(store, bytes_max, {}, set())


def _step(store: Store, bytes_max: int, known: Known, failed: set[int]) -> bool:
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
        commit.put_sealed("rundir", merge.key, _pack_merge(merge._replace(next_block=end, written=written)))
        return
    # The exchange: a reader sees the entries of before or the one of after.
    for run in merge.inputs:
        commit.txn.delete(run.key, db=rundir)
        if run.blocks:
            commit.put_sealed("rundir", LEFTOVER + run.head, b"")
    if merge.raw:
        commit.txn.delete(merge.key, db=rundir)
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
            commit.txn.delete(key, db=commit.databases["runs"])
        if done:
            commit.txn.delete(LEFTOVER + prefix, db=commit.databases["rundir"])


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
                    records = _MERGE.unpack_from(unseal("rundir", key, cursor.value()))[0]
                    heads.append(head + key[3:] + records.to_bytes(4, "big"))
                cursor.delete()
    for one in heads:
        commit.put_sealed("rundir", LEFTOVER + one, b"")


class Merger:
    """The thread that merges in the background of the writer.

    Attributes:
        error: what stopped it, or the last that it met, or None.
    """

    def __init__(self, store: Store, *, bytes_max: int = STEP_BYTES) -> None:
        self.error: HubError | None = None
        self._store = store
        self._bytes_max = bytes_max
        self._known: Known = {}
        self._failed: set[int] = set()
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._working = False
        self._thread = threading.Thread(target=self._work, name="hub-runs", daemon=True)
        # A merge may have been under way when the folder was closed.
        self._woken.set()
        self._thread.start()

    def __repr__(self) -> str:
        return f"Merger({'waiting' if self.idle else 'working' if self._thread.is_alive() else 'stopped'})"

    @property
    def idle(self) -> bool:
        """Whether it waits to be woken: nothing was due when it last looked, and nothing was added since."""
        return not self._working and not self._woken.is_set()

    def wake(self) -> None:
        """Say that runs were added; to be called after their commit. Takes less than a microsecond."""
        self._woken.set()

    def close(self) -> None:
        """Stop after the step under way; to be called before the store is closed. May be called again."""
        self._closing.set()
        self._woken.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closing.is_set():
            self._working = False
            self._woken.wait()
            # Before the event is cleared: whoever asks in between must not take it for idle.
            self._working = True
            # The commits of this time are looked at together: reading the directory costs as much as an inquiry.
            if self._closing.wait(DELAY_S):
                return
            self._woken.clear()
            while not self._closing.is_set() and self._try():
                pass
        self._working = False

    def _try(self) -> bool:
        """One step; whether another one is worth trying."""
        failed = len(self._failed)
        try:
            return _step(self._store, self._bytes_max, self._known, self._failed)
        except HubError as error:
            self.error = error
            if len(self._failed) > failed:
                logger.error("history index: %s; its period is merged no more until the hub is opened again", error)
                return True
            if error.retry_safe and not self._store.broken:
                logger.warning("history index: %s", error)
                return not self._closing.wait(RETRY_S)
            if not self._closing.is_set():
                logger.error("history index: %s; merging has stopped until the hub is opened again", error)
            self._closing.set()
        except Exception as error:
            self.error = StorageError(f"history index: expected to merge, failed with {type(error).__name__}")
            logger.error("history index: merging has stopped until the hub is opened again", exc_info=True)
            self._closing.set()
        return False
