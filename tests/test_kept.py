"""Checkpoints that are kept: how many, for how long, and that the tree must lead to each of them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import lmdb
import numpy as np
import pytest

import hub
from hub.errors import StorageError, TamperError
from hub.records.kept import DAY_S, HOUR_S, MINUTE_S, YEAR_S
from hub.storage.sealed import seal
from hub.tlog.verify import read_checkpoint, verify_checkpoint
from inquiries import tax_inquiry

TOWN = "131016"
START = 1_800_000_000 // DAY_S * DAY_S


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def h(tmp_path: Path, clock: Clock) -> Iterator[hub.Hub]:
    with hub.open(tmp_path / "hub", create=True, clock=clock) as opened:
        yield opened


def ask(h: hub.Hub, own: np.ndarray, number: int) -> str:
    h.inquire(tax_inquiry(f"kept {number}"), own, TOWN)
    return h.checkpoint()


def aliases(h: hub.Hub) -> np.ndarray:
    h.acquire(TOWN, ["00000000017"])
    return h.acquire("nenkin", ["00000000017"]).aliases


def test_one_a_minute_is_kept_and_leads_to_the_tree(h: hub.Hub, clock: Clock) -> None:
    own = aliases(h)
    notes = []
    for number in range(6):
        notes.append(ask(h, own, number))
        clock.now += MINUTE_S // 2
    # Each enters with the commit behind it; the last one is the head's.
    assert [note for _, note in h.checkpoints()] == notes[0:5:2]
    assert [read_checkpoint(note).size for _, note in h.checkpoints()] == [1, 3, 5]
    for _, note in h.checkpoints():
        verify_checkpoint(note, h.verifier_key)
    assert h.verify().ok


def test_minutes_go_after_a_day_and_hours_after_a_year(h: hub.Hub, clock: Clock) -> None:
    own = aliases(h)
    number = 0

    def sign(at: int) -> None:
        nonlocal number
        clock.now = at
        ask(h, own, number)
        number += 1

    def kept() -> list[int]:
        return [int(time.timestamp()) - START for time, _ in h.checkpoints() if time is not None]

    moments = [0, MINUTE_S, HOUR_S, HOUR_S + MINUTE_S]
    for moment in moments:
        sign(START + moment)
    sign(START + DAY_S - 1)
    assert kept() == moments
    # What is a day old stays; a second more and it goes, but for the first of its hour.
    sign(START + DAY_S + HOUR_S + MINUTE_S)
    sign(START + DAY_S + HOUR_S + 2 * MINUTE_S)
    assert [one for one in kept() if one < DAY_S - 1] == [0, HOUR_S, HOUR_S + MINUTE_S]
    sign(START + YEAR_S + 2 * HOUR_S)
    sign(START + YEAR_S + 2 * HOUR_S + MINUTE_S)
    # Of what is more than a year old remains the first of the day.
    assert [one for one in kept() if one < DAY_S] == [0, DAY_S - 1]
    assert h.verify().ok


def test_each_exported_one_is_kept_also_when_another_process_exports(
    h: hub.Hub, clock: Clock, tmp_path: Path
) -> None:
    own = aliases(h)
    notes = [ask(h, own, number) for number in range(3)]
    h.close()
    with hub.open(tmp_path / "hub", readonly=True) as reader:
        reader.export_tiles(tmp_path / "public")
        reader.export_tiles(tmp_path / "public")
    with hub.open(tmp_path / "hub", clock=clock) as again:
        assert [note for time, note in again.checkpoints() if time is None] == [notes[2]]
        path = tmp_path / "hub.head.exported"
        whole = path.read_bytes()
        assert whole.count(b"\n") == 1
        # A crash may cut the line that is being written; what stands before it counts.
        path.write_bytes(whole + whole[:40])
        ask(again, own, 3)
        again.export_tiles(tmp_path / "public")
        assert next(note for time, note in again.checkpoints() if time is None) == notes[2]
        assert len([1 for time, _ in again.checkpoints() if time is None]) == 2
        path.write_bytes(whole.replace(b" ", b" !", 1))
        with pytest.raises(StorageError, match="line 1"):
            again.checkpoints()


def test_every_flipped_bit_of_the_exported_list_is_found_and_left_as_it_is(h: hub.Hub, tmp_path: Path) -> None:
    own = aliases(h)
    for number in range(2):
        ask(h, own, number)
        h.export_tiles(tmp_path / "public")
    path = tmp_path / "hub.head.exported"
    whole = path.read_bytes()
    # The end of the last line among them: that is not what a crash leaves.
    for at in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises((StorageError, TamperError)):
                h.checkpoints()
    ask(h, own, 2)
    with pytest.raises(StorageError, match="end of the last line"):
        h.export_tiles(tmp_path / "public")
    assert path.read_bytes() == bytes(damaged)
    # Whatever a crash leaves of a third line is written over.
    path.write_bytes(whole)
    h.export_tiles(tmp_path / "public")
    longer = path.read_bytes()
    for cut in range(len(whole), len(longer)):
        path.write_bytes(longer[:cut])
        assert len(h.checkpoints()) == 2
        h.export_tiles(tmp_path / "public")
        assert path.read_bytes() == longer


def test_a_kept_checkpoint_of_another_tree_is_found(h: hub.Hub, clock: Clock, tmp_path: Path) -> None:
    own = aliases(h)
    for number in range(3):
        ask(h, own, number)
        clock.now += MINUTE_S
    # The operator's own key signs another tree: what was signed stays signed.
    other = h._published()._key.sign(2, bytes(32))
    h.close()
    env = lmdb.open(str(tmp_path / "hub" / "env"), map_size=1 << 30, max_dbs=256, lib_version=0)
    with env, env.begin(write=True) as txn:
        database = env.open_db(b"checkpoints", txn=txn, create=False)
        key = b"\0" + (START // MINUTE_S).to_bytes(8, "big")
        assert txn.get(key, db=database) is not None
        txn.put(key, seal("checkpoints", key, START.to_bytes(8, "little") + other.encode()), db=database)
    with hub.open(tmp_path / "hub", readonly=True) as reader:
        assert any("signed at 2 records" in problem for problem in reader.verify().problems)
    foreign = other.replace("\n2\n", "\n1\n")
    with hub.open(tmp_path / "hub", readonly=True) as reader:
        (tmp_path / "hub.head.exported").write_bytes(line(foreign))
        with pytest.raises(TamperError, match="kept checkpoints"):
            reader.checkpoints()


def line(note: str) -> bytes:
    text = base64.b64encode(note.encode())
    return b"%d %s\n" % (len(text), text)
