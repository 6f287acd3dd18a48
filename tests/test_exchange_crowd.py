"""Many clients at the same instant: no answer ever reaches another request, and each answer is recorded once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import hub
import hub.provision.deliver
import hub.provision.delivery
from hub.errors import RequestError
from hub.messages import Status
from hub.storage.snapshot import Snapshot
from inquiries import tax_inquiry
from parties import Clock

SEED = int(os.environ.get("HUB_CROWD_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
CLIENTS, EACH, PERSONS, TOWNS = 64, 4, 40, 3
WAIT_S = 120.0
"""How long all of it may take; only what hangs comes near it."""


@pytest.fixture(autouse=True)
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is sorted in all the while."""
    monkeypatch.setattr(hub.provision.delivery, "DELAY_S", 0.001)
    monkeypatch.setattr(hub.provision.deliver, "DELIVER_FROM", 64)
    monkeypatch.setattr(hub.provision.deliver, "PERMITS_PER_SEGMENT", 100)
    monkeypatch.setattr(hub.provision.deliver, "SMALL_SEGMENT", 30)
    monkeypatch.setattr(hub.provision.deliver, "STEP_BYTES", 1)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[hub.Hub]:
    # A clock that stands still: every answer is prompt.
    with hub.open(tmp_path / "hub", create=True, clock=Clock()) as h:
        # Everybody may be asked about everywhere: none of it is to be held.
        terms = "procedure,permit_days,providers_per_person_max\n*,,255\n"
        h.load_catalog(h.catalog.import_table(terms.encode(), "terms"))
        yield h


class Crowd:
    """Threads that begin together; what one of them raised is raised here."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._start = threading.Event()
        self.errors: list[BaseException] = []

    def add(self, work: Callable[[], object]) -> None:
        def run() -> None:
            self._start.wait()
            try:
                work()
            except BaseException as error:
                self.errors.append(error)

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def run(self) -> None:
        self._start.set()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive(), "a thread hangs"
        if self.errors:
            raise self.errors[0]


def commitment(requester: str, section: str, alias: np.ndarray) -> bytes:
    """What a provider answers: of all that it sees of a question, so that nothing else fits."""
    return hashlib.sha256(f"{requester}/{section}/".encode() + alias.tobytes()).digest()


class Market:
    """Requesters and towns of an open hub, and what each of them knows."""

    def __init__(self, h: hub.Hub) -> None:
        self.h = h
        codes = [f"{10**9 + person:011}" for person in range(PERSONS)]
        bodies = [body.code for body in h.catalog.institutions("市町村長")[: TOWNS + 1]]
        self.towns, self.asker = bodies[:TOWNS], bodies[TOWNS]
        self.own = {code: h.acquire(code, codes).aliases for code in ("nenkin", self.asker)}
        self.theirs = {code: h.acquire(code, codes).aliases for code in self.towns}
        self.asked = threading.Event()
        self.rows = 0
        self._lock = threading.Lock()

    def ask(self, client: int) -> None:
        """Ask several times, wait for all answers, compare each, forget half of them."""
        rng = random.Random(SEED + client)
        requester = ("nenkin", self.asker)[client % 2]
        requests = []
        for number in range(EACH):
            # Both requesters use the same ids.
            request_id = f"{client // 2}-{number}"
            rows = [(rng.randrange(PERSONS), rng.choice(self.towns)) for _ in range(rng.choice((1, 1, 3, 40)))]
            changes: dict[str, object] = {"section": f"第{client}係{number}"}
            if requester != "nenkin":
                changes |= {
                    "requester": requester, "procedure": "19-8/106/108.1",
                    "items": ("地方税",), "role": "一般受給資格者",
                }  # fmt: skip
            aliases = np.ascontiguousarray(self.own[requester][[person for person, _ in rows]])
            words = {"progress": lambda done: None} if rng.random() < 0.2 else {}
            answer = self.h.inquire(
                tax_inquiry(request_id, **changes), aliases, [town for _, town in rows], **words
            )
            assert not answer.status.any(), answer
            requests.append((request_id, str(changes["section"]), rows))
            with self._lock:
                self.rows += len(rows)
        for request_id, section, rows in requests:
            self._compare(requester, request_id, section, rows, forget=rng.random() < 0.5)

    def _compare(
        self, requester: str, request_id: str, section: str, rows: list[tuple[int, str]], *, forget: bool
    ) -> None:
        expected = [commitment(requester, section, self.theirs[town][person]) for person, town in rows]
        while True:
            answers = self.h.answers(requester, request_id)
            for status, payload, one in zip(answers.status.tolist(), answers.payloads, expected, strict=True):
                # At no moment anything else: neither another's, nor PROVIDED without what was provided.
                assert (status, payload) in ((Status.PENDING, None), (Status.PROVIDED, one))
            if answers.complete:
                break
        if forget:
            assert self.h.fetched(requester, request_id) == len(rows)
            assert self.h.answers(requester, request_id).payloads == [None] * len(rows)
        else:
            assert self.h.answers(requester, request_id).payloads == expected

    def answer(self, town: str, worker: int) -> None:
        """Answer what waits, by pages, until nobody asks any more."""
        rng = random.Random(SEED + 1_000 + worker)
        cursor = None
        while True:
            over = self.asked.is_set()
            lists = self.h.collect(town, limit=rng.choice((1, 7, 1_000)), after=cursor)
            for permits in lists:
                inquiry = permits.inquiry
                payloads = [commitment(inquiry.requester, inquiry.section, alias) for alias in permits.aliases]
                # Two of a town work on the same ones: the same answer of both is one.
                self.h.provide(town, permits, Status.PROVIDED, payloads)
            cursor = lists[-1].cursor if lists and rng.random() < 0.9 else None
            if over and not lists and cursor is None and not self.h.collect(town, limit=1):
                return


def test_64_clients_at_once_each_get_their_own_answers(opened: hub.Hub) -> None:
    print(f"HUB_CROWD_SEED={SEED}")
    market = Market(opened)
    crowd = Crowd()
    left = threading.Semaphore(0)
    for client in range(CLIENTS):

        def ask(client: int = client) -> None:
            try:
                market.ask(client)
            finally:
                left.release()

        crowd.add(ask)
    for worker in range(2 * TOWNS):
        crowd.add(lambda worker=worker: market.answer(market.towns[worker % TOWNS], worker))  # type: ignore[misc]

    def watch() -> None:
        for _ in range(CLIENTS):
            left.acquire()
        market.asked.set()

    crowd.add(watch)
    crowd.run()
    assert market.rows > CLIENTS * EACH
    assert opened.stats()["records"] == 2 * market.rows
    assert opened.verify().problems == ()
    assert opened._delivery is not None
    assert opened._delivery.error is None


def waiting(h: hub.Hub, rows: int) -> tuple[str, list[int]]:
    """A town, and permits that wait for it."""
    town = h.catalog.institutions("市町村長")[0].code
    codes = [f"{10**9 + person:011}" for person in range(rows)]
    own = h.acquire("nenkin", codes).aliases
    h.acquire(town, codes)
    h.inquire(tax_inquiry("r1"), own, town)
    return town, [number for permits in h.collect(town) for number in permits.permit.tolist()]


def test_64_threads_with_the_same_answers_record_each_once(opened: hub.Hub) -> None:
    print(f"HUB_CROWD_SEED={SEED}")
    town, permits = waiting(opened, 200)
    crowd = Crowd()
    for thread in range(CLIENTS):
        some = random.Random(SEED + thread).sample(permits, 200 if thread % 2 else 20)
        payloads: list[bytes | None] = [hashlib.sha256(number.to_bytes(8, "big")).digest() for number in some]

        def provide(some: list[int] = some, payloads: list[bytes | None] = payloads) -> None:
            assert opened.provide(town, some, Status.PROVIDED, payloads).rows == len(some)

        crowd.add(provide)
    crowd.run()
    assert opened.stats()["records"] == 400
    assert opened.answers("nenkin", "r1").status.tolist() == [Status.PROVIDED] * 200
    assert opened.verify().problems == ()


def test_of_different_answers_at_once_one_is_recorded_and_the_others_are_refused(opened: hub.Hub) -> None:
    print(f"HUB_CROWD_SEED={SEED}")
    town, permits = waiting(opened, 40)
    taken: list[tuple[Status, list[int]]] = []
    refusals: list[str] = []
    crowd = Crowd()
    for thread in range(CLIENTS):
        rng = random.Random(SEED + thread)
        some, outcome = rng.sample(permits, rng.randint(1, 3)), rng.choice((Status.EMPTY, Status.NO_RECORD))

        def provide(some: list[int] = some, outcome: Status = outcome) -> None:
            try:
                opened.provide(town, some, outcome)
            except RequestError as error:
                refusals.append(str(error))
            else:
                taken.append((outcome, some))

        crowd.add(provide)
    for _ in range(4):
        crowd.add(opened.lapse)
    crowd.run()
    assert all("expected ones that wait" in refusal for refusal in refusals)
    assert len(refusals) + len(taken) == CLIENTS
    given = {(number, outcome) for outcome, some in taken for number in some}
    # Of each permit that was answered one answer was taken, however often.
    assert len({number for number, _ in given}) == len(given)
    assert opened.stats()["records"] == 40 + len(given)
    status = opened.answers("nenkin", "r1").status.tolist()
    for outcome in (Status.EMPTY, Status.NO_RECORD):
        assert status.count(outcome) == sum(one == outcome for _, one in given)
    assert opened.verify().problems == ()


def test_answers_at_the_moment_of_the_lapse_end_each_permit_once(tmp_path: Path) -> None:
    print(f"HUB_CROWD_SEED={SEED}")
    clock = Clock()
    with hub.open(tmp_path / "hub", create=True, clock=clock) as h:
        town, permits = waiting(h, 200)
        until = h.collect(town)[0].valid_until
        clock.now = until - 1
        crowd = Crowd()
        taken: list[int] = []
        refusals: list[str] = []

        def provide(number: int) -> None:
            try:
                h.provide(town, [number], Status.EMPTY)
            except RequestError as error:
                refusals.append(str(error))
            else:
                taken.append(number)

        def answer(some: list[int]) -> None:
            for number in some:
                provide(number)

        def end() -> None:
            while len(taken) < 20:
                time.sleep(0.0005)
            clock.now = until
            h.lapse()

        for thread in range(16):
            crowd.add(lambda thread=thread: answer(permits[thread::16]))  # type: ignore[misc]
        crowd.add(end)
        crowd.run()
        h.lapse()
        assert all("expected ones that have not lapsed" in refusal for refusal in refusals)
        assert len(taken) + len(refusals) == 200
        status = h.answers("nenkin", "r1").status.tolist()
        assert status.count(Status.EMPTY) == len(taken)
        assert status.count(Status.LAPSED) == len(refusals)
        assert h.stats()["records"] == 400
        assert h.verify().problems == ()


def test_a_day_of_requests_that_is_made_while_the_days_are_first_read_is_known(
    opened: hub.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, snapshot = opened._store, opened._store.snapshot
    store._request_days = None
    making = threading.Thread(target=lambda: store.request_database(40_000, create=True))

    @contextlib.contextmanager
    def slow() -> Iterator[Snapshot]:
        with snapshot() as found:
            yield found
        if making.ident is None:
            making.start()
            making.join(0.3)

    monkeypatch.setattr(store, "snapshot", slow)
    store.request_days()
    making.join()
    assert 40_000 in store.request_days()
