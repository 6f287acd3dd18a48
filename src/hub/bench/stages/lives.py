"""Persons who are merged, split and told dead, one at a time; all aliases of one person found in every table."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from hub.aliases import RESIDENT_CODES, find_persons
from hub.bench.results import size_name
from hub.bench.run import Run
from hub.bench.world import EVERYBODY, REQUESTER, World
from hub.messages import Acquisition
from hub.persons.merges import aliases_of, holding
from hub.storage.workers import Workers

CALLS, CALLS_QUICK = 60, 15
PROBES = 400
WORDS = {"clerk": "one", "second_clerk": "another", "reason": "bench"}


def run(bench: Run) -> None:
    persons = bench.options.persons
    world = bench.world(persons)
    size = f"lives: {size_name(persons)}"
    calls = CALLS_QUICK if bench.options.quick else CALLS
    random = bench.generator("lives")
    chosen = random.choice(world.persons, 4 * calls, replace=False)
    codes = [f"{code:011}" for code in world.codes[chosen].tolist()]
    pairs = list(zip(codes[:calls], codes[calls : 2 * calls], strict=True))
    world.hub.acquire("portal", world.codes[chosen])
    measure_probe(bench, world, size, chosen)
    time_calls(bench, f"{size} merge", [partial(world.hub.merge, "jlis", *pair, **WORDS) for pair in pairs])
    gone = world.requester[chosen[calls : 2 * calls]]
    again = world.hub.reissue(REQUESTER, np.ascontiguousarray(gone))
    bench.truth.check_equal(size, "aliases of the gone", again.aliases.tolist(),
                            world.requester[chosen[:calls]].tolist())  # fmt: skip
    splits = [partial(world.hub.split, "jlis", *pair, **WORDS) for pair in pairs]
    time_calls(bench, f"{size} split", splits)
    back = world.hub.resolve(EVERYBODY, REQUESTER, world.everybody[chosen[: 2 * calls]]).aliases
    bench.truth.check_equal(size, "aliases after a split", back.tolist(), world.requester[chosen[: 2 * calls]].tolist())
    day = dt.date(2020, 1, 1)
    dead = codes[2 * calls : 3 * calls]
    time_calls(bench, f"{size} death", [partial(world.hub.deaths, "jlis", [code], day) for code in dead])
    status = world.hub.acquire("portal", world.codes[chosen[2 * calls : 3 * calls]]).status.tolist()
    bench.truth.check_equal(size, "portal aliases of the dead", status, [int(Acquisition.NONE)] * calls)
    rows = [np.ascontiguousarray(world.requester[one : one + 1]) for one in chosen[3 * calls :].tolist()]
    time_calls(bench, f"{size} reissue", [partial(world.hub.reissue, REQUESTER, row) for row in rows])


def time_calls(bench: Run, case: str, calls: Sequence[Callable[[], object]]) -> None:
    """Durable calls of one person each, one behind the other; the first is left out: it reads what the others use."""
    bench.progress.step(case)
    seconds = []
    for call in calls:
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    bench.results.add_latency(case, seconds[1:])


def measure_probe(bench: Run, world: World, size: str, chosen: np.ndarray) -> None:
    """A look into every institution's table by person, whoever knows them."""
    store = world.hub._store
    pseudonyms = np.concatenate([
        np.frombuffer(world.hub._pseudonym(f"{code:011}"), np.uint8).reshape(1, 16)
        for code in world.codes[chosen].tolist()
    ])  # fmt: skip
    with store.snapshot() as snapshot:
        persons = find_persons(snapshot, RESIDENT_CODES, pseudonyms, Workers(1))[0].tolist()
        tables = len(holding(snapshot))
        # Who is looked at first has the blocks checked that the others use.
        found = [aliases_of(snapshot, person) for person in persons]
        seconds = []
        for number in range(PROBES):
            begin = time.perf_counter()
            aliases_of(snapshot, persons[number % len(persons)])
            seconds.append(time.perf_counter() - begin)
    bench.results.add_latency(f"{size} probe of {tables:,} tables", seconds)
    number = world.hub.catalog.institution(REQUESTER).number
    bench.truth.check_equal(size, "aliases found", [one[number] for one in found],
                            [alias.tobytes() for alias in world.requester[chosen]])  # fmt: skip
