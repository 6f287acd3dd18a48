"""Decide batches of rows by the law: one look-up a row in a compiled table, and what compiling a table costs."""

from __future__ import annotations

import time

import numpy as np

from hub.authorise import Decided, authorise
from hub.bench.log import NOT_ASKABLE, pension_inquiry
from hub.bench.measure import repeat
from hub.bench.results import size_name
from hub.bench.run import Run
from hub.bench.towns import TOWNS, towns_of, with_towns
from hub.bench.world import REQUESTER
from hub.catalog import Catalog
from hub.messages import Inquiry, Status

SHARE_DENIED = 0.005
AT = 1_798_761_600.0
"""2027-01-01 in UTC: decisions by the rules of a fixed day are the same in every run."""


def run(bench: Run) -> None:
    catalog = with_towns(Catalog.japan())
    random = bench.generator("authorise")
    rows = bench.options.batch_rows
    towns = np.array([body.number for body in towns_of(catalog)[:TOWNS]], dtype=np.uint32)
    providers = towns[random.integers(0, len(towns), rows)]
    denied = random.random(rows) < SHARE_DENIED
    providers[denied] = catalog.institution(NOT_ASKABLE).number
    expected = np.where(denied, Status.DENIED, Status.OK).astype(np.uint8)
    inquiry = pension_inquiry("bench")
    case = f"authorise: {size_name(rows)} rows {len(towns):,} providers 1 thread"

    def check(i: int, got: Decided) -> None:
        bench.truth.check_column(case, "status", got.status, expected, first=i == 0)

    bench.progress.step(case)
    bench.results.add_timing(case, repeat(rows, lambda _: authorise(catalog, inquiry, providers, AT), check))
    measure_limit(bench, case, providers, catalog.numbers_end)
    bench.limits.copy()
    bench.results.compare(case, limit=f"{case} limit")
    measure_compiling(bench)


def measure_limit(bench: Run, case: str, providers: np.ndarray, numbers: int) -> None:
    """What reading a column of rows and writing two bytes a row from a small table costs: one numpy take."""
    column = np.zeros(numbers, dtype=np.uint16)
    timing = repeat(len(providers), lambda _: column.take(providers), lambda *_: None)
    bench.results.add_timing(f"{case} limit", timing)


def measure_compiling(bench: Run) -> None:
    """The first row of every procedure that the agency may use: a decision table is compiled."""
    catalog = with_towns(Catalog.japan())
    provider = towns_of(catalog)[0]
    number = np.array([provider.number], dtype=np.uint32)
    case = "authorise: first row of a procedure"
    seconds, decisions, expected = [], [], []
    bench.progress.step(case)
    for procedure in catalog.procedures(requester=REQUESTER):
        rule = catalog.rule(procedure.rules[0])
        inquiry = Inquiry(
            requester=REQUESTER, procedure=procedure.id, items=(rule.detail,), role=rule.roles[0], section="年金給付部",
            request_id="bench",
        )  # fmt: skip
        begin = time.perf_counter()
        decided = authorise(catalog, inquiry, number, AT)
        seconds.append(time.perf_counter() - begin)
        decisions.append(int(decided.status[0]))
        # A provider of the rule's class and no other should be allowed; the model reads the class, not the table.
        expected.append(int(Status.OK if provider.number in catalog.members_of(rule.provider) else Status.DENIED))
    bench.results.add_latency(case, seconds)
    bench.truth.check_equal(case, "decisions", decisions, expected)
