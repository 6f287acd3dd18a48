"""The convenience store: ten thousand people ask at the same instant, and each is handed their own paper.

In March 2023 people in Yokohama who had put their card on the machine of a convenience store were handed certificates
of residence of somebody else; other towns followed, and in May the maker was asked to stop the service for a while.
Under load, or where two requests came at the same moment, the one read what had been written for the other.

What must not happen: that an answer is found by anything but its own question. Here three bodies ask with the same
request ids at the same moments, from threads and from coroutines, several of them about the same person at the same
town; the towns answer from their own registers while the next questions come in. Each paper bears its person, its kind
and for whom it was made, and is held against the question when it arrives.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest

import hub
from hub.messages import Kind, Status

QUESTIONS = 10_000
PEOPLE = 2_000
TOWNS = ("011002", "012033", "012041")
SEED = 2_023
WAIT_S = 60.0
"""How long all of it may take; only what hangs comes near it."""

TAX = ("19-8/73/75.3", "市町村民税", "納付義務者")
RESIDENCE = ("19-8/106/108.1", "住民票", "支給要件児童")
BODIES = {"nenkin": TAX, "131016": RESIDENCE, "012025": RESIDENCE}


class Question(NamedTuple):
    """One person at the machine: who asks for them, under which id, whom it is about and who keeps the paper."""

    body: str
    request_id: str
    person: int
    town: str

    @property
    def inquiry(self) -> hub.Inquiry:
        procedure, item, role = BODIES[self.body]
        return hub.Inquiry(
            requester=self.body,
            procedure=procedure,
            items=(item,),
            role=role,
            section="窓口",
            request_id=self.request_id,
        )

    @property
    def paper(self) -> bytes:
        """What must come out of the machine."""
        return paper(BODIES[self.body][1], self.person, self.body, self.town)


def paper(item: str, person: int, body: str, town: str) -> bytes:
    """A certificate: what of, of whom, for whom, by whom."""
    return f"{item} of citizen {person} for {body} by {town}".encode()


class Shop:
    """A hub, the bodies that ask, and the towns with their registers: whom each of their own aliases means."""

    def __init__(self, h: hub.Hub) -> None:
        self.h = h
        codes = np.arange(PEOPLE, dtype=np.int64) + 10**9
        self.aliases = {body: h.acquire(body, codes).aliases for body in BODIES}
        self.registers = {
            town: {alias.tobytes(): person for person, alias in enumerate(h.acquire(town, codes).aliases)}
            for town in TOWNS
        }
        self.citizens = h.acquire("portal", codes).aliases
        self.asking = threading.Event()
        self.asking.set()

    def ask(self, question: Question) -> int:
        alias = self.aliases[question.body][question.person : question.person + 1]
        return int(self.h.inquire(question.inquiry, alias, question.town).status[0])

    async def ask_all(self, questions: list[Question]) -> list[int]:
        """Ask from one loop, every question a coroutine."""

        async def one(question: Question) -> int:
            alias = self.aliases[question.body][question.person : question.person + 1]
            return int((await self.h.inquire_async(question.inquiry, alias, question.town)).status[0])

        return list(await asyncio.gather(*map(one, questions)))

    def serve(self, town: str) -> int:
        """A town's machine: answer whatever waits, from its own register, until nobody asks any more."""
        done = 0
        while True:
            last = not self.asking.is_set()
            waiting = self.h.collect(town)
            if waiting:
                # All that waits in one call, in the town's own order, which is nobody else's.
                papers = [
                    paper(one.inquiry.items[0], self.registers[town][alias.tobytes()], one.inquiry.requester, town)
                    for one in waiting
                    for alias in one.aliases
                ]
                self.h.provide(town, np.concatenate([one.permit for one in waiting]), Status.PROVIDED, papers)
                done += len(papers)
            elif last:
                return done
            else:
                time.sleep(0.01)

    def take(self, question: Question) -> bytes:
        """What the machine prints for a question."""
        until = time.monotonic() + WAIT_S
        while True:
            answers = self.h.answers(question.body, question.request_id)
            if answers.complete:
                assert len(answers) == 1
                assert answers.status[0] == Status.PROVIDED
                assert answers.payloads[0] is not None
                return answers.payloads[0]
            assert time.monotonic() < until, "an answer never came"
            # Late answers leave at full seconds.
            time.sleep(0.05)


def draw_questions() -> list[Question]:
    """Ten thousand questions; the bodies count theirs alike, and none asks about a person at more than three towns."""
    rng = random.Random(SEED)
    bodies = list(BODIES)
    asked: dict[tuple[str, int], Counter[str]] = {}
    questions = []
    for number in range(QUESTIONS):
        body = bodies[number % len(bodies)]
        # A few people have everybody ask about them: the same person at the same town from several sides.
        person = rng.randrange(50) if number % 7 == 0 else rng.randrange(PEOPLE)
        town = rng.choice(TOWNS)
        asked.setdefault((body, person), Counter())[town] += 1
        questions.append(Question(body, f"machine-{number // len(bodies)}", person, town))
    assert max(map(len, asked.values())) <= 3
    return questions


def in_threads(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    with hub.open(tmp_path_factory.mktemp("shop") / "hub", create=True) as h:
        yield Shop(h)


def test_ten_thousand_people_at_the_same_instant_are_each_handed_their_own_paper(shop: Shop) -> None:
    questions = draw_questions()
    with_threads, in_coroutines = questions[:2_000], questions[2_000:]
    loops = [in_coroutines[part::4] for part in range(4)]
    with ThreadPoolExecutor(32) as pool:
        serving = [pool.submit(shop.serve, town) for town in TOWNS]
        asking = [pool.submit(asyncio.run, shop.ask_all(some)) for some in loops]
        single = [pool.submit(shop.ask, question) for question in with_threads]
        statuses = [one.result(WAIT_S) for one in single]
        for one in asking:
            statuses += one.result(WAIT_S)
        assert set(statuses) == {int(Status.OK)}
        shop.asking.clear()
        printing = [pool.submit(shop.take, question) for question in questions]
        assert sum(one.result(WAIT_S) for one in serving) == QUESTIONS
        printed = [one.result(WAIT_S) for one in printing]

    swapped = [question for question, got in zip(questions, printed, strict=True) if got != question.paper]
    assert not swapped, f"{len(swapped)} people were handed another's paper"
    assert len(printed) == QUESTIONS

    # Asked for once more, each is handed the same paper again; and no body reads under its id what another asked.
    again = random.Random(SEED + 1).sample(range(QUESTIONS), 200)
    assert [shop.take(questions[row]) for row in again] == [printed[row] for row in again]

    # And the people can read it: every question about them, each with its own answer, and nobody else's.
    for person in (0, 49, 1_000):
        own = Counter((q.body, q.town) for q in questions if q.person == person)
        records = []
        cursor = None
        while True:
            page = shop.h.history(shop.citizens[person], limit=1_000, cursor=cursor)
            records += page.records
            cursor = page.cursor
            if cursor is None:
                break
        for kind in (Kind.INQUIRY, Kind.PROVISION):
            found = Counter((record.requester, record.provider) for record in records if record.kind == kind)
            assert found == own
        links = [record.link for record in records if record.kind == Kind.PROVISION]
        assert sorted(links) == sorted(record.index for record in records if record.kind == Kind.INQUIRY)
    report = shop.h.verify()
    assert report.ok, report.problems
    assert report.records == 2 * QUESTIONS
