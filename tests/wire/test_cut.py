"""Connections that are cut anywhere: the client connects again, gives the call again, and nothing is doubled."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from served import Served, plain_config

import hub
from hub.messages import Status
from hub.wire.faults import LateError, WireError
from inquiries import tax_inquiry
from parties import Parties


class Cutter:
    """Stands between client and server; cuts each of the first connections after so many bytes of both directions."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"hub://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts: list[int] = []
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                left = [self.cuts.pop(0) if self.cuts else 1 << 62]
                server = socket.create_connection(("127.0.0.1", self._server_port))
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=(one, other, left), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, left: list[int]) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65_536):
                data = data[: max(left[0], 0)]
                left[0] -= len(data)
                other.sendall(data)
                if left[0] <= 0:
                    break
        for sock in (one, other):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def cutter(parties: Parties) -> Iterator[Cutter]:
    served = Served(parties.h, plain_config(["nenkin", parties.town, "portal"]), as_usual=True)
    found = Cutter(served.port)
    yield found
    found.close()
    served.stop()


def test_a_long_inquiry_is_cut_again_and_again_and_ends_with_one_answer(
    cutter: Cutter, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.wire.caller.DELAY_MAX_S", 0.05)
    rows = 100_000
    aliases = np.ascontiguousarray(np.tile(parties.nenkin, (rows // 6 + 1, 1))[:rows])
    # 1.6 MB go there, 0.6 MB come back: in the hello, in the call, between its parts, in its reply.
    size, back = 16 * rows, 6 * rows
    cuts = [0, 3, 20, 60, 100, 1_000, size // 3, size - 1, size + 200, size + 4_000, size + back // 2, size + back]
    with hub.connect(cutter.address, timeout=60) as h:
        cutter.cuts = list(cuts)
        # Only a new connection is cut.
        asyncio.run_coroutine_threadsafe(_drop(h), h._loop).result()
        told: list[int] = []
        answer = h.inquire(tax_inquiry("cut"), aliases, parties.town, progress=told.append)
    assert answer.status.tolist() == [Status.OK] * rows
    assert cutter.cuts == []
    assert cutter.connections >= len(cuts)
    assert parties.h.stats()["records"] == rows


async def _drop(h: hub.Remote) -> None:
    for link in h._caller._links:
        link.abort()
    await asyncio.sleep(0.05)


def test_calls_of_all_kinds_go_on_over_cuts_anywhere(cutter: Cutter, parties: Parties) -> None:
    """Inquired, collected, provided, answered: what was done once is done once."""
    seed = random.SystemRandom().randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    asked = 30
    with hub.connect(cutter.address, timeout=60, pool=1) as h:
        for number in range(asked):
            cutter.cuts = [chance.randrange(20, 2_000) for _ in range(2)]
            asyncio.run_coroutine_threadsafe(_drop(h), h._loop).result()
            answer = h.inquire(tax_inquiry(f"c{number}"), parties.nenkin[:2], parties.town)
            assert answer.status.tolist() == [Status.OK] * 2
        assert parties.h.stats()["records"] == 2 * asked
        provided = 0
        while True:
            cutter.cuts = [chance.randrange(20, 4_000)]
            asyncio.run_coroutine_threadsafe(_drop(h), h._loop).result()
            waiting = h.collect(parties.town, limit=7)
            if not waiting:
                break
            for permits in waiting:
                provided += h.provide(parties.town, permits, Status.PROVIDED, [b"x"] * len(permits)).rows
        assert provided == 2 * asked
        parties.clock.now += 5
        assert h.answers("nenkin", "c7").payloads == [b"x", b"x"]
    assert parties.h.stats()["records"] == 4 * asked


def test_who_is_cut_every_time_is_told_in_time(cutter: Cutter, parties: Parties) -> None:
    with hub.connect(cutter.address) as h:
        cutter.cuts = [30] * 1_000
        asyncio.run_coroutine_threadsafe(_drop(h), h._loop).result()
        begin = time.monotonic()
        with pytest.raises((WireError, LateError)):
            h.checkpoint(timeout=1.0)
        assert time.monotonic() - begin < 20
        cutter.cuts = []
        assert h.checkpoint() == parties.h.checkpoint()
