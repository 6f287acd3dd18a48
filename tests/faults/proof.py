"""What a process does to a folder, and what must be true of the folder whenever that process stops.

A :class:`Plan` is a seeded, endless row of operations that two processes derive independently: the child performs
them and acknowledges each, the parent (:class:`Witness`) reopens what the child left behind and holds it against
the model: every acknowledged row is there once, no more than the operation under way is there beside, and that one
can be done again to the same result.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import hub
from hub.limits import ALIAS_BYTES, ROWS_PER_CHUNK
from hub.messages import Acquisition
from model import PORTAL, Model, check_history

REQUESTER = "nenkin"
PROCEDURE, ITEM, ROLE = "19-8/73/75.3", "地方税", "納付義務者"
START = 1_798_761_600
"""2027-01-01: the clock of the first operation; each later one is a second later."""

FRAME = struct.Struct("<IB3x32s32s")
STARTED, DONE, OPENED, FAILED, STOPPED, COUNTED, EXPORTED, REFUSED = 1, 2, 3, 4, 5, 6, 7, 8
"""FAILED and STOPPED are StorageErrors, which say that the same call may be made again, or not; COUNTED is a number,
EXPORTED the size of an exported tree; REFUSED says that a hub whose sync failed took no further write."""


def frame(kind: int, number: int = 0, first: bytes = bytes(32), second: bytes = bytes(32)) -> bytes:
    """One line of what a child tells: small enough that a pipe takes it whole or not at all."""
    return FRAME.pack(number, kind, first, second)


def pick_institutions(catalog: hub.Catalog) -> tuple[list[str], str]:
    """Three municipalities, which the inquiry may ask, and a body of another class, which it may not."""
    allowed = [institution.code for institution in catalog.institutions("市町村長")[:3]]
    known = (REQUESTER, PORTAL)
    other = next(i.code for i in catalog.institutions() if i.code not in known and "市町村長" not in i.classes)
    return allowed, other


@dataclass(frozen=True)
class Profile:
    """How large a plan's operations are, when the first one is, and how far apart they are."""

    population: int
    acquire_rows_max: int
    inquire_rows_max: int
    rows_min: int = 1
    start: int = START
    step_s: int = 1


SMALL = Profile(population=3_000, acquire_rows_max=800, inquire_rows_max=1_500)
STEPS = Profile(
    population=300,
    acquire_rows_max=230,
    inquire_rows_max=260,
    rows_min=200,
    # Operation 5 begins a quarter (00:00 in Japan), operation 7 is on another day (UTC).
    start=1_806_505_200 - 25 * 3_600,
    step_s=5 * 3_600,
)
"""Few rows, so that a run takes no time, and enough that merged runs have blocks of their own."""

LARGE = Profile(population=60_000, acquire_rows_max=100_000, inquire_rows_max=140_000, rows_min=66_000)
"""An inquiry is two or three chunks, so that a kill falls between them and inside a commit."""

PARTED = Profile(population=60_000, acquire_rows_max=12_000, inquire_rows_max=1_000, rows_min=500)
PARTED_LIMITS = {"COMMIT_BYTES_MAX": 1 << 18, "ROWS_PER_PART": 3_000}
"""Of ``hub.acquisition.additions``: an acquisition of thousands is then written down first and done in parts."""


@dataclass(frozen=True)
class Operation:
    """One step of a plan.

    Attributes:
        at: the hub's clock.
        institution: who acquires; the requester of an inquiry.
        people: int64[N] resident record codes; of an inquiry the persons asked about, who get the requester's alias.
        providers: uint32[N], None for an acquisition.
        strangers: bool[N], rows that ask with an alias that is nobody's.
    """

    number: int
    at: int
    institution: str
    people: npt.NDArray[np.int64]
    providers: npt.NDArray[np.uint32] | None = None
    strangers: npt.NDArray[np.bool_] | None = None

    @property
    def codes(self) -> list[str]:
        """The resident record codes as text."""
        return [f"{code:011d}" for code in self.people.tolist()]


class Plan:
    """Operations by number; the same seed gives the same ones in every process."""

    def __init__(self, seed: int, profile: Profile, catalog: hub.Catalog) -> None:
        self.seed = seed
        self.profile = profile
        allowed, other = pick_institutions(catalog)
        self.holders = [REQUESTER, PORTAL, *allowed, other]
        self._numbers = np.array([catalog.institution(code).number for code in [*allowed, other]], np.uint32)

    def operation(self, number: int) -> Operation:
        """The ``number``-th operation; about half are inquiries."""
        rng = np.random.default_rng([self.seed, number])
        inquiry = number % 2 == 1
        rows_max = self.profile.inquire_rows_max if inquiry else self.profile.acquire_rows_max
        low = self.profile.rows_min
        rows = low if rng.random() < 0.2 else int(rng.integers(low, rows_max + 1))
        # Drawn with repetition: rows of one person stand several times in most batches.
        people = 90_000_000_000 + rng.integers(0, self.profile.population, rows)
        at = self.profile.start + number * self.profile.step_s
        if not inquiry:
            holder = self.holders[int(rng.integers(len(self.holders)))]
            return Operation(number, at, holder, people)
        providers = self._numbers[rng.integers(0, len(self._numbers), rows)]
        return Operation(number, at, REQUESTER, people, providers, rng.random(rows) < 0.05)

    def inquiry(self, operation: Operation) -> hub.Inquiry:
        """The shared fields of an operation's inquiry."""
        return hub.Inquiry(
            requester=REQUESTER,
            procedure=PROCEDURE,
            items=(ITEM,),
            role=ROLE,
            section=f"第{operation.number}係",
            request_id=f"plan-{operation.number}",
        )

    def aliases_to_ask(self, operation: Operation, aliases: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The persons' aliases, with strangers' put in."""
        assert operation.strangers is not None
        rng = np.random.default_rng([self.seed, operation.number, 1])
        asked = aliases.copy()
        asked[operation.strangers] = rng.integers(0, 256, (int(operation.strangers.sum()), ALIAS_BYTES), np.uint8)
        return asked


class Clock:
    """The hub's clock, set by the plan."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return float(self.now)


def perform(
    h: hub.Hub, plan: Plan, operation: Operation, clock: Clock
) -> tuple[hub.Acquired, npt.NDArray[np.uint8] | None, hub.Answer | None]:
    """Do one operation: an acquisition, and for an inquiry then the inquiry with those aliases."""
    clock.now = operation.at
    acquired = h.acquire(operation.institution, operation.people)
    if operation.providers is None:
        return acquired, None, None
    asked = plan.aliases_to_ask(operation, acquired.aliases)
    return acquired, asked, h.inquire(plan.inquiry(operation), asked, operation.providers)


def digests(acquired: hub.Acquired, answer: hub.Answer | None) -> tuple[bytes, bytes]:
    """What an acknowledgement carries of an answer: one digest of the aliases, one of the inquiry's columns."""
    columns = b"" if answer is None else answer.status.tobytes() + answer.rule.tobytes() + answer.reason.tobytes()
    return hashlib.sha256(acquired.aliases.tobytes()).digest(), hashlib.sha256(columns).digest()


def run_plan(
    folder: str,
    plan: Plan,
    first: int,
    stop: int | None,
    send: Callable[[bytes], Any],
    **options: Any,
) -> None:
    """The child's work: perform operations and send a frame when one starts and when its answer has come."""
    clock = Clock()
    with hub.open(folder, clock=clock, **options) as h:
        send(frame(OPENED, first))
        number = first
        while number != stop:
            operation = plan.operation(number)
            send(frame(STARTED, number))
            acquired, _, answer = perform(h, plan, operation, clock)
            send(frame(DONE, number, *digests(acquired, answer)))
            number += 1


class Witness:
    """The parent's side: what was acknowledged, and the model that says what it means.

    Attributes:
        done: operations that are proven done; the next child starts with this one.
        redone: how many of them had been acknowledged, and were found whole.
        landed: how often a kill left the operation under way not begun, in part, or whole but not acknowledged.
    """

    def __init__(self, plan: Plan, catalog: hub.Catalog) -> None:
        self.plan = plan
        self.model = Model(catalog)
        self.done = 0
        self.redone = 0
        self.landed = {"nothing": 0, "in part": 0, "whole": 0}
        self._acknowledged: dict[int, tuple[bytes, bytes]] = {}
        self._started = -1
        self._holdings: dict[str, tuple[npt.NDArray[np.int64], bytes]] | None = None
        self._rng = np.random.default_rng(plan.seed)

    def twin(self) -> Witness:
        """A second witness of the same past, for one of several futures."""
        other = Witness.__new__(Witness)
        other.__dict__.update(self.__dict__)
        other.model = self.model.copy()
        other.landed = dict(self.landed)
        other._acknowledged = dict(self._acknowledged)
        return other

    def hear(self, heard: bytes) -> int:
        """Take one frame of the child's; frames that were cut by a kill are nobody's."""
        number, kind, first, second = FRAME.unpack(heard)
        if kind == STARTED:
            self._started = number
        elif kind == DONE:
            self._acknowledged[number] = (first, second)
        return kind

    @property
    def under_way(self) -> bool:
        """Whether an operation was started and not acknowledged."""
        return self._started >= 0 and self._started not in self._acknowledged and self._started >= self.done

    @property
    def acknowledged(self) -> bool:
        """Whether an operation was acknowledged that was not asked for again yet."""
        return self.done in self._acknowledged

    def verify(self, h: hub.Hub, clock: Clock, *, histories: int = 2) -> None:
        """Hold a reopened hub against everything acknowledged, then finish the operation under way.

        Raises:
            AssertionError: a row is lost, twice, half there or other than acknowledged.
        """
        while self.done in self._acknowledged:
            self._redo(h, clock)
        before = h.stats()
        if self.under_way:
            self._finish(h, clock, before)
        else:
            self._check_counts(before)
        for _ in range(histories):
            self._check_one_history(h)

    def _redo(self, h: hub.Hub, clock: Clock) -> None:
        """An acknowledged operation, asked for again: all is there, the answer is the same, and nothing is added."""
        number = self.done
        records = h.stats()["records"]
        self.take(*perform(h, self.plan, self.plan.operation(number), clock))
        assert h.stats()["records"] == records, f"operation {number}: asking again recorded rows again"

    def take(
        self, acquired: hub.Acquired, asked: npt.NDArray[np.uint8] | None, answer: hub.Answer | None
    ) -> None:
        """Take the next acknowledged operation into the model, with the answer that it gets when asked again."""
        number = self.done
        assert (acquired.status == Acquisition.ALREADY).all(), f"operation {number}: an acknowledged alias is lost"
        assert digests(acquired, answer) == self._acknowledged.pop(number), f"operation {number}: another answer now"
        self._follow(self.plan.operation(number), acquired, asked, answer)
        self.done += 1
        self.redone += 1

    def _finish(self, h: hub.Hub, clock: Clock, before: dict[str, Any]) -> None:
        """The operation under way: all, whole chunks, or nothing of it is there; done again it is right."""
        operation = self.plan.operation(self._started)
        assert operation.number == self.done, f"operation {operation.number} began before {self.done} was acknowledged"
        persons, records = len(self.model.persons), len(self.model.records)
        holders = {code: len(known) for code, known in self.model.alias_of.items()}
        acquired, asked, answer = perform(h, self.plan, operation, clock)
        expected = self._follow(operation, acquired, asked, answer)
        created = int((expected == Acquisition.CREATED).sum())
        same = bool((acquired.status == expected).all())
        whole = bool((acquired.status == Acquisition.ALREADY).all())
        assert same or whole, f"operation {operation.number}: an acquisition was durable in part"
        there = 0 if same and created else created
        assert before["persons"] in (persons, len(self.model.persons)), "persons of half an acquisition"
        held = before["aliases"].get(operation.institution, 0)
        assert held == holders.get(operation.institution, 0) + there, "aliases of half an acquisition"
        extra = before["records"] - records
        if operation.providers is None:
            assert extra == 0, f"operation {operation.number}: an acquisition left {extra} records"
            self.landed["whole" if whole and created else "nothing"] += 1
        else:
            steps = self._records_by_chunk(operation)
            assert extra in steps, f"operation {operation.number}: expected records of whole chunks, got {extra}"
            self.landed["nothing" if extra == 0 else "whole" if extra == steps[-1] else "in part"] += 1
        self.done += 1
        self._check_counts(h.stats())

    def _records_by_chunk(self, operation: Operation) -> list[int]:
        """How many records an inquiry has left after each chunk: every row but the strangers'."""
        assert operation.strangers is not None
        known = ~operation.strangers
        return [int(known[:end].sum()) for end in [*range(0, len(known), ROWS_PER_CHUNK), len(known)]]

    def _follow(
        self,
        operation: Operation,
        acquired: hub.Acquired,
        asked: npt.NDArray[np.uint8] | None,
        answer: hub.Answer | None,
    ) -> npt.NDArray[np.uint8]:
        """Take the operation into the model and compare; returns the statuses of a first acquisition."""
        self._holdings = None
        aliases, status = self.model.acquire(operation.institution, operation.codes, acquired.aliases)
        assert np.array_equal(aliases, acquired.aliases), f"operation {operation.number}: an alias changed"
        if answer is not None:
            assert asked is not None
            assert operation.providers is not None
            expected = self.model.inquire(self.plan.inquiry(operation), asked, operation.providers, operation.at)
            for name in ("status", "rule", "reason"):
                same = np.array_equal(getattr(answer, name), getattr(expected, name))
                assert same, f"operation {operation.number}: {name} differs from the model's"
            assert answer.receipt.rows == len(asked)
            assert answer.receipt.received_at == operation.at, "expected the time of the first reception"
        return status

    def _check_counts(self, stats: dict[str, Any]) -> None:
        assert stats["persons"] == len(self.model.persons)
        assert stats["records"] == len(self.model.records)
        held = {code: len(known) for code, known in self.model.alias_of.items()}
        assert {code: n for code, n in stats["aliases"].items() if n} == held

    def _check_one_history(self, h: hub.Hub) -> None:
        known = list(self.model.person_of.get(PORTAL, {}))
        if known:
            alias = known[int(self._rng.integers(len(known)))]
            check_history(read_history(h, alias), self.model.history(alias))

    def verify_all(self, h: hub.Hub, *, histories: int = 50) -> None:
        """Every alias of every institution is there and the person's, and so are the histories of some.

        Leaves the operation under way as it is.
        """
        if self._holdings is None:
            persons = np.array([int(code) for code in self.model.persons])
            self._holdings = {}
            for holder, alias_of in self.model.alias_of.items():
                known = np.array([person in alias_of for person in range(len(persons))])
                aliases = b"".join(alias_of[person] for person in np.flatnonzero(known).tolist())
                self._holdings[holder] = (persons[known], aliases)
        for holder, (codes, aliases) in self._holdings.items():
            acquired = h.acquire(holder, codes)
            assert (acquired.status == Acquisition.ALREADY).all(), f"{holder}: an acknowledged alias is lost"
            assert acquired.aliases.tobytes() == aliases, f"{holder}: an alias changed"
        if not self.under_way:
            self._check_counts(h.stats())
            for _ in range(histories):
                self._check_one_history(h)


def read_history(h: hub.Hub, alias: bytes, limit: int = 100, **filters: Any) -> list[hub.Record]:
    """All pages of a history."""
    portal_alias = np.frombuffer(alias, np.uint8)
    records: list[hub.Record] = []
    cursor = None
    while True:
        page = h.history(portal_alias, limit=limit, cursor=cursor, **filters)
        records += page.records
        cursor = page.cursor
        assert len(page.records) <= limit
        if cursor is None:
            return records
