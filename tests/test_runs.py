"""The history index against a dict: runs added, merged a step at a time, searched, damaged, checked, dropped."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.checks.runs import check_blocks, check_runs, walk_run
from hub.errors import StorageError
from hub.runs.due import due_runs, new_merge, size_class
from hub.runs.index import Run, add_run, base_of, find_indexes, key_bytes_for, read_runs
from hub.runs.merge import drop_period, merge_once
from hub.runs.merger import DELAY_S, REST_MAX_S, Merger
from hub.store import Store

EVERYTHING = 2**64
HOT = 0x0123_4567_89AB_CDEF
"""A key that several chunks have."""


class Index:
    """A store with only a history index in it, and the same as a list of chunks beside.

    Attributes:
        chunks: (period, first index, keys, time) of each.
    """

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self.folder = folder
        self.store = Store(folder, create=create, readonly=False, now=0)
        self.chunks: list[tuple[int, int, npt.NDArray[np.uint64], int]] = []

    def reopen(self) -> None:
        self.store.close()
        self.store = Store(self.folder, create=False, readonly=False, now=0)

    def add(self, period: int, keys: npt.NDArray[np.uint64], at: int = 0) -> None:
        keys = np.sort(keys)
        with self.store.commit() as commit:
            first = commit.state.records
            add_run(commit, period, first, keys, (at, at))
            commit.state.records += len(keys)
        self.chunks.append((period, first, keys, at))

    def find(self, keys: dict[int, int], below: int = EVERYTHING, **times: int) -> list[int]:
        with self.store.snapshot() as snapshot:
            return list(find_indexes(snapshot, keys, below, **times))

    def expected(self, keys: dict[int, int], below: int = EVERYTHING) -> list[int]:
        found = [
            first + at
            for period, first, column, _ in self.chunks
            if period in keys
            for at in np.flatnonzero(column == np.uint64(keys[period])).tolist()
        ]
        return sorted((index for index in found if index < below), reverse=True)

    def records(self, period: int) -> Any:
        def of_range(first: int, last: int) -> Iterator[tuple[int, npt.NDArray[np.uint64]]]:
            for one, begin, keys, _ in self.chunks:
                low, high = max(first, begin), min(last, begin + len(keys) - 1)
                if one == period and low <= high:
                    yield low, keys[low - begin : high - begin + 1]

        return of_range

    def runs(self, period: int) -> list[Run]:
        with self.store.snapshot() as snapshot:
            return read_runs(snapshot, period)

    def check(self, period: int) -> int:
        with self.store.snapshot() as snapshot:
            check_blocks(snapshot)
            return check_runs(snapshot, period, self.records(period))

    def entries(self, name: str) -> int:
        with self.store.snapshot() as snapshot:
            return int(snapshot.txn.stat(self.store.databases[name])["entries"])

    def merge(self, bytes_max: int = 1 << 20) -> int:
        steps = 0
        while merge_once(self.store, bytes_max=bytes_max):
            steps += 1
        return steps


def draw(rng: np.random.Generator, n: int, hot: int = 0) -> npt.NDArray[np.uint64]:
    keys = rng.integers(0, 2**64, n, dtype=np.uint64)
    keys[: min(hot, n)] = HOT
    return keys


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "hub")
    yield made
    made.store.close()


# -- agreement with the model

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.integers(8104, 8106),
            st.sampled_from([1, 1, 1, 2, 7, 196, 197, 600, 2_500]),
            st.integers(0, 3),
        ),
        st.tuples(st.just("many"), st.integers(8104, 8106), st.integers(1, 70), st.integers(0, 1)),
        st.tuples(st.just("merge"), st.sampled_from([1, 9_000, 1 << 20]), st.integers(1, 4), st.just(0)),
        st.tuples(st.just("reopen"), st.just(0), st.just(0), st.just(0)),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(operations=OPERATIONS, seed=st.integers(0, 2**32))
def test_it_agrees_with_a_list_at_every_step(operations: list[tuple[str, int, int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        index = Index(Path(folder) / "hub")
        try:
            for number, (what, first, second, third) in enumerate(operations):
                if what == "add":
                    index.add(first, draw(rng, second, third), number)
                elif what == "many":
                    for _ in range(second):
                        index.add(first, draw(rng, int(rng.integers(1, 30)), third), number)
                elif what == "merge":
                    for _ in range(second):
                        merge_once(index.store, bytes_max=first)
                        agree(index, rng)
                else:
                    index.reopen()
                agree(index, rng)
            index.merge(9_000)
            agree(index, rng)
            for period in (8104, 8105, 8106):
                assert index.check(period) == sum(len(keys) for one, _, keys, _ in index.chunks if one == period)
        finally:
            index.store.close()


def agree(index: Index, rng: np.random.Generator) -> None:
    hot = {8104: HOT, 8105: HOT, 8106: HOT}
    expected = index.expected(hot)
    assert index.find(hot) == expected
    if not index.chunks:
        return
    for at in rng.integers(0, len(index.chunks), 3).tolist():
        period, first, keys, when = index.chunks[at]
        position = int(rng.integers(0, len(keys)))
        key = {period: int(keys[position])}
        assert index.find(key) == index.expected(key)
        # Paging: on both sides of the record itself.
        for below in (first + position, first + position + 1):
            assert index.find(hot, below) == index.expected(hot, below)
        # A run of these times is never left out, whatever else is in it.
        assert set(index.expected(key)) >= set(index.find(key, since=when, until=when)) >= {first + position}
    for other in (0, 2**64 - 1, HOT + 1, int(rng.integers(0, 2**63))):
        assert index.find({8104: other}) == index.expected({8104: other})


def test_a_page_is_found_without_looking_at_all_runs(index: Index) -> None:
    rng = np.random.default_rng(1)
    for _ in range(7):
        index.add(8104, draw(rng, 40_000, 30))
    with index.store.snapshot() as snapshot:
        asked = find_indexes(snapshot, {8104: HOT}, EVERYTHING)
        assert [next(asked) for _ in range(30)] == index.expected({8104: HOT})[:30]


def test_runs_outside_the_times_are_left_out(index: Index) -> None:
    rng = np.random.default_rng(2)
    for at in range(10):
        index.add(8104, draw(rng, 300, 1), at)
    newest = index.expected({8104: HOT})
    assert index.find({8104: HOT}, since=4, until=6) == newest[3:6]
    assert index.find({8104: HOT}, since=9) == newest[:1]
    assert index.find({8104: HOT}, until=0) == newest[-1:]
    assert index.find({8104: HOT}, since=10) == []


def test_periods_may_have_indexes_between_each_others(index: Index) -> None:
    rng = np.random.default_rng(3)
    for number in range(200):
        index.add(8104 + number % 2, draw(rng, 50, 1))
    index.merge()
    assert len(index.runs(8104)) < 5
    both = {8104: HOT, 8105: HOT}
    assert index.find(both) == index.expected(both)
    assert index.find({8105: HOT}, 5_001) == index.expected({8105: HOT}, 5_001)
    assert index.check(8104) == index.check(8105) == 5_000


# -- bounds


@pytest.mark.parametrize(("rows", "blocks"), [(1, 0), (199, 0), (200, 1), (1_000, 1), (1_001, 2), (65_536, 66)])
def test_a_chunk_of_each_size_is_found(index: Index, rows: int, blocks: int) -> None:
    index.add(8104, draw(np.random.default_rng(4), rows, rows // 3))
    assert [run.blocks for run in index.runs(8104)] == [blocks]
    keys = index.chunks[0][2]
    for at in {0, rows // 2, rows - 1}:
        key = {8104: int(keys[at])}
        assert index.find(key) == index.expected(key)
    assert index.check(8104) == rows


def test_the_smallest_and_the_largest_key_are_found_after_merges(index: Index) -> None:
    ends = np.array([0, 0, 1, 2**64 - 2, 2**64 - 1, 2**64 - 1], dtype=np.uint64)
    rng = np.random.default_rng(5)
    for _ in range(8):
        index.add(8104, np.concatenate([ends, draw(rng, 5_000)]))
    assert index.merge(9_000) > 8
    assert len(index.runs(8104)) == 1
    for key in ends.tolist():
        assert index.find({8104: key}) == index.expected({8104: key})


def test_records_of_one_person_alone_are_merged(index: Index) -> None:
    for _ in range(8):
        index.add(8104, np.full(3_000, HOT, dtype=np.uint64))
    index.merge(9_000)
    assert index.find({8104: HOT}) == list(range(23_999, -1, -1))
    assert index.check(8104) == 24_000


@pytest.mark.parametrize("blocks", [1, 2, 3, 255, 256, 257, 66_000, 1 << 24, 3_000_000])
def test_remainders_fit_their_bytes(blocks: int) -> None:
    size = key_bytes_for(blocks)
    widest = max(base_of(b + 1, blocks) - base_of(b, blocks) for b in {0, blocks // 2, blocks - 1})
    assert (widest - 1).bit_length() <= 8 * size
    assert size == 1 or (widest - 1).bit_length() > 8 * (size - 1)
    for block in {0, blocks // 3, blocks - 1}:
        assert base_of(block, blocks) * blocks >> 64 == block
        assert (base_of(block + 1, blocks) - 1) * blocks >> 64 == block


# -- what is due


def made_up(sizes: list[int]) -> list[Run]:
    runs, first = [], 0
    for size in sizes:
        runs.append(Run(8104, first, first + size - 1, size, 1, 8, 0, 0, 0, 0, b""))
        first += size
    return runs


@pytest.mark.parametrize(
    ("sizes", "due"),
    [
        ([1] * 63, 0),
        ([1] * 64, 64),
        ([65_536] * 7, 0),
        ([65_536] * 8, 8),
        ([65_536] * 7 + [65_530], 8),
        ([65_536, 1] * 7, 0),
        ([65_536, 1] * 8, 15),
        ([1, 65_536] * 8, 16),
        ([65_536] + [1] * 63, 0),
        ([65_536] + [1] * 64, 64),
        ([500_000] * 7 + [60_000] * 8, 8),
        ([1] * 1_000, 128),
    ],
)
def test_neighbours_of_a_class_are_due(sizes: list[int], due: int) -> None:
    assert len(due_runs(made_up(sizes), set(), closed=False)) == due


def test_runs_in_a_merge_are_not_due_again() -> None:
    runs = made_up([65_536] * 15)
    assert due_runs(runs, {run.first for run in runs[:8]}, closed=False) == []


@pytest.mark.parametrize(
    ("sizes", "due"), [([100], 0), ([100, 10], 0), ([100, 50], 2), ([100, 40, 10], 3), ([1000, 5, 3], 2)]
)
def test_a_closed_period_ends_as_few_runs(sizes: list[int], due: int) -> None:
    assert len(due_runs(made_up(sizes), set(), closed=True)) == due


def test_any_order_of_sizes_leaves_few_runs() -> None:
    rng = np.random.default_rng(6)
    for choice in ([1], [1, 65_536], [1, 700, 5_000, 65_536], [65_530, 65_536], list(range(1, 65_536, 997))):
        runs: list[Run] = []
        first = written = most = 0
        for size in rng.choice(choice, 4_000).tolist():
            runs.append(Run(8104, first, first + size - 1, size, 1, 8, 0, 0, 0, 0, b""))
            first += size
            while inputs := due_runs(runs, set(), closed=False):
                merged = new_merge(inputs)
                at = runs.index(inputs[0])
                runs[at : at + len(inputs)] = [
                    Run(8104, merged.first, inputs[-1].last, merged.records, 1, 8, 0, merged.tier, 0, 0, b"")
                ]
                written += merged.records
            most = max(most, len(runs))
        assert most <= 200
        assert written / first <= max(2 + size_class(first), 8)


# -- damage


def flip(index: Index, name: str, *, at: int, key_starts: bytes = b"") -> bytes:
    """Flip a bit of a stored value behind the hub's back; the key of the value."""
    index.store.close()
    env = lmdb.open(str(index.folder / "env"), max_dbs=256, map_size=1 << 42, lib_version=0)
    with env:
        database = env.open_db(name.encode())
        with env.begin(write=True, db=database) as txn, txn.cursor() as cursor:
            assert cursor.set_range(key_starts)
            key, value = bytes(cursor.key()), bytearray(cursor.value())
            value[at] ^= 4
            txn.put(key, bytes(value))
    index.store = Store(index.folder, create=False, readonly=False, now=0)
    return key


@pytest.mark.parametrize("at", [0, 9, 14, 200, -1])
def test_a_damaged_block_is_named_when_it_is_read(index: Index, at: int) -> None:
    index.add(8104, draw(np.random.default_rng(7), 900, 3))
    flip(index, "runs", at=at)
    with pytest.raises(StorageError, match="run 2026Q1 from 0: expected the stored checksum") as caught:
        index.find({8104: HOT})
    assert str(HOT) not in str(caught.value)
    with pytest.raises(StorageError, match="run 2026Q1 from 0: expected the stored checksum"):
        index.check(8104)


@pytest.mark.parametrize("at", [0, 8, 20, 24, 40, 50, -1])
def test_a_damaged_entry_is_named_when_it_is_read(index: Index, at: int) -> None:
    for _ in range(3):
        index.add(8104, draw(np.random.default_rng(8), 20, 3))
    flip(index, "rundir", at=at, key_starts=b"\1" + (8104).to_bytes(2, "big") + (20).to_bytes(8, "big"))
    with pytest.raises(StorageError, match="run 2026Q1 from 20: expected the stored checksum"):
        index.find({8104: HOT})
    with pytest.raises(StorageError, match="run 2026Q1 from 20: expected the stored checksum"):
        merge_once(index.store)


def test_a_missing_block_is_named(index: Index) -> None:
    index.add(8104, draw(np.random.default_rng(9), 5_000, 3))
    with index.store.commit() as commit:
        for block in range(5):
            commit.txn.delete(index.runs(8104)[0].head + block.to_bytes(4, "big"), db=commit.databases["runs"])
    with pytest.raises(StorageError, match="run 2026Q1 from 0: expected 5 blocks, found one missing"):
        index.find({8104: HOT})


def test_a_damaged_run_is_not_merged_and_the_other_periods_are(index: Index, caplog: Any) -> None:
    rng = np.random.default_rng(10)
    for _ in range(8):
        index.add(8104, draw(rng, 5_000))
        index.add(8105, draw(rng, 5_000, 1))
    flip(index, "runs", at=100)
    with pytest.raises(StorageError, match="run 2026Q1 from 0"):
        index.merge()
    merger = Merger(index.store)
    wait_for(merger)
    merger.close()
    assert isinstance(merger.error, StorageError)
    assert "run 2026Q1 from 0" in caplog.text
    assert (len(index.runs(8104)), len(index.runs(8105))) == (8, 1)
    assert index.check(8105) == 40_000


def wait_for(merger: Merger) -> None:
    """Until the merger has nothing more to do."""
    limit = time.monotonic() + 60
    while not merger.idle:
        assert time.monotonic() < limit
        time.sleep(0.01)


# -- verification


@pytest.mark.parametrize("merged", [False, True])
def test_a_record_that_does_not_fit_is_named(index: Index, merged: bool) -> None:
    rng = np.random.default_rng(11)
    for _ in range(8):
        index.add(8104, draw(rng, 5_000, 2))
    if merged:
        index.merge()
    assert index.check(8104) == 40_000
    period, first, keys, at = index.chunks[3]
    index.chunks[3] = (period, first, keys.copy(), at)
    index.chunks[3][2][77] += np.uint64(1)
    with pytest.raises(StorageError, match=f"record {first + 77}: expected run 2026Q1 from"):
        index.check(8104)
    index.chunks[3] = (period, first, keys, at)
    last = index.chunks.pop()
    with pytest.raises(StorageError, match=r"record 35000|run 2026Q1"):
        index.check(8104)
    index.chunks += [last, (8104, 40_000, keys, at)]
    with pytest.raises(StorageError, match="expected record 40000 in the history index, found no run with it"):
        index.check(8104)


def test_a_block_that_is_nobodys_and_one_that_is_missing_are_named(index: Index) -> None:
    index.add(8104, draw(np.random.default_rng(18), 5_000))
    head = index.runs(8104)[0].head
    with index.store.snapshot() as snapshot:
        assert check_blocks(snapshot) == 5
    with index.store.commit() as commit:
        commit.put("runs", head + bytes(3) + b"\5", b"")
    with index.store.snapshot() as snapshot, pytest.raises(StorageError, match="expected 5 blocks, found block 5"):
        check_blocks(snapshot)
    with index.store.commit() as commit:
        commit.txn.delete(head + bytes(3) + b"\5", db=commit.databases["runs"])
    with index.store.commit() as commit:
        commit.txn.delete(head + bytes(3) + b"\4", db=commit.databases["runs"])
    with index.store.snapshot() as snapshot, pytest.raises(StorageError, match="expected 5 blocks, found 4"):
        check_blocks(snapshot)


def test_a_run_is_walked_in_order_of_keys(index: Index) -> None:
    index.add(8104, draw(np.random.default_rng(12), 3_000))
    with index.store.snapshot() as snapshot:
        parts = list(walk_run(snapshot, read_runs(snapshot, 8104)[0]))
    assert (np.concatenate([keys for keys, _ in parts]) == index.chunks[0][2]).all()
    assert (np.concatenate([indexes for _, indexes in parts]) == np.arange(3_000)).all()


# -- dropping


def test_a_period_is_dropped_step_by_step_and_nothing_of_it_stays(index: Index) -> None:
    rng = np.random.default_rng(13)
    for number in range(20):
        index.add(8104 if number < 12 else 8105, draw(rng, 5_000, 1))
    # In the middle of a merge.
    assert merge_once(index.store, bytes_max=9_000)
    kept = [chunk for chunk in index.chunks if chunk[0] == 8105]
    steps = 0
    while drop_period(index.store, 8104, bytes_max=3_000):
        steps += 1
        index.reopen()
        assert index.find({8104: HOT}) == []
        assert index.find({8105: HOT}) == index.expected({8105: HOT})
    assert steps > 20
    index.chunks = kept
    index.merge()
    assert index.check(8105) == 40_000
    assert index.entries("rundir") == len(index.runs(8105))
    assert index.entries("runs") == sum(run.blocks for run in index.runs(8105))


def test_old_blocks_leave_after_a_merge(index: Index) -> None:
    rng = np.random.default_rng(14)
    for _ in range(64):
        index.add(8104, draw(rng, 2_000, 1))
    index.merge(9_000)
    assert index.entries("runs") == sum(run.blocks for run in index.runs(8104))
    assert index.entries("rundir") == len(index.runs(8104))


# -- the thread, other processes, kills


def test_the_merger_works_beside_commits_and_readers(index: Index) -> None:
    rng = np.random.default_rng(15)
    merger = Merger(index.store, bytes_max=1 << 16)
    for _ in range(400):
        index.add(8104, draw(rng, int(rng.integers(1, 800)), 1))
        merger.wake()
    assert index.find({8104: HOT}) == index.expected({8104: HOT})
    wait_for(merger)
    assert merger.error is None
    merger.close()
    merger.close()
    assert len(index.runs(8104)) < 90
    assert index.find({8104: HOT}) == index.expected({8104: HOT})
    assert index.check(8104) == sum(len(keys) for _, _, keys, _ in index.chunks)


@pytest.mark.parametrize("hurried", [False, True])
def test_the_merger_rests_beside_small_inquiries(
    index: Index, hurried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(17)
    merger, rests = Merger(index.store), list[float]()
    wait_for(merger)
    monkeypatch.setattr(merger._closing, "wait", lambda seconds: rests.append(seconds))
    for _ in range(64):
        index.add(8104, draw(rng, 10))
    if hurried:
        with index.store.turns.hurried():
            pass
    merger.wake()
    wait_for(merger)
    merger.close()
    # The others are for commits to come together.
    steps = [rest for rest in rests if rest != DELAY_S]
    assert bool(steps) == hurried
    assert all(0 <= rest <= REST_MAX_S for rest in steps)
    assert not hurried or any(steps)


def test_the_merger_stops_with_a_store_that_may_not_write(index: Index) -> None:
    rng = np.random.default_rng(16)
    for _ in range(64):
        index.add(8104, draw(rng, 10))
    index.store.broken = "failed sync"
    merger = Merger(index.store)
    merger._thread.join(timeout=30)
    assert not merger._thread.is_alive()
    assert isinstance(merger.error, StorageError)
    merger.wake()
    merger.close()


FORKED = multiprocessing.get_context("forkserver")
# What a forked process needs is imported once, in the one that forks; an environment is opened behind that.
FORKED.set_forkserver_preload(["hub.store", "hypothesis", "pytest"])


def plan_chunk(seed: int, number: int) -> npt.NDArray[np.uint64]:
    """The chunk of this number, the same in every process."""
    rng = np.random.default_rng([seed, number])
    return np.sort(draw(rng, int(rng.choice([1, 3, 40, 300, 2_000, 6_000])), 1))


def work(folder: str, seed: int, connection: Any) -> None:
    """Add chunks of a plan for ever, a few steps of merging after each; tell of each when it is durable."""
    store = Store(Path(folder), create=False, readonly=False, now=0)
    with store.snapshot() as snapshot:
        records = snapshot.state.records
    number = first = 0
    while first < records:
        first += len(plan_chunk(seed, number))
        number += 1
    connection.send(number)
    while True:
        keys = plan_chunk(seed, number)
        with store.commit() as commit:
            add_run(commit, 8104 + number // 400, commit.state.records, keys, (number, number))
            commit.state.records += len(keys)
        number += 1
        connection.send(number)
        for _ in range(6):
            merge_once(store, bytes_max=20_000)


def read(folder: str, connection: Any) -> None:
    """Look a person up again and again in a folder that another process writes; tell the counts."""
    store = Store(Path(folder), create=False, readonly=True, now=0)
    while not connection.poll():
        with store.snapshot() as snapshot:
            records = snapshot.state.records
            found = list(find_indexes(snapshot, {8104: HOT}, EVERYTHING))
        connection.send((records, found))
    store.close()


def test_a_reading_process_sees_each_merge_whole(index: Index) -> None:
    rng = np.random.default_rng(17)
    index.add(8104, draw(rng, 10, 1))
    ours, theirs = FORKED.Pipe()
    reader = FORKED.Process(target=read, args=(str(index.folder), theirs))
    reader.start()
    seen = []
    for number in range(300):
        index.add(8104, draw(rng, int(rng.choice([5, 400, 3_000])), 1))
        while merge_once(index.store, bytes_max=30_000):
            while ours.poll():
                seen.append(ours.recv())
        if number % 10 == 0:
            # However late the reader is given a processor: it has looked at this state before the next ones come.
            with index.store.snapshot() as snapshot:
                records = snapshot.state.records
            while not seen or seen[-1][0] < records:
                assert ours.poll(60)
                seen.append(ours.recv())
    ours.send("stop")
    while reader.is_alive() or ours.poll():
        if ours.poll(0.05):
            try:
                seen.append(ours.recv())
            except EOFError:
                break
    reader.join(30)
    assert reader.exitcode == 0
    assert len({records for records, _ in seen}) > 20
    everything = index.expected({8104: HOT})
    for records, found in seen:
        assert found == [one for one in everything if one < records]


def test_a_kill_anywhere_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    seed = int(np.random.SeedSequence().entropy) % 2**32
    print("seed", seed)
    rng = np.random.default_rng(seed)
    index = Index(tmp_path / "hub")
    done = 0
    for kill in range(60):
        index.store.close()
        ours, theirs = FORKED.Pipe()
        child = FORKED.Process(target=work, args=(str(index.folder), seed, theirs))
        child.start()
        theirs.close()
        done = max(done, ours.recv())
        time.sleep(float(rng.uniform(0, 0.12)))
        child.kill()
        child.join(30)
        try:
            while True:
                done = max(done, ours.recv())
        except EOFError:
            pass
        index.store = Store(index.folder, create=False, readonly=False, now=0)
        with index.store.snapshot() as snapshot:
            records = snapshot.state.records
        index.chunks = []
        first = number = 0
        while first < records:
            keys = plan_chunk(seed, number)
            index.chunks.append((8104 + number // 400, first, keys, number))
            first, number = first + len(keys), number + 1
        assert first == records
        # One more than was told may be durable: the kill came between the commit and its message.
        assert done <= number <= done + 1, f"seed {seed}, kill {kill}"
        for period in {chunk[0] for chunk in index.chunks}:
            index.check(period)
        hot = {8104: HOT, 8105: HOT}
        assert index.find(hot) == index.expected(hot)
    index.merge()
    for period in {chunk[0] for chunk in index.chunks}:
        index.check(period)
    periods = sorted({chunk[0] for chunk in index.chunks})
    assert index.entries("runs") == sum(run.blocks for period in periods for run in index.runs(period))
    assert index.entries("rundir") == sum(len(index.runs(period)) for period in periods)
    index.store.close()
