"""Overload a real ``hub serve``: clients that push more than they may, and such as never read; is its memory flat?

Beside them one institution behaves, and asks one thing after another: it must be answered all the time. Printed at the
end: JSON with the server's memory of its own (``RssAnon`` of /proc, MiB) each second, its open files, what the polite
one met. Exit 0 where memory is flat and the polite one was answered, 1 where not.
Nobody collects: what is not in an inbox yet is then held in memory, up to ``limits.BEHIND_INBOXES_MAX`` records.

    python tools/overload_wire.py --seconds 40 --clients 60
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

import hub

PERSONS = 2_000
FLOODING, POLITE = "nenkin", 1
WARM_SHARE = 0.4
"""Of the run: until then queues fill and threads start; from then on memory must not grow."""
GROWTH_MIB_MAX, GROWTH_SHARE_MAX = 48, 0.15
ANSWER_S_MAX = 20.0

_encode = msgspec.msgpack.Encoder().encode


def frame(message: Any, version: int = 1) -> bytes:
    """A message as it travels."""
    body = _encode(message)
    return struct.pack("<IB", len(body) + 1, version) + body


HELLO = frame([1, [1], "overload"], 0)


def inquiry(request_id: str, aliases: bytes, town: str) -> dict[str, Any]:
    """Arguments of an inquiry that the law allows."""
    words = {
        "procedure": "19-8/73/75.3", "items": ["市町村民税"], "role": "納付義務者", "section": "overload",
        "request_id": request_id,
    }  # fmt: skip
    return {"inquiry": words, "aliases": aliases, "providers": [[town], b""]}


def call(number: int, institution: str, method: str, arguments: Any) -> bytes:
    """A call in one frame."""
    body = _encode(arguments)
    return frame([3, number, institution, method, False, len(body), body])


class Goal(NamedTuple):
    """Where the rude ones go: port, a town that is asked, the aliases of who floods, seed of request ids."""

    port: int
    town: str
    aliases: npt.NDArray[np.uint8]
    seed: int


class World:
    """A folder with synthetic persons, and a server on it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        with hub.open(folder / "hub", create=True) as h:
            codes = np.arange(1_000_000_000, 1_000_000_000 + PERSONS, dtype=np.int64)
            self.town = h.catalog.institutions("市町村長")[POLITE].code
            self.aliases = h.acquire(FLOODING, codes).aliases
            self.known = h.acquire(self.town, codes).aliases
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        (folder / "hub.toml").write_text(
            f'folder = "hub"\nlisten = "127.0.0.1:{self.port}"\n'
            f'[plain]\nname = "here"\ninstitutions = ["{FLOODING}", "{self.town}"]\n'
            # Shorter than usual, so that a run of seconds sees clients cut.
            '[limits]\nunread_s = 8.0\nframe_s = 8.0\nhello_s = 5.0\nbytes_in_flight = 268435456\n'
            '[log]\nfile = "hub.log"\nlevel = "warning"\n'
        )
        command = [sys.executable, "-m", "hub", "serve", "--plain", "--config", str(folder / "hub.toml")]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("serving")

    def anonymous_mib(self) -> float:
        """What the server has in memory of its own, the map not counted."""
        with open(f"/proc/{self.process.pid}/status") as lines:
            found = next(line for line in lines if line.startswith("RssAnon"))
        return int(found.split()[1]) / 1024

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


class Rude:
    """One client that does one bad thing until it is cut, and then again."""

    def __init__(self, world: Goal, name: int, end: float) -> None:
        self.world, self.name, self.end = world, name, end
        self.sent = self.cut = 0

    async def run(self) -> None:
        kinds = [self.never_read, self.never_read_long, self.announce, self.push, self.push_small, self.half_a_frame]
        work = kinds[self.name % len(kinds)]
        while time.monotonic() < self.end:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.world.port)
            except OSError:
                await asyncio.sleep(0.2)
                continue
            try:
                writer.write(HELLO)
                (size,) = struct.unpack("<I", await reader.readexactly(4))
                await reader.readexactly(size)
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + max(self.end - time.monotonic(), 0)):
                    await work(reader, writer)
            except (OSError, EOFError, asyncio.IncompleteReadError):
                self.cut += 1
            except TimeoutError:
                pass
            finally:
                writer.transport.abort()

    def _request(self) -> str:
        self.sent += 1
        return f"{self.world.seed}-{self.name}-{self.sent}"

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()
        # Others' turn: without it whoever is never held up keeps the loop.
        await asyncio.sleep(0)

    async def never_read(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Single inquiries without end; no answer is read."""
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        while True:
            for _ in range(50):
                row = self.world.aliases[self.sent % PERSONS].tobytes()
                writer.write(call(self.sent, FLOODING, "inquire", inquiry(self._request(), row, self.world.town)))
            await self._send(writer, b"")

    async def never_read_long(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What has long replies; none is read."""
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        while True:
            for name, words in (("catalog", {}), ("tickets", {"n": 10_000}), ("checkpoints", {})):
                self.sent += 1
                await self._send(writer, call(self.sent, FLOODING, name, words))

    async def announce(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Long calls that are announced and begun, and never end."""
        piece = bytes(1 << 18)
        for number in range(64):
            self.sent += 1
            await self._send(writer, frame([3, number, FLOODING, "inquire", False, 64 << 20, piece]))
        while await reader.read(1 << 16):
            pass

    async def push(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bulk of 40,000 rows, as much as goes in; answers are read."""
        await self._pipeline(reader, writer, np.tile(self.world.aliases, (20, 1)).tobytes(), 40)

    async def push_small(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Inquiries of 1,000 rows, which share commits, as much as goes in; answers are read."""
        await self._pipeline(reader, writer, self.world.aliases[:1_000].tobytes(), 200)

    async def _pipeline(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rows: bytes, at_a_time: int
    ) -> None:
        async def read() -> None:
            while await reader.read(1 << 18):
                pass

        reading = asyncio.create_task(read())
        try:
            while not reading.done():
                for _ in range(at_a_time):
                    body = inquiry(self._request(), rows, self.world.town)
                    await self._send(writer, call(self.sent, FLOODING, "inquire", body))
                await asyncio.sleep(0.05)
        finally:
            reading.cancel()

    async def half_a_frame(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The beginning of the longest frame, a byte at a time."""
        await self._send(writer, struct.pack("<IB", 1 << 20, 1) + bytes(1 << 19))
        self.sent += 1
        while True:
            await self._send(writer, b"\0")
            await asyncio.sleep(0.1)


class Polite:
    """One institution that asks one thing after the other: each must be answered."""

    def __init__(self, world: World, end: float) -> None:
        self.world, self.end = world, end
        self.times: list[float] = []
        self.slowest = ("", 0.0)
        self.errors: list[str] = []

    async def run(self) -> None:
        async with hub.aio.connect(f"hub://127.0.0.1:{self.world.port}", institution=self.world.town) as h:
            number = 0
            while time.monotonic() < self.end:
                begun = time.monotonic()
                try:
                    if number % 3 == 0:
                        await h.begin_file(self.world.town, f"polite-{number}", bytes(32), 1, timeout=60)
                    elif number % 3 == 1:
                        await h.flags(self.world.town, self.world.known[:50].copy(), timeout=60)
                    else:
                        await h.find_file(self.world.town, f"polite-{number - 2}", timeout=60)
                except hub.errors.HubError as error:
                    self.errors.append(type(error).__name__)
                self.times.append(time.monotonic() - begun)
                if self.times[-1] > self.slowest[1]:
                    self.slowest = ("begin_file", "flags", "find_file")[number % 3], round(self.times[-1], 3)
                number += 1
                await asyncio.sleep(0.02)


def be_rude(goal: Goal, seconds: float, names: range, told: Any) -> None:
    """What a process of its own does: some clients; says how much was sent, and how often one was cut."""

    async def run() -> tuple[int, int]:
        rude = [Rude(goal, name, time.monotonic() + seconds) for name in names]
        await asyncio.gather(*(one.run() for one in rude), return_exceptions=True)
        return sum(one.sent for one in rude), sum(one.cut for one in rude)

    told.send(asyncio.run(run()))


async def overload(world: World, seconds: float, clients: int) -> dict[str, Any]:
    """Do it, and say what was seen."""
    spawn = multiprocessing.get_context("spawn")
    hear, tell = spawn.Pipe(duplex=False)
    goal = Goal(world.port, world.town, world.aliases, world.seed)
    rude = spawn.Process(target=be_rude, args=(goal, seconds, range(clients), tell), daemon=True)
    rude.start()
    end = time.monotonic() + seconds
    polite = Polite(world, end)
    task = asyncio.create_task(polite.run())
    mib, files = [], []
    while time.monotonic() < end:
        await asyncio.sleep(1)
        mib.append(round(world.anonymous_mib(), 1))
        files.append(world.open_files())
        if sys.stderr.isatty():
            print(f"\r{len(mib)} s: {mib[-1]:.0f} MiB, {files[-1]} files ", end="", file=sys.stderr, flush=True)
    await asyncio.gather(task, return_exceptions=True)
    sent, cut = await asyncio.to_thread(lambda: hear.recv() if hear.poll(60) else (0, 0))
    await asyncio.to_thread(rude.join, 60)
    times = sorted(polite.times) or [float("inf")]
    return {
        "seconds": seconds, "clients": clients, "sent": sent, "cut": cut, "mib": mib, "open_files": files,
        "polite": {
            "calls": len(polite.times), "errors": polite.errors, "p50_s": round(times[len(times) // 2], 4),
            "slowest": polite.slowest[0], "max_s": polite.slowest[1],
        },
    }  # fmt: skip


def is_flat(mib: list[float]) -> bool:
    """Whether memory grew no more once queues were full: the last third's peak beside that of before."""
    warm = mib[int(len(mib) * WARM_SHARE) :]
    before, after = warm[: len(warm) // 2], warm[len(warm) // 2 :]
    return max(after) <= max(before) * (1 + GROWTH_SHARE_MAX) + GROWTH_MIB_MAX


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40.0, help="how long (40)")
    parser.add_argument("--clients", type=int, default=60, help="rude ones (60)")
    parser.add_argument("--seed", type=int, default=0, help="of request ids")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what is printed there as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), arguments.seed)
        try:
            found = asyncio.run(overload(world, arguments.seconds, arguments.clients))
            # When all have gone, nothing of theirs is left.
            time.sleep(2)
            found["mib_after"] = round(world.anonymous_mib(), 1)
            found["open_files_after"] = world.open_files()
        finally:
            found_status = world.stop()
        found["log"] = (Path(folder) / "hub.log").read_text().splitlines()[-20:]
        with hub.open(Path(folder) / "hub") as h:
            found["verified"] = h.verify().ok
            found["records"] = h.stats()["records"]
    polite = found["polite"]
    found["flat"] = is_flat(found["mib"])
    found["answered"] = not polite["errors"] and polite["calls"] > 0 and polite["max_s"] < ANSWER_S_MAX
    text = json.dumps(found, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    return 0 if found["flat"] and found["answered"] and found["verified"] and found_status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
