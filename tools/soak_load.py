"""The clients of the soak: those that ask singly and in bulk, answer and read, and those that do no good."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import msgspec
import numpy as np

import hub
from fuzz_arguments import Pools
from fuzz_frames import HELLO, Maker, call, frame
from fuzz_reading import Findings, Reader
from hub.messages import Status
from soak_world import PROVIDERS, Told, World, inquiry_of, words_of
from wire_process import Served

SINGLES = 64
BULK_ROWS = 10_000, 100_000
TIMEOUT_S = 180.0
"""Of one call with all its retries: a restart takes seconds, on a machine that is busy more."""

HISTORY_LIMIT = 100
REPEATED = 0.05
"""Share of single inquiries that are given a second time."""


class Phases:
    """How long calls took, by phase: a phase lasts from one end of the server to the next."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []
        self.begin("start")

    def begin(self, after: str) -> None:
        self._began, self._after = time.monotonic(), after
        self._took: dict[str, list[float]] = {}
        self._rows: dict[str, int] = {}

    def add(self, kind: str, seconds: float, rows: int) -> None:
        """One call that was answered."""
        self._took.setdefault(kind, []).append(seconds)
        self._rows[kind] = self._rows.get(kind, 0) + rows

    def end(self) -> None:
        """Close the phase."""
        lasted = time.monotonic() - self._began
        kinds = {}
        for kind, took in sorted(self._took.items()):
            p50, p99 = np.percentile(np.array(took) * 1_000, [50, 99])
            kinds[kind] = {
                "calls": len(took), "rows_per_s": round(self._rows[kind] / lasted), "p50_ms": round(float(p50), 1),
                "p99_ms": round(float(p99), 1), "max_ms": round(max(took) * 1_000, 1),
            }  # fmt: skip
        self.all.append({"after": self._after, "seconds": round(lasted, 1), "calls": kinds})


class Load:
    """All clients that mean well, in one loop."""

    def __init__(self, server: Served, world: World, told: Told, seed: int) -> None:
        self._server, self._world, self._told = server, world, told
        self._random = Random(seed)
        self.phases = Phases()
        self.stopping = False
        self._number = 0

    def _connect(self, name: str = "soak") -> Any:
        own = self._server.clients[name]
        return hub.aio.connect(
            self._server.address, cert=own.cert, key=own.key, ca=self._server.authority.ca, timeout=TIMEOUT_S, pool=1
        )

    async def run(self) -> None:
        """Until ``stopping``: each client finishes what it has begun."""
        clients: list[Callable[[Any], Awaitable[None]]] = [self._ask_one] * SINGLES
        clients += [self._ask_many, self._answer, self._answer, self._read, self._read]
        await asyncio.gather(*(self._go_on(one, place) for place, one in enumerate(clients)))

    async def _go_on(self, client: Callable[[Any], Awaitable[None]], place: int) -> None:
        # Not all of them shake hands at once.
        await asyncio.sleep(place * 0.02)
        try:
            async with self._connect() as h:
                while not self.stopping:
                    await client(h)
        except Exception as error:
            self._told.problem(f"client: {client.__name__}: {error!r}")

    async def _ask(self, h: Any, kind: str, count: int) -> None:
        self._number += 1
        seed, request_id = self._number, f"soak-{kind}-{self._number}"
        rows = self._world.rows_of(seed, count)
        words = words_of(seed)
        begin = time.perf_counter()
        answer = await h.inquire(inquiry_of(request_id), rows.aliases, rows.providers, **words)
        self.phases.add(kind, time.perf_counter() - begin, count)
        self._told.counts[kind] += 1
        self._told.asked[request_id] = seed, count
        if not np.array_equal(answer.status, rows.status):
            self._told.problem(f"{kind}: another answer")
        asked = rows.persons[rows.status == Status.OK]
        np.add.at(self._told.times_asked, asked, 1)
        if kind == "single" and self._random.random() < REPEATED:
            again = await h.inquire(inquiry_of(request_id), rows.aliases, rows.providers, **words)
            self._told.counts["repeated"] += 1
            if not np.array_equal(again.status, answer.status) or again.receipt != answer.receipt:
                self._told.problem(f"{kind}: another answer when it was repeated")

    async def _ask_one(self, h: Any) -> None:
        await self._ask(h, "single", 1)

    async def _ask_many(self, h: Any) -> None:
        await self._ask(h, "bulk", self._random.randint(*BULK_ROWS))
        await asyncio.sleep(self._random.random())

    async def _answer(self, h: Any) -> None:
        """A municipality takes what it is asked, and answers: what it is told twice it answers alike."""
        town = self._world.homes[self._random.randrange(PROVIDERS)]
        begin = time.perf_counter()
        waiting = await h.collect(town, limit=2_000)
        self.phases.add("collect", time.perf_counter() - begin, sum(map(len, waiting)))
        own = self._told.answered.setdefault(town, {})
        for permits in waiting:
            numbers = permits.permit.tolist()
            payloads = [struct.pack("<Q", number) for number in numbers]
            begin = time.perf_counter()
            await h.provide(town, permits, Status.PROVIDED, payloads)
            self.phases.add("provide", time.perf_counter() - begin, len(numbers))
            own.update(zip(numbers, payloads, strict=True))
        self._told.counts["collected"] += 1
        await asyncio.sleep(0.2)

    async def _read(self, h: Any) -> None:
        """A citizen reads: at least what was acknowledged before."""
        person = self._random.randrange(len(self._world.portal))
        least = min(int(self._told.times_asked[person]), HISTORY_LIMIT)
        begin = time.perf_counter()
        page = await h.history(self._world.portal[person], limit=HISTORY_LIMIT)
        self.phases.add("history", time.perf_counter() - begin, len(page.records))
        self._told.counts["histories"] += 1
        if len(page.records) < least:
            self._told.problem(f"history: expected at least {least} records, got {len(page.records)}")
        await asyncio.sleep(0.02)


class Bad(threading.Thread):
    """Sends what the fuzz loop sends, and what is no TLS, or comes with a certificate that has ended."""

    def __init__(self, server: Served, world: World, told: Told, seed: int) -> None:
        super().__init__(daemon=True)
        self._server, self._told = server, told
        self._random = random = Random(seed)
        aliases = {name: [random.randbytes(16) for _ in range(8)] for name in (*world.outsiders, "nenkin", "portal")}
        self._pools = Pools(aliases, ["00000000017"])
        self._pools.institutions = list(world.outsiders)
        self._maker = Maker(random, self._pools)
        self.stopping = threading.Event()

    def run(self) -> None:
        good, ended = (self._server.context(self._server.clients[name]) for name in ("bad", "ended"))
        findings = Findings(self._server.base / "bad")
        while not self.stopping.wait(0.05):
            kind = self._random.random()
            # A server that is killed meanwhile is no news.
            with contextlib.suppress(OSError, EOFError):
                raw = socket.create_connection(("127.0.0.1", self._server.port), timeout=10)
                with raw:
                    if kind < 0.1:
                        raw.sendall(self._random.randbytes(300))
                        raw.recv(1_000)
                    elif kind < 0.2:
                        with ended.wrap_socket(raw, server_hostname="127.0.0.1") as sock:
                            sock.sendall(HELLO)
                            # By TLS 1.3 the client's half of the handshake ends before the server has looked.
                            if sock.recv(1_000):
                                self._told.problem("bad client: a certificate that has ended was answered")
                    else:
                        with good.wrap_socket(raw, server_hostname="127.0.0.1") as sock:
                            self._send(sock, findings)
            self._told.counts["bad clients"] += 1
        for problem in findings.problems:
            self._told.problem(f"bad client: {problem}")

    def _send(self, sock: ssl.SSLSocket, findings: Findings) -> None:
        script = self._maker.script()
        sock.settimeout(0.2)
        sock.sendall(b"".join(script.pieces))
        reader = Reader(findings, script, self._pools)
        with contextlib.suppress(TimeoutError):
            while piece := sock.recv(65_536):
                reader.push(piece)


class Slow(threading.Thread):
    """Sends half of something, or a byte now and then, or reads nothing of what it asks for, until it is cut."""

    def __init__(self, server: Served, world: World, told: Told, kind: int) -> None:
        super().__init__(daemon=True)
        self._server, self._told, self._kind = server, told, kind
        self._institution = world.outsiders[0]
        self.stopping = threading.Event()

    def run(self) -> None:
        context = self._server.context(self._server.clients["bad"])
        while not self.stopping.wait(0.5):
            with contextlib.suppress(OSError, EOFError):
                raw = socket.create_connection(("127.0.0.1", self._server.port), timeout=10)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                with context.wrap_socket(raw, server_hostname="127.0.0.1") as sock:
                    self._linger(sock)
            self._told.counts["slow clients cut"] += 1

    def _linger(self, sock: ssl.SSLSocket) -> None:
        half = frame(msgspec.msgpack.encode([3, 1, self._institution, "status", False, 900, bytes(100)]))
        sock.sendall((HELLO[:9], HELLO + half[:30], HELLO + half, HELLO)[self._kind])
        number = 2
        while not self.stopping.wait(0.3):
            if self._kind == 1:
                sock.sendall(half[30 + number % 60 : 31 + number % 60])
            elif self._kind == 3:
                # Replies of half a megabyte, none of them read.
                sock.sendall(call(number, self._institution, "catalog", b"\x80"))
            else:
                sock.settimeout(0.3)
                with contextlib.suppress(TimeoutError):
                    while sock.recv(65_536):
                        pass
                    return
            number += 1
