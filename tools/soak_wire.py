"""A served hub under load for minutes, killed and begun again, and then compared with what was acknowledged.

    python tools/soak_wire.py --minutes 10 --json bench/results/epyc-2-cores-soak-wire.json

A real ``hub serve`` over TLS: 64 connections that ask singly, one that asks 10,000 to 100,000 rows at a time,
municipalities that collect and answer, citizens who read; beside them clients that send nonsense and clients that are
slow. Every 20 to 60 seconds the server is killed with SIGKILL, now and then ended with SIGTERM, and begun again. At the
end every acknowledged row must be in the log once, nothing else may be, the log must verify, repeated requests must be
answered alike, and memory and descriptors must have been flat. Ends with a summary as JSON, and 0, or 1 where something
was wrong, 2 where it was called wrongly.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from hub.bench.machine import describe
from soak_load import SINGLES, Bad, Load, Slow
from soak_world import Told, World, compare
from wire_process import Served

RESIDENTS = 50_000
LIFE_S = 20.0, 60.0
GRACEFUL = 0.25
SAMPLE_S = 1.0
WARM_S = 8.0
"""What a server holds is not looked at while its clients come back."""

GROWTH_BYTES_MAX = 128 << 20
DESCRIPTORS_MAX = 64
LIMITS = "[limits]\nhello_s = 5\nframe_s = 5\nunread_s = 5\n"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, metavar="M", help="of load (default: 10)")
    parser.add_argument("--residents", type=int, default=RESIDENTS, metavar="N", help=f"default: {RESIDENTS:,}")
    parser.add_argument("--seed", type=int, help="of residents, lives and clients")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="for the hub (default: a temporary one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the summary, also there")
    given = parser.parse_args(argv)
    if given.minutes <= 0 or given.residents < 1_000:
        parser.error("--minutes, --residents: expected more than 0 and at least 1,000")
    return given


class Watch(threading.Thread):
    """Looks at the server's memory and descriptors every second."""

    def __init__(self, server: Served) -> None:
        super().__init__(daemon=True)
        self._server = server
        self.samples: list[tuple[float, int, int]] = []
        """Seconds since the start, bytes, descriptors; of servers that are warm."""
        self.peak = 0
        self.stopping = threading.Event()
        self.began = self._start = time.monotonic()

    def run(self) -> None:
        while not self.stopping.wait(SAMPLE_S):
            try:
                memory, descriptors = self._server.resident_bytes(), self._server.descriptors()
            except OSError:
                continue
            self.peak = max(self.peak, memory)
            if memory and time.monotonic() - self.began > WARM_S:
                self.samples.append((time.monotonic() - self._start, memory, descriptors))


async def live(load: Load, watch: Watch, server: Served, told: Told, random: Random, minutes: float) -> None:
    """Kill and begin again, until the time is over; then let everybody finish."""
    end = time.monotonic() + 60 * minutes
    working = asyncio.create_task(load.run())
    while (left := end - time.monotonic()) > 0 and not working.done():
        await asyncio.wait([working], timeout=min(random.uniform(*LIFE_S), left))
        if time.monotonic() >= end or working.done():
            break
        load.phases.end()
        graceful = random.random() < GRACEFUL
        number = signal.SIGTERM if graceful else signal.SIGKILL
        begin = time.monotonic()
        status = await asyncio.to_thread(server.end, number)
        if graceful and status != 0:
            told.problem(f"server: ended with {status} at SIGTERM")
        await asyncio.to_thread(server.begin)
        watch.began = time.monotonic()
        told.counts["SIGTERM" if graceful else "SIGKILL"] += 1
        name = "SIGTERM" if graceful else "SIGKILL"
        load.phases.begin(name)
        print(f"  {name}, back in {watch.began - begin:.1f} s; {dict(told.counts)}", flush=True)
    load.stopping = True
    await working
    load.phases.end()


def judge_flat(watch: Watch, told: Told) -> dict[str, Any]:
    """Memory and descriptors in the first and the last third."""
    third = len(watch.samples) // 3
    if not third:
        return {"samples": len(watch.samples)}
    found: dict[str, Any] = {"samples": len(watch.samples), "memory_bytes_peak": watch.peak}
    for name, place, most in (("memory_bytes", 1, GROWTH_BYTES_MAX), ("descriptors", 2, DESCRIPTORS_MAX)):
        parts = [watch.samples[at * third : (at + 1) * third] for at in range(3)]
        thirds = [int(statistics.median(one[place] for one in part)) for part in parts]
        found[name] = thirds
        if thirds[2] - thirds[0] > most:
            told.problem(f"{name}: {thirds[0]:,} in the first third, {thirds[2]:,} in the last one")
    return found


def soak(given: argparse.Namespace, seed: int, base: Path) -> dict[str, Any]:
    """All of it; the summary."""
    world, random = World(base / "hub", given.residents, seed), Random(seed)
    machine = describe(base)
    parties = {"soak": ["nenkin", "portal", *world.homes], "bad": world.outsiders, "ended": world.outsiders}
    server = Served(base / "server", world.folder, parties, LIMITS, ended=["ended"])
    told, watch = Told(given.residents), Watch(server)
    load = Load(server, world, told, seed)
    others = [Bad(server, world, told, seed), *(Slow(server, world, told, kind) for kind in range(4)), watch]
    try:
        for one in others:
            one.start()
        asyncio.run(live(load, watch, server, told, random, given.minutes))
        for one in others:
            one.stopping.set()
            one.join(30)
        if (status := server.end()) != 0:
            told.problem(f"server: ended with {status}")
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
    for line in server.failures[:5]:
        told.problem(f"server: {line}")
    print("  comparing", flush=True)
    return {
        "machine": machine, "commit": machine["commit"], "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "seed": seed, "minutes": given.minutes, "residents": given.residents, "connections": SINGLES,
        "counts": dict(sorted(told.counts.items())), "log": compare(world, told), "server": judge_flat(watch, told),
        "phases": load.phases.all, "problems": told.problems,
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Soak; 0 nothing wrong, 1 something."""
    given = parse(argv)
    seed = SystemRandom().randrange(1 << 30) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as base:
        summary = soak(given, seed, Path(base))
    text = json.dumps(summary, ensure_ascii=False, indent=1)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n", encoding="utf-8")
    return 1 if summary["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
