"""The wire: bulk, single inquiries from many connections, both at once, idle ones; TLS on, client and server here."""

from __future__ import annotations

import time

import numpy as np

import hub
from hub.bench.log import pension_inquiry
from hub.bench.measure import Timing
from hub.bench.run import Run
from hub.bench.served import Credentials, ServerProcess
from hub.bench.wireaside import measure_idle, measure_limit, measure_peers
from hub.bench.wireask import use_of
from hub.bench.wireload import Outcome
from hub.bench.wirescene import CONNECTIONS, HALF_FLOOR, Scene, check_log
from hub.bench.world import REQUESTER
from hub.messages import Status
from hub.server import has_uvloop

SECONDS, SECONDS_QUICK = 4.0, 0.4
"""Of one load."""

RATE_MAX = {64: 60_000, 256: 120_000}
"""So many requests a second are prepared."""

BESIDE_ROWS = 10_000_000
BESIDE_RATE = 4_000
"""Single inquiries a second beside it: the clerks of a country; half of what there can be without it is more than is
done beside it on a slow disk."""
BESIDE_S = 60.0
QUIET_S = 3.0
"""So long before the bulk the singles are alone, and for so much longer than it takes they may go on."""


def run(bench: Run) -> None:
    if not has_uvloop():
        bench.leave_out("wire: uvloop is not installed: what is here is measured without it")
    # A hub of its own: a folder that was served is refused to the stages that resolve.
    with bench.fresh_world("wire", bench.options.persons) as world:
        before = tree_size(world.hub)
        world.hub.close()
        folder = bench.folder / "wire-files"
        folder.mkdir()
        credentials = Credentials(folder / "certificates")
        server = ServerProcess(world.folder, credentials, [REQUESTER])
        scene = Scene(bench, world, server, credentials, folder)
        try:
            # First of all: later ones would find memory that others have left.
            measure_idle(scene)
            measure_bulk(scene)
            rates = {connections: measure_singles(scene, connections) for connections in CONNECTIONS}
            if not bench.options.quick:
                measure_beside(scene, BESIDE_RATE, f" {BESIDE_RATE:,}/s")
            measure_beside(scene, rates[CONNECTIONS[0]] / 2)
        finally:
            server.close()
        for connections in scene.beside:
            measure_limit(scene, connections, seconds_of(scene))
        measure_peers(scene, seconds_of(scene))
        check_log(scene, before)


def tree_size(h: hub.Hub) -> int:
    """Records in the log."""
    return int(h.checkpoint().splitlines()[1])


def seconds_of(scene: Scene) -> float:
    return SECONDS_QUICK if scene.bench.options.quick else SECONDS


def measure_bulk(scene: Scene) -> None:
    """Batches over all municipalities, from a client's columns to a client's columns."""
    case, bench, world = "wire: bulk", scene.bench, scene.world
    random = bench.generator("wire bulk")
    rows, seconds = bench.options.batch_rows, []
    before = use_of([scene.server.pid])
    client = 0.0
    with scene.connect() as remote:
        for number in range(1 + bench.options.batches):
            bench.progress.step(f"{case}: batch {number}")
            persons = random.integers(0, world.persons, rows, dtype=np.uint32)
            aliases, providers = world.requester[persons], world.towns[world.home_town[persons]]
            begin, used = time.perf_counter(), time.process_time()
            answer = remote.inquire(pension_inquiry(f"bench-wire-{number}"), aliases, providers)
            seconds.append(time.perf_counter() - begin)
            client += time.process_time() - used
            scene.note_asked(persons, answer.status)
            bench.truth.check_column(case, "status", answer.status, np.full(rows, Status.OK, dtype=np.uint8))
        links = remote._caller._links
        total = rows * len(seconds)
        calls, frames = sum(link.calls for link in links), sum(link.frames for link in links)
    # The first one compiles the decisions and checks blocks.
    bench.results.add_timing(case, Timing(rows, tuple(seconds[1:])))
    server = use_of([scene.server.pid]).seconds - before.seconds
    scene.add_use(case, total, client, server)
    bench.results.add(case, "calls_per_million_rows", calls * 1e6 / total)
    bench.results.add(case, "frames_per_million_rows", frames * 1e6 / total)
    bench.notes.append(
        f"{case}: {calls * 1e6 / total:.3g} calls and {frames * 1e6 / total:,.0f} frames, both ways, a million rows; "
        f"a single inquiry is 1,000,000 calls and 2,000,000 frames a million rows"
    )


def measure_singles(scene: Scene, connections: int) -> float:
    """One row a call and one call a connection at a time; then at half that rate, and at half the floor's."""
    case, seconds = f"wire: single {connections} connections", seconds_of(scene)
    reached = scene.run_singles(case, connections, int(seconds * RATE_MAX[connections]), seconds)
    rate = reached.rate
    scene.run_singles(f"{case} half load", connections, int(seconds * rate / 2) + 1, seconds, rate=rate / 2)
    if scene.bench.options.quick:
        return rate
    half = HALF_FLOOR[connections]
    late = scene.run_singles(f"{case} {half:,}/s", connections, int(seconds * half) + 1, seconds, rate=half)
    if late.rate < 0.9 * half:
        scene.bench.notes.append(f"{case} {half:,}/s: not reached; its latency is that of a queue that grows")
    return rate


def measure_beside(scene: Scene, rate: float, said: str = "") -> None:
    """Single inquiries at a rate, before a large batch and while it is done; ``said`` is part of the cases' names."""
    bench, world, connections = scene.bench, scene.world, CONNECTIONS[0]
    name = f"wire: single {connections} connections{said}"
    rows = bench.options.batch_rows if bench.options.quick else BESIDE_ROWS
    quiet = seconds_of(scene) if bench.options.quick else QUIET_S
    bench.progress.step(f"{name} beside bulk")
    frames = scene.prepare(f"beside-{connections}{said.replace(' ', '-')}", int(rate * (BESIDE_S + quiet)))
    persons = bench.generator("wire beside").integers(0, world.persons, rows, dtype=np.uint32)
    aliases, providers = world.requester[persons], world.towns[world.home_town[persons]]
    with scene.connect() as remote:
        load = scene.start(f"beside{said}", connections, frames, quiet + BESIDE_S, rate=rate, forever=True)
        try:
            load.go()
            time.sleep(quiet)
            begin = time.perf_counter()
            answer = remote.inquire(pension_inquiry(f"bench-wire-beside{said}"), aliases, providers)
            end = time.perf_counter()
            load.go()
            outcome = load.finish()
        finally:
            load.close()
    scene.note_asked(persons, answer.status)
    scene.check(f"{name} beside bulk", frames, outcome)
    bench.truth.check_column(f"{name} beside bulk", "bulk", answer.status, np.full(rows, Status.OK, dtype=np.uint8))
    bench.results.add_timing(f"wire: bulk beside singles{said}", Timing(rows, (end - begin,)))
    _compare(scene, name, outcome, begin, end)


def _compare(scene: Scene, name: str, outcome: Outcome, begin: float, end: float) -> None:
    results, seconds = scene.bench.results, outcome.seconds
    first = outcome.begins[0] if len(outcome.begins) else begin
    before = (outcome.begins < begin) & (outcome.begins > first + 0.1 * (begin - first))
    meanwhile = (outcome.begins >= begin) & (outcome.begins < end)
    parts = (f"{name} before bulk", before, 0.9 * (begin - first)), (f"{name} beside bulk", meanwhile, end - begin)
    for case, which, took in parts:
        if which.any():
            results.add_latency(case, seconds[which].tolist())
            results.add(case, "rows_per_s", int(which.sum()) / took)
    if before.any() and meanwhile.any():
        ratio = float(np.percentile(seconds[meanwhile], 99) / np.percentile(seconds[before], 99))
        results.add(f"{name} beside bulk", "ratio_to_quiet", ratio)
        scene.bench.notes.append(f"{name} beside bulk: p99 is {ratio:.2f} times what it is before")
