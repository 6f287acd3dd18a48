"""Translate batches of aliases into a provider's: hits, misses, sorted, by threads; peers; the limit."""

from __future__ import annotations

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat as repeat_value

import numpy as np
import numpy.typing as npt

from hub import _core
from hub.bench.measure import repeat
from hub.bench.peers import LOAD_SECONDS_MAX, Peer, alias_order, installed, missing
from hub.bench.results import size_name
from hub.bench.run import Run
from hub.bench.world import EVERYBODY, REQUESTER, World, random_aliases
from hub.messages import Resolved, Status

BATCHES = 2
"""Different batches that the repeats take in turn, so that none finds its own rows in the cache."""

LINES_FIRST, LINES_SECOND = 1, 1
"""Cache lines that a hit reads in each table: a bucket of three entries is one line."""

LOAD_MARGIN = 1.5
"""Ten times the rows take half as much again as ten times the time: they no longer fit the caches."""

Column = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Batch:
    """Rows of one call, the model's answer, and whose aliases they are.

    ``in_order`` is false where the aliases, which differ from run to run, decide the order of the rows.
    """

    aliases: Column
    providers: str | npt.NDArray[np.uint32]
    expected: Column
    persons: npt.NDArray[np.uint32]
    in_order: bool = True


def run(bench: Run) -> None:
    for persons in bench.options.sizes:
        world = bench.world(persons)
        size = f"resolve: {size_name(persons)}"
        hits = measure_hub(bench, world, size)
        measure_limit(bench, world, size)
        peers = measure_peers(bench, world, size, hits)
        for threads in bench.options.thread_counts:
            label = threads_name(threads)
            case, limit = f"{size} hits {label}", f"{size} hits limit {label}"
            bench.results.compare(case, peers=peers, limit=limit)
            # Peers are measured on random rows alone; the other cases are only held against the limit.
            for variant in ("hits sorted", towns_variant(world), "not held"):
                bench.results.compare(f"{size} {variant} {label}", limit=limit)
            bench.results.compare(f"{size} misses {label}", limit=f"{size} misses limit {label}")


def threads_name(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def towns_variant(world: World) -> str:
    return f"hits {len(world.towns):,} providers"


def measure_hub(bench: Run, world: World, size: str) -> list[Batch]:
    """All variants at one size; returns the random hits, for the peers."""
    random = bench.generator(f"resolve {world.persons}")
    rows = bench.options.batch_rows
    hits = draw(BATCHES, lambda: batch_of(world, random.integers(0, world.persons, rows, dtype=np.uint32)))
    in_order = [sorted_batch(batch) for batch in hits]
    misses = draw(BATCHES, lambda: miss_batch(random_aliases(random, rows)))
    at_home = draw(BATCHES, lambda: home_batch(world, random.integers(0, world.persons, rows, dtype=np.uint32), 0))
    elsewhere = draw(BATCHES, lambda: home_batch(world, random.integers(0, world.persons, rows, dtype=np.uint32), 1))
    for threads in bench.options.thread_counts:
        world.reopen(threads)
        world.hub.check_blocks()
        label = threads_name(threads)
        towns = towns_variant(world)
        measure(bench, world, f"{size} hits {label}", hits, Status.OK)
        measure(bench, world, f"{size} misses {label}", misses, Status.UNKNOWN_ALIAS)
        measure(bench, world, f"{size} hits sorted {label}", in_order, Status.OK)
        measure(bench, world, f"{size} {towns} {label}", at_home, Status.OK)
        measure(bench, world, f"{size} not held {label}", elsewhere, Status.NO_ALIAS_AT_PROVIDER)
    return hits


def measure(bench: Run, world: World, case: str, batches: list[Batch], status: Status) -> None:
    def call(i: int) -> Resolved:
        batch = batches[i % len(batches)]
        return world.hub.resolve(REQUESTER, batch.providers, batch.aliases)

    def check(i: int, got: Resolved) -> None:
        batch = batches[i % len(batches)]
        bench.truth.check_aliases(
            case, got.aliases, got.status, batch.expected, batch.persons, status,
            first=i == 0, in_order=batch.in_order,
        )  # fmt: skip

    bench.progress.step(case)
    bench.results.add_timing(case, repeat(len(batches[0].aliases), call, check))


def measure_limit(bench: Run, world: World, size: str) -> None:
    """Two dependent random fetches a row over as many bytes as a hit's two tables; of a miss one, over one table."""
    pair_bytes = max(1 << 20, round(world.space[-1][1]))
    memory = np.ones(pair_bytes, dtype=np.uint8)
    rows = bench.options.batch_rows
    order = bench.generator("limit").integers(0, (1 << 64) - 1, rows, dtype=np.uint64, endpoint=True)
    for threads in bench.options.thread_counts:
        measure_fetches(bench, f"{size} hits limit {threads_name(threads)}", memory, order, threads, rows)
        # The kernel makes them in pairs: half as many pairs are as many fetches as there are misses.
        few, first = order[: max(1, rows // 2)], memory[: pair_bytes // 2]
        measure_fetches(bench, f"{size} misses limit {threads_name(threads)}", first, few, threads, 2 * len(few))


def measure_fetches(
    bench: Run, case: str, memory: Column, order: npt.NDArray[np.uint64], threads: int, rows: int
) -> None:
    """Pairs of fetches on so many threads, entered as so many rows."""
    bench.progress.step(case)
    parts = np.array_split(order, threads)
    with ThreadPoolExecutor(threads) as pool:

        def call(_: int) -> int:
            lines = repeat_value(LINES_FIRST), repeat_value(LINES_SECOND)
            return sum(pool.map(_core.fetch_limit, repeat_value(memory), parts, *lines))

        bench.results.add_timing(case, repeat(rows, call, lambda *_: None))


def measure_peers(bench: Run, world: World, size: str, hits: list[Batch]) -> list[str]:
    """Every peer that can load this size in time, on the hub's own rows; returns their cases."""
    cases = []
    # The collector would walk the peers' millions of objects again and again; there is no cycle among them.
    gc.disable()
    try:
        for name, package in missing(bench.options.peers):
            bench.leave_out(f"peer:{name}: {package} is not installed (make peers)")
        for kind in installed(bench.options.peers):
            if loads_in_time(bench, kind, world.persons):
                cases += measure_peer(bench, kind, world.persons, f"{size} hits peer:{kind.name}", hits)
    finally:
        gc.enable()
        bench.drop_peers(world.persons)
    return cases


def loads_in_time(bench: Run, kind: type[Peer], persons: int) -> bool:
    """Whether a peer, by its rate at the smaller size, loads this one within LOAD_SECONDS_MAX."""
    small = bench.options.sizes[0]
    if kind.name in bench.refused:
        return False
    if persons == small or (kind.files, persons) in bench.load_seconds:
        return True
    seconds = bench.load_seconds.get((kind.files, small), 0.0) * persons / small
    if seconds > LOAD_SECONDS_MAX:
        bench.leave_out(f"peer:{kind.name} at {size_name(persons)}: would load for {seconds:.0f} s")
        return False
    # On a slow or busy machine a run without the slower peers is worth more than one that nobody waits for.
    if bench.seconds() + LOAD_MARGIN * seconds > bench.options.seconds_for_peers:
        bench.leave_out(f"peer:{kind.name} at {size_name(persons)}: the run has taken {bench.seconds():.0f} s already")
        return False
    return True


def measure_peer(bench: Run, kind: type[Peer], persons: int, case: str, hits: list[Batch]) -> list[str]:
    """The case, or none where the peer refuses."""
    bench.progress.step(f"{case}: loading")
    peer = bench.try_peer(kind, persons)
    if peer is None:
        return []
    bench.progress.step(case)
    rows = min(len(hits[0].aliases), kind.rows_suffice or len(hits[0].aliases))

    def check(i: int, got: Column) -> None:
        batch = hits[i % len(hits)]
        status = np.zeros(rows, dtype=np.uint8)
        bench.truth.check_aliases(case, got, status, batch.expected[:rows], batch.persons[:rows], first=False)

    try:
        timing = repeat(rows, lambda i: peer.resolve(hits[i % len(hits)].aliases[:rows]), check)
    except Exception as error:
        bench.refuse(kind, persons, error)
        return []
    finally:
        bench.drop_peer(kind, persons)
    bench.results.add_timing(case, timing)
    return [case]


def draw(count: int, make: Callable[[], Batch]) -> list[Batch]:
    return [make() for _ in range(count)]


def batch_of(world: World, persons: npt.NDArray[np.uint32]) -> Batch:
    return Batch(world.requester[persons], EVERYBODY, world.everybody[persons], persons)


def sorted_batch(batch: Batch) -> Batch:
    """The same rows in the order of their aliases, as a file sorted by alias would come."""
    order = alias_order(batch.aliases)
    return Batch(batch.aliases[order], batch.providers, batch.expected[order], batch.persons[order], in_order=False)


def miss_batch(aliases: Column) -> Batch:
    nobody = np.zeros(len(aliases), dtype=np.uint32)
    return Batch(aliases, EVERYBODY, np.zeros_like(aliases), nobody)


def home_batch(world: World, persons: npt.NDArray[np.uint32], shift: int) -> Batch:
    """Rows that ask each person's own municipality, or with a shift one that does not know them."""
    towns = (world.home_town[persons] + shift) % len(world.towns)
    expected = world.home[persons] if shift == 0 else np.zeros((len(persons), 16), dtype=np.uint8)
    return Batch(world.requester[persons], world.towns[towns], expected, persons)
