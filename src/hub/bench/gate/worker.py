"""The program that runs on either side of the gate: a world of its own, short bursts of one stage on command.

The same file is run by its path against the base's package and the head's, so it uses only the hub's fixed names and,
for two stages, a kernel; what a package lacks is answered, not raised. One JSON object a line comes in and goes out:

``{"prepare": stage}``        -> ``{"rows": n}``, rows of one burst, or ``{"lacks": why}``, or ``{"wrong": what}``
``{"burst": stage}``          -> ``{"wall": s, "cpu": s}``, or ``{"wrong": what}``: an answer differed from the model's
``{"limit": name}``           -> ``{"seconds": s, "rows": n}`` of what this machine can do
``{"count": stage}``          -> ``{"rows": n}``: one burst between callgrind's start and dump, under valgrind alone

Every answer of a burst is checked against the model when the clock has stopped. No line carries an alias or a person.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import glob
import hashlib
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

REQUESTER, EVERYBODY = "nenkin", "portal"
FIRST_CODE = 99_000_000_000
"""Resident record codes that nobody bears."""

TOWNS = 20
"""Municipalities that the inquiries go to. The decisions cover all that the catalog knows."""

RECORDS_EACH, FREQUENT, LIMIT = 120, 100, 100
CITIZENS = 12
"""Records of each frequent citizen, how many of them, and records of a page. Of CITIZENS a burst reads."""

CHUNK = 65_536
HASHED_BYTES = 6 * 64
"""SHA-256 blocks of a record: subject tag 1, entry 2, leaf 1, inner node 2."""

ALIAS_BYTES = 43
"""Two entries of 21 bytes and a third, which an acquired alias takes at least."""

IDLE_SECONDS_MAX = 10.0
COUNTED_MAP_BYTES = 1 << 30


class Wrong(Exception):
    """An answer differed from the model's."""


def expect(what: str, got: object, expected: object) -> None:
    if got != expected:
        raise Wrong(f"{what}: expected the model's, got another")


class World:
    """Hubs and model of one worker; each part is made when a stage first needs it."""

    def __init__(self, folder: Path, persons: int, seed: int) -> None:
        self.folder, self.persons = folder, persons
        self.random = np.random.default_rng([seed, persons])
        self._numbers = itertools.count()
        self._hub: Any = None
        self._small: Any = None
        self._logged = False

    @property
    def rows(self) -> int:
        """Rows of a bulk batch: more would measure the machine's memory, fewer the call."""
        return min(CHUNK, self.persons)

    @property
    def hub(self) -> Any:
        """A hub in which the requester, EVERYBODY and one municipality know each person."""
        if self._hub is None:
            self._hub = self._fill(self.folder / "hub", self.persons)
        return self._hub

    def _fill(self, folder: Path, persons: int) -> Any:
        import hub

        opened = hub.open(folder, create=True, threads=1)
        codes = FIRST_CODE + self.random.permutation(persons)
        requester = opened.acquire(REQUESTER, codes).aliases
        everybody = np.empty_like(requester)
        order = self.random.permutation(persons)
        everybody[order] = opened.acquire(EVERYBODY, codes[order]).aliases
        towns = opened.catalog.institutions("市町村長")
        homes = towns[: min(TOWNS, len(towns), max(2, persons // 1_000))]
        home = self.random.integers(0, len(homes), persons)
        for number, town in enumerate(homes):
            opened.acquire(town.code, codes[home == number])
        if not hasattr(self, "codes"):
            self.codes, self.requester, self.everybody = codes, requester, everybody
            self.homes = np.array([town.number for town in homes], dtype=np.uint32)
            self.home = home
            self.strangers = iter([town.code for town in towns[len(homes) :]])
            self.numbers = np.array([town.number for town in towns], dtype=np.uint32)
        self._inquire(opened, requester, self.homes[home], persons)
        return opened

    def _inquire(self, opened: Any, requester: Any, providers: Any, rows: int) -> None:
        """A log: a batch over everybody, and one in which a few citizens stand again and again."""
        often = np.resize(np.arange(FREQUENT), RECORDS_EACH * FREQUENT)
        spread = np.array_split(self.random.permutation(often), 3)
        everyone = self.random.permutation(len(requester))[: min(rows, 3 * CHUNK)]
        for some, few in zip(np.array_split(everyone, 3), spread, strict=True):
            persons = np.concatenate([some, few])
            answer = opened.inquire(self.inquiry(), requester[persons], providers[persons])
            expect("statuses", int(np.count_nonzero(answer.status)), 0)
        settle(opened)

    @property
    def small(self) -> Any:
        """A hub of a fortieth of the persons, which no stage changes: to be verified whole."""
        self.hub  # noqa: B018, the model is that of the larger one
        if self._small is None:
            self._small = self._fill(self.folder / "small", max(1_000, self.persons // 40))
        return self._small

    def inquiry(self) -> Any:
        import hub

        return hub.Inquiry(
            requester=REQUESTER, procedure="19-8/73/75.3", items=("市町村民税",), role="納付義務者",
            section="年金給付部", request_id=f"gate-{next(self._numbers)}",
        )  # fmt: skip

    def close(self) -> None:
        for opened in (self._hub, self._small):
            if opened is not None:
                opened.close()


def settle(opened: Any) -> None:
    """Let everything end that the hub does behind its answers, so that it disturbs no burst."""
    deliver = getattr(getattr(opened, "_delivery", None), "deliver", None)
    if deliver is not None:
        deliver()
    merger, begin = getattr(opened, "_merger", None), time.monotonic()
    while merger is not None and not getattr(merger, "idle", True) and time.monotonic() - begin < IDLE_SECONDS_MAX:
        time.sleep(0.002)


Seconds = tuple[float, float]
"""By the wall's clock, less what threads stood in line for a processor; and of processors, by all threads."""

Burst = Callable[[], tuple[Seconds, Callable[[], None]]]
"""Runs a stage once; the seconds that it took, and the check of its answers."""

Prepared = tuple[int, Burst]


def queued() -> float:
    """Seconds that our threads stood in line for a processor, as the kernel accounts; 0 where it does not."""
    total = 0
    for path in glob.glob("/proc/self/task/*/schedstat"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            total += int(file.read().split()[1])
    return total * 1e-9


def timed(call: Callable[[], Any], repeats: int = 1) -> tuple[Seconds, list[Any]]:
    """Seconds of some calls, and what they answered."""
    lined, cpu, wall = queued(), time.process_time(), time.perf_counter()
    answers = [call() for _ in range(repeats)]
    passed, used = time.perf_counter() - wall, time.process_time() - cpu
    # A thread that nobody waits for stands in line as well, and some of it may lie before the clock was read: never
    # less than was worked, so that what is taken off is others' doing at most.
    return (max(passed - (queued() - lined), min(passed, used)), used), answers


def resolve(world: World) -> Prepared:
    opened = world.hub
    check_blocks = getattr(opened, "check_blocks", None)
    if check_blocks is not None:
        check_blocks()

    def burst() -> tuple[Seconds, Callable[[], None]]:
        persons = world.random.integers(0, world.persons, world.rows)
        asked = world.requester[persons]
        seconds, (found,) = timed(lambda: opened.resolve(REQUESTER, EVERYBODY, asked))
        same = bool((found.aliases == world.everybody[persons]).all())
        return seconds, lambda: expect("resolve: aliases", same, True)

    return world.rows, burst


def authorise(world: World) -> Prepared:
    from hub.authorise import authorise as decide

    world.hub  # noqa: B018, its catalog
    catalog, inquiry, rows, at = world.hub.catalog, world.inquiry(), 8 * world.rows, 1_798_761_600.0

    def burst() -> tuple[Seconds, Callable[[], None]]:
        providers = world.numbers[world.random.integers(0, len(world.numbers), rows)]
        seconds, answers = timed(lambda: decide(catalog, inquiry, providers, at), 4)
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
    opened, few = world.hub, CITIZENS
    # The same in every burst: how much a citizen's page takes differs.
    asked = world.everybody[world.random.permutation(FREQUENT)[:few]]

    def burst() -> tuple[Seconds, Callable[[], None]]:
        aliases = iter(asked)
        seconds, answers = timed(lambda: opened.history(next(aliases), limit=LIMIT), few)
        return seconds, lambda: expect("history: records", {len(page.records) for page in answers}, {LIMIT})

    return few * LIMIT, burst


def prove(world: World) -> Prepared:
    opened, few = world.hub, CITIZENS
    size = int(opened.checkpoint().splitlines()[1])
    asked = world.everybody[world.random.permutation(FREQUENT)[:few]]
    sizes = world.random.integers(1, size, few).tolist()

    def burst() -> tuple[Seconds, Callable[[], None]]:
        aliases, olds = iter(asked), iter(sizes)

        def call() -> Any:
            opened.consistency(next(olds), size)
            found = opened.history(next(aliases), limit=1)
            return found.records[0].index, found.proof(0)

        seconds, answers = timed(call, few)
        return seconds, lambda: expect("prove: indexes", [i for i, _ in answers], [proof.index for _, proof in answers])

    return few, burst


def verify(world: World) -> Prepared:
    opened = world.small

    def burst() -> tuple[Seconds, Callable[[], None]]:
        seconds, answers = timed(opened.verify)
        return seconds, lambda: expect("verify: problems", list(answers[0].problems), [])

    return int(opened.checkpoint().splitlines()[1]), burst


def acquire(world: World) -> Prepared:
    opened, rows = world.hub, min(20_000, world.persons)

    def burst() -> tuple[Seconds, Callable[[], None]]:
        body = next(world.strangers)
        codes = world.codes[world.random.permutation(world.persons)[:rows]]
        seconds, answers = timed(lambda: opened.acquire(body, codes))
        return seconds, lambda: expect("acquire: statuses", len(set(answers[0].status.tolist())), 1)

    return rows, burst


def inquiry(world: World) -> Prepared:
    """Authorised, resolved, recorded, synced, answered, permits in the inboxes."""
    opened, rows = world.hub, world.rows // 4
    deliver = getattr(getattr(opened, "_delivery", None), "deliver", None)

    def burst() -> tuple[Seconds, Callable[[], None]]:
        persons = world.random.integers(0, world.persons, rows)
        asked, aliases, providers = world.inquiry(), world.requester[persons], world.homes[world.home[persons]]

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


# Those that change the hub come last.
STAGES: dict[str, Callable[[World], Prepared]] = {
    "resolve": resolve, "authorise": authorise, "record": record, "history": history, "prove": prove,
    "verify": verify, "acquire": acquire, "inquiry": inquiry,
}  # fmt: skip


def limit_fetch(world: World) -> tuple[float, int]:
    """Two dependent random fetches a row over as many bytes as the two tables of a resolution take."""
    from hub import _core

    memory = np.ones(max(1 << 20, 2 * 36 * world.persons), dtype=np.uint8)
    order = np.random.default_rng(2).integers(0, (1 << 64) - 1, 4 * world.rows, dtype=np.uint64)
    return min(timed(lambda: _core.fetch_limit(memory, order, 1, 1))[0][0] for _ in range(5)), len(order)


def limit_take(world: World) -> tuple[float, int]:
    """One look-up of two bytes a row in a small table."""
    column, rows = np.zeros(len(world.numbers) + 64, dtype=np.uint16), 16 * world.rows
    providers = np.random.default_rng(3).integers(0, len(world.numbers), rows, dtype=np.uint32)
    return min(timed(lambda: column.take(providers))[0][0] for _ in range(5)), rows


def limit_hash(world: World) -> tuple[float, int]:
    """SHA-256 over as many bytes as a record's tag, entry, leaf and node take, in one piece."""
    piece = bytes(CHUNK // 4 * HASHED_BYTES)
    return min(timed(lambda: hashlib.sha256(piece).digest())[0][0] for _ in range(5)), CHUNK // 4


def limit_write(world: World) -> tuple[float, int]:
    """As many bytes as new aliases take, written in one piece and synced."""
    rows, path = min(20_000, world.persons), world.folder / "limit"

    def write() -> None:
        with open(path, "wb") as file:
            file.write(bytes(rows * ALIAS_BYTES))
            file.flush()
            os.fsync(file.fileno())

    return min(timed(write)[0][0] for _ in range(5)), rows


LIMITS = {"fetch": limit_fetch, "take": limit_take, "hash": limit_hash, "write": limit_write}


class Worker:
    """Answers commands until its input ends."""

    def __init__(self, world: World, valgrind: str | None) -> None:
        self.world = world
        self.bursts: dict[str, Burst] = {}
        self.rows: dict[str, int] = {}
        self.valgrind = ctypes.CDLL(valgrind) if valgrind else None
        if valgrind:
            # Under valgrind the usual map of 4 TiB is refused.
            import hub.store

            hub.store.MAP_BYTES = COUNTED_MAP_BYTES

    def answer(self, command: dict[str, str]) -> dict[str, Any]:
        ((verb, name),) = command.items()
        return dict(getattr(self, f"do_{verb}")(name))

    def do_prepare(self, stage: str) -> dict[str, Any]:
        try:
            rows, burst = STAGES[stage](self.world)
            _, check = burst()
        except (ImportError, AttributeError, TypeError) as error:
            return {"lacks": f"{type(error).__name__}: {error}"}
        check()
        self.bursts[stage], self.rows[stage] = burst, rows
        return {"rows": rows}

    def do_burst(self, stage: str) -> dict[str, Any]:
        (wall, cpu), check = self.bursts[stage]()
        check()
        return {"wall": wall, "cpu": cpu}

    def do_limit(self, name: str) -> dict[str, Any]:
        try:
            seconds, rows = LIMITS[name](self.world)
        except (ImportError, AttributeError, TypeError) as error:
            return {"lacks": f"{type(error).__name__}: {error}"}
        return {"seconds": seconds, "rows": rows}

    def do_count(self, stage: str) -> dict[str, Any]:
        assert self.valgrind is not None
        self.valgrind.count_start()
        try:
            self.bursts[stage]()
        finally:
            self.valgrind.count_stop()
        return {"rows": self.rows[stage]}


def main() -> int:
    parser = argparse.ArgumentParser(description="one side of the gate")
    parser.add_argument("folder", type=Path)
    parser.add_argument("persons", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--valgrind", help="shared object with count_start and count_stop")
    given = parser.parse_args()
    # Whatever a library prints goes to stderr: stdout is for answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    given.folder.mkdir()
    world = World(given.folder, given.persons, given.seed)
    worker = Worker(world, given.valgrind)
    try:
        for line in sys.stdin:
            try:
                answer = worker.answer(json.loads(line))
            except Wrong as error:
                answer = {"wrong": str(error)}
            except Exception as error:
                answer = {"wrong": f"{type(error).__name__}: {error}"}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
        world.close()
    finally:
        shutil.rmtree(given.folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
