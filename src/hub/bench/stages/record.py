"""Append records in bulk: bytes of a record by part, rows per second with tree and sync, beside hashing alone."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hub import _hash
from hub.bench.measure import Timing
from hub.bench.results import size_name
from hub.bench.run import Run

PARTS = {"body": ("records",), "entries": ("entries",), "nodes": ("nodes",), "index": ("runs", "rundir")}
MERGE_SECONDS_MAX = 300.0
HASHED_ROWS = 65_536


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
    measure_hashing(bench)
    bench.results.compare(f"{case} sustained", limit="record: limit hashing")


def add_sizes(bench: Run, case: str, sizes: dict[str, int], records: int) -> None:
    """Enter what each part of a record takes, and all of them."""
    parts = {part: sum(sizes[name] for name in names) / records for part, names in PARTS.items()}
    for part, size in parts.items():
        bench.results.add(f"{case} {part}", "bytes_per_row", size)
    bench.results.add(f"{case} whole", "bytes_per_row", sum(parts.values()))


def measure_hashing(bench: Run) -> None:
    """The machine's limit: entries, leaves and nodes of records, on as many threads, and nothing else."""
    random = bench.generator("record limit")
    stored = np.zeros((HASHED_ROWS, 16), dtype=np.uint8)
    salts, keys = (random.integers(0, 256, (HASHED_ROWS, 16), dtype=np.uint8) for _ in range(2))
    shared, times = np.zeros((1, 32), np.uint8), np.zeros((1, 2), np.int64)

    def hash_chunk(_: int) -> None:
        leaves = np.empty((HASHED_ROWS, 32), dtype=np.uint8)
        _hash.hash_records(salts, keys, stored, shared, times, leaves=leaves)
        _hash.append_leaves(0, [], leaves)

    chunks = 8 * bench.options.threads
    seconds = []
    with ThreadPoolExecutor(bench.options.threads) as threads:
        for _ in range(3):
            begin = time.perf_counter()
            list(threads.map(hash_chunk, range(chunks)))
            seconds.append(time.perf_counter() - begin)
    bench.results.add_timing("record: limit hashing", Timing(HASHED_ROWS * chunks, tuple(seconds)))
