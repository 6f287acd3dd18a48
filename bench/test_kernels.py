"""Kernels of tables and decisions under pytest-benchmark, for ``pytest bench --benchmark-compare``.

The product's own figures come from ``python -m hub.bench``; this is for a day of work on one kernel. All on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import hub
from hub import _blocks, _columns, _core
from hub.authorise import authorise
from hub.bench.log import pension_inquiry
from hub.bench.towns import towns_of
from kernels import ROWS, open_filled, pedantic


@pytest.fixture(scope="module")
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def codes() -> npt.NDArray[np.int64]:
    return 99_000_000_000 + np.arange(ROWS, dtype=np.int64)


@pytest.fixture(scope="module")
def filled(
    tmp_path_factory: pytest.TempPathFactory, codes: npt.NDArray[np.int64]
) -> Iterator[tuple[hub.Hub, npt.NDArray[np.uint8]]]:
    h, aliases = open_filled(tmp_path_factory.mktemp("kernels") / "hub", codes)
    with h:
        yield h, aliases


def test_resolve_hits(benchmark: Any, filled: tuple[hub.Hub, Any], random: np.random.Generator) -> None:
    h, aliases = filled
    batch = aliases[random.permutation(ROWS)]
    pedantic(benchmark, lambda: h.resolve("nenkin", "portal", batch))


def test_resolve_misses(benchmark: Any, filled: tuple[hub.Hub, Any], random: np.random.Generator) -> None:
    h, _ = filled
    batch = random.integers(0, 256, (ROWS, 16), dtype=np.uint8)
    pedantic(benchmark, lambda: h.resolve("nenkin", "portal", batch))


def test_acquire_known(benchmark: Any, filled: tuple[hub.Hub, Any], codes: npt.NDArray[np.int64]) -> None:
    h, _ = filled
    pedantic(benchmark, lambda: h.acquire("nenkin", codes))


def test_acquire_new(benchmark: Any, tmp_path: Path, codes: npt.NDArray[np.int64]) -> None:
    bodies = iter(hub.Catalog.japan().institutions("市町村長"))
    with hub.open(tmp_path / "hub", create=True, threads=1) as h:
        h.acquire("nenkin", codes)
        pedantic(benchmark, lambda: h.acquire(next(bodies).code, codes))


def test_build_blocks(benchmark: Any, random: np.random.Generator) -> None:
    aliases, persons = random.integers(0, 256, (ROWS, 16), dtype=np.uint8), np.arange(ROWS, dtype=np.uint32)
    empty = _core.Directory(0, np.zeros(1, np.uint64), 0, 0)

    def build() -> None:
        table = _blocks.TableBuild(empty, 0, 1, 0, aliases, persons)
        staging = np.empty(table.staging_bytes(1 << 40), np.uint8)
        blocks = np.empty((len(staging) // 4096, 4), np.uint64)
        assert table.build(0, table.unit_count, staging, blocks)[0] == table.unit_count

    pedantic(benchmark, build)


def test_authorise(benchmark: Any, random: np.random.Generator) -> None:
    catalog = hub.Catalog.japan()
    numbers = np.array([body.number for body in towns_of(catalog)], dtype=np.uint32)
    providers = numbers[random.integers(0, len(numbers), ROWS)]
    inquiry, at = pension_inquiry("kernels"), time.time()
    pedantic(benchmark, lambda: authorise(catalog, inquiry, providers, at))


def test_order_by_key(benchmark: Any, random: np.random.Generator) -> None:
    keys = random.integers(0, (1 << 64) - 1, ROWS, dtype=np.uint64)
    pedantic(benchmark, lambda: _columns.order_by_key(keys))


def test_first_rows(benchmark: Any, random: np.random.Generator) -> None:
    keys = random.integers(0, 256, (ROWS, 16), dtype=np.uint8)
    pedantic(benchmark, lambda: _columns.first_rows(keys))


def test_mark_keys(benchmark: Any, random: np.random.Generator) -> None:
    keys = random.integers(0, 256, (ROWS, 16), dtype=np.uint8)
    bitmaps = np.zeros((2, 1 << (8 * ROWS - 1).bit_length() >> 6), dtype=np.uint64)
    pedantic(benchmark, lambda: _columns.mark_keys(keys, bitmaps[0], bitmaps[1]))


def test_code_blocks(benchmark: Any, codes: npt.NDArray[np.int64]) -> None:
    pedantic(benchmark, lambda: _columns.code_blocks(codes, 10**11))


def test_hex_encode(benchmark: Any, random: np.random.Generator) -> None:
    aliases = random.integers(0, 256, (ROWS, 16), dtype=np.uint8)
    pedantic(benchmark, lambda: _columns.hex_encode(aliases))


def test_hex_decode(benchmark: Any, random: np.random.Generator) -> None:
    texts = _columns.hex_encode(random.integers(0, 256, (ROWS, 16), dtype=np.uint8))
    pedantic(benchmark, lambda: _columns.hex_decode(texts))


def test_fetch_limit(benchmark: Any, random: np.random.Generator) -> None:
    memory = np.ones(64 << 20, dtype=np.uint8)
    order = random.integers(0, (1 << 64) - 1, ROWS, dtype=np.uint64)
    pedantic(benchmark, lambda: _core.fetch_limit(memory, order, 1, 1))
