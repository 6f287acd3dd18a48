"""Kernels of inquiries under pytest-benchmark: hashing, sorting permits, the daily bound, small inquiries, the wire."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from hub import _asked, _deliver, _hash, _small, _wire
from hub.catalog import Catalog
from hub.messages import Kind
from hub.provision.inbox import BOXES
from hub.provision.tail import LEAVING
from hub.records.bodies import ROW, ROW_BYTES
from kernels import ROWS, pedantic, random_bytes

WAITING = min(ROWS, 4_096)
"""Single inquiries that one commit gathers."""


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


# _hash


def test_hash_records(benchmark: Any, random: np.random.Generator) -> None:
    salts, keys = random_bytes(random, ROWS), random_bytes(random, ROWS)
    stored, shared, times = np.zeros((ROWS, 16), np.uint8), np.zeros((1, 32), np.uint8), np.zeros((1, 2), np.int64)
    leaves = np.empty((ROWS, 32), dtype=np.uint8)
    pedantic(benchmark, lambda: _hash.hash_records(salts, keys, stored, shared, times, leaves=leaves))


def test_hash_leaves(benchmark: Any, random: np.random.Generator) -> None:
    entries = random_bytes(random, ROWS, 32)
    pedantic(benchmark, lambda: _hash.hash_leaves(entries))


def test_append_leaves(benchmark: Any, random: np.random.Generator) -> None:
    leaves = random_bytes(random, ROWS, 32)
    pedantic(benchmark, lambda: _hash.append_leaves(0, [], leaves))


# _deliver


def permits(random: np.random.Generator) -> np.ndarray:
    """Rows of permits for the municipalities."""
    table = np.zeros(ROWS, dtype=ROW)
    table["person"] = random.integers(0, 1 << 32, ROWS, dtype=np.uint32)
    table["provider"] = random.integers(1, 1_742, ROWS)
    table["kind"] = Kind.INQUIRY
    return table.view(np.uint8).reshape(-1, ROW_BYTES)


def test_count_permits(benchmark: Any, random: np.random.Generator) -> None:
    rows, counts = permits(random), np.zeros(BOXES, dtype=np.uint32)
    pedantic(benchmark, lambda: _deliver.count_permits(rows, LEAVING, counts))


def test_place_permits(benchmark: Any, random: np.random.Generator) -> None:
    rows, counts = permits(random), np.zeros(BOXES, dtype=np.uint32)
    _deliver.count_permits(rows, LEAVING, counts)
    starts = (np.cumsum(counts) - counts).astype(np.uint32)
    offsets, persons, which = (np.empty(ROWS, np.uint32) for _ in range(3))
    part = np.zeros(1, dtype=np.uint32)
    pedantic(
        benchmark, lambda places: _deliver.place_permits(rows, LEAVING, 0, part, places, offsets, persons, which),
        setup=lambda: ((starts.copy(),), {}),
    )  # fmt: skip


# _asked


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
def test_count_asked(benchmark: Any, random: np.random.Generator, dense: bool) -> None:
    persons_known = ROWS if dense else 100 * ROWS
    persons = random.integers(0, persons_known, ROWS, dtype=np.uint32)
    providers = random.integers(1, 1_742, ROWS, dtype=np.uint32)
    wanted, unsure = np.ones(ROWS, np.uint8), np.zeros(ROWS, np.uint8)

    def empty() -> tuple[tuple[_asked.Table], dict[str, Any]]:
        table = _asked.Table()
        table.reserve(ROWS, persons_known)
        return (table,), {}

    pedantic(
        benchmark, lambda table: table.count(persons, providers, wanted, None, _asked.MOST, unsure), setup=empty
    )  # fmt: skip


# _small


def test_keys_put_and_find(benchmark: Any, random: np.random.Generator) -> None:
    known, values = random_bytes(random, ROWS), np.empty(WAITING, dtype=np.uint64)
    asked = np.concatenate([known[: WAITING // 2], random_bytes(random, WAITING - WAITING // 2)])
    keys = _small.Keys()
    keys.put(known, 7)
    pedantic(benchmark, lambda: keys.find(asked, values), rows=WAITING)


def test_probe_filters(benchmark: Any, random: np.random.Generator) -> None:
    filters = [_small.Filter(ROWS) for _ in range(4)]
    for one in filters:
        one.add(random_bytes(random, ROWS))
    asked = random_bytes(random, WAITING)
    pedantic(benchmark, lambda: _small.probe(filters, asked), rows=WAITING)


def test_decide(benchmark: Any, random: np.random.Generator) -> None:
    entries, questions = 3, 20
    columns = [random.integers(0, entries, 2_000).astype(np.uint16) for _ in range(questions)]
    without = [np.arange(entries, dtype=np.uint16)] * questions
    statuses, reasons = ([np.zeros(entries, np.uint8)] * questions for _ in range(2))
    rules = [np.arange(entries, dtype=np.uint32)] * questions
    which = random.integers(0, questions, WAITING, dtype=np.uint32)
    providers = random.integers(1, 2_000, WAITING, dtype=np.uint32)
    out = np.empty(WAITING, np.uint16), np.empty(WAITING, np.uint8), np.empty(WAITING, np.uint32)
    reason = np.empty(WAITING, np.uint8)
    pedantic(
        benchmark,
        lambda: _small.decide(columns, without, statuses, rules, reasons, which, providers, None, *out, reason),
        rows=WAITING,
    )  # fmt: skip


def test_join_fields(benchmark: Any, random: np.random.Generator) -> None:
    middles = [bytes(random_bytes(random, 1, 150)) for _ in range(20)]
    which = random.integers(0, len(middles), WAITING, dtype=np.uint32)
    covered = [msgspec.msgpack.encode(("係", None))]
    names, moments = random_bytes(random, WAITING, 8), np.zeros(WAITING, dtype=np.int64)
    nobody = np.zeros(WAITING, dtype=np.uint32)
    pedantic(
        benchmark,
        lambda: _small.join_fields(middles, which, names, bytes(32), covered, nobody, moments, 1_798_761_600, True),
        rows=WAITING,
    )  # fmt: skip


def test_seal_entries(benchmark: Any, random: np.random.Generator) -> None:
    keys = random_bytes(random, WAITING)
    commits = random.integers(0, 1 << 63, WAITING, dtype=np.uint64)
    pedantic(benchmark, lambda: _small.seal_entries(b"small-20000", keys, commits), rows=WAITING)


# _wire


def message(number: int) -> bytes:
    """A single inquiry as the package's own client writes it."""
    inquiry = {
        "procedure": "19-8/73/75.3", "items": ["市町村民税"], "section": "国民年金部", "request_id": f"k-{number}",
        "role": "納付義務者",
    }  # fmt: skip
    town = Catalog.japan().institutions("市町村長")[0].code
    body = msgspec.msgpack.encode({"inquiry": inquiry, "aliases": bytes(16), "providers": [[town], b""]})
    return msgspec.msgpack.encode([3, number, "nenkin", "inquire", False, len(body), body])


@pytest.mark.skipif(not _wire.NATIVE, reason="without libcrypto single inquiries go the general way")
def test_read_single(benchmark: Any) -> None:
    messages = [message(number) for number in range(min(WAITING, 1_000))]
    assert _wire.read_single(messages[0]) is not None
    pedantic(benchmark, lambda: [_wire.read_single(one) for one in messages], rows=len(messages))
