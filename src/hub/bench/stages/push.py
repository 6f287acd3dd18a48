"""What is sent unasked: notices with one text and with a text each, pushes to every municipality, beside an inquiry."""

from __future__ import annotations

import time

import numpy as np

import hub
from hub.bench.log import pension_inquiry
from hub.bench.measure import Timing, bytes_written
from hub.bench.results import size_name
from hub.bench.run import Run
from hub.bench.world import REQUESTER, World
from hub.messages import Sent, Status

ROWS, ROWS_QUICK = 1_000_000, 50_000
PAYLOAD = b"16 bytes of data"
TAKING = 100
"""Municipalities that take what was sent to them, one behind the other."""

TEXT_BYTES = 300
"""A hundred characters of Japanese: a text for one person names them, an amount and a day."""

RULE = """basis,row,article,requester,law,affair,procedure,provider,kind,detail,roles
own,1,1,市町村長,運営者規則,資格の異動,資格の通知,送信機関,年金情報,資格取得,本人
"""
CLASS = f"label,members\n送信機関,code:{REQUESTER}\n"


def run(bench: Run) -> None:
    rows = ROWS_QUICK if bench.options.quick else ROWS
    with bench.fresh_world("push", min(rows, bench.options.persons)) as world:
        catalog = world.hub.catalog.import_table(CLASS.encode(), "classes").import_rules(RULE.encode())
        world.hub.load_catalog(catalog)
        rate = measure_inquiry(bench, world)
        measure_notices(bench, world, rate)
        measure_push(bench, world, rate)


def measure_inquiry(bench: Run, world: World) -> float:
    """An inquiry of as many rows, for the ratios: rows a second."""
    case = f"push: inquiry {size_name(world.persons)}"
    bench.progress.step(case)
    providers = world.towns[world.home_town]
    # The first batch loads directories and checks blocks: it is not counted.
    seconds = []
    for number in range(3):
        begin = time.perf_counter()
        world.hub.inquire(pension_inquiry(f"bench-push-{number}"), world.requester, providers)
        seconds.append(time.perf_counter() - begin)
    timing = Timing(world.persons, tuple(seconds[1:]))
    bench.results.add_timing(case, timing)
    return timing.rates()[0]


def measure_notices(bench: Run, world: World, rate: float) -> None:
    """Everybody gets a notice, by one text and by a text each."""
    size = size_name(world.persons)
    each = [f"{number:0{TEXT_BYTES}}" for number in range(world.persons)]
    shared = "あ" * (TEXT_BYTES // 3)
    for case, texts in ((f"push: {size} notices", shared), (f"push: {size} notices, own texts", each)):
        bench.progress.step(case)
        seconds = []
        written = bytes_written()
        for number in range(3):
            notice = hub.Notice(
                institution=REQUESTER, subject="年金の記録", section="年金給付部", request_id=f"{case}-{number}"
            )  # fmt: skip
            begin = time.perf_counter()
            sent = world.hub.notify(notice, world.requester, texts)
            seconds.append(time.perf_counter() - begin)
            check(bench, case, sent)
        enter(bench, case, world.persons, seconds, rate, written)
    person = world.persons // 2
    found = world.hub.notices(world.everybody[person])
    bench.truth.check_equal("push: texts of notices", "texts of one person", found.texts[0], each[person])


def measure_push(bench: Run, world: World, rate: float) -> None:
    """Everybody's municipality is sent something about them, and takes it."""
    case = f"push: {size_name(world.persons)} to {len(world.towns):,} municipalities"
    bench.progress.step(case)
    receivers, payloads = world.towns[world.home_town], [PAYLOAD] * world.persons
    push = hub.Push(
        institution=REQUESTER, procedure="own/1/1", items=("資格取得",), role="本人", section="年金給付部",
        request_id="bench-push",
    )  # fmt: skip
    written, begin = bytes_written(), time.perf_counter()
    sent = world.hub.push(push, world.requester, receivers, payloads)
    enter(bench, case, world.persons, [time.perf_counter() - begin], rate, written)
    check(bench, case, sent)
    bench.progress.step("push: arrived and taken")
    world.deliver()
    rows, begin = 0, time.perf_counter()
    for code in world.town_codes[:TAKING]:
        while arrivals := world.hub.arrived(code):
            for some in arrivals:
                rows += world.hub.taken(code, some).rows
    bench.results.add_timing("push: arrived and taken", Timing(rows, (time.perf_counter() - begin,)))
    bench.truth.check_equal(case, "rows taken", rows, int((world.home_town < TAKING).sum()))


def enter(bench: Run, case: str, rows: int, seconds: list[float], rate: float, written: int | None) -> None:
    """A case's rows a second, beside an inquiry's; bytes a row."""
    timing = Timing(rows, tuple(seconds))
    bench.results.add_timing(case, timing)
    bench.results.add(case, "ratio_to_inquiry", timing.rates()[0] / rate)
    now = bytes_written()
    if written is not None and now is not None:
        bench.results.add(case, "bytes_per_row", (now - written) / rows / len(seconds))


def check(bench: Run, case: str, sent: Sent) -> None:
    bench.truth.check_column(case, "status", sent.status, np.full(sent.rows, Status.OK, dtype=np.uint8))
