"""What stands beside the wire's own cases: idle connections, the machine's limit, peers."""

from __future__ import annotations

import resource
import socket
import ssl
import time

import msgspec
import numpy as np
import numpy.typing as npt

from hub.bench.measure import Timing
from hub.bench.results import size_name
from hub.bench.wireask import Load
from hub.bench.wireload import LoadProcess, Outcome, memory_of
from hub.bench.wirepeers import (
    PERSONS,
    PIPELINE_ROWS,
    PeerProcess,
    Redis,
    hex_of,
    http_lacks,
    http_request,
    read_http,
)
from hub.bench.wirescene import Scene
from hub.messages import Answer, Receipt
from hub.wire.frames import VERSIONS, encode_frame
from hub.wire.results import ANSWER
from hub.wire.words import Reply

IDLE, IDLE_QUICK = 10_000, 50
FILES_BESIDE = 200
"""Files that a process has open beside its connections."""

PEER_ROWS, PEER_ROWS_QUICK = 500_000, 20_000
"""Of a peer's bulk."""

ENCODER = msgspec.msgpack.Encoder()


def measure_idle(scene: Scene) -> None:
    """What the server's memory grows by for connections that are welcome and silent."""
    bench = scene.bench
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = IDLE_QUICK if bench.options.quick else IDLE
    count = wanted if files == resource.RLIM_INFINITY else min(wanted, files - FILES_BESIDE)
    if count < wanted:
        bench.leave_out(f"wire: {wanted:,} idle connections: a process may have {files:,} files open")
    case = f"wire: {count:,} idle connections"
    bench.progress.step(case)
    before = memory_of(scene.server.pid)
    load = scene.start("idle", count, None, 0.0)
    try:
        now = memory_of(scene.server.pid)
    finally:
        load.close()
    if before is None or now is None:
        bench.leave_out(f"{case}: the kernel does not tell how large a process is")
        return
    bench.results.add(case, "bytes_per_connection", max(1.0, (now[0] - before[0]) / count))
    bench.results.add(case, "anonymous_bytes_per_connection", max(1.0, (now[1] - before[1]) / count))
    grown = (now[0] - before[0]) / (1 << 20)
    bench.notes.append(f"{case}: the server grew by {grown:,.1f} MiB to {now[0] / (1 << 20):,.0f} MiB")


def measure_limit(scene: Scene, connections: int, seconds: float) -> None:
    """The same load on a server that only answers, half a millisecond later: what machine, TLS and loop allow."""
    case = f"wire: limit {connections} connections"
    frames = scene.prepare(f"limit-{connections}", int(seconds * 150_000))
    peer = PeerProcess(
        "echo", scene.folder, scene.credentials, request_bytes=frames.data.shape[1], reply_bytes=_reply_bytes(scene)
    )
    try:
        outcome = _load(scene, case, peer.port, peer.pid, connections, frames.data, seconds, 0, tls=True)
    finally:
        peer.close()
    scene.add_load(case, outcome)
    scene.bench.results.compare(f"wire: single {connections} connections", limit=case)


def _reply_bytes(scene: Scene) -> int:
    """How long the reply to a single inquiry is."""
    one = np.zeros(1, np.uint8)
    receipt = Receipt(request_id="bench-single-64-00000000", rows=1, received_at=int(time.time()))
    body = memoryview(ENCODER.encode(ANSWER.pack(Answer(one, one.astype(np.uint32), one, receipt))))
    return len(encode_frame(Reply(1, len(body), body), VERSIONS[-1]))


def _load(
    scene: Scene, case: str, port: int, pid: int, connections: int, frames: npt.NDArray[np.uint8], seconds: float,
    reply_bytes: int, *, tls: bool,
) -> Outcome:  # fmt: skip
    scene.bench.progress.step(case)
    path = scene.folder / "peer.npy"
    np.save(path, frames)
    pem, ca = (str(scene.credentials.client), str(scene.credentials.ca)) if tls else (None, None)
    load = LoadProcess(
        scene.folder, "peer",
        Load(port=port, ca=ca, certificate=pem, connections=connections, frames=str(path), seconds=seconds, pids=[pid],
             reply_bytes=reply_bytes),
    )  # fmt: skip
    load.go()
    return load.finish()


def measure_peers(scene: Scene, seconds: float) -> None:
    """Redis and HTTP, on the same rows; what is not installed is said."""
    lacks = Redis.lacks()
    if lacks is None:
        _measure_redis(scene, seconds / 2)
    else:
        scene.bench.leave_out(f"wire: peer:redis: {lacks}")
    lacks = http_lacks()
    if lacks is None:
        _measure_http(scene, seconds / 2)
    else:
        scene.bench.leave_out(f"wire: peer:uvicorn: {lacks}")
    results = scene.bench.results
    peers = [case for case, _ in results.cases() if "peer:" in case]
    results.compare("wire: bulk", peers=[case for case in peers if "bulk" in case])
    for connections in scene.beside:
        results.compare(
            f"wire: single {connections} connections",
            peers=[case for case in peers if case.startswith(f"wire: {connections} connections")],
        )


class Rows:
    """Rows of people whom the peers know."""

    def __init__(self, scene: Scene, name: str, count: int) -> None:
        world = scene.world
        self.known = min(PERSONS, world.persons)
        self.persons = scene.bench.generator(f"wire {name}").integers(0, self.known, count, dtype=np.uint32)
        self.aliases = world.requester[self.persons]
        self.providers = world.towns[world.home_town[self.persons]]
        self.expected = world.home[self.persons]


def _measure_redis(scene: Scene, seconds: float) -> None:
    bench, world = scene.bench, scene.world
    rows = Rows(scene, "redis", PEER_ROWS_QUICK if bench.options.quick else PEER_ROWS)
    size = size_name(rows.known)
    case = f"wire: bulk peer:redis GET x 2, {size}, no TLS"
    bench.progress.step(case)
    peer = Redis(scene.folder)
    try:
        towns = world.towns[world.home_town[: rows.known]]
        peer.load(world.requester[: rows.known], towns, world.home[: rows.known])
        begin = time.perf_counter()
        found = peer.resolve(rows.aliases, rows.providers, rows.persons)
        bench.results.add_timing(case, Timing(len(found), (time.perf_counter() - begin,)))
        if (found != rows.expected).any():
            bench.truth.problems.append(f"{case}: expected the model's aliases, got others")
        for connections in scene.beside:
            name = f"wire: {connections} connections peer:redis, no TLS"
            rows = Rows(scene, name, int(seconds * 150_000))
            frames = peer.requests(rows.aliases, rows.providers, rows.persons)
            outcome = _load(scene, name, peer.port, peer.pid, connections, frames, seconds, Redis.HIT_BYTES, tls=False)
            scene.add_load(name, outcome)
    finally:
        peer.close()


def _measure_http(scene: Scene, seconds: float) -> None:
    bench, world = scene.bench, scene.world
    rows = Rows(scene, "http", (PEER_ROWS_QUICK if bench.options.quick else PEER_ROWS) // 5)
    case = f"wire: bulk peer:uvicorn JSON dict, {size_name(rows.known)}"
    bench.progress.step(case)
    codes = np.array(world.town_codes)
    path = scene.folder / "http.npz"
    towns = world.home_town[: rows.known]
    np.savez(path, aliases=world.requester[: rows.known], codes=codes[towns], home=world.home[: rows.known])
    peer = PeerProcess("http", scene.folder, scene.credentials, rows=str(path))
    try:
        aliases, homes = hex_of(rows.aliases), codes[world.home_town[rows.persons]].tolist()
        with _connect(scene, peer.port) as connection:
            begin = time.perf_counter()
            found: list[str] = []
            for first in range(0, len(aliases), PIPELINE_ROWS):
                part = slice(first, first + PIPELINE_ROWS)
                connection.sendall(http_request(aliases[part], homes[part]))
                found += msgspec.json.decode(read_http(connection)[0])["aliases"]
            bench.results.add_timing(case, Timing(len(found), (time.perf_counter() - begin,)))
            connection.sendall(http_request(aliases[:1], homes[:1]))
            reply_bytes = read_http(connection)[1]
        if found != hex_of(rows.expected):
            bench.truth.problems.append(f"{case}: expected the model's aliases, got others")
        for connections in scene.beside:
            name = f"wire: {connections} connections peer:uvicorn JSON"
            rows = Rows(scene, name, int(seconds * 20_000))
            homes = codes[world.home_town[rows.persons]].tolist()
            # All of one length, as their fields are.
            requests = b"".join(http_request([a], [p]) for a, p in zip(hex_of(rows.aliases), homes, strict=True))
            frames = np.frombuffer(requests, np.uint8).reshape(len(homes), -1)
            outcome = _load(scene, name, peer.port, peer.pid, connections, frames, seconds, reply_bytes, tls=True)
            scene.add_load(name, outcome)
    finally:
        peer.close()


def _connect(scene: Scene, port: int) -> socket.socket:
    context = ssl.create_default_context(cafile=str(scene.credentials.ca))
    context.load_cert_chain(scene.credentials.client)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1")
