"""What this machine does at best beside a stage, in its process on one thread: ``bench/floors.toml`` has shares of it.

Each is seconds and rows. Where a stage waits for more than one part of the machine, its limit does too, one behind the
other: on a fast disk the processor's part remains, on a slow one the disk's, and the share stays much the same.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from hub.bench.gate import wire
from hub.bench.gate.people import CHUNK, World
from hub.bench.gate.stages import tree_size
from hub.bench.gate.timing import timed

HASHED_BYTES = 6 * 64
"""SHA-256 blocks of a record: subject tag 1, entry 2, leaf 1, inner node 2."""

ALIAS_BYTES = 43
"""Two entries of 21 bytes and a third, which an acquired alias takes at least."""

RECORD_BYTES = 60
"""Body 16, entry 32 and index 12 of a record."""

LEAST_OF = 5


class Shown(NamedTuple):
    """An object of as many fields as a record of a history has."""

    place: int
    requested_at: int
    answered_at: int
    requester: str
    provider: str
    procedure: str
    items: tuple[str, ...]
    role: str
    section: str
    outcome: int
    legal_basis: str
    request_id: str


def fetch(world: World) -> tuple[float, int]:
    """Two dependent random fetches a row over as many bytes as the two tables of a resolution take."""
    from hub import _core

    memory = np.ones(max(1 << 20, 2 * 36 * world.persons), dtype=np.uint8)
    order = np.random.default_rng(2).integers(0, (1 << 64) - 1, 4 * world.rows, dtype=np.uint64)
    return least(lambda: _core.fetch_limit(memory, order, 1, 1)), len(order)


def take(world: World) -> tuple[float, int]:
    """One look-up of two bytes a row in a small table."""
    column, rows = np.zeros(len(world.whole.numbers) + 64, dtype=np.uint16), 16 * world.rows
    providers = np.random.default_rng(3).integers(0, len(world.whole.numbers), rows, dtype=np.uint32)
    return least(lambda: column.take(providers)), rows


def sha256(world: World) -> tuple[float, int]:
    """SHA-256 over as many bytes as a record's tag, entry, leaf and node take, in one piece."""
    piece = bytes(CHUNK // 4 * HASHED_BYTES)
    return least(lambda: hashlib.sha256(piece).digest()), CHUNK // 4


def store(world: World) -> tuple[float, int]:
    """As ``fetch``, and as many bytes as new aliases take, written in one piece and synced."""
    rows = min(20_000, world.persons)
    each, fetched = fetch(world)
    return each * rows / fetched + least(lambda: write(world, rows * ALIAS_BYTES)), rows


def durable(world: World) -> tuple[float, int]:
    """As ``sha256``, and as many bytes as records take, written in one piece and synced."""
    rows = world.rows // 4
    each, hashed = sha256(world)
    return each * rows / hashed + least(lambda: write(world, rows * RECORD_BYTES)), rows


def objects(world: World) -> tuple[float, int]:
    """An object of as many fields as a record, from columns: what showing one in Python takes at least."""
    rows = 12 * 100
    numbers = [np.arange(rows) for _ in range(4)]
    words = ["x"] * rows

    def call() -> list[Shown]:
        one, two, three, four = (column.tolist() for column in numbers)
        items = itertools.repeat(("x",), rows)
        columns: Any = one, two, three, words, words, words, items, words, words, four, words, words
        return list(itertools.starmap(Shown, zip(*columns, strict=True)))

    return least(call), rows


def nodes(world: World) -> tuple[float, int]:
    """The nodes on the way of an inclusion and of a consistency proof, each hashed by a call of its own."""
    size, rows = tree_size(world.whole.hub), 100
    each, node = 2 * math.ceil(math.log2(max(2, size))), bytes(65)

    def call() -> None:
        for _ in range(rows * each):
            hashlib.sha256(node).digest()

    return least(call), rows


def echo(world: World) -> tuple[float, int]:
    """The same single calls by the same client of a server that answers at once."""
    served = wire.serve(world)
    frames = wire.frames_of(world, served, wire.CONNECTIONS * wire.EACH)
    with wire.echo(served.credentials) as (links, pid):
        return least(lambda: wire.ask_all(links, frames), beside=pid), len(frames)


def write(world: World, size: int) -> None:
    """So many bytes in one piece to a file of this world, synced."""
    with open(world.folder / "limit", "wb") as file:
        file.write(bytes(size))
        file.flush()
        os.fsync(file.fileno())


def least(call: Callable[[], Any], *, beside: int | None = None) -> float:
    """Seconds of the fastest of a few calls, by the wall's clock as it is kept for stages."""
    return min(timed(call, beside=beside)[0][0] for _ in range(LEAST_OF))


LIMITS: dict[str, Callable[[World], tuple[float, int]]] = {
    "fetch": fetch, "take": take, "hash": sha256, "store": store, "durable": durable, "objects": objects,
    "nodes": nodes, "echo": echo,
}  # fmt: skip
