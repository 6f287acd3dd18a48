"""The log peers' part of stage ``record``: the same rows, appended by others with the same durability."""

from __future__ import annotations

import gc
import shutil

import numpy as np

from hub.bench.log import Log
from hub.bench.measure import Timing
from hub.bench.peers.log import CHUNK_ROWS, CHUNKS, LogPeer, LogRows, installed, missing
from hub.bench.peers.servers import PeerRefused
from hub.bench.results import size_name
from hub.bench.run import Run
from hub.messages import Status

AT = 1_798_761_600


def measure_log_peers(bench: Run, log: Log) -> list[str]:
    """Every log peer that runs here, on the first rows of the log's first batch; returns their cases."""
    for name, package in missing(bench.options.peers):
        bench.leave_out(f"record: peer:{name}: {package} is not installed (make peers)")
    chunks = chunks_of(log)
    rows = sum(map(len, chunks))
    cases = []
    for kind in installed(bench.options.peers):
        case = f"record: {size_name(rows)} records peer:{kind.name}"
        bench.progress.step(case)
        if measure_log_peer(bench, kind, case, chunks):
            cases.append(case)
    return cases


def chunks_of(log: Log) -> list[LogRows]:
    """The first rows of which there are records, in chunks; of a small log smaller ones."""
    assert log.first is not None
    rows = np.flatnonzero(log.first.status != Status.UNKNOWN_ALIAS)
    size = min(CHUNK_ROWS, len(rows) // CHUNKS)
    chunks = []
    for number in range(CHUNKS):
        part = rows[number * size : (number + 1) * size]
        part = part[np.argsort(log.first.persons[part], kind="stable")]
        columns = (log.first.persons[part], log.first.providers[part], log.first.status[part])
        chunks.append(LogRows(*columns, requested_at=AT, shared=log.first.inquiry.procedure))
    return chunks


def measure_log_peer(bench: Run, kind: type[LogPeer], case: str, chunks: list[LogRows]) -> bool:
    """Append and count; whether it could."""
    folder = bench.folder / "log-peers"
    peer: LogPeer | None = None
    gc.disable()
    try:
        peer = kind(folder)
        seconds = peer.append(chunks)
        found = peer.count()
    except (PeerRefused, OSError, ImportError) as error:
        bench.leave_out(f"{case}: {error}")
        return False
    finally:
        gc.enable()
        if peer is not None:
            peer.close()
        shutil.rmtree(folder, ignore_errors=True)
    if found != sum(map(len, chunks)):
        bench.truth.problems.append(f"{case}: expected every record, got another number")
    bench.results.add_timing(case, Timing(len(chunks[0]), tuple(seconds)))
    return True
