"""The exchange failed and killed at every step: each row in one state, each change recorded once, and all goes on.

A process asks in bulk and small, collects, answers, sorts in, lets lapse and fetches (``exchange_life.py``), in many
small transactions. Each of its durable calls is failed once, in one way by turns; with ``HUB_EVERY_STEP=1`` in every
way.
"""

from __future__ import annotations

import faulthandler
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import exchange_life as lives
import pytest
from exchange_life import Desk, LifeClock
from nursery import Nursery
from proof import COUNTED, DONE, FAILED, FRAME, STARTED, STOPPED
from test_kill import WAIT_S, hear_until

import hub
import iolog
from hub.log import default_head

SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
EVERY = os.environ.get("HUB_EVERY_STEP", "") == "1"
WAYS = ("KILL before", "KILL after", "EIO before", "EIO after", "ENOSPC before")
SAMPLE = 60
KILLS = 30
CALL_S_MAX = 120


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for (module, name), value in lives.SMALL.items():
        monkeypatch.setattr(module, name, value)


class Bench:
    """A prepared folder with what its institutions know, copied for each life."""

    life: Any = lives

    def __init__(self, place: Path) -> None:
        self.place = place
        self.root, self.past, self.past_desk = place / "root", place / "past", place / "past-desk"
        self.root.mkdir()
        self.past_desk.mkdir()
        self.life.prepare(self.past, self.past_desk)
        self.folder, self.desk = self.root / "hub", place / "desk"

    def begin(self) -> None:
        """A new life."""
        for path in (self.folder, self.desk):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.past, self.folder)
        shutil.copytree(self.past_desk, self.desk)
        default_head(self.folder).unlink(missing_ok=True)
        if default_head(self.past).exists():
            shutil.copy(default_head(self.past), default_head(self.folder))

    def job(self, first: int, fail: str) -> dict[str, object]:
        where = {"folder": str(self.folder), "desk": str(self.desk)}
        return {"job": "life", "life": self.life.__name__, **where, "first": first, "fail": fail}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("lives"))


@pytest.fixture(scope="module")
def recorded(bench: Bench, recorder: Path) -> Iterator[Nursery]:
    made = Nursery(iolog.environment(recorder, root=bench.root, log=Path(os.devnull)))
    yield made
    made.close()


def live(bench: Bench, nursery: Nursery, fail: str) -> tuple[int, list[int], int]:
    """A life with a fault: the steps done, the frames heard, the calls counted."""
    bench.begin()
    done, counted = 0, 0
    heard: list[int] = []
    with nursery.start(**bench.job(0, fail)) as child:
        while len(raw := os.read(child.pipe, FRAME.size)) == FRAME.size:
            number, kind, *_ = FRAME.unpack(raw)
            heard.append(kind)
            done = number + 1 if kind == DONE else done
            counted = number if kind == COUNTED else counted
        status = child.wait()
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed == ("KILL" in fail and COUNTED not in heard), f"{fail}: frames {heard}"
    assert killed or status == 0, f"{fail}: the process failed, frames {heard}"
    return done, heard, counted


def go_on(bench: Bench, done: int) -> None:
    """Reopened, the folder is between two steps, and everything that is left can be done."""
    clock, desk = LifeClock(), Desk(bench.desk)
    clock.step = min(done, lives.STEPS - 1)
    with hub.open(bench.folder, clock=clock) as h:
        lives.check_between(h, desk, done)
        lives.finish(h, desk, clock, done)


@pytest.mark.preload
def test_every_call_of_an_exchange_failed_leaves_each_row_in_one_state(
    bench: Bench, recorded: Nursery, terminal: int
) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED)
    done, heard, calls = live(bench, recorded, "any * 1000000 EIO before")
    assert (done, heard) == (lives.STEPS, [STARTED, DONE] * lives.STEPS + [COUNTED])
    assert calls >= 60
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


def test_an_exchange_survives_30_kills(bench: Bench, nursery: Nursery) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED + 1)
    met: Counter[int] = Counter()
    for _ in range(KILLS):
        bench.begin()
        heard: list[int] = []
        with nursery.start(**bench.job(0, "")) as child:
            for _ in range(rng.randint(1, lives.STEPS)):
                heard += hear_until(child, None, STARTED, WAIT_S)
            heard += hear_until(child, None, 0, rng.uniform(0, 0.02))
            child.kill()
            heard += hear_until(child, None, 0, WAIT_S)
            child.wait()
        done = heard.count(DONE)
        go_on(bench, done)
        met[done] += 1
    print(f"killed behind so many steps: {dict(met)}")
    assert len(met) >= 6
