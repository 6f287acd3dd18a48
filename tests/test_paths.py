"""Inclusion and consistency paths of the kernel: those of the tree in Python, none of a damaged tree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

import hub
from hub import _bodies, _proofs
from hub.errors import StorageError
from hub.records.log import StoredTree, prove_consistency_slowly, prove_slowly
from hub.storage.sealed import seal
from hub.tlog import tree
from hub.tlog.verify import verify_checkpoint, verify_consistency
from inquiries import tax_inquiry

pytestmark = pytest.mark.skipif(not _proofs.NATIVE, reason="no libcrypto: the kernel is not used")

SIZES = (1, 40, 300, 7, 512)
RECORDS = sum(SIZES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paths") / "hub"
    codes = np.arange(600, dtype=np.int64) + 10**9
    with hub.open(folder, create=True) as h:
        town = h.catalog.institutions("市町村長")[0].code
        own = h.acquire("nenkin", codes).aliases
        h.acquire(town, codes)
        for number, size in enumerate(SIZES):
            h.inquire(tax_inquiry(f"r{number}"), own[:size], town)
    return folder


@pytest.fixture
def opened(folder: Path) -> Iterator[Any]:
    """Snapshot, tree and the leaves of all its records."""
    with hub.open(folder, readonly=True) as h, h._store.snapshot() as snapshot:
        stored = h._published().tree(snapshot)
        leaves = np.frombuffer(stored.leaf_hashes(0, RECORDS), np.uint8).reshape(-1, 32).copy()
        yield snapshot, stored, leaves


@pytest.mark.usefixtures("lanes")
@pytest.mark.parametrize("count", [1, 5, 6, 15, 16, 17, 100])
@pytest.mark.parametrize("size", [1, 2, 3, 16, 17, 255, 256, 257, 600, RECORDS])
def test_paths_are_those_of_the_tree_in_python(opened: Any, size: int, count: int) -> None:
    snapshot, stored, leaves = opened
    indexes = np.random.default_rng(size).integers(0, size, count, dtype=np.uint64)
    paths = _proofs.Paths(snapshot.pages, size).prove(indexes, leaves[indexes.astype(int)], tree.root(stored, size))
    assert paths == [b"".join(path) for path in tree.inclusion_paths(stored, indexes.tolist(), size)]


@pytest.mark.usefixtures("lanes")
def test_a_leaf_that_is_not_in_the_tree_is_named_wherever_it_stands(opened: Any) -> None:
    snapshot, stored, leaves = opened
    indexes = np.arange(100, 140, dtype=np.uint64)
    for wrong in range(40):
        changed = leaves[100:140].copy()
        changed[wrong, wrong % 32] ^= 1
        # A later one is wrong as well: the first is named.
        changed[39, 31] ^= 1 if wrong < 39 else 0
        paths = _proofs.Paths(snapshot.pages, RECORDS)
        with pytest.raises(StorageError, match=f"record {100 + wrong}:"):
            paths.prove(indexes, changed, stored.signed)
        with pytest.raises(StorageError, match=f"record {100 + wrong}:"):
            prove_slowly(stored, indexes.tolist(), changed, stored.signed)


def test_another_root_or_an_index_behind_the_size_is_refused(opened: Any) -> None:
    snapshot, stored, leaves = opened
    with pytest.raises(StorageError, match="record 0:"):
        _proofs.Paths(snapshot.pages, RECORDS).prove(np.arange(9, dtype=np.uint64), leaves[:9], bytes(32))
    with pytest.raises(StorageError, match="record 600:"):
        _proofs.Paths(snapshot.pages, 600).prove(
            np.array([5, 600], np.uint64), leaves[[5, 600]], tree.root(stored, 600)
        )


def test_every_consistency_path_is_that_of_the_tree_in_python(opened: Any) -> None:
    snapshot, stored, _ = opened
    sizes = [*range(1, 70), 255, 256, 257, 511, 512, 700, RECORDS - 1, RECORDS]
    roots = {size: tree.root(stored, size) for size in sizes}
    for new in sizes:
        for old in (size for size in sizes if size < new):
            path, old_root, new_root = _proofs.Paths(snapshot.pages, new).consistency(old, roots[new])
            assert path == tree.consistency_path(stored, old, new)
            assert (old_root, new_root) == (roots[old], roots[new])
            verify_consistency(old, roots[old], new, roots[new], path)
    for wrong in (0, RECORDS, RECORDS + 1):
        with pytest.raises(ValueError, match="consistency"):
            _proofs.Paths(snapshot.pages, RECORDS).consistency(wrong)


@pytest.mark.parametrize("native", [True, False])
def test_no_consistency_is_proven_over_a_damaged_node(tmp_path: Path, monkeypatch: Any, native: bool) -> None:
    # Under a right checksum: only the signed root tells.
    codes = np.arange(600, dtype=np.int64) + 10**9
    with hub.open(tmp_path / "hub", create=True) as h:
        own = h.acquire("nenkin", codes).aliases
        h.inquire(tax_inquiry("r"), own[:500], h.catalog.institutions("市町村長")[0].code)
        size, key = verify_checkpoint(h.checkpoint(), h.verifier_key).size, h.verifier_key
        good = {old: h.consistency(old, 450) for old in range(1, 450)}
    env = lmdb.open(str(tmp_path / "hub/env"), map_size=1 << 30, max_dbs=256, lib_version=0)
    with env, env.begin(write=True) as txn:
        database = env.open_db(b"nodes", txn=txn, create=False)
        name, value = next((bytes(k), bytes(v)) for k, v in txn.cursor(db=database) if bytes(k)[0] == 4)
        body = bytearray(value[8:])
        body[32 * 9] ^= 1
        txn.put(name, seal("nodes", name, bytes(body)), db=database)
    monkeypatch.setattr(_proofs, "NATIVE", native)
    with hub.open(tmp_path / "hub", readonly=True) as h:
        for old in (16, 160, 250):
            for new in (450, size):
                with pytest.raises(StorageError, match=r"expected .* got a damaged tree"):
                    h.consistency(old, new)
        # Here the damaged node stands under one that is stored as well.
        assert h.consistency(449, 450) == good[449]
        assert verify_checkpoint(h.checkpoint(), key).size == size
    assert len({b"".join(path) for path in good.values()}) > 400


def test_consistency_without_the_kernel_is_the_same(opened: Any) -> None:
    snapshot, stored, _ = opened
    for old, new in ((1, 2), (7, 860), (256, 512), (300, RECORDS), (RECORDS - 1, RECORDS)):
        path = _proofs.Paths(snapshot.pages, new).consistency(old)[0]
        assert prove_consistency_slowly(stored, old, new, stored.signed) == path
    other = StoredTree(snapshot, stored.checkpoint, RECORDS, bytes(32))
    with pytest.raises(StorageError, match="damaged tree"):
        prove_consistency_slowly(other, 5, 9, other.signed)


def test_a_record_is_only_had_by_reading_it() -> None:
    with pytest.raises(TypeError, match="read"):
        _bodies.Body()
