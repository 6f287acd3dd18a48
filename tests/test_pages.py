"""The page reader against LMDB itself, and on damaged files: an error or places inside the file, never a signal."""

from __future__ import annotations

import os
import random
from pathlib import Path

import lmdb
import numpy as np
import pytest

from hub._pages import Pages, read_in
from hub._small import Filter, probe
from hub.errors import StorageError

PAGE = 4096
SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
EVERYTHING = (0, (1 << 64) - 1)


class File:
    """A small environment of LMDB's, copied into memory that ends where the file ends."""

    def __init__(self, folder: Path, blocks: int) -> None:
        rng = random.Random(7)
        self.keys = sorted(rng.sample(range(1 << 62), blocks))
        self.sizes = {key: rng.choice((1, 1, 1, 2, 8)) * PAGE - 16 for key in self.keys}
        env = lmdb.open(str(folder), map_size=1 << 30, max_dbs=8, lib_version=0)
        with env:
            for name in (b"meta", b"tables", b"zoo"):
                tree = env.open_db(name)
                # Two commits, so that pages of the first stand about.
                for half in (self.keys[::2], self.keys[1::2]):
                    with env.begin(write=True, db=tree) as txn:
                        for key in half if name == b"tables" else half[:3]:
                            txn.put(key.to_bytes(8, "big"), bytes(self.sizes[key]))
            with env.begin() as txn:
                self.transaction = txn.id()
        self.data = (folder / "data.mdb").read_bytes()

    def pages(self, data: bytes | bytearray) -> tuple[np.ndarray, Pages]:
        memory = np.empty(len(data) + PAGE, np.uint8)
        start = -memory.ctypes.data % PAGE
        memory = memory[start : start + len(data)]
        memory[:] = np.frombuffer(data, np.uint8)
        return memory, Pages(memory.ctypes.data, len(data), self.transaction)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> File:
    return File(tmp_path_factory.mktemp("pages"), blocks=600)


def test_every_block_is_found_in_order_with_its_pages(file: File) -> None:
    memory, pages = file.pages(file.data)
    found = pages.blocks(b"tables", *EVERYTHING)
    assert found[:, 0].tolist() == file.keys
    for key, slot in found.tolist():
        at = (slot & ~(PAGE - 1)) - memory.ctypes.data
        assert (slot & 31) * PAGE - 16 == file.sizes[key]
        assert int.from_bytes(memory[at : at + 8].tobytes(), "little") * PAGE == at


@pytest.mark.parametrize("ends", [(0, 0), (0, 299), (299, 299), (1, 2), (100, 598), (599, 599)])
def test_a_range_has_both_its_ends_and_nothing_else(file: File, ends: tuple[int, int]) -> None:
    memory, pages = file.pages(file.data)
    first, last = file.keys[ends[0]], file.keys[ends[1]]
    expected = file.keys[ends[0] : ends[1] + 1]
    assert pages.blocks(b"tables", first, last)[:, 0].tolist() == expected
    assert pages.blocks(b"tables", first + 1, last - 1)[:, 0].tolist() == expected[1:-1]
    assert memory.size


def test_the_largest_key_not_above_is_found_with_its_value(file: File) -> None:
    memory, pages = file.pages(file.data)
    for number, key in enumerate(file.keys):
        for wanted, place in ((key, number), (key + 1, number), (key - 1, number - 1)):
            found = pages.at_or_before(b"tables", wanted.to_bytes(8, "big"))
            if place < 0:
                assert found is None
                continue
            assert found is not None
            assert int.from_bytes(found[0], "big") == file.keys[place]
            assert len(found[1]) == file.sizes[file.keys[place]]
    assert pages.at_or_before(b"tables", b"") is None
    assert memory.size


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], bytes, int]:
    """Keys of requests in a database, some with a part 0, beside keys of groups; the file, and its transaction."""
    rng = random.Random(8)
    keys = [rng.randbytes(16) for _ in range(3_000)]
    folder = tmp_path_factory.mktemp("requests")
    with lmdb.open(str(folder), map_size=1 << 30, max_dbs=8, lib_version=0) as env:
        tree, _ = env.open_db(b"day"), env.open_db(b"empty")
        with env.begin(write=True, db=tree) as txn:
            for number, key in enumerate(keys):
                txn.put(key + (0 if number < 2_000 else number).to_bytes(4, "big"), bytes(16))
            for number in range(500):
                txn.put(number.to_bytes(8, "big"), bytes(2_500))
            txn.put(b"folded", bytes(8))
        with env.begin() as txn:
            transaction = txn.id()
    return keys, (folder / "data.mdb").read_bytes(), transaction


def memory_of(data: bytes) -> np.ndarray:
    memory = np.empty(len(data) + PAGE, np.uint8)
    memory = memory[-memory.ctypes.data % PAGE :][: len(data)]
    memory[:] = np.frombuffer(data, np.uint8)
    return memory


@pytest.mark.parametrize("limit", [1, 7, 3_501, 3_502, 10_000])
def test_requests_are_found_and_enter_a_filter(requests: tuple[list[bytes], bytes, int], limit: int) -> None:
    keys, data, transaction = requests
    memory = memory_of(data)
    pages = Pages(memory.ctypes.data, len(memory), transaction)
    asked = np.frombuffer(b"".join(keys) + bytes(16) + b"\xff" * 16, np.uint8).reshape(-1, 16)
    assert pages.having(b"day", asked).tolist() == [1] * 2_000 + [0] * 1_002
    assert not pages.having(b"empty", asked).any()
    assert pages.entries_of(b"day") == 3_501
    filter, first, steps = Filter(2_000), b"", 0
    while first is not None:
        last = pages.fill(b"day", filter, first, limit)
        first, steps = (None if last is None else last + b"\0"), steps + 1
    assert steps == 3_501 // limit + 1
    found = {row for row, _ in probe([filter], asked)}
    assert found.issuperset(range(2_000))
    assert len(found) < 2_050
    assert pages.fill(b"empty", filter, b"", 1) is None
    with pytest.raises(StorageError, match="damaged tree"):
        pages.having(b"none", asked)


def test_damage_leads_no_request_outside_the_file(requests: tuple[list[bytes], bytes, int]) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED)
    keys, data, transaction = requests
    asked = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)
    inner = [at for at in range(2 * PAGE, len(data), PAGE) if data[at + 10] & 0x03]
    memory, errors = memory_of(data), 0
    for _ in range(500):
        at = rng.choice(inner) + rng.randrange(200 if rng.random() < 0.7 else PAGE)
        before = int(memory[at])
        memory[at] = rng.randrange(256)
        pages = Pages(memory.ctypes.data, len(memory), transaction)
        try:
            pages.having(b"day", asked)
            pages.fill(b"day", Filter(2_000), b"", 10_000)
        except StorageError:
            errors += 1
        memory[at] = before
    assert errors > 100


def test_an_unknown_database_is_an_error(file: File) -> None:
    memory, pages = file.pages(file.data)
    for name in (b"table", b"tablesx", b"a", b"zzz", b""):
        with pytest.raises(StorageError, match="damaged tree"):
            pages.blocks(name, *EVERYTHING)
    assert memory.size


def test_another_transaction_s_meta_page_is_told_apart(file: File) -> None:
    memory, _ = file.pages(file.data)
    with pytest.raises(LookupError):
        Pages(memory.ctypes.data, len(memory), file.transaction + 2)
    memory[16 : 16 + 4] = memory[PAGE + 16 : PAGE + 20] = 0
    with pytest.raises(StorageError, match="LMDB"):
        Pages(memory.ctypes.data, len(memory), file.transaction)


def test_damage_leads_nowhere_outside_the_file(file: File) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED)
    # The pages of the trees: those that are no part of a block.
    inner = [at for at in range(0, len(file.data), PAGE) if file.data[at + 10] & 0x03 or at < 2 * PAGE]
    refused = 0
    for number in range(3_000):
        data = bytearray(file.data)
        if number % 10 == 0:
            del data[rng.randrange(2, len(data) // PAGE) * PAGE + rng.randrange(PAGE) :]
        for _ in range(rng.randint(1, 3)):
            at = rng.choice(inner) + (rng.randrange(16) if number % 3 else rng.randrange(PAGE))
            if at + 2 <= len(data):
                data[at : at + 2] = rng.choice([b"\xff\xff", b"\0\0", bytes([rng.randrange(256), data[at + 1]])])
        try:
            memory, pages = file.pages(data)
            for key in (file.keys[number % 600], rng.randrange(1 << 62)):
                value = pages.at_or_before(b"tables", key.to_bytes(8, "big"))
                assert value is None or not any(value[1][::PAGE])
            found = pages.blocks(b"tables", *EVERYTHING)
        except (StorageError, LookupError):
            refused += 1
            continue
        at = (found[:, 1] & ~np.uint64(PAGE - 1)) - np.uint64(memory.ctypes.data)
        assert (at + (found[:, 1] & np.uint64(31)) * np.uint64(PAGE) <= len(memory)).all()
    assert 300 < refused < 3_000


def test_blocks_are_read_in_also_more_than_a_group_of_them(file: File) -> None:
    memory, pages = file.pages(file.data)
    slots = np.sort(pages.blocks(b"tables", *EVERYTHING)[:, 1])
    # The last page of the memory is the last of the file: a step too far would end the process.
    for some in (slots, np.tile(slots, 5), slots[:1], slots[:0]):
        read_in(some)
    assert memory.tobytes() == file.data
