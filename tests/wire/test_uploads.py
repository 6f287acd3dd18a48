"""Arguments that come in parts: where their bytes lie, what they take, and that they are the same as in one piece."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import pytest
from served import Served, Wires, frame, plain_config

import hub
from hub.wire import connection
from hub.wire.connection import MAPPED_BYTES, Upload
from hub.wire.methods import METHODS
from hub.wire.words import Call
from inquiries import tax_inquiry
from parties import Parties

ANNOUNCED = 500 << 20


def upload(size: int, body: bytes = b"") -> Upload:
    return Upload(Call(1, "nenkin", "inquire", False, size, memoryview(body)), METHODS["inquire"], 0.0)


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE


@pytest.mark.parametrize("size", [MAPPED_BYTES - 1, MAPPED_BYTES])
def test_bytes_come_together_in_order(size: int) -> None:
    data = np.random.default_rng(1).bytes(size)
    found, at = upload(size, data[:5]), 5
    assert isinstance(found._buffer, mmap.mmap) == (size >= MAPPED_BYTES)
    for piece in (0, 1, 1 << 20, size):
        found.add(memoryview(data)[at : at + piece])
        at = min(size, at + piece)
        assert found.size == at
    assert found.whole() == data


def test_a_system_that_has_no_pages_to_promise_gets_bytes_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(connection.mmap, "mmap", refuse)
    found = upload(MAPPED_BYTES, b"x")
    found.add(memoryview(b"y"))
    assert found.whole() == b"xy"


def test_what_was_only_announced_takes_no_memory(parties: Parties) -> None:
    served = Served(parties.h, plain_config(["nenkin", parties.town]))
    wires = Wires(served.port)
    try:
        before = resident_bytes()
        wires.send(frame([3, 1, "nenkin", "inquire", False, ANNOUNCED, b"x"]))
        wires.call(2, parties.town, "flags", {"aliases": bytes(16)})
        reply = wires.read()
        assert reply[1] == 2, reply
        assert served.server is not None
        assert served.server.calls.bytes_in_flight == ANNOUNCED
        assert resident_bytes() - before < 64 << 20
        # No more than that is taken.
        wires.send(frame([4, 1, bytes(1 << 19)]))
        wires.call(3, parties.town, "flags", {"aliases": bytes(16)})
        assert wires.read()[1] == 3
    finally:
        wires.close()
        served.stop()


def test_a_long_call_is_answered_alike_wherever_its_bytes_lie(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAPPED_BYTES", 1 << 20)
    rooms: list[type] = []
    make = connection._make_room
    monkeypatch.setattr(connection, "_make_room", lambda size: rooms.append(type(make(size))) or make(size))
    served = Served(parties.h, plain_config(["nenkin", parties.town]))
    aliases = np.resize(parties.nenkin, (70_000, 16))
    try:
        with hub.connect(served.address, institution="nenkin", timeout=60) as h:
            there = h.inquire(tax_inquiry("there"), aliases, parties.town)
            some = h.inquire(tax_inquiry("some"), aliases[:40_000], parties.town)
    finally:
        served.stop()
    here = parties.h.inquire(tax_inquiry("here"), aliases, parties.town)
    assert rooms[0] is mmap.mmap
    assert np.array_equal(there.status, here.status)
    assert np.array_equal(some.rule, here.rule[:40_000])
