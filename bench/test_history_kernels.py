"""Kernels of histories under pytest-benchmark: the index's runs, pages of the file, inclusion paths, the walk."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import numpy.typing as npt
import pytest

import hub
from hub import _bodies, _proofs, _runs, _small, _walk
from hub.runs.index import TIER0_BLOCK_ROWS, key_bytes_for
from kernels import ROWS, pedantic, random_bytes, with_records

FIRST_CODE = 99_000_000_000


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hub.Hub]:
    """A hub with a log of four records a row."""
    codes = FIRST_CODE + np.arange(ROWS, dtype=np.int64)
    yield from with_records(tmp_path_factory.mktemp("history-kernels") / "hub", codes)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def keys(random: np.random.Generator) -> npt.NDArray[np.uint64]:
    return np.sort(random.integers(0, (1 << 64) - 1, ROWS, dtype=np.uint64))


# _runs


def pack(keys: npt.NDArray[np.uint64]) -> tuple[list[bytes], int, int]:
    """Blocks of one run of the lowest tier, how many, and the bytes of a key in them."""
    blocks = -(-len(keys) // TIER0_BLOCK_ROWS)
    key_bytes = key_bytes_for(blocks)
    values, begins = _runs.pack_blocks(keys, np.empty(0, np.uint32), 0, blocks, blocks, key_bytes, 0, 0)
    data = values.tobytes()
    return [data[a:b] for a, b in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True)], blocks, key_bytes


def test_pack_blocks(benchmark: Any, keys: npt.NDArray[np.uint64]) -> None:
    blocks = -(-ROWS // TIER0_BLOCK_ROWS)
    nothing = np.empty(0, np.uint32)
    pedantic(benchmark, lambda: _runs.pack_blocks(keys, nothing, 0, blocks, blocks, key_bytes_for(blocks), 0, 0))


def test_merge_pairs(benchmark: Any, random: np.random.Generator) -> None:
    """Eight runs of one tier, decoded and merged to one."""
    parts = [np.sort(random.integers(0, (1 << 64) - 1, ROWS // 8, dtype=np.uint64)) for _ in range(8)]
    packed = [pack(part) for part in parts]

    def merge() -> int:
        pairs = _runs.Pairs(ROWS + 1_024)
        for number, (values, blocks, key_bytes) in enumerate(packed):
            span = ROWS // 8 - 1
            # Unsealed: a checksum is of the stored value, and these were not stored.
            pairs.add(values, bytes(14), 0, blocks, key_bytes, 0, span, number * (ROWS // 8), 0, (1 << 64) - 1, False)
        return len(pairs.merged()[0])

    assert pedantic(benchmark, merge) == ROWS // 8 * 8


def test_sum_pairs(benchmark: Any, keys: npt.NDArray[np.uint64]) -> None:
    indexes, sums = np.arange(ROWS, dtype=np.uint64), np.zeros(ROWS // 64 + 1, dtype=np.uint64)
    pedantic(benchmark, lambda: _runs.sum_pairs(keys, indexes, 0, 64, 12_345, sums))


def test_find_entries_and_blocks(benchmark: Any, asked: hub.Hub, random: np.random.Generator) -> None:
    """Some citizens' histories without their proofs: each looks into every run of the index."""
    portal = asked.acquire("portal", FIRST_CODE + random.integers(0, ROWS, 32)).aliases
    found = pedantic(benchmark, lambda: [len(asked.history(alias, limit=100)) for alias in portal], rows=len(portal))
    assert set(found) == {4}


# _bodies


def test_read_records(benchmark: Any, asked: hub.Hub, random: np.random.Generator) -> None:
    """A hundred records of a page of history: chunk, position and row of each, checked and decrypted."""
    wanted = random.integers(0, 4 * ROWS, 100).tolist()
    with asked._store.snapshot() as snapshot:
        bodies = asked._office.bodies(snapshot)
        read = pedantic(benchmark, lambda: bodies.read(wanted), rows=len(wanted))
    assert [one.index for one in read] == wanted
    assert len(_bodies.rows_of(read, False)) == len(wanted)


# _pages


@pytest.fixture
def pages(asked: hub.Hub) -> Iterator[Any]:
    with asked._store.snapshot() as snapshot, snapshot.reading:
        yield snapshot.pages


def test_blocks_of_tables(benchmark: Any, pages: Any) -> None:
    found = pedantic(benchmark, lambda: len(pages.blocks(b"tables", 0, (1 << 64) - 1)), rows=1)
    assert found > 0


def test_records_at_or_before(benchmark: Any, pages: Any, random: np.random.Generator) -> None:
    wanted = [int(index).to_bytes(8, "big") for index in random.integers(0, 4 * ROWS, 1_000)]
    call = pedantic(benchmark, lambda: [pages.at_or_before(b"records", key) for key in wanted], rows=len(wanted))
    assert all(found is not None for found in call)


@pytest.fixture
def request_ids(tmp_path: Path, random: np.random.Generator) -> Iterator[tuple[Any, npt.NDArray[np.uint8]]]:
    """Pages of a database of request ids of its own, and those ids."""
    from hub._pages import Pages

    ids = random_bytes(random, ROWS)
    with lmdb.open(str(tmp_path / "ids"), map_size=1 << 32, max_dbs=2) as env:
        database = env.open_db(b"ids")
        with env.begin(write=True, db=database) as txn:
            for one in ids[np.lexsort(ids.T[::-1])]:
                txn.put(one.tobytes() + bytes(4), bytes(16))
        with env.begin() as txn:
            transaction = txn.id()
    with (tmp_path / "ids" / "data.mdb").open("rb") as file:
        # Private, so that its address may be taken through a buffer that can be written.
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        view = np.frombuffer(memory, dtype=np.uint8)
        yield Pages(view.ctypes.data, len(view), transaction), ids
        del view
        memory.close()


def test_having(benchmark: Any, request_ids: Any, random: np.random.Generator) -> None:
    pages, ids = request_ids
    wanted = np.concatenate([ids[random.integers(0, len(ids), 2_000)], random_bytes(random, 2_000)])
    found = pedantic(benchmark, lambda: pages.having(b"ids", wanted), rows=len(wanted))
    assert int(found.sum()) == 2_000


def test_fill(benchmark: Any, request_ids: Any) -> None:
    pages, ids = request_ids
    pedantic(benchmark, lambda: pages.fill(b"ids", _small.Filter(len(ids)), bytes(20), len(ids)))


# _proofs


@pytest.mark.skipif(not _proofs.NATIVE, reason="without libcrypto paths are made in Python")
def test_prove_paths(benchmark: Any, asked: hub.Hub, random: np.random.Generator) -> None:
    """A page of a hundred proofs, the records read beforehand."""
    codes = FIRST_CODE + random.integers(0, ROWS, 25)
    histories = [asked.history(alias, limit=4) for alias in asked.acquire("portal", codes).aliases]

    def prove() -> int:
        return sum(len(history.proof(row).path) for history in histories for row in range(len(history)))

    assert pedantic(benchmark, prove, rows=100) > 0


# _walk


def test_walk(benchmark: Any, asked: hub.Hub) -> None:
    path = asked._store.folder / "env" / "data.mdb"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        # What a commit leaves: the file is not being written meanwhile.
        asked._store.writer.acquire()
        try:
            found = pedantic(benchmark, lambda: _walk.Walk(memory).run(), rows=4 * ROWS)
        finally:
            asked._store.writer.release()
    assert found == []
