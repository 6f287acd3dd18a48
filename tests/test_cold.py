"""Tables that are not in memory: what is asked of the disk ahead changes no answer, and damage is still found."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.bench.measure import bytes_read, forget_pages
from hub.errors import StorageError

PERSONS = 120_000
CODES = 99_000_000_000 + np.arange(PERSONS, dtype=np.int64)


class Cold:
    """A folder in which everybody is known to the agency and to the portal, and the model of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "env" / "data.mdb"
        with hub.open(folder, create=True) as h:
            self.asking = h.acquire("nenkin", CODES).aliases
            order = np.random.default_rng(1).permutation(PERSONS)
            self.shown = np.empty_like(self.asking)
            self.shown[order] = h.acquire("portal", CODES[order]).aliases

    def check(self, h: hub.Hub, persons: np.ndarray) -> None:
        found = h.resolve("nenkin", "portal", self.asking[persons])
        assert not found.status.any()
        assert (found.aliases == self.shown[persons]).all()

    def drop(self) -> None:
        """Put the file out of memory while it is mapped, as a system does that needs the memory."""
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        for line in Path("/proc/self/maps").read_text().splitlines():
            if line.endswith(str(self.data.resolve())):
                begin, end = (int(part, 16) for part in line.split(" ", 1)[0].split("-"))
                assert madvise(begin, end - begin, mmap.MADV_DONTNEED) == 0
        forget_pages(self.data)


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> Cold:
    return Cold(tmp_path_factory.mktemp("cold") / "hub")


@pytest.mark.parametrize("threads", [1, 2])
def test_tables_that_were_never_read_come_from_the_disk_and_answer_the_same(cold: Cold, threads: int) -> None:
    forget_pages(cold.data)
    with hub.open(cold.folder, threads=threads) as h:
        for seed in range(3):
            cold.check(h, np.random.default_rng(seed).integers(0, PERSONS, 2_000))
        cold.check(h, np.arange(PERSONS))


@pytest.mark.parametrize("threads", [1, 2])
def test_tables_that_left_memory_come_back_and_answer_the_same(cold: Cold, threads: int) -> None:
    with hub.open(cold.folder, threads=threads) as h:
        assert h.check_blocks() > 0
        everybody = np.random.default_rng(7).permutation(PERSONS)
        cold.check(h, everybody)
        cold.drop()
        before = bytes_read()
        cold.check(h, everybody[:50_000])
        cold.check(h, everybody)
        if bytes_read() == before:
            pytest.skip("nothing of this folder comes from a disk")


def test_unknown_aliases_and_half_the_tables_out_of_memory(cold: Cold) -> None:
    with hub.open(cold.folder) as h:
        everybody = np.arange(PERSONS)
        cold.check(h, everybody)
        cold.drop()
        cold.check(h, everybody[: PERSONS // 64])
        strangers = np.frombuffer(os.urandom(16 * 5_000), np.uint8).reshape(-1, 16)
        mixed = np.concatenate([cold.asking[:5_000], strangers])
        found = h.resolve("nenkin", "portal", mixed)
        assert (found.aliases[:5_000] == cold.shown[:5_000]).all()
        assert found.status.tolist() == [0] * 5_000 + [int(hub.Status.UNKNOWN_ALIAS)] * 5_000
        assert not found.aliases[5_000:].any()


def test_damage_is_found_when_a_block_is_read_for_the_first_time(tmp_path: Path) -> None:
    broken = Cold(tmp_path / "hub")
    with hub.open(broken.folder) as h, h._store.snapshot() as snapshot:
        slots = snapshot.pages.blocks(b"tables", 0, (1 << 64) - 1)[:, 1] & np.uint64(~0xFFF & (1 << 64) - 1)
        areas = [
            line for line in Path("/proc/self/maps").read_text().splitlines() if str(broken.data.resolve()) in line
        ]
        base = int(areas[0].split("-")[0], 16)
        places = (slots - np.uint64(base)).tolist()
    with broken.data.open("r+b") as file:
        for place in places:
            file.seek(place + 3_000)
            byte = file.read(1)
            file.seek(place + 3_000)
            file.write(bytes([byte[0] ^ 4]))
    forget_pages(broken.data)
    with hub.open(broken.folder) as h, pytest.raises(StorageError, match=r"block [0-9a-f]{8}/[0-9a-f]{8}"):
        broken.check(h, np.arange(2_000))
