"""Inquire in bulk: authorised, resolved, recorded, synced, answered; and one row at a time."""

from __future__ import annotations

import time

import numpy as np

from hub.bench.log import Batch, Log, pension_inquiry
from hub.bench.measure import Timing
from hub.bench.results import size_name
from hub.bench.run import Run
from hub.messages import Status


def run(bench: Run) -> None:
    persons = bench.options.persons
    log = bench.log(persons)
    case = "inquiry: whole"
    # The first batch of a new hub compiles the decisions, loads directories and checks blocks: it is not counted.
    counted = log.timings[1:] or log.timings
    bench.results.add_timing(case, Timing(log.rows, tuple(seconds for _, seconds, _ in counted)))
    sent = [written / rows for rows, _, written in counted if written is not None]
    if sent:
        bench.results.add("inquiry: bytes written", "bytes_per_row", float(np.median(sent)))
    if log.records:
        bench.results.add("inquiry: space of a record", "bytes_per_row", log.live_bytes / log.records)
    measure_singles(bench, log)


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
    bench.truth.check_column(case, "status", status, np.full(count, Status.OK, dtype=np.uint8))
    log.count(Batch(pension_inquiry("bench-single"), aliases, providers, persons, status))
