"""Acquire aliases in bulk and one at a time: new and known persons, space, bytes written, opening; peers."""

from __future__ import annotations

import shutil
import time

import numpy as np

import hub
from hub.bench.log import NOT_ASKABLE
from hub.bench.machinelimits import COMMIT
from hub.bench.measure import Timing, bytes_on_disk, bytes_written
from hub.bench.peers import installed
from hub.bench.results import size_name
from hub.bench.run import Run
from hub.bench.towns import with_towns
from hub.bench.world import REQUESTER, Step, World
from hub.messages import Acquisition

CITY_ROWS = 70_000
OPENINGS = 5
FRESH_HUBS = 1
"""Hubs that are filled with the smaller size once more, beside the one that the stages share."""


def run(bench: Run) -> None:
    for persons in bench.options.sizes:
        world = bench.world(persons)
        size = f"acquire: {size_name(persons)}"
        check_steps(bench, world, size)
        new = [step for step in world.steps if step.name == "new"]
        if persons == bench.options.sizes[0]:
            new += [fill_fresh_hub(bench, world, number) for number in range(FRESH_HUBS)]
        bench.results.add_timing(f"{size} new", Timing(persons, tuple(step.seconds[0] for step in new)))
        sent = [step.bytes_written / step.rows for step in new if step.bytes_written is not None]
        if sent:
            bench.results.add(f"{size} new, bytes written", "bytes_per_row", sent[0])
        write = bench.limits.of_writing(f"{size} new", sent[0] if sent else None)
        known = [step for step in world.steps if step.name == "known"]
        bench.results.add_timing(f"{size} known", Timing(persons, (sum(step.seconds[0] for step in known),)))
        bench.results.compare(f"{size} known", limit=bench.limits.of_writing(f"{size} known", bytes_per_row(known)))
        towns = next(step for step in world.steps if step.name == "towns")
        case = f"{size} known by {len(towns.seconds):,} municipalities"
        bench.results.add_timing(case, Timing(persons, (sum(towns.seconds),)))
        limits = [bench.limits.of_writing(case, bytes_per_row([towns])),
                  bench.limits.of_syncs(case, persons / len(towns.seconds))]  # fmt: skip
        bench.results.compare(case, limits=limits)
        peers = measure_peers(bench, world, size) if persons == bench.options.sizes[0] else []
        bench.results.compare(f"{size} new", peers=peers, limit=write)
        if persons == bench.options.sizes[0]:
            measure_octave(bench, world)
        measure_space(bench, world, size)
        if persons == bench.options.persons:
            measure_city(bench, world, size)
            measure_singles(bench, world, size)
            measure_opening(bench, world, size)


def bytes_per_row(steps: list[Step]) -> float | None:
    """Bytes that were written for a row of these steps, where the kernel counts them."""
    written = [step.bytes_written for step in steps]
    return None if None in written else sum(filter(None, written)) / sum(step.rows for step in steps)


def check_steps(bench: Run, world: World, size: str) -> None:
    """What came back while the world was filled: only new aliases, and the same ones for the same codes again."""
    bench.truth.check_equal(size, "rows not CREATED", world.not_created, 0)
    random = bench.generator("acquire again")
    persons = random.integers(0, world.persons, 1_000)
    again = world.hub.acquire(REQUESTER, world.codes[persons])
    already = np.full(len(persons), Acquisition.ALREADY, dtype=np.uint8)
    bench.truth.check_column(size, "status of known codes", again.status, already)
    same = bool((again.aliases == world.requester[persons]).all())
    bench.truth.check_equal(size, "aliases of known codes", same, True)


def fill_fresh_hub(bench: Run, world: World, number: int) -> Step:
    """The same new persons in another new hub, for a median."""
    bench.progress.step(f"acquire: {size_name(world.persons)} new persons, again")
    folder = bench.folder / f"fresh-{number}"
    with hub.open(folder, create=True, threads=bench.options.threads) as fresh:
        fresh.load_catalog(with_towns(hub.Catalog.japan()))
        begin = time.perf_counter()
        fresh.acquire(REQUESTER, world.codes)
        seconds = time.perf_counter() - begin
    shutil.rmtree(folder)
    return Step("new", world.persons, (seconds,), None, 0)


def measure_peers(bench: Run, world: World, size: str) -> list[str]:
    """Two durable tables of the same aliases, drawn already, in one transaction: less than the hub does; the cases."""
    cases = []
    for kind in installed(bench.options.peers):
        if not kind.durable or kind.reads_others_files:
            continue
        case = f"{size} new peer:{kind.name}"
        bench.progress.step(case)
        peer = bench.try_peer(kind, world.persons)
        if peer is None:
            continue
        bench.results.add_timing(case, Timing(world.persons, (bench.load_seconds[kind.files, world.persons],)))
        # Two aliases a person, as in the hub's pair of tables for one of them.
        bench.results.add(case, "bytes_per_row", peer.bytes_on_disk() / world.persons)
        cases.append(case)
        if not bench.wanted("resolve"):
            bench.drop_peer(kind, world.persons)
    return cases


def measure_octave(bench: Run, world: World) -> None:
    """Bytes an alias at three sizes: the fill of blocks swings within an octave of sizes, alike in every octave."""
    shares = []
    for aliases, live in world.space[:-1]:
        shares.append(live / aliases)
        bench.results.add(f"acquire: space of {size_name(aliases)} aliases", "bytes_per_row", shares[-1])
    bench.results.add("acquire: space worst of three", "bytes_per_row", max(shares))


def measure_space(bench: Run, world: World, size: str) -> None:
    """Bytes an alias takes in its pair of tables, and in the file with everything that is kept free there."""
    aliases, live = world.space[-1]
    bench.results.add(f"{size} space", "bytes_per_row", live / aliases)
    # Identifiers have a pair of tables too: four pairs hold the persons of this world.
    bench.results.add(f"{size} file", "bytes_per_row", bytes_on_disk(world.folder) / (4 * world.persons))


def measure_city(bench: Run, world: World, size: str) -> None:
    """A city of 70,000 comes on line: what is written, beside 2 x 21.33 bytes that an alias is."""
    rows = min(CITY_ROWS, world.persons // 2)
    random = bench.generator("acquire city")
    persons = random.permutation(world.persons)[:rows]
    case = f"{size} hub, {size_name(rows)} by one more body"
    bench.progress.step(case)
    written = bytes_written()
    begin = time.perf_counter()
    acquired = world.hub.acquire(NOT_ASKABLE, world.codes[persons])
    bench.results.add_timing(case, Timing(rows, (time.perf_counter() - begin,)))
    now = bytes_written()
    if now is not None and written is not None:
        bench.results.add(case, "bytes_per_row", (now - written) / rows)
    created = np.full(rows, Acquisition.CREATED, dtype=np.uint8)
    bench.truth.check_column(case, "status", acquired.status, created)


def measure_singles(bench: Run, world: World, size: str) -> None:
    """One alias a call, each durable by itself."""
    case = f"{size} single"
    bench.progress.step(case)
    seconds = []
    for code in world.codes[: bench.options.singles]:
        begin = time.perf_counter()
        world.hub.acquire("jlis", np.array([code]))
        seconds.append(time.perf_counter() - begin)
    bench.results.add_latency(case, seconds)
    bench.limits.commit()
    bench.results.compare(case, limit=COMMIT)


def measure_opening(bench: Run, world: World, size: str) -> None:
    """Close and open again, the file in the page cache, up to the first answer."""
    case = f"{size} open warm"
    bench.progress.step(case)
    seconds = []
    for _ in range(OPENINGS):
        seconds.append(world.reopen(bench.options.threads))
    bench.results.add_latency(case, seconds)
