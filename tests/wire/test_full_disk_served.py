"""A served folder whose disk fills up: what writes is BUSY, what reads goes on, and nothing acknowledged is lost.

On a real small file system where one may be mounted, with a bound of the file's size on a served process, and with a
map that is full. Afterwards the same request ids succeed without a restart.
"""

from __future__ import annotations

import json
import logging
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Network, Served, plain_config
from test_serve import Process

import hub
from hub import store
from hub.errors import BusyError, FullError
from hub.messages import Status
from hub.requests import state as requests
from hub.wire.config import Limits
from inquiries import tax_inquiry
from parties import DAY_S, Parties
from smalldisk import SmallDisk, small_disk

DISK_BYTES = 64 << 20
PERSONS = 64
BULK_ROWS = 40_000
SOON_S = 1.5
"""Less than what BUSY asks to wait: the client says so at once."""

NO_MINIMUM = Limits(free_bytes_min=0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", DISK_BYTES) as found:
        yield found


class Desk:
    """What several institutions do at a served hub, of which everything that was acknowledged is noted."""

    def __init__(self, parties: Parties, remote: Any) -> None:
        self.parties, self.remote = parties, remote
        self.rows: dict[str, int] = {}
        self.refused: set[str] = set()
        """Batches of which some chunks may be recorded already: only the same request id completes them."""
        self.bulk = np.ascontiguousarray(np.tile(parties.nenkin, (BULK_ROWS // PERSONS, 1)))

    def ask(self, request_id: str, **words: Any) -> None:
        answer = self.remote.inquire(tax_inquiry(request_id), self.parties.nenkin[:1], self.parties.town, **words)
        assert answer.status.tolist() == [Status.OK]
        self.rows[request_id] = 1

    def ask_in_bulk(self, request_id: str, **words: Any) -> None:
        self.refused.add(request_id)
        self.remote.inquire(tax_inquiry(request_id), self.bulk, self.parties.town, **words)
        self.refused.remove(request_id)
        self.rows[request_id] = len(self.bulk)

    def read(self) -> None:
        """What reads, by each kind of thread."""
        r, town = self.remote, self.parties.town
        assert len(r.history(self.parties.portal[0], limit=10, timeout=5).records) >= 1
        assert r.status("nenkin", "before", timeout=5).complete
        assert r.checkpoint(timeout=5)
        assert sum(len(one) for one in r.collect(town, limit=16, timeout=5)) > 0
        assert len(r.answers("nenkin", "before", timeout=5)) == 1
        assert len(r.flags(town, self.parties.known[:3], timeout=5)) == 3
        assert r.consistency(1, 1, timeout=5) == []

    def write(self, request_id: str) -> list[BusyError]:
        """What writes, of each kind; those that were BUSY, with a time after which to come again."""
        r, town = self.remote, self.parties.town
        calls = [
            lambda: self.ask_in_bulk(f"{request_id}-bulk", timeout=SOON_S),
            lambda: self.ask(request_id, timeout=SOON_S),
            lambda: r.begin_file("nenkin", f"{request_id}-file", bytes(32), 1, timeout=SOON_S),
            lambda: r.flag(town, self.parties.known[:1], hub.Flag.MANUAL, timeout=SOON_S),
        ]
        busy = []
        for call in calls:
            try:
                call()
            except BusyError as error:
                busy.append(error)
        assert all(error.code == "busy" and SOON_S < error.retry_after_s <= 10 for error in busy)
        return busy

    def ask_in_bulk_until_busy(self, name: str) -> None:
        """Some find room in pages that are free already, until there are none."""
        for number in range(20):
            self.ask_in_bulk(f"{name}-{number}", timeout=SOON_S)

    def ask_again(self) -> None:
        """There is room again: what was refused succeeds under its own name."""
        for request_id in sorted(self.refused):
            self.ask_in_bulk(request_id, timeout=30)

    def check(self, h: hub.Hub) -> None:
        """Everything that was acknowledged is in the log once, and nothing else."""
        assert not self.refused
        assert h.stats()["records"] == sum(self.rows.values())
        assert h.verify().problems == ()


def test_on_a_full_disk_what_writes_is_busy_and_what_reads_goes_on(
    disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    with Parties(disk.place / "hub", PERSONS) as parties:
        served = Served(parties.h, plain_config(["nenkin", "portal", parties.town], NO_MINIMUM))
        try:
            with hub.connect(served.address, institution="nenkin") as remote, caplog.at_level(logging.WARNING, "hub"):
                desk = Desk(parties, remote)
                desk.ask("before")
                desk.ask_in_bulk("before-bulk")
                busy: list[BusyError] = []
                for turn, free_bytes in enumerate((0, 5 * 4096, 300_000)):
                    disk.fill(free_bytes=free_bytes)
                    with pytest.raises(BusyError):
                        desk.ask_in_bulk_until_busy(f"{turn}-first")
                    for _ in range(3):
                        busy += desk.write(f"{turn}-full")
                        desk.read()
                    failed: list[BaseException] = []

                    def go_on(turn: int = turn, failed: list[BaseException] = failed) -> None:
                        try:
                            # A client that was told to come again does so by itself.
                            desk.ask(f"{turn}-full", timeout=30)
                        except BaseException as error:
                            failed.append(error)

                    waiting = threading.Thread(target=go_on)
                    waiting.start()
                    time.sleep(0.2)
                    disk.empty()
                    waiting.join(40)
                    assert failed == []
                    desk.ask_again()
                    desk.read()
                assert served.server is not None
                assert len(busy) >= 3
                assert served.server.calls.disk.met >= len(busy)
                assert parties.h.vitals().full >= 3
                assert parties.h.vitals().stopped == frozenset()
        finally:
            served.stop()
        assert any("disk full" in record.getMessage() for record in caplog.records)
        parties.reopen()
        desk.check(parties.h)


def test_with_too_little_room_nothing_that_writes_is_begun(disk: SmallDisk, caplog: pytest.LogCaptureFixture) -> None:
    with Parties(disk.place / "hub", PERSONS) as parties:
        limits = Limits(free_bytes_min=4 << 20)
        served = Served(parties.h, plain_config(["nenkin", "portal", parties.town], limits))
        assert served.server is not None
        try:
            with hub.connect(served.address, institution="nenkin") as remote, caplog.at_level(logging.WARNING, "hub"):
                desk = Desk(parties, remote)
                desk.ask("before")
                for turn in range(2):
                    disk.fill(free_bytes=(4 << 20) - 4096)
                    served.do(served.server.calls.disk.look)
                    assert len(desk.write(f"{turn}")) == 4
                    desk.read()
                    # One page more is enough; what is written then takes more than that.
                    disk.fill(free_bytes=4 << 20)
                    served.do(served.server.calls.disk.look)
                    assert not served.server.calls.disk.low
                    disk.empty()
                    assert desk.write(f"{turn}") == []
                assert parties.h.vitals().full == 0
        finally:
            served.stop()
        told = [record.getMessage().partition(":")[0] for record in caplog.records]
        assert told == ["disk low", "disk"] * 2
        desk.check(parties.h)


def test_a_full_map_is_busy_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAP_BYTES", 8 << 20)
    # Otherwise a batch is cut as other callers come: chunks so small that the map is full within one, not before it.
    for name in ("ROWS_PER_CHUNK", "ROWS_PER_CHUNK_BESIDE"):
        monkeypatch.setattr(requests, name, 1_024)
    with Parties(tmp_path / "hub", PERSONS) as parties:
        served = Served(parties.h, plain_config(["nenkin", "portal", parties.town]))
        try:
            with hub.connect(served.address, institution="nenkin") as remote:
                desk = Desk(parties, remote)
                desk.ask("before")
                with pytest.raises(BusyError, match="no space left"):
                    desk.ask_in_bulk_until_busy("bulk")
                used, size = parties.h.vitals().map_used, parties.h.vitals().map_size
                assert 0.5 * size < used <= size == 8 << 20
                desk.read()
        finally:
            served.stop()
        # The chunks that had found room are recorded and stay: the batch goes on behind them.
        recorded, answered = parties.h.stats()["records"], sum(desk.rows.values())
        assert 0 < recorded - answered < BULK_ROWS
        assert parties.h.verify().problems == ()
    # A larger map is all that it takes.
    monkeypatch.setattr(store, "MAP_BYTES", 64 << 20)
    with hub.open(parties.folder, clock=parties.clock) as h:
        (refused,) = desk.refused
        assert not h.status("nenkin", refused).complete
        served = Served(h, plain_config(["nenkin"]))
        try:
            with hub.connect(served.address, institution="nenkin") as desk.remote:
                desk.ask_again()
        finally:
            served.stop()
        assert h.status("nenkin", refused).complete
        desk.check(h)


def test_a_process_that_may_not_make_its_file_longer_goes_on_reading(tmp_path: Path, network: Network) -> None:
    """As a quota of the file system does it: the disk has room, and yet there is none."""
    with Parties(tmp_path / "hub", PERSONS) as parties:
        town = parties.town
    process = Process(parties.folder, network, town, "[log]\nfile = \"hub.log\"\n[limits]\nsmall_threads = 4\n")
    no_bound = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with process.connect(institution="nenkin") as remote:
            desk = Desk(parties, remote)
            desk.ask("before")
            length = (parties.folder / "env" / "data.mdb").stat().st_size
            busy = 0
            for more in (0, 4096, 50_000, 1_000_000):
                resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (length + more, no_bound[1]))
                busy += len(desk.write(f"{more}"))
                desk.read()
            assert busy >= 4
            resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, no_bound)
            for more in (0, 4096, 50_000, 1_000_000):
                assert desk.write(f"{more}") == []
    finally:
        assert process.end() == 0
    lines = [json.loads(line) for line in (tmp_path / "hub.log").read_text().splitlines()]
    assert any(line["what"].startswith("disk full") for line in lines)
    assert any(line.get("code") == "busy" and line["method"] == "inquire" for line in lines)
    with hub.open(parties.folder) as h:
        desk.check(h)


def test_no_room_is_a_storage_error_that_may_be_tried_again() -> None:
    error = FullError("write: no space left")
    assert (error.code, error.retry_safe) == ("storage", True)


def test_permits_are_collected_though_there_is_no_room_to_record_that_others_lapsed(disk: SmallDisk) -> None:
    with Parties(disk.place / "hub", PERSONS) as parties:
        parties.ask("old", list(range(8)))
        parties.clock.now += 6 * DAY_S
        # So many that their lapse finds no room in pages that are free already.
        bulk = np.ascontiguousarray(np.tile(parties.nenkin, (BULK_ROWS // PERSONS, 1)))
        parties.h.inquire(tax_inquiry("bulk"), bulk, parties.town)
        parties.clock.now += 6 * DAY_S
        parties.ask("new", [0])
        parties.clock.now += 2 * DAY_S
        disk.fill(free_bytes=0)
        with pytest.raises(FullError):
            parties.h.lapse()
        found = parties.h.collect(parties.town)
        assert sum(map(len, found)) == 1
        before = parties.h.stats()["records"]
        disk.empty()
        # Or the thread that sorts the log into inboxes was quicker.
        parties.h.lapse()
        assert parties.h.stats()["records"] - before >= len(bulk)
