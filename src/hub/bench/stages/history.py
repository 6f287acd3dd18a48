"""Read citizens' histories: a page of a hundred records each, from a log that is in memory."""

from __future__ import annotations

import time
from collections import Counter

from hub.bench.log import Log
from hub.bench.run import Run
from hub.messages import Record

LIMIT = 100
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
            if pass_number:
                seconds.append(time.perf_counter() - begin)
            found.append(len(history))
        bench.truth.check_equal(case, f"records of a page, pass {pass_number}", found, expected)
    bench.results.add_latency(case, seconds)
    check_whole(bench, log, case)


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
