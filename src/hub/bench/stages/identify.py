"""Identifiers from outside: registered by their issuer, asked by in bulk and one by one, known and unknown."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

import hub
from hub.bench.measure import Timing, bytes_written, repeat
from hub.bench.results import size_name
from hub.bench.run import Run
from hub.bench.world import FIRST_CODE
from hub.messages import Identified, Identity

TOWN, ISSUER, NAMESPACE = "131016", "jlis", "serials"
LINE = f"namespace,name,issuer,relying\n{NAMESPACE},bench,{ISSUER},{TOWN}\n"
SERIAL_DIGITS = {"12 bytes": 12, "24 bytes": 24}
"""Up to 15 bytes an identifier is one block of AES, beyond it an HMAC."""

SINGLES = 200


def run(bench: Run) -> None:
    persons = bench.options.persons
    codes = FIRST_CODE + bench.generator("identify codes").permutation(persons)
    with hub.open(bench.folder / "identify", create=True, threads=bench.options.threads) as h:
        h.load_catalog(h.catalog.import_table(LINE, "namespaces"))
        bench.progress.step(f"identify: acquire {size_name(persons)} persons")
        known = h.acquire(TOWN, codes).aliases
        for name, digits in SERIAL_DIGITS.items():
            measure(bench, h, codes, known, digits, f"identify: {size_name(persons)} of {name}")


def serials_of(numbers: npt.NDArray[np.int64], digits: int) -> npt.NDArray[np.uint8]:
    """uint8[N, digits]: numbers in decimal."""
    places = 10 ** np.arange(min(digits, 18) - 1, -1, -1, dtype=np.int64)
    out = np.full((len(numbers), digits), ord("0"), np.uint8)
    out[:, digits - len(places) :] += (numbers[:, None] // places % 10).astype(np.uint8)
    return out


def measure(
    bench: Run, h: hub.Hub, codes: npt.NDArray[np.int64], known: npt.NDArray[np.uint8], digits: int, case: str
) -> None:
    """Register everybody's identifier, then ask by a batch of them, by as many that nobody made, and one by one."""
    bench.progress.step(case)
    serials = serials_of(np.arange(len(codes)), digits)
    written, begin = bytes_written(), time.perf_counter()
    made = h.register_identifiers(NAMESPACE, ISSUER, codes, serials)
    bench.results.add_timing(f"{case}, register", Timing(len(codes), (time.perf_counter() - begin,)))
    sent = bytes_written()
    if written is not None and sent is not None:
        bench.results.add(f"{case}, register", "bytes_per_row", (sent - written) / len(codes))
    bench.truth.check_equal(case, "created", int((made.status == hub.Acquisition.CREATED).sum()), len(codes))

    rows = bench.generator(case).permutation(len(codes))[: bench.options.batch_rows]
    asked, strangers = np.ascontiguousarray(serials[rows]), serials_of(rows + 10**9, digits)
    status = np.full(len(rows), Identity.VALID, np.uint8)

    def check(i: int, got: Identified) -> None:
        bench.truth.check_column(case, "status", got.status, status, first=i == 0)
        if i == 0:
            bench.truth.check_equal(case, "aliases", bool((got.aliases == known[rows]).all()), True)

    def check_strangers(i: int, got: Identified) -> None:
        bench.truth.check_column(case, "unknown", got.status, np.full_like(status, Identity.UNKNOWN), first=i == 0)

    timing = repeat(len(rows), lambda _: h.identify(TOWN, NAMESPACE, asked), check, repeats=1)
    bench.results.add_timing(case, timing)
    timing = repeat(len(rows), lambda _: h.identify(TOWN, NAMESPACE, strangers), check_strangers, repeats=1)
    bench.results.add_timing(f"{case}, unknown", timing)
    seconds = []
    for row in range(min(SINGLES, len(rows))):
        begin = time.perf_counter()
        h.identify(TOWN, NAMESPACE, asked[row : row + 1])
        seconds.append(time.perf_counter() - begin)
    bench.results.add_latency(f"{case}, one row", seconds)
