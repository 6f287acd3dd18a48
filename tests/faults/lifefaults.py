"""Fails and kills a life of steps at every durable call: what is asserted of each, whichever life it is.

A bench prepares a life and copies it for each fault. A life is a module with STEPS, SMALL, ``prepare``, ``Desk``,
``LifeClock``, ``check_between`` and ``finish``, which ``child.py`` runs in a process of its own (``exchange_life.py``,
``sent_life.py``, ``link_life.py``, ``rows_life.py``); ``test_agency_faults.py`` has a bench of another form.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from nursery import Nursery
from proof import COUNTED, DONE, FAILED, FRAME, STARTED, STOPPED
from test_kill import WAIT_S, hear_until

import hub
import iolog
from hub.records.log import default_head

SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
EVERY = os.environ.get("HUB_EVERY_STEP", "") == "1"
WAYS = ("KILL before", "KILL after", "EIO before", "EIO after", "ENOSPC before")


class Bench(Protocol):
    """What a life is run and judged on.

    Attributes:
        root: the folder whose calls are failed. steps: of the life.
    """

    root: Path
    steps: int

    def begin(self) -> None:
        """A new life, from where it was prepared."""

    def job(self, fail: str) -> dict[str, object]:
        """The child's job, with this fault."""

    def go_on(self, done: int) -> None:
        """Reopened, what is stored is between two steps, and everything that is left can be done."""


class HubBench:
    """A prepared folder with what its institutions know, copied for each life."""

    def __init__(self, life: Any, place: Path) -> None:
        self.life, self.steps = life, life.STEPS
        self.root, self._past, self._past_desk = place / "root", place / "past", place / "past-desk"
        self.root.mkdir()
        self._past_desk.mkdir()
        life.prepare(self._past, self._past_desk)
        self._folder, self._desk = self.root / "hub", place / "desk"

    def begin(self) -> None:
        """A new life."""
        for path in (self._folder, self._desk):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self._past, self._folder)
        shutil.copytree(self._past_desk, self._desk)
        default_head(self._folder).unlink(missing_ok=True)
        if default_head(self._past).exists():
            shutil.copy(default_head(self._past), default_head(self._folder))

    def job(self, fail: str) -> dict[str, object]:
        """The child's job, with this fault."""
        where = {"folder": str(self._folder), "desk": str(self._desk)}
        return {"job": "life", "life": self.life.__name__, **where, "first": 0, "fail": fail}

    def go_on(self, done: int) -> None:
        """Reopened, the folder is between two steps, and everything that is left can be done."""
        clock, desk = self.life.LifeClock(), self.life.Desk(self._desk)
        clock.step = min(done, self.steps - 1)
        with hub.open(self._folder, clock=clock) as h:
            self.life.check_between(h, desk, done)
            self.life.finish(h, desk, clock, done)


@contextmanager
def recording(bench: Bench, recorder: Path) -> Iterator[Nursery]:
    """A nursery whose children's calls in the bench's root are counted and can be failed."""
    made = Nursery(iolog.environment(recorder, root=bench.root, log=Path(os.devnull)))
    yield made
    made.close()


def live(bench: Bench, nursery: Nursery, fail: str) -> tuple[int, list[int], int]:
    """A life with a fault: the steps done, the frames heard, the calls counted."""
    bench.begin()
    done, counted = 0, 0
    heard: list[int] = []
    with nursery.start(**bench.job(fail)) as child:
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


def fail_calls(bench: Bench, recorded: Nursery, *, sample: int, calls_min: int, failed_in: int) -> None:
    """Fail durable calls of a life, in one way by turns; with ``HUB_EVERY_STEP=1`` each of them in every way.

    Args:
        sample: how many calls of a usual run. calls_min: how many the life must have.
        failed_in: of how many faults at least one has to be met by the process that goes on.
    """
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED)
    done, heard, calls = live(bench, recorded, "any * 1000000 EIO before")
    assert (done, heard) == (bench.steps, [STARTED, DONE] * bench.steps + [COUNTED])
    assert calls >= calls_min
    bench.go_on(done)
    chosen = [(call, way) for call in range(1, calls + 1) for way in WAYS]
    if not EVERY:
        numbers = sorted(rng.sample(range(1, calls + 1), min(sample, calls)))
        chosen = [(number, WAYS[(at + SEED) % len(WAYS)]) for at, number in enumerate(numbers)]
    stopped_at: Counter[int] = Counter()
    outcomes: Counter[str] = Counter()
    for number, way in chosen:
        done, heard, _ = live(bench, recorded, f"any * {number} {way}")
        try:
            bench.go_on(done)
        except BaseException as error:
            error.add_note(f"any * {number} {way}, HUB_FAULT_SEED={SEED}, {done} steps done, frames {heard}")
            raise
        stopped_at[done] += "KILL" in way
        outcomes["killed" if COUNTED not in heard else "failed" if {FAILED, STOPPED} & set(heard) else "unnoticed"] += 1
    print(f"{len(chosen)} of {calls} calls failed; killed behind so many steps: {dict(stopped_at)}; {dict(outcomes)}")
    assert outcomes["killed"] >= len(chosen) / 4
    assert outcomes["failed"] >= len(chosen) / failed_in


def kill_often(
    bench: Bench, nursery: Nursery, *, kills: int, places_min: int,
    begun: Callable[[random.Random], int] | None = None,
) -> None:  # fmt: skip
    """Kill a life at moments of chance.

    Args:
        places_min: behind how many different numbers of steps it must have been killed.
        begun: how many steps have begun before the kill; None: any number, each as likely.
    """
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED + 1)
    met: Counter[int] = Counter()
    for _ in range(kills):
        bench.begin()
        heard: list[int] = []
        with nursery.start(**bench.job("")) as child:
            for _ in range(begun(rng) if begun is not None else rng.randint(1, bench.steps)):
                heard += hear_until(child, None, STARTED, WAIT_S)
            # At once, or so much later that it is within the step or in one of the next, however quick the disk is.
            heard += hear_until(child, None, 0, rng.choice((0.0, 0.0, rng.uniform(0, 0.002), rng.uniform(0, 0.02))))
            child.kill()
            heard += hear_until(child, None, 0, WAIT_S)
            child.wait()
        done = heard.count(DONE)
        bench.go_on(done)
        met[done] += 1
    print(f"killed behind so many steps: {dict(met)}")
    assert len(met) >= places_min
