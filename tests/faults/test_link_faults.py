"""A wrong link that is suspended and reported, failed and killed at every step: all of it once, and all goes on.

Each durable call of the steps of ``link_life.py`` is failed once, in one way by turns; with ``HUB_EVERY_STEP=1`` in
every way.
"""

from __future__ import annotations

import faulthandler
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import link_life as lives
import pytest
import test_exchange_faults as exchange
from link_life import Desk, LifeClock
from nursery import Nursery
from proof import COUNTED, DONE, FAILED, STARTED, STOPPED
from test_exchange_faults import CALL_S_MAX, EVERY, SEED, WAYS, live
from test_kill import WAIT_S, hear_until

import hub
import iolog

SAMPLE = 50
KILLS = 25


class Bench(exchange.Bench):
    """A prepared folder, copied for each life."""

    life = lives


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("links"))


@pytest.fixture(scope="module")
def recorded(bench: Bench, recorder: Path) -> Iterator[Nursery]:
    made = Nursery(iolog.environment(recorder, root=bench.root, log=Path(os.devnull)))
    yield made
    made.close()


def go_on(bench: Bench, done: int) -> None:
    """Reopened, the folder is between two steps, and everything that is left can be done."""
    clock, desk = LifeClock(), Desk(bench.desk)
    clock.step = min(done, lives.STEPS - 1)
    with hub.open(bench.folder, clock=clock) as h:
        lives.check_between(h, desk, done)
        lives.finish(h, desk, clock, done)


@pytest.mark.preload
def test_every_call_failed_leaves_each_step_whole_or_not_done(bench: Bench, recorded: Nursery, terminal: int) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED)
    done, heard, calls = live(bench, recorded, "any * 1000000 EIO before")
    assert (done, heard) == (lives.STEPS, [STARTED, DONE] * lives.STEPS + [COUNTED])
    assert calls >= 40
    go_on(bench, done)
    chosen = [(call, way) for call in range(1, calls + 1) for way in WAYS]
    if not EVERY:
        numbers = sorted(rng.sample(range(1, calls + 1), min(SAMPLE, calls)))
        chosen = [(number, WAYS[(at + SEED) % len(WAYS)]) for at, number in enumerate(numbers)]
    stopped_at: Counter[int] = Counter()
    outcomes: Counter[str] = Counter()
    for number, way in chosen:
        # The watchdog of one test, for each call.
        faulthandler.dump_traceback_later(CALL_S_MAX, exit=True, file=terminal)
        done, heard, _ = live(bench, recorded, f"any * {number} {way}")
        try:
            go_on(bench, done)
        except BaseException as error:
            error.add_note(f"any * {number} {way}, HUB_FAULT_SEED={SEED}, {done} steps done, frames {heard}")
            raise
        stopped_at[done] += "KILL" in way
        outcomes["killed" if COUNTED not in heard else "failed" if {FAILED, STOPPED} & set(heard) else "unnoticed"] += 1
    print(f"{len(chosen)} of {calls} calls failed; killed behind so many steps: {dict(stopped_at)}; {dict(outcomes)}")
    assert outcomes["killed"] >= len(chosen) / 4
    assert outcomes["failed"] >= len(chosen) / 5


def test_a_report_survives_25_kills(bench: Bench, nursery: Nursery) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED + 1)
    met: Counter[int] = Counter()
    for _ in range(KILLS):
        bench.begin()
        heard: list[int] = []
        with nursery.start(**bench.job(0, "")) as child:
            # Mostly in the report, which has the most transactions.
            for _ in range(rng.choice((rng.randint(1, lives.STEPS), lives.Step.REPORT + 1))):
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
