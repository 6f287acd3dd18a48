"""An institution's own side: its copy register loaded, permits answered from it, three copies compared."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import hub
import hub.agency
from hub.agency import Agency, Comparison, compare
from hub.agency.owncopy import ANSWERED, LINES, TOLD
from hub.bench.log import pension_inquiry
from hub.bench.measure import Timing, bytes_written
from hub.bench.results import size_name
from hub.bench.run import Run
from hub.bench.world import FIRST_CODE, REQUESTER
from hub.files.columns import Digits, encode_csv
from hub.limits import ROWS_PER_CHUNK
from hub.messages import Aliases, Status
from hub.requests.state import request_key

TOWN = "131016"
ROWS_PER_CHUNK_OF_LOAD = 500_000
ROWS_PER_READ = 16 * ROWS_PER_CHUNK
LINKS_AT_A_TIME = 1 << 20
LOOKED_UP = 1 << 19
ABSENT_EVERY = 1_000
"""One in so many people has no row in the register."""

REQUEST = "bench-agency"

LAYOUT = """
name = "tax"
key = { column = "own_id", kind = "own_id" }
[[column]]
name = "kind"
item = "市町村民税"
type = "text"
values = ["1", "2"]
[[column]]
name = "born"
item = "市町村民税"
type = "date"
[[column]]
name = "income"
item = "市町村民税"
type = "int"
min = 0
[[column]]
name = "taxed"
item = "市町村民税"
type = "int"
min = 0
[[column]]
name = "tax"
item = "市町村民税"
type = "int"
min = 0
"""
HEADER = b"own_id,kind,born,income,taxed,tax\n"


def run(bench: Run) -> None:
    persons = bench.options.persons
    folder = bench.folder / "agency"
    codes = FIRST_CODE + bench.generator("agency codes").permutation(persons)
    with hub.open(folder / "hub", create=True, threads=bench.options.threads) as h:
        bench.progress.step(f"agency: acquire {size_name(persons)} persons twice")
        asking, asked = (h.acquire(code, codes).aliases for code in (REQUESTER, TOWN))
        with (
            hub.agency.open(folder / "town", institution=TOWN, create=True) as town,
            hub.agency.open(folder / "asker", institution=REQUESTER, create=True) as asker,
        ):
            measure_load(bench, town, persons)
            measure_link(bench, town, asked)
            measure_answer(bench, h, town, asker, asking)
            measure_compare(bench, h, town, asker)


def register_chunks(seed: npt.NDArray[np.int64]) -> Iterator[tuple[bytes, int]]:
    """The register's chunks: of each person of whom there is a row, in the order of their own ids."""
    for first in range(0, len(seed), ROWS_PER_CHUNK_OF_LOAD):
        own = np.arange(first, min(first + ROWS_PER_CHUNK_OF_LOAD, len(seed)))
        own = own[own % ABSENT_EVERY != 0]
        income = seed[own]
        born = (1930 + own % 90) * 10_000 + (1 + own % 12) * 100 + 1 + own % 28
        columns: list[Any] = [Digits(own, 15), 1 + own % 2, Digits(born, 8), income, income // 2, income // 20]
        yield HEADER + encode_csv(columns, "utf-8"), len(own)


def measure_load(bench: Run, town: Agency, persons: int) -> None:
    """A register in chunks of half a million rows, each durable; then visible as a whole."""
    case = "agency: load"
    incomes = bench.generator("agency incomes").integers(0, 20_000_000, persons)
    town.declare(LAYOUT)
    town.begin_load("tax", "bench")
    rows = number = 0
    seconds = 0.0
    written = bytes_written()
    for chunk, count in register_chunks(incomes):
        bench.progress.step(f"{case}: {rows:,} of {size_name(persons)} rows")
        number += 1
        begin = time.perf_counter()
        town.load_chunk("tax", "bench", number, chunk)
        seconds += time.perf_counter() - begin
        rows += count
    begin = time.perf_counter()
    state = town.finish_load("tax", "bench", number)
    seconds += time.perf_counter() - begin
    sent = bytes_written()
    bench.results.add_timing(case, Timing(rows, (seconds,)))
    bench.results.add("agency: load, made visible", "ns_per_row", 1e9 * (time.perf_counter() - begin) / rows)
    if written is not None and sent is not None:
        bench.results.add(case, "bytes_per_row", (sent - written) / rows)
    bench.truth.check_equal(case, "rows of the register", state.rows, rows)


def measure_link(bench: Run, town: Agency, aliases: Aliases) -> None:
    case = "agency: link"
    bench.progress.step(case)
    seconds = 0.0
    for first in range(0, len(aliases), LINKS_AT_A_TIME):
        some = aliases[first : first + LINKS_AT_A_TIME]
        ids = [f"{number:015d}" for number in range(first, first + len(some))]
        begin = time.perf_counter()
        town.link(ids, some)
        seconds += time.perf_counter() - begin
    bench.results.add_timing(case, Timing(len(aliases), (seconds,)))
    some = np.ascontiguousarray(aliases[:: max(1, len(aliases) // 1_000)])
    bench.truth.check_equal(case, "own ids found", sum(one is not None for one in town.own_ids_of(some)), len(some))


class _Timed:
    """A hub that says how long its own calls took."""

    def __init__(self, h: hub.Hub) -> None:
        self._hub = h
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._hub, name)
        if name != "inquire":
            return found

        def call(*arguments: Any, **words: Any) -> Any:
            begin = time.perf_counter()
            try:
                return found(*arguments, **words)
            finally:
                self.seconds += time.perf_counter() - begin

        return call


def measure_answer(bench: Run, h: hub.Hub, town: Agency, asker: Agency, aliases: Aliases) -> None:
    """Everybody is asked about; the town answers from its register; the answers are read."""
    case, rows = "agency: answer", len(aliases)
    bench.progress.step(f"agency: inquire about {size_name(rows)} persons, with the own copy")
    timed = _Timed(h)
    begin = time.perf_counter()
    asker.inquire(timed, pension_inquiry(REQUEST), aliases, TOWN)
    whole = time.perf_counter() - begin
    bench.results.add_timing("agency: inquire", Timing(rows, (whole,)))
    bench.results.add_timing("agency: inquire, own part", Timing(rows, (whole - timed.seconds,)))

    _measure_look_up(bench, h, town)
    begin = time.perf_counter()
    done = town.answer(h, progress=lambda rows: bench.progress.step(f"{case}: {rows:,} permits"))
    bench.results.add_timing(case, Timing(rows, (time.perf_counter() - begin,)))
    absent = len(range(0, rows, ABSENT_EVERY))
    bench.truth.check_equal(case, "permits PROVIDED", done.outcomes.get("PROVIDED", 0), rows - absent)
    bench.truth.check_equal(case, "permits NO_RECORD", done.outcomes.get("NO_RECORD", 0), absent)

    bench.progress.step("agency: read the answers, with the own copy")
    begin = time.perf_counter()
    status = np.empty(rows, np.uint8)
    for first in range(0, rows, ROWS_PER_READ):
        some = asker.answers(h, REQUEST, first=first, limit=ROWS_PER_READ)
        status[first : first + len(some)] = some.status
    bench.results.add_timing("agency: answers", Timing(rows, (time.perf_counter() - begin,)))
    expected = np.full(rows, Status.PROVIDED, np.uint8)
    expected[::ABSENT_EVERY] = Status.NO_RECORD
    bench.truth.check_column(case, "status", status, expected)


def _measure_look_up(bench: Run, h: hub.Hub, town: Agency) -> None:
    """The agency's own part: from aliases to payloads; in an answer the next page's goes on while the hub takes one."""
    case = "agency: answer, looked up"
    bench.progress.step(case)
    page = h.collect(TOWN, limit=LOOKED_UP)
    rows = sum(map(len, page))
    begin = time.perf_counter()
    plans = town._answerer.plan(h, page)
    bench.results.add_timing(case, Timing(rows, (time.perf_counter() - begin,)))
    bench.truth.check_equal(case, "rows", sum(len(plan.permits) for plan in plans), rows)


def measure_compare(bench: Run, h: hub.Hub, town: Agency, asker: Agency) -> None:
    """Three copies that agree; then one altered line in the requester's and one missing in the provider's."""
    case = "agency: compare"
    bench.progress.step(case)
    begin = time.perf_counter()
    found: Comparison = compare(h, requester=asker, providers=[town])
    seconds = time.perf_counter() - begin
    rows = found.requested
    bench.results.add_timing(case, Timing(rows, (seconds,)))
    bench.truth.check_equal(case, "lines that differ", len(found.differences) + found.more, 0)
    bench.truth.check_equal(case, "lines of both copies", found.provided, rows)

    _alter(asker, TOLD, request_key(REQUESTER, REQUEST) + bytes(4) + (1).to_bytes(4, "big"), at=77)
    _drop_line(town, (1).to_bytes(8, "big") + LINES, line=5)
    bench.progress.step(f"{case}: one line altered, one missing")
    begin = time.perf_counter()
    found = compare(h, requester=asker, providers=[town])
    bench.results.add_timing(f"{case}, two lines wrong", Timing(rows, (time.perf_counter() - begin,)))
    names = sorted((one.copy, one.kind) for one in found.differences)
    bench.truth.check_equal(case, "lines found", len(names), 2)
    right = names == [("provider", "missing"), ("requester", "differs")]
    bench.truth.check_equal(case, "lines named rightly", int(right), 1)


def _alter(agency: Agency, name: str, key: bytes, *, at: int) -> None:
    with agency._store.read() as reader:
        body = bytearray(reader.get(name, key) or b"")
    body[at] = Status.EMPTY
    with agency._store.commit() as commit:
        commit.put_sealed(name, key, bytes(body))


def _drop_line(agency: Agency, key: bytes, *, line: int) -> None:
    with agency._store.read() as reader:
        body = reader.get(ANSWERED, key) or b""
    rows = int.from_bytes(body[:8], "little")
    out, at = [(rows - 1).to_bytes(8, "little")], 8
    for width in (8, 16, 1, 1):
        out += [body[at : at + width * line], body[at + width * (line + 1) : at + width * rows]]
        at += width * rows
    with agency._store.commit() as commit:
        commit.put_sealed(ANSWERED, key, b"".join(out))
