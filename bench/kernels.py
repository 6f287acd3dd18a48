"""What the suites of kernels share: how many rows, how often, and hubs that are filled once.

``HUB_BENCH_ROWS`` makes them smaller: the ordinary tests run every suite at a small size, so that none rots.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import hub
from hub.bench.log import pension_inquiry
from hub.messages import Status

ROWS = int(os.environ.get("HUB_BENCH_ROWS", "200000"))
ROUNDS = 10


def pedantic(benchmark: Any, call: Callable[..., object], *, rows: int = ROWS, setup: Any = None) -> Any:
    """Time a call of so many rows; with a setup, of a new state each time."""
    benchmark.extra_info["rows"] = rows
    if setup is None:
        return benchmark.pedantic(call, rounds=ROUNDS, warmup_rounds=1)
    return benchmark.pedantic(call, setup=setup, rounds=ROUNDS)


def random_bytes(random: np.random.Generator, rows: int, width: int = 16) -> npt.NDArray[np.uint8]:
    return random.integers(0, 256, (rows, width), dtype=np.uint8)


def open_filled(folder: Path, codes: npt.NDArray[np.int64]) -> tuple[hub.Hub, npt.NDArray[np.uint8]]:
    """A hub in which two bodies know everybody, and the first one's aliases."""
    h = hub.open(folder, create=True, threads=1)
    aliases = h.acquire("nenkin", codes).aliases
    h.acquire("portal", codes)
    h.check_blocks()
    return h, aliases


def with_records(folder: Path, codes: npt.NDArray[np.int64], inquiries: int = 4) -> Iterator[hub.Hub]:
    """A hub in which a town was asked about everybody several times, until it is closed."""
    h, aliases = open_filled(folder, codes)
    with h:
        town = h.catalog.institutions("市町村長")[0]
        h.acquire(town.code, codes)
        for number in range(inquiries):
            answer = h.inquire(pension_inquiry(f"kernels-{number}"), aliases, town.code)
            assert not np.count_nonzero(answer.status != Status.OK)
        yield h
