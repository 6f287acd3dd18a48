"""The country of the soak: residents who do not exist, what must be answered about them, and what was acknowledged."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import hub
from hub.demo import invent_country
from hub.messages import Status
from hub.methods.copies import AskedCopy
from hub.requests.state import request_key

UNKNOWN = 0.005
"""Share of rows whose alias is nobody's."""

PROVIDERS = 8
"""Municipalities that collect and answer; the others let their permits wait."""


class Rows(NamedTuple):
    """What one inquiry asks, and what it must be told."""

    aliases: npt.NDArray[np.uint8]
    providers: npt.NDArray[np.uint32]
    status: npt.NDArray[np.uint8]
    persons: npt.NDArray[np.int64]


class World:
    """A folder of residents; ``rows_of`` gives the same rows for the same seed."""

    def __init__(self, folder: Path, residents: int, seed: int) -> None:
        self.folder = folder
        with hub.open(folder, create=True) as h:
            country = invent_country(h.catalog, residents, np.random.default_rng(seed))
            codes = [f"{code:011}" for code in country.codes]
            self.homes = [body.code for body in country.homes]
            numbers = np.array([body.number for body in country.homes], np.uint32)
            self.numbers = numbers[country.home]
            self.home = country.home
            self.nenkin = h.acquire("nenkin", codes).aliases
            self.portal = h.acquire("portal", codes).aliases
            for place, home in enumerate(self.homes):
                h.acquire(home, [codes[one] for one in np.flatnonzero(country.home == place)])
            outside = [body.code for body in h.catalog.institutions("市町村長")[len(self.homes) :]]
            self.outsiders = outside[:3] or [h.catalog.institutions("都道府県知事")[0].code]

    def rows_of(self, seed: int, count: int) -> Rows:
        """Rows of one inquiry: everybody is asked of where they live."""
        random = np.random.default_rng(seed)
        persons = random.integers(0, len(self.nenkin), count)
        aliases, status = self.nenkin[persons].copy(), np.full(count, Status.OK, np.uint8)
        unknown = np.flatnonzero(random.random(count) < UNKNOWN)
        aliases[unknown] = random.integers(0, 256, (len(unknown), 16), np.uint8)
        status[unknown] = Status.UNKNOWN_ALIAS
        return Rows(aliases, self.numbers[persons], status, persons)


class Told:
    """What was acknowledged, by whoever asked or answered; each client writes its own."""

    def __init__(self, residents: int) -> None:
        self.asked: dict[str, tuple[int, int]] = {}
        """Request id -> seed and count of its rows, whose answers were right."""
        self.answered: dict[str, dict[int, bytes]] = {}
        """Municipality -> permit -> payload."""
        self.times_asked = np.zeros(residents, np.int64)
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def problem(self, text: str) -> None:
        with self._lock:
            if len(self.problems) < 20:
                print(f"PROBLEM {text}", flush=True)
            self.problems.append(text)


def compare(world: World, told: Told) -> dict[str, Any]:
    """The log beside what was acknowledged: every row once, nothing else; answers again as before."""
    with hub.open(world.folder) as h:
        for problem in h.verify().problems:
            told.problem(f"verify: {problem}")
        found = {
            "rows asked": _compare_asked(h, world, told),
            "rows answered": _compare_answered(h, told),
            "requests repeated": _repeat(h, world, told),
            "records": h.stats()["records"],
        }
    expected = found["rows asked"] + found["rows answered"]
    if found["records"] != expected:
        told.problem(f"log: expected {expected} records, got {found['records']}")
    return found


def _compare_asked(h: hub.Hub, world: World, told: Told) -> int:
    by_key = {request_key("nenkin", request_id): stand for request_id, stand in told.asked.items()}
    seen: Counter[bytes] = Counter()
    rows = 0
    for part in h.copy_of("nenkin", role="requester"):
        assert isinstance(part, AskedCopy)
        if part.request not in by_key:
            told.problem("log: a request that nobody was told of")
            continue
        seed, count = by_key[part.request]
        own = world.rows_of(seed, count)
        here = slice(part.first, part.first + len(part.status))
        if part.first != seen[part.request] or not np.array_equal(part.status, own.status[here]):
            told.problem("log: rows of a request that are others than acknowledged")
        there = own.status[here] == Status.OK
        if not np.array_equal(part.aliases[there], own.aliases[here][there]):
            told.problem("log: rows of a request about others than acknowledged")
        seen[part.request] += len(part.status)
        # About nobody there is no record.
        rows += int(np.count_nonzero(there))
    lost = sum(
        seen[key] != count and bool((world.rows_of(seed, count).status == Status.OK).any())
        for key, (seed, count) in by_key.items()
    )
    if lost:
        told.problem(f"log: {lost} acknowledged requests that are not there whole")
    return rows


def _compare_answered(h: hub.Hub, told: Told) -> int:
    rows = 0
    for town, own in told.answered.items():
        found = np.concatenate(
            [np.zeros(0, np.uint64), *(part.permits for part in h.copy_of(town, role="provider"))]
        )
        if len(np.unique(found)) != len(found):
            told.problem("log: a permit that was answered twice")
        if set(found.tolist()) != own.keys():
            told.problem("log: other permits answered than acknowledged")
        rows += len(found)
    return rows


def _repeat(h: hub.Hub, world: World, told: Told) -> int:
    """Some requests, given once more: the same answer, and no record."""
    before, repeated = h.stats()["records"], 0
    for request_id, (seed, count) in list(told.asked.items())[:: max(1, len(told.asked) // 500)]:
        own = world.rows_of(seed, count)
        answer = h.inquire(inquiry_of(request_id, "soak"), own.aliases, own.providers, **words_of(seed))
        repeated += 1
        if not np.array_equal(answer.status, own.status):
            told.problem("repeated: another answer")
    if h.stats()["records"] != before:
        told.problem("repeated: recorded again")
    return repeated


def inquiry_of(request_id: str, operator: str | None = None) -> hub.Inquiry:
    """nenkin's question; the server records the certificate as operator."""
    return hub.Inquiry(
        requester="nenkin", procedure="19-8/73/75.3", items=("市町村民税",), role="納付義務者", section="国民年金部",
        request_id=request_id, operator=operator,
    )  # fmt: skip


def words_of(seed: int) -> dict[str, bool]:
    """What else an inquiry says: one of ten that its persons consented."""
    return {"consents": True} if seed % 10 == 0 else {}
