"""Find out what was done through one link: every record of its citizen at the agency that asked."""

from __future__ import annotations

import time

from hub.bench.run import Run
from hub.bench.stages.history import millions
from hub.bench.world import REQUESTER


def run(bench: Run) -> None:
    log = bench.log(bench.options.persons)
    world = log.world
    case = f"blast: one link, {millions(log.records)}M records"
    expected = [counts.total() for counts in log.expected]
    seconds = []
    for pass_number in range(2):
        bench.progress.step(case)
        found = []
        for who in log.frequent.tolist():
            begin = time.perf_counter()
            radius = world.hub.blast_radius(REQUESTER, world.requester[who])
            if pass_number:
                seconds.append(time.perf_counter() - begin)
            found.append(len(radius.dealings))
        bench.truth.check_equal(case, f"questions, pass {pass_number}", found, expected)
    bench.results.add_latency(case, seconds)
