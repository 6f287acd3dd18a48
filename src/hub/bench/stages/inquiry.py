"""Inquire in bulk: authorised, resolved, recorded, synced, answered; and one row at a time."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import numpy.typing as npt

from hub.bench.gathered import measure_gathered
from hub.bench.log import Batch, Log, pension_inquiry
from hub.bench.machinelimits import COMMIT, HASHING
from hub.bench.measure import Timing, bytes_written
from hub.bench.results import size_name
from hub.bench.run import Run
from hub.hub import Hub
from hub.messages import Status


def run(bench: Run) -> None:
    persons = bench.options.persons
    log = bench.log(persons)
    case = "inquiry: whole"
    # The first batch of a new hub compiles the decisions, loads directories and checks blocks: it is not counted.
    counted = log.timings[1:] or log.timings
    bench.results.add_timing(case, Timing(log.rows, tuple(seconds for _, seconds, _ in counted)))
    whole = sum(rows for rows, _, _ in log.timings), sum(seconds for _, seconds, _ in log.timings) + log.delivering
    bench.results.add_timing("inquiry: permits delivered", Timing(whole[0], (whole[1],)))
    sent = [written / rows for rows, _, written in counted if written is not None]
    if sent:
        bench.results.add("inquiry: bytes written", "bytes_per_row", float(np.median(sent)))
    bench.limits.hashing()
    write = bench.limits.of_writing(case, float(np.median(sent)) if sent else None)
    for name in (case, "inquiry: permits delivered"):
        bench.results.compare(name, limits=[HASHING, write])
    if log.records:
        bench.results.add("inquiry: space of a record", "bytes_per_row", log.live_bytes / log.records)
    measure_singles(bench, log)
    measure_crowd(bench, log)
    measure_gathered(bench, log)


def measure_singles(bench: Run, log: Log) -> None:
    """Batches of one row, one behind the other: each waits for its own sync."""
    world = log.world
    random = bench.generator("inquiry singles")
    count = bench.options.singles
    persons = random.integers(0, world.persons, count, dtype=np.uint32)
    aliases, providers = world.requester[persons], world.towns[world.home_town[persons]]
    case = f"inquiry: {size_name(world.persons)} persons single"
    bench.progress.step(case)
    seconds = []
    status = np.empty(count, dtype=np.uint8)
    for i in range(count):
        inquiry = pension_inquiry(f"bench-single-{i}")
        row = slice(i, i + 1)
        begin = time.perf_counter()
        answer = world.hub.inquire(inquiry, aliases[row], providers[row])
        seconds.append(time.perf_counter() - begin)
        status[i] = answer.status[0]
    bench.results.add_latency(case, seconds)
    bench.limits.commit()
    bench.results.compare(case, limit=COMMIT)
    bench.truth.check_column(case, "status", status, np.full(count, Status.OK, dtype=np.uint8))
    log.count(Batch(pension_inquiry("bench-single"), aliases, providers, persons, status))


CALLERS = 64
CALLS_PER_SINGLE = 10
"""Calls of a crowd for each of one caller: as many commits, about."""


def measure_crowd(bench: Run, log: Log) -> None:
    """One row a call from 64 callers at once, threads and coroutines, who share commits; beside 64 x the bare syncs."""
    world, hub = log.world, log.world.hub
    random = bench.generator("inquiry crowd")
    each = -(-bench.options.singles * CALLS_PER_SINGLE // CALLERS)
    count = CALLERS * each
    limit = bench.limits.of_commits("inquiry: singles limit", CALLERS)
    for kind in ("threads", "coroutines"):
        case = f"inquiry: singles {CALLERS} {kind}"
        bench.progress.step(case)
        persons = random.integers(0, world.persons, count, dtype=np.uint32)
        aliases, providers = world.requester[persons], world.towns[world.home_town[persons]]
        status, seconds = np.empty(count, dtype=np.uint8), np.empty(count)
        commits, written, begin = hub.stats()["commits"], bytes_written(), time.perf_counter()
        if kind == "threads":
            _ask_from_threads(hub, aliases, providers, status, seconds)
        else:
            asyncio.run(_ask_from_one_loop(hub, aliases, providers, status, seconds))
        took, now = time.perf_counter() - begin, bytes_written()
        bench.results.add(case, "rows_per_s", count / took)
        bench.results.add_latency(case, seconds.tolist())
        bench.results.add(case, "rows_per_commit", count / max(1, hub.stats()["commits"] - commits))
        if now is not None and written is not None:
            bench.results.add(case, "bytes_per_row", (now - written) / count)
        bench.truth.check_column(case, "status", status, np.full(count, Status.OK, dtype=np.uint8))
        log.count(Batch(pension_inquiry("bench-crowd"), aliases, providers, persons, status))
        bench.results.compare(case, limit=limit)


def _ask_from_threads(
    hub: Hub,
    aliases: npt.NDArray[np.uint8],
    providers: npt.NDArray[np.uint32],
    status: npt.NDArray[np.uint8],
    seconds: npt.NDArray[np.float64],
) -> None:
    def ask(caller: int) -> None:
        for i in range(caller, len(status), CALLERS):
            start = time.perf_counter()
            row = slice(i, i + 1)
            status[i] = hub.inquire(pension_inquiry(f"bench-thread-{i}"), aliases[row], providers[row]).status[0]
            seconds[i] = time.perf_counter() - start

    threads = [threading.Thread(target=ask, args=(caller,)) for caller in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def _ask_from_one_loop(
    hub: Hub,
    aliases: npt.NDArray[np.uint8],
    providers: npt.NDArray[np.uint32],
    status: npt.NDArray[np.uint8],
    seconds: npt.NDArray[np.float64],
) -> None:
    async def ask(caller: int) -> None:
        for i in range(caller, len(status), CALLERS):
            start = time.perf_counter()
            answer = await hub.inquire_async(
                pension_inquiry(f"bench-coroutine-{i}"), aliases[i : i + 1], providers[i : i + 1]
            )
            seconds[i] = time.perf_counter() - start
            status[i] = answer.status[0]

    await asyncio.gather(*map(ask, range(CALLERS)))
