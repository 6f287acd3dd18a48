"""Hubs and model of one worker: whom the requester, EVERYBODY and one municipality know, and a log about them."""

from __future__ import annotations

import itertools
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hub.bench.gate.timing import expect
from hub.bench.served import Credentials, ServerProcess

REQUESTER, EVERYBODY = "nenkin", "portal"
FIRST_CODE = 99_000_000_000
"""Resident record codes that nobody bears."""

TOWNS = 20
"""Municipalities that the inquiries go to. The decisions cover all that the catalog knows."""

RECORDS_EACH, FREQUENT = 120, 100
"""Records of each frequent citizen, and how many of them there are."""

CHUNK = 65_536
IDLE_SECONDS_MAX = 10.0

SMALL_SHARE, SERVED_SHARE = 40, 10
"""The hub that is verified whole, and the one that is served, have so much fewer persons."""


class Filled:
    """A hub with N persons, and the model of it.

    Attributes:
        folder, hub: the hub. codes: int64[N]. requester, everybody: uint8[N, 16]. home: int64[N], the place of a
            person's municipality in ``homes``. homes: uint32, those that know somebody; home_codes: theirs.
        strangers: codes of municipalities that know nobody. numbers: uint32, of all municipalities.
    """

    def __init__(self, world: World, name: str, persons: int) -> None:
        import hub

        random = world.random
        self.folder = world.folder / name
        self.hub: Any = hub.open(self.folder, create=True, threads=1)
        self.codes = FIRST_CODE + random.permutation(persons)
        self.requester = self.hub.acquire(REQUESTER, self.codes).aliases
        self.everybody = np.empty_like(self.requester)
        order = random.permutation(persons)
        self.everybody[order] = self.hub.acquire(EVERYBODY, self.codes[order]).aliases
        towns = self.hub.catalog.institutions("市町村長")
        homes = towns[: min(TOWNS, len(towns), max(2, persons // 1_000))]
        self.home = random.integers(0, len(homes), persons)
        for number, town in enumerate(homes):
            self.hub.acquire(town.code, self.codes[self.home == number])
        self.home_codes = [town.code for town in homes]
        self.homes = np.array([town.number for town in homes], dtype=np.uint32)
        self.strangers = iter([town.code for town in towns[len(homes) :]])
        self.numbers = np.array([town.number for town in towns], dtype=np.uint32)
        self._inquire(world, persons)

    def _inquire(self, world: World, rows: int) -> None:
        """A log: a batch over everybody, and one in which a few citizens stand again and again."""
        often = np.resize(np.arange(FREQUENT), RECORDS_EACH * FREQUENT)
        spread = np.array_split(world.random.permutation(often), 3)
        everyone = world.random.permutation(rows)[: 3 * CHUNK]
        providers = self.homes[self.home]
        for some, few in zip(np.array_split(everyone, 3), spread, strict=True):
            persons = np.concatenate([some, few])
            answer = self.hub.inquire(world.inquiry(), self.requester[persons], providers[persons])
            expect("statuses", int(np.count_nonzero(answer.status)), 0)
        settle(self.hub)


class Served:
    """A hub of its own that ``hub serve`` serves, TLS and client certificates on.

    Attributes:
        people: the model; its ``hub`` is closed. credentials, server: of this hub alone.
    """

    def __init__(self, world: World) -> None:
        self.people = Filled(world, "served", max(1_000, world.persons // SERVED_SHARE))
        self.people.hub.close()
        self.credentials = Credentials(world.folder / "certificates")
        self.server = ServerProcess(self.people.folder, self.credentials, [REQUESTER])


class World:
    """Everything that one worker has; each part is made when a stage first needs it."""

    def __init__(self, folder: Path, persons: int, seed: int) -> None:
        self.folder, self.persons = folder, persons
        self.random = np.random.default_rng([seed, persons])
        self._numbers = itertools.count()

    @property
    def rows(self) -> int:
        """Rows of a bulk batch: more would measure the machine's memory, fewer the call."""
        return min(CHUNK, self.persons)

    @cached_property
    def whole(self) -> Filled:
        """All persons."""
        return Filled(self, "hub", self.persons)

    @cached_property
    def small(self) -> Filled:
        """A fortieth of the persons; no stage changes it: to be verified whole."""
        return Filled(self, "small", max(1_000, self.persons // SMALL_SHARE))

    @cached_property
    def served(self) -> Served:
        """A tenth of the persons, behind a server."""
        return Served(self)

    def new_id(self) -> str:
        """A request id that was not used yet."""
        return f"gate-{next(self._numbers):08}"

    def inquiry(self) -> Any:
        import hub

        return hub.Inquiry(
            requester=REQUESTER, procedure="19-8/73/75.3", items=("市町村民税",), role="納付義務者",
            section="年金給付部", request_id=self.new_id(),
        )  # fmt: skip

    def close(self) -> None:
        made = self.__dict__
        if "served" in made:
            self.served.server.close()
        for name in ("whole", "small"):
            if name in made:
                getattr(self, name).hub.close()


def settle(opened: Any) -> None:
    """Let everything end that the hub does behind its answers, so that it disturbs no burst."""
    deliver = getattr(getattr(opened, "_delivery", None), "deliver", None)
    if deliver is not None:
        deliver()
    merger, begin = getattr(opened, "_merger", None), time.monotonic()
    while merger is not None and not getattr(merger, "idle", True) and time.monotonic() - begin < IDLE_SECONDS_MAX:
        time.sleep(0.002)
