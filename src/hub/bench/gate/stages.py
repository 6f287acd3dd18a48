"""The stages of the gate: each is prepared on a world once, then run in bursts, every answer checked behind the clock.

Of the hub only its fixed names are used and, for two stages, a function or a kernel: what a side lacks is answered so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hub.bench.gate import wire
from hub.bench.gate.people import CHUNK, EVERYBODY, FREQUENT, REQUESTER, World, settle
from hub.bench.gate.timing import Prepared, Seconds, expect, timed

LIMIT, CITIZENS = 100, 12
"""Records of a page of history, and how many citizens' a burst reads."""

AT = 1_798_761_600.0
"""2027-01-01 in UTC."""


def resolve(world: World) -> Prepared:
    people = world.whole
    check_blocks = getattr(people.hub, "check_blocks", None)
    if check_blocks is not None:
        check_blocks()

    def burst() -> tuple[Seconds, Callable[[], None]]:
        persons = world.random.integers(0, world.persons, world.rows)
        asked = people.requester[persons]
        seconds, (found,) = timed(lambda: people.hub.resolve(REQUESTER, EVERYBODY, asked))
        same = bool((found.aliases == people.everybody[persons]).all())
        return seconds, lambda: expect("resolve: aliases", same, True)

    return world.rows, burst


def authorise(world: World) -> Prepared:
    from hub.authorise import authorise as decide

    people, inquiry, rows = world.whole, world.inquiry(), 8 * world.rows

    def burst() -> tuple[Seconds, Callable[[], None]]:
        providers = people.numbers[world.random.integers(0, len(people.numbers), rows)]
        seconds, answers = timed(lambda: decide(people.hub.catalog, inquiry, providers, AT), 4)
        return seconds, lambda: expect("authorise: denials", int(np.count_nonzero(answers[0].status)), 0)

    return 4 * rows, burst


def record(world: World) -> Prepared:
    """Entries, leaves and nodes of a chunk: what a record costs that is neither the law nor the disk."""
    from hub import _hash

    rows = CHUNK // 8
    random = np.random.default_rng(1)
    salts, keys = (random.integers(0, 256, (rows, 16), dtype=np.uint8) for _ in range(2))
    stored, shared, times = np.zeros((rows, 16), np.uint8), np.zeros((1, 32), np.uint8), np.zeros((1, 2), np.int64)
    leaves = np.empty((rows, 32), dtype=np.uint8)
    known: list[bytes] = []

    def call() -> list[bytes]:
        _hash.hash_records(salts, keys, stored, shared, times, leaves=leaves)
        peaks, _ = _hash.append_leaves(0, [], leaves)
        return list(peaks)

    def burst() -> tuple[Seconds, Callable[[], None]]:
        seconds, answers = timed(call)
        if not known:
            known.extend(answers[0])
        return seconds, lambda: expect("record: peaks", answers[0], known)

    return rows, burst


def history(world: World) -> Prepared:
    people = world.whole
    # The same in every burst: how much a citizen's page takes differs.
    asked = people.everybody[world.random.permutation(FREQUENT)[:CITIZENS]]

    def burst() -> tuple[Seconds, Callable[[], None]]:
        aliases = iter(asked)
        seconds, answers = timed(lambda: people.hub.history(next(aliases), limit=LIMIT), CITIZENS)
        return seconds, lambda: expect("history: records", {len(page.records) for page in answers}, {LIMIT})

    return CITIZENS * LIMIT, burst


def prove(world: World) -> Prepared:
    people = world.whole
    opened = people.hub
    size = tree_size(opened)
    asked = people.everybody[world.random.permutation(FREQUENT)[:CITIZENS]]
    sizes = world.random.integers(1, size, CITIZENS).tolist()

    def burst() -> tuple[Seconds, Callable[[], None]]:
        aliases, olds = iter(asked), iter(sizes)

        def call() -> Any:
            opened.consistency(next(olds), size)
            found = opened.history(next(aliases), limit=1)
            return found.records[0].index, found.proof(0)

        seconds, answers = timed(call, CITIZENS)
        return seconds, lambda: expect("prove: indexes", [i for i, _ in answers], [proof.index for _, proof in answers])

    return CITIZENS, burst


def verify(world: World) -> Prepared:
    opened = world.small.hub

    def burst() -> tuple[Seconds, Callable[[], None]]:
        seconds, answers = timed(opened.verify)
        return seconds, lambda: expect("verify: problems", list(answers[0].problems), [])

    return tree_size(opened), burst


def acquire(world: World) -> Prepared:
    people, rows = world.whole, min(20_000, world.persons)

    def burst() -> tuple[Seconds, Callable[[], None]]:
        body = next(people.strangers)
        codes = people.codes[world.random.permutation(world.persons)[:rows]]
        seconds, answers = timed(lambda: people.hub.acquire(body, codes))
        return seconds, lambda: expect("acquire: statuses", len(set(answers[0].status.tolist())), 1)

    return rows, burst


def inquiry(world: World) -> Prepared:
    """Authorised, resolved, recorded, synced, answered, permits in the inboxes."""
    people, rows = world.whole, world.rows // 4
    opened = people.hub
    deliver = getattr(getattr(opened, "_delivery", None), "deliver", None)

    def burst() -> tuple[Seconds, Callable[[], None]]:
        persons = world.random.integers(0, world.persons, rows)
        asked, aliases, providers = world.inquiry(), people.requester[persons], people.homes[people.home[persons]]

        def call() -> Any:
            answer = opened.inquire(asked, aliases, providers)
            if deliver is not None:
                deliver()
            return answer

        seconds, answers = timed(call)

        def check() -> None:
            expect("inquiry: statuses", int(np.count_nonzero(answers[0].status)), 0)
            settle(opened)

        return seconds, check

    return rows, burst


def tree_size(opened: Any) -> int:
    """Records in the log."""
    return int(opened.checkpoint().splitlines()[1])


# Those that change the hub come last.
STAGES: dict[str, Callable[[World], Prepared]] = {
    "resolve": resolve, "authorise": authorise, "record": record, "history": history, "prove": prove,
    "verify": verify, "wire-bulk": wire.bulk, "wire-single": wire.single, "acquire": acquire, "inquiry": inquiry,
}  # fmt: skip
