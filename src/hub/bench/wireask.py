"""The wire's load: a process of its own that sends prepared frames over many connections and times their replies.

    python -m hub.bench.wireask SPEC        with SPEC the path of a :class:`Load` as JSON; it writes ``SPEC.npz``

Closed: every connection has one request in flight, the next one leaves when its reply came. Open: requests have planned
moments; at each the next free connection sends one, and where none is free the request waits for it. Latency counts
from the planned moment, so that a server that stands still makes late what would have come meanwhile. The plan is
looked at once a millisecond: what that adds is in the latency.

Nothing is decoded while the clock runs; afterwards every reply is. ``ready`` on its output says that all connections
are welcome, and it begins with a line on its input; where ``forever`` is set it ends its load with the next one.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt

from hub.server import run_in_loop
from hub.wire.tls import TlsBuffer, TlsConnection

TICK_S = 0.001
LATE_S = 30.0
"""How long after its end a load waits for replies at most."""

TOGETHER = 32
"""Connections that are made at a time."""

NOT_ASKED, NO_ANSWER, WRONG = 254, 255, 253
"""In the column of statuses, where there is none; no status of the hub has such a number."""


class Load(msgspec.Struct, kw_only=True):
    """What to send where.

    Attributes:
        port: on 127.0.0.1. ca, certificate: files for TLS; None: plain.
        greeting: what a connection sends first; its first reply is then no answer.
        connections: how many. frames: file with uint8[N, L], of each row what is sent. Without: they stay silent.
        reply_bytes: length of a reply; 0: as its first four bytes say, little endian, themselves not counted.
        seconds: how long at most. rate: requests/s of an open load; 0: closed. forever: until told to end.
        pids: processes whose time is counted.
        form: of the replies: ``hub`` decodes them, ``plain`` compares their lengths only.
    """

    port: int
    ca: str | None = None
    certificate: str | None = None
    greeting: bytes = b""
    connections: int
    frames: str | None = None
    reply_bytes: int = 0
    seconds: float = 4.0
    rate: float = 0.0
    forever: bool = False
    pids: list[int] = []
    form: str = "plain"
    seed: int = 0


class Told(msgspec.Struct, kw_only=True):
    """How a load went; columns stand in the file beside it.

    Attributes:
        asked: rows that were sent. seconds: from the first one to the last reply.
        client_s, server_s: processor time of this process, and of the ``pids``.
        switches: context switches of the ``pids``, all threads.
    """

    asked: int
    seconds: float
    client_s: float
    server_s: float
    switches: int


class Use(msgspec.Struct):
    """What some processes have used so far: processor seconds, context switches."""

    seconds: float
    switches: int


def use_of(pids: list[int]) -> Use:
    """Read it from the kernel; zeros where it does not tell."""
    seconds, switches = 0.0, 0
    ticks = 100.0
    for pid in pids:
        try:
            # Behind the name, which may hold anything: 12th and 13th field are user and system ticks.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / ticks
            for status in Path(f"/proc/{pid}/task").glob("*/status"):
                lines = status.read_text().splitlines()
                switches += sum(int(line.split()[1]) for line in lines if "_ctxt_switches:" in line)
        except (OSError, IndexError):
            continue
    return Use(seconds, switches)


class Sender(asyncio.Protocol):
    """One connection with at most one request in flight."""

    __slots__ = ("_crowd", "_part", "_row", "_transport", "ready", "write")

    def __init__(self, crowd: Crowd) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._crowd = crowd
        self._row = -1
        self._part = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write
        if self._crowd.load.greeting:
            self.write(self._crowd.load.greeting)
        else:
            self.ready.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(error or ConnectionError("closed by the server"))
        elif not self._crowd.closing:
            self._crowd.fail(error or ConnectionError("closed by the server"))

    def ask(self, row: int) -> None:
        """Send a row; nothing of this connection is in flight."""
        self._row = row
        self.write(self._crowd.frames[row])

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        crowd, row = self._crowd, self._row
        if self._part:
            data = self._part + data
            self._part = b""
        fixed = crowd.reply_bytes
        if len(data) != (fixed or 4 + int.from_bytes(data[:4], "little")):
            if len(data) < (fixed or 4) or len(data) < (fixed or 4 + int.from_bytes(data[:4], "little")):
                self._part = data
            else:
                crowd.fail(ValueError("reply: expected one at a time, got more"))
            return
        if row < 0:
            if not self.ready.done():
                self.ready.set_result(None)
            return
        self._row = -1
        crowd.replies[row] = data
        crowd.ends[row] = now
        crowd.answered += 1
        crowd.go_on(self, now)

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class Crowd:
    """All connections of a load.

    Attributes:
        load, frames: what to send; a row each. reply_bytes, replies: as they came; None: none came.
        begins, ends: seconds of a row's planned or actual beginning, and of its reply. answered: how many.
    """

    def __init__(self, load: Load, kind: type[Sender] = Sender) -> None:
        self.load, self.kind = load, kind
        self.frames: list[memoryview] = []
        if load.frames is not None:
            frames = np.load(load.frames)
            whole = memoryview(frames.tobytes())
            self.frames = [whole[i : i + frames.shape[1]] for i in range(0, len(whole), frames.shape[1])]
        count = len(self.frames)
        self.reply_bytes = load.reply_bytes
        self.replies: list[bytes | None] = [None] * count
        self.begins, self.ends = [0.0] * count, [0.0] * count
        self.answered = self.asked = 0
        self.closing = False
        self.begun_at = 0.0
        self._senders: list[Sender] = []
        self._free: deque[Sender] = deque()
        self._plan: list[float] = []
        self._stop_at = 0.0
        self._failed: BaseException | None = None
        self.done = asyncio.Event()

    def fail(self, error: BaseException) -> None:
        """End the load with an error."""
        self._failed = self._failed or error
        self.done.set()

    async def connect(self) -> None:
        """Make the connections; all are welcome."""
        load, loop = self.load, asyncio.get_running_loop()
        context = None
        if load.ca is not None:
            context = ssl.create_default_context(cafile=load.ca)
            if load.certificate is not None:
                context.load_cert_chain(load.certificate)
        buffer = TlsBuffer()

        def protocol() -> asyncio.BaseProtocol:
            sender = self.kind(self)
            self._senders.append(sender)
            return sender if context is None else TlsConnection(context, sender, buffer, LATE_S, "127.0.0.1")

        for first in range(0, load.connections, TOGETHER):
            count = min(load.connections - first, TOGETHER)
            await asyncio.gather(*(loop.create_connection(protocol, "127.0.0.1", load.port) for _ in range(count)))
            # A handshake that fails is not told to the protocol behind it.
            await asyncio.wait_for(asyncio.gather(*(sender.ready for sender in self._senders[first:])), LATE_S)

    async def run(self) -> None:
        """Send everything, or what there is time for; until the last reply."""
        load = self.load
        if not self.frames:
            return
        loop = asyncio.get_running_loop()
        self.begun_at = now = time.perf_counter()
        self._stop_at = now + load.seconds
        if load.forever:
            loop.add_reader(sys.stdin.fileno(), self._end)
        if load.rate:
            # Poisson: many independent clerks.
            gaps = np.random.default_rng(load.seed).exponential(1 / load.rate, len(self.frames))
            plan = now + np.cumsum(gaps)
            self.begins = plan.tolist()
            self._plan = plan[plan < self._stop_at].tolist()
            self._free.extend(self._senders)
            self._tick()
        else:
            for sender in self._senders:
                self.go_on(sender, now)
        try:
            await asyncio.wait_for(self.done.wait(), load.seconds + LATE_S)
        except TimeoutError:
            # What was not answered is said of each row.
            print(f"load: {self.asked - self.answered} of {self.asked} had no answer in time", file=sys.stderr)
        if load.forever:
            loop.remove_reader(sys.stdin.fileno())
        if self._failed is not None:
            raise self._failed

    def _end(self) -> None:
        # Whatever is planned for later is not asked.
        self._stop_at = time.perf_counter()
        self._plan = self._plan[: max(self.asked, int(np.searchsorted(self._plan, self._stop_at)))]
        self._check_done()

    def go_on(self, sender: Sender, now: float) -> None:
        """Let a connection that is free send the next row, if one is due."""
        row = self.asked
        if self.load.rate:
            plan = self._plan
            if row < len(plan) and plan[row] <= now:
                self.asked = row + 1
                sender.ask(row)
            else:
                self._free.append(sender)
                self._check_done()
        elif row < len(self.frames) and now < self._stop_at:
            self.asked = row + 1
            self.begins[row] = now
            sender.ask(row)
        else:
            self._check_done()

    def _tick(self) -> None:
        plan, free, now = self._plan, self._free, time.perf_counter()
        while free and self.asked < len(plan) and plan[self.asked] <= now:
            row = self.asked
            self.asked = row + 1
            free.popleft().ask(row)
        if self.asked < len(plan):
            asyncio.get_running_loop().call_later(TICK_S, self._tick)
        else:
            self._check_done()

    def _check_done(self) -> None:
        last = len(self._plan) if self.load.rate else self.asked
        over = self.load.rate or self.asked == len(self.frames) or time.perf_counter() >= self._stop_at
        if over and self.asked >= last and self.answered == self.asked:
            self.done.set()

    def close(self) -> None:
        """Close the connections."""
        self.closing = True
        for sender in self._senders:
            sender.close()


def statuses_of(crowd: Crowd, names: list[str]) -> npt.NDArray[np.uint8]:
    """Of each row the hub's status; NOT_ASKED, NO_ANSWER, or WRONG where a reply is not that of what was asked."""
    from hub.wire.words import Reply, decode_from_server

    found = np.full(len(names), NOT_ASKED, np.uint8)
    for row in range(crowd.asked):
        data = crowd.replies[row]
        if data is None:
            found[row] = NO_ANSWER
            continue
        word = decode_from_server(memoryview(data)[5:])
        body = msgspec.msgpack.decode(word.body) if isinstance(word, Reply) else {}
        receipt = body.get("receipt", {})
        whole = isinstance(word, Reply) and word.size == len(word.body) and len(body["status"]) == 1
        right = whole and receipt.get("request_id") == names[row] and receipt.get("rows") == 1
        found[row] = body["status"][0] if right else WRONG
    return found


Judge = Callable[[Crowd], npt.NDArray[np.uint8]]


def judge_frames(crowd: Crowd) -> npt.NDArray[np.uint8]:
    """Of each row that was asked the hub's status; of plain replies 0, or NO_ANSWER."""
    load, count = crowd.load, crowd.asked
    if load.form == "hub" and load.frames is not None:
        names = np.load(load.frames.replace(".npy", ".names.npy")).tolist()
        return statuses_of(crowd, [name.decode() for name in names])
    missing = sum(reply is None for reply in crowd.replies[:count])
    return np.where(np.arange(count) < missing, NO_ANSWER, 0).astype(np.uint8)


def main(path: Path, kind: type[Sender] = Sender, judge: Judge = judge_frames) -> None:
    """Args: kind: of connections. judge: of what was asked, uint8 a row, 0 where the reply is right."""
    load = msgspec.json.decode(path.read_bytes(), type=Load)
    told: list[Told] = []
    crowds: list[Crowd] = []

    async def work() -> None:
        crowd = Crowd(load, kind)
        await crowd.connect()
        # Nothing here makes cycles; half a million frames are not to be looked through again and again.
        gc.collect()
        gc.freeze()
        gc.disable()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        before, own = use_of(load.pids), resource.getrusage(resource.RUSAGE_SELF)
        await crowd.run()
        seconds = max(crowd.ends, default=0.0) - crowd.begun_at
        now, after = resource.getrusage(resource.RUSAGE_SELF), use_of(load.pids)
        client = now.ru_utime + now.ru_stime - own.ru_utime - own.ru_stime
        server, switches = after.seconds - before.seconds, after.switches - before.switches
        told.append(
            Told(asked=crowd.asked, seconds=seconds, client_s=client, server_s=server, switches=switches)
        )
        crowds.append(crowd)
        crowd.close()

    run_in_loop(work())
    crowd = crowds[0]
    count = crowd.asked
    status = judge(crowd)
    np.savez(
        path.with_suffix(".npz"), begins=np.array(crowd.begins[:count]), ends=np.array(crowd.ends[:count]),
        status=status[:count],
    )  # fmt: skip
    print(msgspec.json.encode(told[0]).decode(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
