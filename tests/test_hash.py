"""The hash kernels against hashlib and the recursion of RFC 6962."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import _hash


def records(rows: int, decisions: int = 3) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows)
    stored = random.integers(0, 256, (rows, 16), np.uint8)
    stored[:, 7] = 0
    stored[:, 6] = random.integers(0, decisions, rows)
    return {
        "salts": random.integers(0, 256, (rows, 16), np.uint8),
        "disclosure": random.integers(0, 256, (rows, 16), np.uint8),
        "stored": stored,
        "shared_hashes": random.integers(0, 256, (decisions, 32), np.uint8),
        "times": random.integers(0, 2**40, (decisions, 2)),
    }


def by_hand(columns: dict[str, np.ndarray]) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Committed row, entry and leaf of each record, as docs/log.md says."""
    for row, salt, key in zip(columns["stored"], columns["salts"], columns["disclosure"], strict=True):
        raw = row.tobytes()
        decision = int.from_bytes(raw[6:8], "little")
        tag = hashlib.sha256(b"hub/subject/1" + salt.tobytes() + key.tobytes()).digest()[:16]
        provider = int.from_bytes(raw[4:6], "little").to_bytes(4, "little")
        times = columns["times"][decision].tobytes()
        committed = provider + raw[8:10] + bytes(2) + times + raw[10:16] + bytes(2) + tag
        shared = columns["shared_hashes"][decision].tobytes()
        entry = hashlib.sha256(b"hub/record/1" + salt.tobytes() + shared + committed).digest()
        yield committed, entry, hashlib.sha256(b"\0" + entry).digest()


def tree_hash(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, of leaf hashes."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + tree_hash(leaves[:half]) + tree_hash(leaves[half:])).digest()


pytestmark = pytest.mark.usefixtures("lanes")

LANES = 16
"""Messages that are hashed side by side; what is left of them goes one behind the other."""


@pytest.mark.parametrize("rows", [0, 1, 2, LANES - 1, LANES, LANES + 1, 500])
def test_entries_and_leaves_are_those_of_the_format(rows: int) -> None:
    columns = records(rows)
    committed, leaves = np.empty((rows, 48), np.uint8), np.empty((rows, 32), np.uint8)
    entries = _hash.hash_records(**columns, committed=committed, leaves=leaves)
    expected = list(by_hand(columns))
    assert [row.tobytes() for row in committed] == [row for row, _, _ in expected]
    assert [entry.tobytes() for entry in entries] == [entry for _, entry, _ in expected]
    assert [leaf.tobytes() for leaf in leaves] == [leaf for _, _, leaf in expected]
    assert (_hash.hash_leaves(entries) == leaves).all()
    assert (_hash.hash_records(**columns) == entries).all()


@pytest.mark.parametrize("row", [0, LANES - 1, LANES, 2 * LANES + 4])
def test_a_decision_that_is_not_there_is_refused(row: int) -> None:
    columns = records(2 * LANES + 5)
    columns["stored"][row, 6] = 3
    with pytest.raises(IndexError):
        _hash.hash_records(**columns)


@pytest.mark.parametrize("name", ["salts", "disclosure", "times"])
def test_columns_of_another_length_are_refused(name: str) -> None:
    columns = records(5)
    columns[name] = columns[name][:-1].copy()
    with pytest.raises(ValueError, match="one length"):
        _hash.hash_records(**columns)


@given(st.lists(st.integers(1, 70), min_size=1, max_size=12))
def test_a_tree_that_grew_in_any_steps_is_the_tree(steps: list[int]) -> None:
    leaves = np.frombuffer(np.random.default_rng(1).bytes(32 * sum(steps)), np.uint8).reshape(-1, 32)
    each = [leaf.tobytes() for leaf in leaves]
    size, peaks, nodes = 0, [], {4: b"", 8: b""}
    for step in steps:
        peaks, complete = _hash.append_leaves(size, peaks, leaves[size : size + step])
        size += step
        for level, hashes in complete.items():
            nodes[level] += hashes.tobytes()
        covered = 0
        for peak, bit in zip(peaks, [b for b in range(63, -1, -1) if size >> b & 1], strict=True):
            assert peak == tree_hash(each[covered : covered + (1 << bit)])
            covered += 1 << bit
    for level, hashes in nodes.items():
        span = 1 << level
        expected = [tree_hash(each[at : at + span]) for at in range(0, size // span * span, span)]
        assert hashes == b"".join(expected)


def test_peaks_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="peaks"):
        _hash.append_leaves(3, [bytes(32)], np.zeros((1, 32), np.uint8))


def test_the_way_without_libcrypto_gives_the_same() -> None:
    columns = records(50)
    rows, entries, leaves = (np.empty((50, width), np.uint8) for width in (48, 32, 32))
    _hash._hash_records(*columns.values(), rows, entries, leaves)
    assert (entries == _hash.hash_records(**columns)).all()
    assert (leaves == _hash.hash_leaves(entries)).all()
