"""The fuzz loop over TLS: a server of its own as a process, and beside it a client whose answers must stay right."""

from __future__ import annotations

import argparse
import contextlib
import socket
import ssl
import tempfile
import threading
import time
from pathlib import Path
from random import Random

import numpy as np

import hub
from fuzz_arguments import Pools
from fuzz_frames import HELLO, Maker, Script, call
from fuzz_reading import Findings, Reader
from hub.messages import Status
from wire_process import Served

PERSONS = 64
ANSWER_S = 120.0
STEP_S = 5.0
GROWTH_BYTES_MAX = 64 << 20
DESCRIPTORS_MAX = 24
"""So many more than at the beginning: connections of the client beside, threads' files."""


class Honest(threading.Thread):
    """Asks, collects, provides and reads, and knows what every answer must be.

    Attributes:
        asked: request id -> statuses that were told. error: what ended it.
    """

    def __init__(self, server: Served, world: World, findings: Findings) -> None:
        super().__init__(daemon=True)
        self._server, self._world, self._findings = server, world, findings
        self.asked: dict[str, list[int]] = {}
        self.stopping = threading.Event()

    def run(self) -> None:
        try:
            with self._server.connect("honest", timeout=ANSWER_S) as h:
                number = 0
                while not self.stopping.is_set():
                    self._round(h, f"honest-{number}", number)
                    number += 1
        except Exception as error:
            self._findings.add(f"client beside: {error!r}")

    def _round(self, h: hub.Remote, request_id: str, number: int) -> None:
        world = self._world
        rows = [number % world.known, world.known + number % world.strangers]
        inquiry = hub.Inquiry(
            requester="nenkin", procedure="19-8/73/75.3", items=("市町村民税",), role="納付義務者",
            section="国民年金部", request_id=request_id,
        )  # fmt: skip
        status = h.inquire(inquiry, np.ascontiguousarray(world.nenkin[rows]), world.town).status.tolist()
        self.asked[request_id] = status
        if status != [Status.OK, Status.NO_ALIAS_AT_PROVIDER]:
            self._findings.add(f"client beside: told {status}")
        (permits,) = h.collect(world.town)
        if permits.aliases.tobytes() != world.known_aliases[rows[0]].tobytes():
            self._findings.add("client beside: another person's permit")
        h.provide(world.town, permits, Status.PROVIDED, [request_id.encode()])
        end = time.monotonic() + ANSWER_S
        while (found := h.answers("nenkin", request_id)).payloads[0] is None and time.monotonic() < end:
            time.sleep(0.05)
        if found.payloads != [request_id.encode(), None]:
            self._findings.add("client beside: another answer")


class World:
    """A folder: persons of the client beside, of whom its town knows one half, and others of whom the rest asks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        codes = [f"{10**9 + number:011}" for number in range(2 * PERSONS)]
        own, others = codes[:PERSONS], codes[PERSONS:]
        self.known = self.strangers = PERSONS // 2
        with hub.open(folder, create=True) as h:
            self.town, *towns = [body.code for body in h.catalog.institutions("市町村長")[:4]]
            self.nenkin = h.acquire("nenkin", own).aliases
            self.known_aliases = h.acquire(self.town, own[: self.known]).aliases
            names = [*towns, "portal"]
            aliases = {name: [one.tobytes() for one in h.acquire(name, others).aliases] for name in names}
        # The loop's default where an institution has no aliases of its own.
        self.fuzzed = [*names, "jlis", "mhlw"]
        first = aliases[names[0]]
        self.pools = Pools({**aliases, "jlis": first, "mhlw": first, "nenkin": first}, others)
        self.pools.institutions.remove("nenkin")


def fuzz_tls(given: argparse.Namespace, random: Random, findings: Findings) -> list[int]:
    """Send frames over TLS, then look at the folder; memory of the server every few seconds."""
    with tempfile.TemporaryDirectory(dir=given.folder) as base:
        world = World(Path(base) / "hub")
        server = Served(Path(base) / "server", world.folder, {"honest": ["nenkin", world.town], "fuzz": world.fuzzed})
        try:
            return _fuzz(given, random, findings, world, server)
        finally:
            if server.process.poll() is None:
                server.process.kill()


def _fuzz(
    given: argparse.Namespace, random: Random, findings: Findings, world: World, server: Served
) -> list[int]:
    honest = Honest(server, world, findings)
    honest.start()
    maker, context = Maker(random, world.pools), server.context(server.clients["fuzz"])
    until, memory, told = time.monotonic() + 60 * given.minutes, [], 0.0
    descriptors = server.descriptors()
    while findings.counts["frames"] < given.frames and time.monotonic() < until and not findings.problems:
        script = maker.script()
        try:
            _converse(server, context, script, random, Reader(findings, script, world.pools))
        except TimeoutError:
            # Of what is no frame the server may wait for the rest.
            if script.whole and script.pieces[:1] == [HELLO]:
                findings.add("hang: no answer", script)
        findings.counts["connections"] += 1
        if time.monotonic() > told + STEP_S:
            told = time.monotonic()
            memory.append(server.resident_bytes())
            print(f"  {findings.counts['frames']:,} frames, {len(honest.asked):,} right rounds beside", flush=True)
    honest.stopping.set()
    honest.join(ANSWER_S)
    _look(findings, world, server, honest, memory, descriptors)
    return memory


def _converse(server: Served, context: ssl.SSLContext, script: Script, random: Random, reader: Reader) -> None:
    """One connection; what was sent behind its end is not counted."""
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=ANSWER_S)
    with context.wrap_socket(raw, server_hostname="127.0.0.1") as sock:
        number = 1 << 31 | random.getrandbits(31)
        asks = script.whole and script.pieces[:1] == [HELLO]
        data = b"".join(script.pieces) + (call(number, "jlis", "verifier_key", b"\x80") if asks else b"")
        at = 0
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while at < len(data):
                size = 1 + int(random.expovariate(1 / 2_000))
                sock.sendall(data[at : at + size])
                at += size
            if random.random() < 0.5 or not asks:
                sock.settimeout(ANSWER_S if asks else 0.02)
                while number not in reader.answered and (piece := sock.recv(65_536)):
                    reader.push(piece)
        reader.findings.counts["frames"] += len(reader.answered) + 1 if reader.told_end else len(script.pieces)


def _look(
    findings: Findings, world: World, server: Served, honest: Honest, memory: list[int], descriptors: int
) -> None:
    """At the server when all have left, at how it ends, and at its folder."""
    end = time.monotonic() + ANSWER_S
    while server.descriptors() > descriptors + DESCRIPTORS_MAX and time.monotonic() < end:
        time.sleep(0.1)
    if server.descriptors() > descriptors + DESCRIPTORS_MAX:
        findings.add(f"leak: {server.descriptors()} descriptors, {descriptors} at the beginning")
    third = len(memory) // 3
    if third and max(memory[-third:]) - max(memory[third : 2 * third]) > GROWTH_BYTES_MAX:
        findings.add("memory: grew in the last third")
    if (status := server.end()) != 0:
        findings.add(f"server: ended with {status}")
    for line in server.failures[:5]:
        findings.add(f"server: {line}")
    findings.counts["right rounds"] = len(honest.asked)
    with hub.open(world.folder) as h:
        for problem in h.verify().problems:
            findings.add(f"verify: {problem}")
        for request_id, status in honest.asked.items():
            found = h.status("nenkin", request_id)
            if not found.complete or found.rows != len(status):
                findings.add("client beside: an inquiry that is not in the log")
        findings.counts["records"] += h.stats()["records"]
