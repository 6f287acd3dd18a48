"""RFC 6962: known answers, and every size against the recursion of the RFC."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_log import MemoryLog, entries_of, naive_path, naive_proof, naive_root

from hub.errors import ProofError, RequestError, StorageError
from hub.tlog import tree
from hub.tlog.entry import hash_leaf
from hub.tlog.verify import verify_consistency, verify_inclusion

# The test vectors of the Certificate Transparency reference implementation.
CT_ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
CT_PATHS = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CT_CONSISTENCY = {
    (1, 1): [],
    (1, 8): CT_PATHS[0, 8],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}

SIZES = 300
ENTRIES = entries_of(SIZES)
LOG = MemoryLog(ENTRIES)
ROOTS = [naive_root(ENTRIES[:size]) for size in range(SIZES + 1)]


def test_roots_are_the_known_answers() -> None:
    log = MemoryLog(CT_ENTRIES)
    assert [tree.root(log, size).hex() for size in range(9)] == CT_ROOTS


@pytest.mark.parametrize(("index", "size"), CT_PATHS)
def test_inclusion_paths_are_the_known_answers(index: int, size: int) -> None:
    path = tree.inclusion_path(MemoryLog(CT_ENTRIES), index, size)
    assert [node.hex() for node in path] == CT_PATHS[index, size]
    verify_inclusion(hash_leaf(CT_ENTRIES[index]), index, size, path, bytes.fromhex(CT_ROOTS[size]))


@pytest.mark.parametrize(("old", "new"), CT_CONSISTENCY)
def test_consistency_paths_are_the_known_answers(old: int, new: int) -> None:
    path = tree.consistency_path(MemoryLog(CT_ENTRIES), old, new)
    assert [node.hex() for node in path] == CT_CONSISTENCY[old, new]
    verify_consistency(old, bytes.fromhex(CT_ROOTS[old]), new, bytes.fromhex(CT_ROOTS[new]), path)


def test_the_root_of_every_size_is_the_recursion_of_the_rfc() -> None:
    for size in range(SIZES + 1):
        assert tree.root(LOG, size) == ROOTS[size]
        assert tree.root_from_peaks(size, tree.peaks_of(LOG, size)) == ROOTS[size]


@pytest.mark.parametrize("size", [*range(1, 70), 127, 128, 129, 255, 256, 257, 272, 300])
def test_every_inclusion_path_of_a_size_is_that_of_the_rfc_and_verifies(size: int) -> None:
    indexes = list(range(size))
    for index, path in zip(indexes, tree.inclusion_paths(LOG, indexes, size), strict=True):
        if size < 70 or index % 7 == 0:
            assert path == naive_path(index, ENTRIES[:size])
        verify_inclusion(hash_leaf(ENTRIES[index]), index, size, path, ROOTS[size])


@pytest.mark.parametrize("new", [*range(1, 40), 64, 127, 128, 129, 255, 256, 257, 300])
def test_every_consistency_path_to_a_size_is_that_of_the_rfc_and_verifies(new: int) -> None:
    for old in range(1, new + 1):
        path = tree.consistency_path(LOG, old, new)
        assert path == naive_proof(old, ENTRIES[:new])
        verify_consistency(old, ROOTS[old], new, ROOTS[new], path)


def test_a_path_in_an_old_tree_reads_a_longer_log() -> None:
    for size in (17, 100, 299):
        assert tree.inclusion_path(LOG, 3, size) == naive_path(3, ENTRIES[:size])


@given(data=st.data())
@settings(deadline=None)
def test_any_subtree_has_the_root_of_its_entries(data: st.DataObject) -> None:
    level = data.draw(st.integers(0, 8))
    first = data.draw(st.integers(0, (SIZES - 1) >> level)) << level
    end = data.draw(st.integers(first + 1, min(SIZES, first + (1 << level))))
    assert tree.subtree_root(LOG, first, end) == naive_root(ENTRIES[first:end])


@given(data=st.data())
@settings(deadline=None)
def test_a_moved_index_or_a_changed_hash_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, SIZES))
    index = data.draw(st.integers(0, size - 1))
    path = tree.inclusion_path(LOG, index, size)
    moved = data.draw(st.integers(0, size - 1).filter(lambda other: other != index))
    with pytest.raises(ProofError):
        verify_inclusion(hash_leaf(ENTRIES[index]), moved, size, path, ROOTS[size])
    at, bit = data.draw(st.integers(0, len(path) - 1)), data.draw(st.integers(0, 255))
    changed = (int.from_bytes(path[at], "big") ^ 1 << bit).to_bytes(32, "big")
    with pytest.raises(ProofError, match="expected the checkpoint's root"):
        verify_inclusion(
            hash_leaf(ENTRIES[index]), index, size, [*path[:at], changed, *path[at + 1 :]], ROOTS[size]
        )
    for wrong in (path[:-1], [*path, path[0]]):
        with pytest.raises(ProofError, match="hashes for entry"):
            verify_inclusion(hash_leaf(ENTRIES[index]), index, size, wrong, ROOTS[size])


@given(data=st.data())
@settings(deadline=None)
def test_a_fork_is_refused_between_any_two_sizes(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, SIZES))
    old = data.draw(st.integers(1, new - 1))
    path = tree.consistency_path(LOG, old, new)
    other = MemoryLog([*entries_of(1, seed=1), *ENTRIES[1:new]])
    with pytest.raises(ProofError, match="forked"):
        verify_consistency(old, ROOTS[old], new, tree.root(other, new), path)
    with pytest.raises(ProofError, match="forked"):
        verify_consistency(old, tree.root(other, old), new, ROOTS[new], path)
    for wrong in (path[:-1], [*path, path[0]]):
        with pytest.raises(ProofError, match="hashes"):
            verify_consistency(old, ROOTS[old], new, ROOTS[new], wrong)


def test_consistency_from_nothing_and_with_itself_takes_no_hash() -> None:
    assert tree.consistency_path(LOG, 0, 7) == tree.consistency_path(LOG, 7, 7) == []
    verify_consistency(0, ROOTS[0], 7, ROOTS[7], [])
    verify_consistency(7, ROOTS[7], 7, ROOTS[7], [])
    with pytest.raises(ProofError, match="forked"):
        verify_consistency(7, ROOTS[7], 7, ROOTS[8], [])
    with pytest.raises(ProofError, match="no hash"):
        verify_consistency(7, ROOTS[7], 7, ROOTS[7], [ROOTS[1]])
    with pytest.raises(ProofError, match="no entries"):
        verify_consistency(0, ROOTS[1], 7, ROOTS[7], [])
    with pytest.raises(ProofError, match="old size"):
        verify_consistency(8, ROOTS[8], 7, ROOTS[7], [])


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(RequestError, match="tree size"):
        tree.root(LOG, SIZES + 1)
    with pytest.raises(RequestError, match="index"):
        tree.inclusion_path(LOG, 10, 10)
    with pytest.raises(RequestError, match="old size"):
        tree.consistency_path(LOG, 11, 10)
    with pytest.raises(RequestError, match="aligned"):
        tree.subtree_root(LOG, 2, 6)
    with pytest.raises(StorageError, match="peaks"):
        tree.root_from_peaks(3, [ROOTS[1]])
    with pytest.raises(ProofError, match="index"):
        verify_inclusion(ROOTS[1], 5, 5, [], ROOTS[5])


def test_a_store_that_returns_too_little_is_noticed() -> None:
    class Short(MemoryLog):
        def leaf_hashes(self, first: int, count: int) -> bytes:
            return super().leaf_hashes(first, count)[:-1]

    with pytest.raises(StorageError, match="expected 16 hashes"):
        tree.inclusion_path(Short(ENTRIES), 3, 300)


def test_paths_of_one_page_share_their_reads() -> None:
    log = MemoryLog(entries_of(70_000))
    log.reads = 0
    tree.inclusion_path(log, 12_345, log.size)
    alone = log.reads
    assert alone <= 10
    log.reads = 0
    tree.inclusion_paths(log, range(20_000, 20_100), log.size)
    assert log.reads <= alone + 8


class WideLog:
    """A tree of half a billion entries, all hashes made up; it counts and times nothing."""

    size = 500_000_000

    def leaf_hashes(self, first: int, count: int) -> bytes:
        return bytes(32 * count)

    def nodes(self, level: int, first: int, count: int) -> bytes:
        return bytes([level]) * (32 * count)


def test_a_path_in_half_a_billion_entries_has_29_hashes() -> None:
    assert [len(path) for path in tree.inclusion_paths(WideLog(), [0, 250_000_000], WideLog.size)] == [29, 29]
