"""Append records in bulk: bytes of a record by part, rows per second with tree and sync, beside hashing alone."""

from __future__ import annotations

import time

from hub.bench.logpeers import measure_log_peers
from hub.bench.machinelimits import HASHING
from hub.bench.measure import Timing
from hub.bench.results import size_name
from hub.bench.run import Run

PARTS = {"body": ("records",), "entries": ("entries",), "nodes": ("nodes",), "index": ("runs", "rundir")}
MERGE_SECONDS_MAX = 300.0


def run(bench: Run) -> None:
    log = bench.log(bench.options.persons)
    records = max(log.records, 1)
    case = f"record: {size_name(log.records)} records"
    counted = log.timings[1:] or log.timings
    seconds = tuple(log.records / sum(rows for rows, _, _ in log.timings) * taken for _, taken, _ in counted)
    bench.results.add_timing(f"{case} sustained", Timing(log.rows, seconds))
    sent = [written for _, _, written in log.timings if written is not None]
    if sent:
        bench.results.add(f"{case} written", "bytes_per_row", sum(sent) / records)
    add_sizes(bench, f"{case} before merging", log.bytes_by_part, records)
    bench.progress.step(f"{case}: merging the index")
    begin = time.monotonic()
    while not log.world.merging_done() and time.monotonic() - begin < MERGE_SECONDS_MAX:
        time.sleep(0.05)
    add_sizes(bench, case, log.world.bytes_by_database(), records)
    bench.limits.hashing()
    per_row = sum(sent) / sum(rows for rows, _, _ in log.timings) if sent else None
    write = bench.limits.of_writing(f"{case} sustained", per_row)
    peers = measure_log_peers(bench, log)
    bench.results.compare(f"{case} sustained", peers=peers, limits=[HASHING, write])


def add_sizes(bench: Run, case: str, sizes: dict[str, int], records: int) -> None:
    """Enter what each part of a record takes, and all of them."""
    parts = {part: sum(sizes[name] for name in names) / records for part, names in PARTS.items()}
    for part, size in parts.items():
        bench.results.add(f"{case} {part}", "bytes_per_row", size)
    bench.results.add(f"{case} whole", "bytes_per_row", sum(parts.values()))
