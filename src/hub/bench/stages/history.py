"""Read citizens' histories: a page of a hundred records each with its proofs, from memory and from the disk."""

from __future__ import annotations

import resource
import time
from collections import Counter

import numpy as np

from hub.bench.disklimits import cold_reads
from hub.bench.log import Log
from hub.bench.machinelimits import PROVING
from hub.bench.measure import bytes_read
from hub.bench.run import Run
from hub.messages import Record

LIMIT = 100
COLD = 300
COLD_READS = 200
CITIZENS_CHECKED = 50


def run(bench: Run) -> None:
    log = bench.log(bench.options.persons)
    world = log.world
    aliases = world.everybody[log.frequent]
    case = f"history: {millions(log.records)}M records warm"
    seconds = []
    expected = [min(LIMIT, counts.total()) for counts in log.expected]
    for pass_number in range(2):
        bench.progress.step(case)
        found = []
        for who in range(len(aliases)):
            begin = time.perf_counter()
            history = world.hub.history(aliases[who], limit=LIMIT)
            if len(history):
                history.proof(0)
            if pass_number:
                seconds.append(time.perf_counter() - begin)
            found.append(len(history))
        bench.truth.check_equal(case, f"records of a page, pass {pass_number}", found, expected)
    bench.results.add_latency(case, seconds)
    # A page comes with its proofs, all of them.
    bench.limits.prove(LIMIT, log.records)
    bench.results.compare(case, limit=PROVING)
    check_whole(bench, log, case)
    measure_cold(bench, log)


def measure_cold(bench: Run, log: Log) -> None:
    """The same with nothing of the file in memory, as far as a process without privileges can put it out.

    Each history finds what those before it read: the upper pages, and of a small log soon everything. So the pages
    read for one are noted beside its time. The limit is as many single reads of the same file as the process waited
    for pages: what of a history's own look-ups is not there is asked of the disk, page by page.
    """
    world, path = log.world, log.world.folder / "env" / "data.mdb"
    case = f"history: {millions(log.records)}M records cold"
    bench.progress.step(case)
    world.hub.close()
    read = float(np.median(cold_reads(path, bench.generator("cold reads"), COLD_READS)))
    world.reopen(bench.options.threads)
    seconds, waits, before = [], [], bytes_read()
    for alias in world.everybody[log.frequent[:COLD]]:
        begin, faults = time.perf_counter(), faults_that_waited()
        history = world.hub.history(alias, limit=LIMIT)
        if len(history):
            history.proof(0)
        seconds.append(time.perf_counter() - begin)
        waits.append(faults_that_waited() - faults)
    bench.results.add_latency(case, seconds)
    if any(waits):
        bench.results.add_latency(f"{case} limit reads", [read * count for count in waits])
        bench.results.compare(case, limit=f"{case} limit reads")
    after = bytes_read()
    if before is not None and after is not None and after > before:
        bench.results.add(f"{case} read from disk", "bytes_per_row", (after - before) / len(seconds))


def faults_that_waited() -> int:
    """Pages that this process has waited for so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def check_whole(bench: Run, log: Log, case: str) -> None:
    """All pages of some citizens against the model: whom they were asked of, and what came of it."""
    hub, catalog = log.world.hub, log.world.hub.catalog
    for who in range(0, len(log.frequent), max(1, len(log.frequent) // CITIZENS_CHECKED)):
        records: list[Record] = []
        cursor = None
        while True:
            page = hub.history(log.world.everybody[log.frequent[who]], limit=LIMIT, cursor=cursor)
            records += page.records
            cursor = page.cursor
            if cursor is None:
                break
        got = Counter((catalog.institution(record.provider).number, int(record.outcome)) for record in records)
        times = [record.requested_at for record in records]
        bench.truth.check_equal(case, "records", sorted(got.items()), sorted(log.expected[who].items()))
        bench.truth.check_equal(case, "newest first", times == sorted(times, reverse=True), True)
        bench.truth.check_equal(case, "told once", len({record.index for record in records}), len(records))


def millions(records: int) -> str:
    """A log's size as the case spells it: whole millions, below one a single place."""
    return f"{records / 1e6:.0f}" if records >= 1e6 else f"{records / 1e6:.1g}"
