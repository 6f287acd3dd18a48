"""Inquiries of one row each that come as columns, as the server hands them in: what the hub itself costs of a call."""

from __future__ import annotations

import threading
import time

import numpy as np
import numpy.typing as npt

from hub.bench.log import Batch, Log, pension_inquiry
from hub.bench.run import Run
from hub.hub import Hub
from hub.messages import Status
from hub.requests.state import request_key
from hub.singles.small import Question, SmallAnswers, SmallRows

IN_FLIGHT = (64, 256)
PARTS = 4
"""Submissions in which so many calls come: a server hands in what one turn of its loop received."""

CALLS_PER_SINGLE = {64: 40, 256: 160}
"""Calls for each of one caller: some hundred groups."""


def measure_gathered(bench: Run, log: Log) -> None:
    """So many calls in flight, each behind the answer of the one before; all of the process's work is counted."""
    world = log.world
    random = bench.generator("inquiry gathered")
    for in_flight in IN_FLIGHT:
        case = f"inquiry: singles gathered {in_flight}"
        bench.progress.step(case)
        rows = in_flight // PARTS
        parts = max(2 * PARTS, bench.options.singles * CALLS_PER_SINGLE[in_flight] // rows)
        count = rows * parts
        persons = random.integers(0, world.persons, count, dtype=np.uint32)
        aliases, providers = world.requester[persons], world.towns[world.home_town[persons]]
        submissions = _submissions(world.hub, case, rows, aliases, providers)
        commits, used, begin = world.hub.stats()["commits"], time.process_time(), time.perf_counter()
        answers, seconds = _hand_in(world.hub, submissions)
        took, used = time.perf_counter() - begin, time.process_time() - used
        status = np.concatenate([one.status for one in answers])
        bench.results.add(case, "rows_per_s", count / took)
        bench.results.add(case, "cpu_ns_per_row", 1e9 * used / count)
        bench.results.add_latency(case, seconds)
        bench.results.add(case, "rows_per_commit", count / max(1, world.hub.stats()["commits"] - commits))
        bench.truth.check_column(case, "status", status, np.full(count, Status.OK, dtype=np.uint8))
        log.count(Batch(pension_inquiry("bench-gathered"), aliases, providers, persons, status))


def _submissions(
    hub: Hub, case: str, rows: int, aliases: npt.NDArray[np.uint8], providers: npt.NDArray[np.uint32]
) -> list[SmallRows]:
    """The calls as columns; keys and digests are a server's work, and made beforehand."""
    inquiry = pension_inquiry("bench-gathered")
    question = Question(inquiry, hub.catalog.institution(inquiry.requester).number)
    ids = [f"{case}-{i}" for i in range(len(providers))]
    keys = np.frombuffer(b"".join(request_key(inquiry.requester, one) for one in ids), np.uint8).reshape(-1, 16)
    made = [
        question.digest(one, alias.tobytes(), provider)
        for one, alias, provider in zip(ids, aliases, providers.tolist(), strict=True)
    ]
    digests = np.frombuffer(b"".join(made), np.uint8).reshape(-1, 32)
    which = np.zeros(rows, np.uint32)
    return [
        SmallRows([question], which, aliases[at], providers[at], keys[at], digests[at])
        for at in (slice(begin, begin + rows) for begin in range(0, len(providers), rows))
    ]


def _hand_in(hub: Hub, submissions: list[SmallRows]) -> tuple[list[SmallAnswers], list[float]]:
    """Keep ``PARTS`` submissions in flight; answers and seconds of each, in their order."""
    answers: list[SmallAnswers | None] = [None] * len(submissions)
    seconds = [0.0] * len(submissions)
    waiting = iter(range(len(submissions)))
    left, finished = [len(submissions)], threading.Event()
    lock = threading.Lock()

    def hand_in(number: int) -> None:
        start = time.perf_counter()

        def done(found: SmallAnswers) -> None:
            seconds[number], answers[number] = time.perf_counter() - start, found
            with lock:
                left[0] -= 1
                following = next(waiting, None)
                if not left[0]:
                    finished.set()
            if following is not None:
                hand_in(following)

        hub.inquire_rows(submissions[number], done)

    with lock:
        first = [next(waiting) for _ in range(PARTS)]
    for number in first:
        hand_in(number)
    finished.wait()
    return [one for one in answers if one is not None], seconds
