"""A full disk: StorageError, nothing changed or lost, reading goes on, and so does writing when there is room again.

On a small file system of its own where the tests may mount one (root on Linux); the same steps with calls that are
made to fail are in ``test_step_faults.py``, which needs no mount.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from nursery import CHILD, child_environment
from proof import ITEM, OPENED, PROCEDURE, REQUESTER, ROLE, Clock, frame, pick_institutions, read_history

import hub
from hub.limits import ROWS_PER_CHUNK
from hub.messages import Acquisition
from model import PORTAL, Model, check_history
from smalldisk import PAGE_BYTES, SmallDisk, small_disk

DISK_BYTES = 48 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", DISK_BYTES) as found:
        yield found


class Past:
    """A hub on the small disk, the model beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.catalog = hub.Catalog.japan()
        self.model = Model(self.catalog)
        (self.provider, *_), _ = pick_institutions(self.catalog)
        self.h = hub.open(folder, create=True, clock=self.clock)
        for holder in (PORTAL, REQUESTER, self.provider):
            self.acquire(holder, 0, 2_000)
        self.inquire("first", 2_000)

    def acquire(self, holder: str, first: int, stop: int) -> None:
        """Acquire and compare with the model."""
        codes = np.arange(90_000_000_000 + first, 90_000_000_000 + stop)
        got = self.h.acquire(holder, codes)
        aliases, status = self.model.acquire(holder, [f"{code:011d}" for code in codes.tolist()], got.aliases)
        assert np.array_equal(got.aliases, aliases)
        assert np.array_equal(got.status, status)

    def rows(self, rows: int) -> np.ndarray:
        own = np.frombuffer(b"".join(self.model.alias_of[REQUESTER].values()), np.uint8).reshape(-1, 16)
        return own[np.arange(rows) % len(own)]

    def ask(self, request_id: str, rows: int) -> hub.Answer:
        return self.h.inquire(make_inquiry(request_id), self.rows(rows), self.provider)

    def inquire(self, request_id: str, rows: int) -> None:
        """Inquire and compare with the model."""
        at = self.clock.now
        got = self.ask(request_id, rows)
        expected = self.model.inquire(make_inquiry(request_id), self.rows(rows), self.provider, at)
        for name in ("status", "rule", "reason"):
            assert np.array_equal(getattr(got, name), getattr(expected, name))

    def check(self) -> None:
        """All that was acknowledged is there, once, and nothing else."""
        stats = self.h.stats()
        assert stats["persons"] == len(self.model.persons)
        assert stats["records"] == len(self.model.records)
        assert stats["aliases"] == {code: len(known) for code, known in self.model.alias_of.items()}
        for alias in list(self.model.person_of[PORTAL])[:20]:
            check_history(read_history(self.h, alias), self.model.history(alias))
        self.h.check_blocks()

    def reopen(self) -> None:
        self.h.close()
        self.h = hub.open(self.folder, clock=self.clock)


def make_inquiry(request_id: str) -> hub.Inquiry:
    return hub.Inquiry(
        requester=REQUESTER, procedure=PROCEDURE, items=(ITEM,), role=ROLE, section="係", request_id=request_id
    )


@pytest.mark.parametrize("free_bytes", [0, 3 * PAGE_BYTES, 100_000, 700_000])
def test_acquire_on_a_full_disk_changes_nothing(disk: SmallDisk, free_bytes: int) -> None:
    past = Past(disk.place / "hub")
    disk.fill(free_bytes=free_bytes)
    for _ in range(2):
        with pytest.raises(hub.errors.StorageError) as caught:
            past.h.acquire(REQUESTER, np.arange(91_000_000_000, 91_000_200_000))
        # Whatever the kernel made of it, the user reads that the disk is full.
        assert "no space left" in str(caught.value)
        assert caught.value.retry_safe
        past.check()
    disk.empty()
    past.acquire(REQUESTER, 0, 200_000)
    past.check()
    past.reopen()
    past.check()
    past.h.close()


@pytest.mark.parametrize("free_bytes", [0, 3 * PAGE_BYTES, 100_000, 700_000])
def test_inquire_on_a_full_disk_changes_nothing(disk: SmallDisk, free_bytes: int) -> None:
    past = Past(disk.place / "hub")
    disk.fill(free_bytes=free_bytes)
    for _ in range(2):
        with pytest.raises(hub.errors.StorageError) as caught:
            past.ask("second", ROWS_PER_CHUNK)
        assert "no space left" in str(caught.value)
        assert caught.value.retry_safe
        past.check()
    disk.empty()
    past.inquire("second", ROWS_PER_CHUNK)
    past.check()
    past.reopen()
    past.check()
    past.h.close()


def test_a_disk_that_fills_up_between_two_chunks_keeps_the_first(disk: SmallDisk) -> None:
    past = Past(disk.place / "hub")
    disk.fill(free_bytes=2 * 65 * ROWS_PER_CHUNK)  # of 63 bytes a row and what surrounds them, not four chunks
    rows = 4 * ROWS_PER_CHUNK
    with pytest.raises(hub.errors.StorageError, match="no space left"):
        past.ask("long", rows)
    status = past.h.status(REQUESTER, "long")
    assert 1 <= status.chunks_done < 4
    records = past.h.stats()["records"]
    assert records == len(past.model.records) + status.chunks_done * ROWS_PER_CHUNK
    past.reopen()
    assert past.h.stats()["records"] == records
    disk.empty()
    past.inquire("long", rows)
    past.check()
    past.h.close()


@pytest.mark.parametrize("readonly", [False, True])
def test_a_hub_on_a_full_disk_can_be_opened_and_read(disk: SmallDisk, readonly: bool) -> None:
    past = Past(disk.place / "hub")
    past.h.close()
    disk.fill(free_bytes=0)
    past.h = hub.open(past.folder, readonly=readonly, clock=past.clock)
    past.check()
    past.h.close()


def test_making_a_hub_on_a_full_disk_fails_and_can_be_repeated(disk: SmallDisk) -> None:
    # In a process of its own: a store into a map that the disk has no room for is SIGBUS.
    folder = disk.place / "hub"
    job = json.dumps({"job": "create", "folder": str(folder)})
    made = refused = 0
    for pages in [*range(24), 64, 128]:
        disk.fill(free_bytes=pages * PAGE_BYTES)
        done = subprocess.run(
            [sys.executable, str(CHILD), "-", job, "1"], env=child_environment(), capture_output=True, timeout=60
        )
        assert done.returncode >= 0, f"{pages} pages free: died of signal {-done.returncode}"
        if done.returncode == 0:
            assert frame(OPENED) in done.stdout
            made += 1
        else:
            assert b"hub.errors.FullError" in done.stderr, done.stderr.decode()
            refused += 1
        disk.empty()
        with hub.open(folder, create=True) as h:
            status = h.acquire(PORTAL, ["90000000001"]).status.tolist()
            assert status in ([Acquisition.CREATED], [Acquisition.ALREADY])
        if pages % 3 == 0:
            subprocess.run(["rm", "-rf", str(folder)], check=True)
    assert made
    assert refused
