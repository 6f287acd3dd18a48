"""Verify a folder: the walk through its pages alone, and everything re-derived from its bytes."""

from __future__ import annotations

import time

from hub.bench.disklimits import touches
from hub.bench.machinelimits import HASHING
from hub.bench.measure import Timing
from hub.bench.results import size_name
from hub.bench.run import Run
from hub.verify import check_pages

WALKS = 3


def run(bench: Run) -> None:
    log = bench.log(bench.options.persons)
    world, records = log.world, max(log.records, 1)
    case = f"verify: {size_name(log.records)} records"
    bench.progress.step(case)
    walks = []
    for _ in range(WALKS):
        begin = time.perf_counter()
        problems = check_pages(world.folder)
        walks.append(time.perf_counter() - begin)
        bench.truth.check_equal(case, "problems of the pages", problems, [])
    bench.results.add_timing(f"{case} pages", Timing(records, tuple(walks)))
    least = touches(world.folder / "env" / "data.mdb", world.walked_pages(), WALKS)
    bench.results.add_timing(f"{case} limit touches", Timing(records, tuple(least)))
    bench.results.compare(f"{case} pages", limit=f"{case} limit touches")
    begin = time.perf_counter()
    report = world.hub.verify()
    bench.results.add_timing(f"{case} whole", Timing(records, (time.perf_counter() - begin,)))
    bench.limits.hashing()
    bench.results.compare(f"{case} whole", limit=HASHING)
    bench.truth.check_equal(case, "problems", list(report.problems), [])
    # Single inquiries of another stage may have added some.
    bench.truth.check_equal(case, "records", report.records >= log.records, True)
