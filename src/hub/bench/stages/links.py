"""Links: attributes claimed and compared before they count, wrong links replaced, and files looked through for them."""

from __future__ import annotations

import time

import numpy as np

import hub
from hub.bench.measure import Timing, bytes_written
from hub.bench.results import size_name
from hub.bench.run import Run
from hub.limits import LINKS_PER_CALL_MAX
from hub.messages import Acquisition
from hub.mislinks.attributes import Attributes, People
from hub.mislinks.detectors import Mislink, find_mislinks
from hub.mislinks.register import compare_claims

TOWN = "131016"
ROWS, ROWS_QUICK = 50_000, 5_000
FILE_ROWS, FILE_ROWS_QUICK = 250_000, 20_000
FIRST_CODE = 60_000_000_000
SLIPPED = 5
"""A fifth of the file slipped by a row."""


def run(bench: Run) -> None:
    quick = bench.options.quick
    rows, file_rows = (ROWS_QUICK, FILE_ROWS_QUICK) if quick else (ROWS, FILE_ROWS)
    people = make_people(file_rows)
    measure_file(bench, people)
    with hub.open(bench.folder / "links", create=True, threads=bench.options.threads) as h:
        measure_hub(bench, h, people.take(np.arange(rows)), rows)


def make_people(n: int) -> People:
    """n people in households of three; every name and address of its own, as in a real town few are."""
    numbers = np.arange(n)
    surnames = ("佐藤", "鈴木", "高橋", "田中", "伊藤", "渡辺", "山本", "中村")
    given = ("太郎", "花子", "健一", "美咲", "蓮", "葵", "誠")
    return People.of_texts(
        [f"{surnames[i // 3 % 8]} {given[i % 7]}" for i in numbers.tolist()],
        [""] * n,
        [f"宮崎県宮崎市霧島{i // 3 % 5 + 1}丁目{i // 15 + 1}番地{i // 3 % 30}" for i in numbers.tolist()],
        ["男" if i % 2 else "女" for i in numbers.tolist()],
        [f"{1930 + i % 80}-{i // 80 % 12 + 1:02}-{i // 960 % 28 + 1:02}" for i in numbers.tolist()],
    )


def measure_file(bench: Run, people: People) -> None:
    """Judge a file that is right and one of which a fifth slipped."""
    rows = people.rows
    slipped = np.arange(rows)
    some = slice(rows // 2, rows // 2 + rows // SLIPPED)
    slipped[some] += 1
    for case, register in ((f"links: {size_name(rows)} rows that are right", np.arange(rows)),
                           (f"links: {size_name(rows)} rows, a fifth slipped", slipped)):  # fmt: skip
        bench.progress.step(case)
        registered = people.take(register)
        begin = time.perf_counter()
        found = find_mislinks(people, registered)
        bench.results.add_timing(case, Timing(rows, (time.perf_counter() - begin,)))
        wrong = int(np.count_nonzero(register != np.arange(rows)))
        bench.truth.check_equal(case, "rows that slipped", len(found.rows(Mislink.SHIFTED)), wrong)


def measure_hub(bench: Run, h: hub.Hub, people: People, rows: int) -> None:
    """Claim, compare, deliver; then replace as many links as one call takes."""
    size = size_name(rows)
    private_key, public_key = hub.new_payload_key()
    h.register_key("jlis", public_key)
    codes = np.arange(rows, dtype=np.int64) + FIRST_CODE
    own: list[Attributes] = list(people.attributes())
    sealed = [one.seal(public_key) for one in own]
    tickets = h.tickets(TOWN, rows)
    case = f"links: {size} claimed"
    bench.progress.step(case)
    written, begin = bytes_written(), time.perf_counter()
    h.claim(TOWN, tickets, sealed, clerk="bench")
    bench.results.add_timing(case, Timing(rows, (time.perf_counter() - begin,)))
    now = bytes_written()
    if written is not None and now is not None:
        bench.results.add(case, "bytes_per_row", (now - written) / rows)
    case = f"links: {size} opened and compared"
    bench.progress.step(case)
    begin = time.perf_counter()
    claims = h.claims("jlis", tickets)
    differs = compare_claims(private_key, claims.sealed, codes, codes, people).differs
    bench.results.add_timing(case, Timing(rows, (time.perf_counter() - begin,)))
    bench.truth.check_equal(case, "rows that differ", int(np.count_nonzero(differs)), 0)
    case = f"links: {size} delivered, one in a hundred held"
    bench.progress.step(case)
    differs[::100] = 1
    begin = time.perf_counter()
    h.deliver("jlis", tickets, codes, differs)
    bench.results.add_timing(case, Timing(rows, (time.perf_counter() - begin,)))
    held = int((h.acquired(TOWN, tickets).status == Acquisition.HELD).sum())
    bench.truth.check_equal(case, "held", held, int(np.count_nonzero(differs)))
    measure_replacing(bench, h, codes)


def measure_replacing(bench: Run, h: hub.Hub, codes: np.ndarray) -> None:
    """One call that puts rows right that slipped."""
    rows = min(LINKS_PER_CALL_MAX, len(codes) - 1)
    case = f"links: {rows:,} replaced in one call"
    bench.progress.step(case)
    wrong = h.acquire("nenkin", codes[1 : rows + 1]).aliases
    right = h.tickets("nenkin", rows)
    h.deliver("jlis", right, codes[:rows])
    begin = time.perf_counter()
    acquired = h.replace_links("nenkin", right, wrong, clerk="bench", reason="slipped by a row")
    bench.results.add_timing(case, Timing(rows, (time.perf_counter() - begin,)))
    bench.truth.check_column(case, "status", acquired.status, np.full(rows, Acquisition.CREATED, np.uint8))
