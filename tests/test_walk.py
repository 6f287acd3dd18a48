"""The page walk against py-lmdb's own offline walker, on sound and damaged files: never a signal, never less found."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import lmdb
import lmdb.verify
import numpy as np
import pytest

import hub
from hub._walk import Walk
from hub.errors import StorageError
from hub.verify import check_pages
from inquiries import tax_inquiry

PAGE = 4096
SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
PLACES = int(os.environ.get("HUB_WALK_PLACES", "800"))


def make_environment(folder: Path) -> bytes:
    """A file with trees of several levels, large values, values rewritten and removed, an empty database."""
    rng = random.Random(11)
    env = lmdb.open(str(folder), map_size=1 << 30, max_dbs=8, lib_version=0)
    with env:
        trees = [env.open_db(name) for name in (b"small", b"large", b"empty", b"mixed")]
        keys = [rng.randbytes(rng.choice((8, 8, 20, 200))) for _ in range(1_500)]
        for begin in range(0, len(keys), 300):
            with env.begin(write=True) as txn:
                for number, key in enumerate(keys[begin : begin + 300]):
                    txn.put(key, rng.randbytes(rng.randrange(40)), db=trees[0])
                    if number % 10 == 0:
                        txn.put(key, bytes(rng.choice((3_000, 4_080, 4_081, 20_000))), db=trees[1])
                    txn.put(key, bytes(rng.choice((10, 1_000, 9_000)) if number % 50 == 0 else 5), db=trees[3])
        with env.begin(write=True) as txn:
            for key in keys[::7]:
                txn.delete(key, db=trees[1])
                txn.delete(key, db=trees[3])
    return (folder / "data.mdb").read_bytes()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_environment(tmp_path_factory.mktemp("walk"))


def walk(data: bytes) -> list[str]:
    """What the walk finds; an error of its beginning is one finding."""
    try:
        return Walk(data).run()
    except StorageError as error:
        return [str(error)]


def ask_peer(data: bytes, path: Path) -> list[str]:
    """What py-lmdb's walker finds."""
    path.write_bytes(data)
    try:
        return lmdb.verify.verify(str(path))
    except lmdb.verify.VerifyError as error:
        return [str(error)]


def test_a_sound_environment_has_no_finding_and_every_page_is_counted(sound: bytes, tmp_path: Path) -> None:
    assert ask_peer(sound, tmp_path / "file") == []
    seen = Walk(sound)
    assert seen.run() == []
    assert seen.unused > 0
    assert (2 + seen.reached + seen.unused) * PAGE <= len(sound)


def test_the_pages_of_a_hub_are_sound_to_both(tmp_path: Path) -> None:
    with hub.open(tmp_path / "hub", create=True) as h:
        town = h.catalog.institutions("市町村長")[0].code
        own = h.acquire("nenkin", np.arange(10**9, 10**9 + 5_000)).aliases
        for number in range(20):
            h.inquire(tax_inquiry(f"r{number}"), own[: 100 + 200 * number], town)
        h.acquire(town, np.arange(10**9, 10**9 + 2_000))
        # Also while it is open: nobody writes.
        assert check_pages(tmp_path / "hub") == []
    assert check_pages(tmp_path / "hub") == []
    assert lmdb.verify.verify(str(tmp_path / "hub" / "env")) == []


def test_whatever_the_peer_finds_the_walk_finds(sound: bytes, tmp_path: Path) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED)
    pages = len(sound) // PAGE
    tree_pages = [n for n in range(pages) if sound[n * PAGE + 10] & 0x03 or n < 2]
    verdicts: Counter[tuple[bool, bool]] = Counter()
    for number in range(PLACES):
        data = bytearray(sound)
        page = rng.choice(tree_pages) if number % 4 else rng.randrange(pages)
        # Every second one in the head and the node offsets, where a page says what it is.
        at = page * PAGE + (rng.randrange(16 + 40) if number % 2 else rng.randrange(PAGE))
        if number % 5:
            data[at] ^= 1 << rng.randrange(8)
        else:
            data[at : at + 4] = rng.choice((bytes(4), b"\xff" * 4, rng.randbytes(4)))[: len(data) - at]
        ours, theirs = bool(walk(bytes(data))), bool(ask_peer(bytes(data), tmp_path / "file"))
        verdicts[ours, theirs] += 1
        assert ours or not theirs, f"page {page} at {at % PAGE}: {ask_peer(bytes(data), tmp_path / 'file')}"
    print(f"{PLACES} places: both found {verdicts[True, True]}, the walk alone {verdicts[True, False]}, "
          f"neither {verdicts[False, False]}")  # fmt: skip
    assert verdicts[True, True] > PLACES // 10


@pytest.mark.parametrize("length", [0, 1, PAGE, 2 * PAGE - 1, 2 * PAGE, 10 * PAGE + 7])
def test_a_file_that_was_cut_is_refused(sound: bytes, length: int) -> None:
    with pytest.raises(StorageError):
        Walk(sound[:length]).run()


def test_two_pages_that_changed_places_are_found(sound: bytes) -> None:
    leaves = [n for n in range(2, len(sound) // PAGE) if sound[n * PAGE + 10] == 2]
    found = 0
    for one, other in zip(leaves[::2], leaves[1::2], strict=False):
        data = bytearray(sound)
        a, b = slice(one * PAGE, (one + 1) * PAGE), slice(other * PAGE, (other + 1) * PAGE)
        data[a], data[b] = sound[b], sound[a]
        found += bool(walk(bytes(data)))
    # Those that are free in both places change nothing.
    assert found > len(leaves) // 4


def test_a_subtree_in_another_ones_range_is_found(sound: bytes) -> None:
    # Two children of one branch page exchanged: each page is sound, reached once, and keys would not be found.
    branches = [n for n in range(2, len(sound) // PAGE) if sound[n * PAGE + 10] == 1]
    found = 0
    for page in branches:
        data = bytearray(sound)
        base = page * PAGE
        first, second = (int.from_bytes(sound[base + 16 + 2 * i : base + 18 + 2 * i], "little") for i in (0, 1))
        data[base + first : base + first + 6] = sound[base + second : base + second + 6]
        data[base + second : base + second + 6] = sound[base + first : base + first + 6]
        found += any("ascending keys" in problem for problem in walk(bytes(data)))
    assert found >= 3


def test_an_empty_or_missing_file_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    with pytest.raises(StorageError, match="No such file"):
        check_pages(tmp_path)
    (tmp_path / "env" / "data.mdb").write_bytes(b"")
    with pytest.raises(StorageError, match="empty"):
        check_pages(tmp_path)
    (tmp_path / "env" / "data.mdb").write_bytes(bytes(PAGE * 3))
    with pytest.raises(StorageError, match="meta page 0"):
        check_pages(tmp_path)
