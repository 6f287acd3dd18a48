"""The fuzz loop inside one process: a real Hub and its server's connections, on transports that only count.

Nothing of a connection is known here but that it is an asyncio protocol, and what docs/wire.md says of its frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import importlib
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import hub
from fuzz_arguments import Pools
from fuzz_frames import HELLO, Maker, Script, call
from fuzz_reading import Findings, Reader
from hub.server import Server
from hub.wire.config import Config, Limits, Plain

PERSONS = 64
WORKERS = 24
ANSWER_S = 120.0
"""An answer that takes longer is a hang; the machine may be busy with much else."""

TELL_S = 20.0
ALIVE_MAX = 16 * WORKERS
"""The last group of inquiries, each thread, and the look that the server takes at its connections, may hold those that
they saw last until the next ones come: of all clients no more than the calls that may be open."""


class Pipe(asyncio.Transport):
    """A transport to a client that reads everything, unless it is halted."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any, reader: Reader) -> None:
        super().__init__()
        self._loop, self._protocol, self.reader = loop, protocol, reader
        self.closing = self.paused = self.halted = self.lost = False
        self._waiting: asyncio.Future[None] | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self.closing

    def is_reading(self) -> bool:
        return not self.paused

    def write(self, data: Any) -> None:
        if not self.lost:
            self.reader.push(bytes(data))
            self._wake()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        self._wake()

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if not self.reader.told_end:
                self.reader.problem("closed: without an error")
            self._loop.call_soon(self.lose)

    def abort(self) -> None:
        if not self.closing:
            self.closing = True
            self._loop.call_soon(self.lose)

    def lose(self) -> None:
        """What a connection hears at last."""
        if not self.lost:
            self.closing = self.lost = True
            self._protocol.connection_lost(None)
            self._wake()

    def feed(self, data: bytes) -> None:
        """As the loop does when something arrived."""
        take = getattr(self._protocol, "data_received", None)
        if take is not None:
            take(data)
            return
        view = memoryview(data)
        while len(view) and not self.closing:
            place = memoryview(self._protocol.get_buffer(-1))
            size = min(len(place), len(view))
            place[:size] = view[:size]
            self._protocol.buffer_updated(size)
            view = view[size:]

    def halt(self, on: bool) -> None:
        """The client stops reading, or reads again."""
        if on != self.halted and not self.closing:
            self.halted = on
            (self._protocol.pause_writing if on else self._protocol.resume_writing)()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def until_read(self) -> None:
        """Wait until the server takes more; a client that does not read begins to, or it would be for ever."""
        while self.paused and not self.closing:
            if self.halted:
                self.halt(False)
            else:
                await self.change()

    async def change(self) -> None:
        """Wait for whatever the server does next."""
        self._waiting = self._loop.create_future()
        try:
            await asyncio.wait_for(self._waiting, ANSWER_S)
        finally:
            self._waiting = None


def loop_factory() -> Any:
    """A loop that remembers what makes a server's connections: uvloop's where it is installed."""
    base: Any = asyncio.SelectorEventLoop
    with contextlib.suppress(ImportError):
        base = importlib.import_module("uvloop").Loop

    class Loop(base):  # type: ignore[misc]
        factory: Any = None

        async def create_server(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
            self.factory = protocol_factory
            return await super().create_server(protocol_factory, *args, **kwargs)

    return Loop()


def make_world(folder: Path) -> tuple[hub.Hub, Pools]:
    """A hub with some persons, whom several bodies know."""
    h = hub.open(folder, create=True)
    codes = [f"{10**9 + number:011}" for number in range(PERSONS)]
    towns = [body.code for body in h.catalog.institutions("市町村長")[:3]]
    names = ["nenkin", "portal", "jlis", *towns]
    aliases = {name: [one.tobytes() for one in h.acquire(name, codes).aliases] for name in names if name != "jlis"}
    aliases["jlis"] = [bytes(16)]
    return h, Pools(aliases, codes)


class Inside:
    """One hub and its server, and everybody who sends them anything, until so many frames were sent."""

    def __init__(self, folder: Path, random: Random, findings: Findings, *, limits: Limits | None = None) -> None:
        self._folder, self._random, self._findings = folder, random, findings
        self._limits = limits or Limits(requests_per_connection=16, bytes_in_flight=1 << 26, bulk_waiting=256)
        self.frames = 0

    async def run(self, frames: int, until: float, scripts: list[Script] | None = None) -> None:
        """Send so many frames, or those of some scripts, and look at everything when all are gone."""
        h, pools = make_world(self._folder)
        loop: Any = asyncio.get_running_loop()
        plain = Plain("fuzz", pools.institutions)
        self._server = Server(h, Config(folder="", listen="127.0.0.1:0", plain=plain, limits=self._limits))
        await self._server.start()
        self._loop, self._factory, self._pools = loop, loop.factory, pools
        maker = Maker(self._random, pools)
        try:
            if scripts is None:
                telling = asyncio.create_task(self._tell(frames))
                await asyncio.gather(*(self._work(maker, frames, until) for _ in range(WORKERS)))
                telling.cancel()
            for script in scripts or []:
                await self._converse(script)
            await self._settle()
        finally:
            await self._server.stop()
        report = h.verify()
        for problem in report.problems:
            self._findings.add(f"verify: {problem}")
        self._findings.counts["records"] += h.stats()["records"]
        h.close()

    async def _tell(self, frames: int) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            print(f"  {self.frames:,} of {frames:,}", flush=True)

    async def _work(self, maker: Maker, frames: int, until: float) -> None:
        busy = 0
        while self.frames < frames and time.monotonic() < until:
            script = maker.script()
            try:
                await self._converse(script)
            except TimeoutError:
                self._findings.add("hang: no answer", script)
            except Exception as error:
                self._findings.add(f"escaped: {error!r}", script)
            # A loop that nothing waits for does nothing else; where the threads have enough to do, they come first.
            busy, seen = self._findings.counts["errors busy"], busy
            await asyncio.sleep(0.05 if busy > seen else 0)

    async def _converse(self, script: Script) -> None:
        random, self._findings.counts["connections"] = self._random, self._findings.counts["connections"] + 1
        protocol = self._factory()
        reader = Reader(self._findings, script, self._pools)
        pipe = Pipe(self._loop, protocol, reader)
        try:
            protocol.connection_made(pipe)
            style = random.random()
            if style < 0.1:
                self.frames += await self._pour(pipe, script)
            else:
                await self._send(pipe, script, rude=style > 0.97, cut=style < 0.3)
            pipe.halt(False)
            if script.whole and script.pieces[:1] == [HELLO] and not pipe.closing and random.random() < 0.6:
                await self._ask(pipe)
        finally:
            if not pipe.closing and random.random() < 0.5:
                protocol.eof_received()
            pipe.lose()

    async def _pour(self, pipe: Pipe, script: Script) -> int:
        """All at once, in pieces that end anywhere; how many frames it certainly read."""
        data, at = b"".join(script.pieces), 0
        while at < len(data) and not pipe.closing:
            size = 1 + int(self._random.expovariate(1 / 400))
            pipe.feed(data[at : at + size])
            at += size
            await pipe.until_read()
        return len(pipe.reader.answered) + 1 if pipe.closing else len(script.pieces)

    async def _send(self, pipe: Pipe, script: Script, *, rude: bool, cut: bool) -> None:
        """Frame by frame; rude: also when the server does not want to read, as a buffer of TLS does."""
        random = self._random
        for piece in script.pieces:
            if not rude:
                await pipe.until_read()
            if pipe.closing:
                break
            self.frames += 1
            if cut and len(piece) > 1:
                at = random.randrange(1, len(piece))
                pipe.feed(piece[:at])
                if not pipe.closing:
                    pipe.feed(piece[at:])
            else:
                pipe.feed(piece)
            if random.random() < 0.005:
                pipe.halt(not pipe.halted)

    async def _ask(self, pipe: Pipe) -> None:
        """One right call more: whoever sent nonsense in whole frames is answered."""
        number = 1 << 31 | self._random.getrandbits(31)
        await pipe.until_read()
        if pipe.closing:
            return
        pipe.feed(call(number, "nenkin", "verifier_key", b"\x80"))
        while number not in pipe.reader.answered and not pipe.closing:
            await pipe.change()
        self._findings.counts["answered behind"] += 1

    async def _settle(self) -> None:
        """Everybody has left: nothing of them may be left."""
        end = time.monotonic() + ANSWER_S
        limits, calls = self._limits, self._server.calls
        kind = type(self._factory())

        def left() -> str | None:
            if self._server.connections:
                return f"connections: {len(self._server.connections)} left"
            some = getattr(calls, "_bytes_left", limits.bytes_in_flight)
            if some != limits.bytes_in_flight:
                return f"bytes in flight: {limits.bytes_in_flight - some} left"
            gc.collect()
            alive = sum(type(one) is kind for one in gc.get_objects())
            return None if alive <= ALIVE_MAX else f"{alive} connections alive"

        calls_open = calls.open
        while (problem := left()) is not None and time.monotonic() < end:
            await asyncio.sleep(0.1)
            if calls.open < calls_open:
                # Those whose callers left are done all the same: some hundred may wait for a thread.
                calls_open, end = calls.open, time.monotonic() + ANSWER_S
        if problem is not None:
            loads = {pool.name: pool.load() for pool in (calls.small, calls.medium, calls.bulk, calls.pages)}
            self._findings.add(f"leak: {problem}; {calls.open} calls open, pools {loads}")
            # Where the threads stand tells whether a call is still being done.
            faulthandler.dump_traceback(file=sys.stderr)
