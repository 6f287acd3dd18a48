"""What is sent unasked failed and killed at every step: one state, recorded once, and all goes on.

A process notifies, pushes, takes, updates, sorts in and lets lapse (``sent_life.py``), in many small transactions.
Some of its durable calls are failed once; with ``HUB_EVERY_STEP=1`` each of them, in every way.
"""

from __future__ import annotations

import faulthandler
import os
import random
from collections import Counter
from collections.abc import Iterator

import pytest
import sent_life
import test_exchange_faults as faults
from nursery import Nursery
from proof import COUNTED, DONE, FAILED, STARTED, STOPPED
from sent_life import Desk, LifeClock
from test_exchange_faults import CALL_S_MAX, EVERY, SEED, WAYS, Bench
from test_kill import WAIT_S, hear_until

import hub
import iolog

SAMPLE, KILLS = 30, 12


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for (module, name), value in sent_life.SMALL.items():
        monkeypatch.setattr(module, name, value)


class SentBench(Bench):
    """As of an exchange, with another life."""

    life = sent_life


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> SentBench:
    return SentBench(tmp_path_factory.mktemp("sent"))


@pytest.fixture(scope="module")
def recorded(bench: SentBench, recorder: object) -> Iterator[Nursery]:
    made = Nursery(iolog.environment(recorder, root=bench.root, log=os.devnull))  # type: ignore[arg-type]
    yield made
    made.close()


def go_on(bench: SentBench, done: int) -> None:
    """Reopened, the folder is between two steps, and everything that is left can be done."""
    clock, desk = LifeClock(), Desk(bench.desk)
    clock.step = min(done, sent_life.STEPS - 1)
    with hub.open(bench.folder, clock=clock) as h:
        sent_life.check_between(h, desk, done)
        sent_life.finish(h, desk, clock, done)


@pytest.mark.preload
def test_durable_calls_failed_leave_what_is_sent_in_one_state(
    bench: SentBench, recorded: Nursery, terminal: int
) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED)
    done, heard, calls = faults.live(bench, recorded, "any * 1000000 EIO before")
    assert (done, heard) == (sent_life.STEPS, [STARTED, DONE] * sent_life.STEPS + [COUNTED])
    assert calls >= 60
    go_on(bench, done)
    chosen = [(call, way) for call in range(1, calls + 1) for way in WAYS]
    if not EVERY:
        numbers = sorted(rng.sample(range(1, calls + 1), min(SAMPLE, calls)))
        chosen = [(number, WAYS[(at + SEED) % len(WAYS)]) for at, number in enumerate(numbers)]
    outcomes: Counter[str] = Counter()
    for number, way in chosen:
        faulthandler.dump_traceback_later(CALL_S_MAX, exit=True, file=terminal)
        done, heard, _ = faults.live(bench, recorded, f"any * {number} {way}")
        try:
            go_on(bench, done)
        except BaseException as error:
            error.add_note(f"any * {number} {way}, HUB_FAULT_SEED={SEED}, {done} steps done, frames {heard}")
            raise
        outcomes["killed" if COUNTED not in heard else "failed" if {FAILED, STOPPED} & set(heard) else "unnoticed"] += 1
    print(f"{len(chosen)} of {calls} calls failed: {dict(outcomes)}")
    assert outcomes["killed"] >= len(chosen) / 4
    assert outcomes["failed"] >= len(chosen) / 6


def test_what_is_sent_survives_kills(bench: SentBench, nursery: Nursery) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED + 1)
    met: Counter[int] = Counter()
    for _ in range(KILLS):
        bench.begin()
        heard: list[int] = []
        with nursery.start(**bench.job(0, "")) as child:
            for _ in range(rng.randint(1, sent_life.STEPS)):
                heard += hear_until(child, None, STARTED, WAIT_S)
            heard += hear_until(child, None, 0, rng.uniform(0, 0.02))
            child.kill()
            heard += hear_until(child, None, 0, WAIT_S)
            child.wait()
        done = heard.count(DONE)
        go_on(bench, done)
        met[done] += 1
    print(f"killed behind so many steps: {dict(met)}")
    assert len(met) >= 3
