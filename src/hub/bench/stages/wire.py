"""The wire: client and server on this machine, TLS on: bulk, single inquiries from many connections, idle ones."""

from __future__ import annotations

import resource
import time

import msgspec
import numpy as np

import hub
from hub.bench.log import pension_inquiry
from hub.bench.measure import Timing
from hub.bench.run import Run
from hub.bench.wireload import ENCODER, Credentials, Crowd, ServerProcess
from hub.bench.world import REQUESTER, World
from hub.messages import Status
from hub.server import has_uvloop, run_in_loop
from hub.wire.methods import INQUIRY
from hub.wire.packing import raw

CONNECTIONS = (64, 256)
CALLS, CALLS_QUICK = 30_000, 1_000
"""Single inquiries of one case."""

IDLE, IDLE_QUICK = 1_000, 50


def run(bench: Run) -> None:
    if not has_uvloop():
        bench.leave_out("wire: uvloop is not installed: what is here is measured without it")
    # A hub of its own: a folder that was served is refused to the stages that resolve.
    with bench.fresh_world("wire", bench.options.persons) as world:
        world.hub.close()
        credentials = Credentials(bench.folder / "wire-certificates")
        server = ServerProcess(world.folder, credentials, [REQUESTER])
        try:
            # First of all: later ones would find memory that others have left.
            measure_idle(bench, server, credentials)
            measure_bulk(bench, world, server, credentials)
            for connections in CONNECTIONS:
                measure_singles(bench, world, server, credentials, connections)
        finally:
            server.close()


def measure_bulk(bench: Run, world: World, server: ServerProcess, credentials: Credentials) -> None:
    """Batches over all municipalities, from a client's columns to a client's columns."""
    case = "wire: bulk"
    random = bench.generator("wire bulk")
    rows, seconds = bench.options.batch_rows, []
    with hub.connect(server.address, cert=str(credentials.client), ca=str(credentials.ca)) as remote:
        for number in range(1 + bench.options.batches):
            bench.progress.step(f"{case}: batch {number}")
            persons = random.integers(0, world.persons, rows, dtype=np.uint32)
            aliases, providers = world.requester[persons], world.towns[world.home_town[persons]]
            begin = time.perf_counter()
            answer = remote.inquire(pension_inquiry(f"bench-wire-{number}"), aliases, providers)
            seconds.append(time.perf_counter() - begin)
            bench.truth.check_column(case, "status", answer.status, np.full(rows, Status.OK, dtype=np.uint8))
    # The first one compiles the decisions and checks blocks.
    bench.results.add_timing(case, Timing(rows, tuple(seconds[1:])))


def measure_singles(
    bench: Run, world: World, server: ServerProcess, credentials: Credentials, connections: int
) -> None:
    """One row a call and one call a connection at a time; then at half that rate."""
    case = f"wire: single {connections} connections"
    count = CALLS_QUICK if bench.options.quick else CALLS
    bench.progress.step(case)
    crowd = _crowd(bench, world, f"{connections}", count)
    took = _run(crowd, server, credentials, connections)
    bench.results.add(case, "rows_per_s", count / took)
    bench.results.add_latency(case, crowd.seconds.tolist())
    bench.truth.check_column(case, "status", crowd.status, np.full(count, Status.OK, dtype=np.uint8))
    half = f"{case} half load"
    bench.progress.step(half)
    slow = _crowd(bench, world, f"{connections} half", count)
    _run(slow, server, credentials, connections, 2 * took * connections / count)
    bench.results.add_latency(half, slow.seconds.tolist())
    bench.truth.check_column(half, "status", slow.status, np.full(count, Status.OK, dtype=np.uint8))


def _crowd(bench: Run, world: World, name: str, count: int) -> Crowd:
    persons = bench.generator(f"wire {name}").integers(0, world.persons, count, dtype=np.uint32)
    aliases, towns = world.requester[persons], world.home_town[persons]
    question = pension_inquiry("")

    def arguments(row: int) -> memoryview:
        provider = world.town_codes[int(towns[row])]
        inquiry = msgspec.structs.replace(question, request_id=f"bench-{name}-{row}")
        given = {"inquiry": INQUIRY.pack(inquiry), "aliases": raw(aliases[row]), "providers": ([provider], b"")}
        return memoryview(ENCODER.encode(given))

    return Crowd(REQUESTER, count, arguments)


def _run(
    crowd: Crowd, server: ServerProcess, credentials: Credentials, connections: int, pause: float = 0.0
) -> float:
    took = [0.0]

    async def work() -> None:
        took[0] = await crowd.run(server.port, credentials.context(), connections, pause)

    run_in_loop(work())
    return took[0]


def measure_idle(bench: Run, server: ServerProcess, credentials: Credentials) -> None:
    """What the server's memory grows by for connections that are welcome and silent."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(IDLE_QUICK if bench.options.quick else IDLE, files - 100)
    case = f"wire: {count:,} idle connections"
    bench.progress.step(case)
    grown: list[int] = []

    async def work() -> None:
        before = server.resident_bytes()
        crowd = Crowd(REQUESTER, 0, lambda row: memoryview(b""))
        await crowd.connect(server.port, credentials.context(), count)
        now = server.resident_bytes()
        if before is not None and now is not None:
            grown.append(now - before)
        crowd.close()

    run_in_loop(work())
    if grown:
        bench.results.add(case, "bytes_per_connection", max(1.0, grown[0] / count))
