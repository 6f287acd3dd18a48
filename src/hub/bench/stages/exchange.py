"""Both sides of the exchange: inquire, collect, provide, answers over every municipality; what each side costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

import hub
from hub.bench.log import pension_inquiry
from hub.bench.machinelimits import COMMIT
from hub.bench.measure import Timing, bytes_written, repeat
from hub.bench.results import size_name
from hub.bench.run import Run
from hub.bench.world import World
from hub.messages import Status

ROWS, ROWS_QUICK = 10_000_000, 200_000
ROWS_PER_READ = 1 << 20
PAYLOAD = b"16 bytes of tax."
PROVIDER_THREADS = 2
"""The providers' machines: they collect and answer one municipality at a time."""


def run(bench: Run) -> None:
    # A hub of its own: in the others' inboxes the permits of all inquiries before would wait as well.
    with bench.fresh_world("exchange", bench.options.persons) as world:
        rows = min(ROWS_QUICK if bench.options.quick else ROWS, 4 * world.persons)
        measure_whole(bench, world, rows)
        measure_single(bench, world)


def measure_whole(bench: Run, world: World, rows: int) -> None:
    """A batch over all municipalities: asked, collected, answered with a payload each, and the answers read."""
    case = "exchange: whole"
    random = bench.generator("exchange")
    persons = random.integers(0, world.persons, rows, dtype=np.uint32)
    aliases, providers = world.requester[persons], world.towns[world.home_town[persons]]
    world.hub.lapse()
    written, begin = bytes_written(), time.perf_counter()
    bench.progress.step(f"{case}: inquire {size_name(rows)} rows")
    world.hub.inquire(pension_inquiry("bench-exchange"), aliases, providers)
    asked, written_asked = time.perf_counter(), bytes_written()
    bench.progress.step(f"{case}: collect and provide by {len(world.towns):,} municipalities")
    provided, collecting = _provide_all(world)
    answered, written_answered = time.perf_counter(), bytes_written()
    bench.progress.step(f"{case}: read the answers")
    status = np.empty(rows, dtype=np.uint8)
    payloads = 0
    for first in range(0, rows, ROWS_PER_READ):
        some = world.hub.answers(pension_inquiry("").requester, "bench-exchange", first=first, limit=ROWS_PER_READ)
        status[first : first + len(some)] = some.status
        payloads += len(some.payloads) - some.payloads.count(None)
    end = time.perf_counter()
    sent = bytes_written()
    bench.results.add_timing(case, Timing(rows, (end - begin,)))
    bench.results.add_timing("exchange: inquire", Timing(rows, (asked - begin,)))
    bench.results.add_timing("exchange: collect and provide", Timing(rows, (answered - asked,)))
    bench.results.add("exchange: collect", "ns_per_row", 1e9 * collecting / rows)
    bench.results.add_timing("exchange: answers", Timing(rows, (end - answered,)))
    per_row = (sent - written) / rows if written is not None and sent is not None else None
    if per_row is not None:
        bench.results.add(case, "bytes_per_row", per_row)
    # A row asked and answered is two records.
    limits = [bench.limits.of_hashing(case, 2), bench.limits.of_writing(case, per_row)]
    bench.results.compare(case, limits=limits)
    compare_part(bench, "exchange: inquire", rows, written, written_asked)
    compare_part(bench, "exchange: collect and provide", rows, written_asked, written_answered)
    bench.results.add_timing("exchange: answers limit objects", cut_payloads(rows))
    bench.results.compare("exchange: answers", limit="exchange: answers limit objects")
    bench.truth.check_column(case, "status", status, np.full(rows, Status.PROVIDED, dtype=np.uint8))
    bench.truth.check_equal(case, "rows provided", provided, rows)
    bench.truth.check_equal(case, "payloads fetched", payloads, rows)


def compare_part(bench: Run, case: str, rows: int, before: int | None, after: int | None) -> None:
    """Hold a part that leaves a record a row against hashing them, and against writing what it wrote."""
    per_row = (after - before) / rows if before is not None and after is not None else None
    limits = [bench.limits.of_hashing(case, 1), bench.limits.of_writing(case, per_row)]
    bench.results.compare(case, limits=limits)


def cut_payloads(rows: int) -> Timing:
    """Cut as many payloads out of one piece: what a list of them takes in Python at least."""
    each, count = len(PAYLOAD), min(rows, ROWS_PER_READ)
    piece = PAYLOAD * count
    return repeat(count, lambda _: [piece[at : at + each] for at in range(0, len(piece), each)], lambda *_: None)


def _provide_all(world: World) -> tuple[int, float]:
    """Every municipality collects what waits for it and answers; rows, and seconds of collecting in all threads."""
    codes = iter(world.town_codes)
    lock = threading.Lock()
    done: list[tuple[int, float]] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                with lock:
                    code = next(codes, None)
                if code is None:
                    return
                done.append(_provide_one(world.hub, code))
        except BaseException as error:
            failed.append(error)

    _in_threads(work)
    if failed:
        raise failed[0]
    return sum(rows for rows, _ in done), sum(seconds for _, seconds in done)


def _in_threads(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(PROVIDER_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _provide_one(at: hub.Hub, code: str) -> tuple[int, float]:
    rows, seconds, cursor = 0, 0.0, None
    while True:
        begin = time.perf_counter()
        waiting = at.collect(code, after=cursor)
        seconds += time.perf_counter() - begin
        if not waiting:
            return rows, seconds
        for permits in waiting:
            at.provide(code, permits, Status.PROVIDED, [PAYLOAD] * len(permits))
            rows += len(permits)
        cursor = waiting[-1].cursor


def measure_single(bench: Run, world: World) -> None:
    """One row to a provider that answers by itself, one behind the other; each waits for its two syncs."""
    case = "exchange: single"
    bench.progress.step(case)
    random = bench.generator("exchange singles")
    count = bench.options.singles
    persons = random.integers(0, world.persons, count, dtype=np.uint32)
    seconds: list[float] = []
    parts: list[npt.NDArray[np.float64]] = []
    status = np.empty(count, dtype=np.uint8)
    for i, person in enumerate(persons.tolist()):
        town = int(world.home_town[person])
        code = world.town_codes[town]
        times = [time.perf_counter()]
        world.hub.inquire(pension_inquiry(f"bench-one-{i}"), world.requester[person : person + 1], code)
        times.append(time.perf_counter())
        (permits,) = world.hub.collect(code)
        times.append(time.perf_counter())
        world.hub.provide(code, permits, Status.PROVIDED, [PAYLOAD])
        times.append(time.perf_counter())
        status[i] = world.hub.answers(pension_inquiry("").requester, f"bench-one-{i}").status[0]
        times.append(time.perf_counter())
        seconds.append(times[-1] - times[0])
        parts.append(np.diff(times))
    bench.results.add_latency(case, seconds)
    bench.results.add(f"{case} limit syncs", "p50_us", 2e6 * bench.limits.commit())
    bench.results.compare(case, limit=f"{case} limit syncs")
    for number, name in enumerate(("inquire", "collect", "provide", "answers")):
        bench.results.add_latency(f"{case} {name}", [float(part[number]) for part in parts])
    for name in ("inquire", "provide"):
        bench.results.compare(f"{case} {name}", limit=COMMIT)
    bench.truth.check_column(case, "status", status, np.full(count, Status.PROVIDED, dtype=np.uint8))
