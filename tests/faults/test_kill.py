"""Kill -9 at random points of acquire, inquire, open and create: what was acknowledged is there once, and all goes on.

A killed process keeps its page cache, so this is about the order of steps inside the process; ``test_sync.py`` is
about the disk. Together the tests here kill 350 times.
"""

from __future__ import annotations

import os
import random
import select
import signal
import statistics
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from nursery import Job, Nursery
from proof import FRAME, LARGE, OPENED, PARTED, PARTED_LIMITS, SMALL, STARTED, Clock, Plan, Profile, Witness

import hub

SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
WAIT_S = 60.0
"""How long a child may take to be up; only a child that hangs comes near it."""


def hear_until(job: Job, witness: Witness | None, kind: int, deadline_s: float) -> list[int]:
    """Take frames until one of ``kind``, the end of the child, or the deadline; returns the kinds heard."""
    heard: list[int] = []
    end = time.monotonic() + deadline_s
    while (left := end - time.monotonic()) > 0 and select.select([job.pipe], [], [], left)[0]:
        raw = os.read(job.pipe, FRAME.size)
        if len(raw) < FRAME.size:
            break
        heard.append(witness.hear(raw) if witness else FRAME.unpack(raw)[1])
        if heard[-1] == kind:
            break
    return heard


class Pace:
    """How long the child takes for an operation, so that kills fall anywhere in one on any machine."""

    def __init__(self) -> None:
        self._gaps: list[float] = [0.02]

    def add(self, gap_s: float) -> None:
        self._gaps.append(gap_s)

    def delay_s(self, rng: random.Random) -> float:
        """Somewhere in an operation, or a little behind it."""
        return rng.uniform(0, 1.8 * statistics.median(self._gaps[-30:]))


def kill_once(
    nursery: Nursery, job: dict[str, object], witness: Witness, kind: int, times: int, pace: Pace, rng: random.Random
) -> None:
    """Let a child work until it has sent ``times`` frames of a kind and a moment longer, kill it, hear what it said."""
    with nursery.start(**job) as child:
        last = time.monotonic()
        for _ in range(times):
            assert kind in hear_until(child, witness, kind, WAIT_S), "the child did not come up or ended by itself"
            now = time.monotonic()
            pace.add(now - last)
            last = now
        hear_until(child, witness, 0, pace.delay_s(rng))
        child.kill()
        hear_until(child, witness, 0, WAIT_S)
        assert os.WIFSIGNALED(child.wait()), "the child ended by itself"


def run_kills(
    nursery: Nursery, folder: Path, profile: Profile, seed: int, kills: int, operations_max: int, **words: object
) -> Witness:
    """One folder's life: kill, reopen, check, finish, and again."""
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(seed)
    catalog = hub.Catalog.japan()
    witness = Witness(Plan(seed, profile, catalog), catalog)
    hub.open(folder, create=True).close()
    clock = Clock()
    working, opening = Pace(), Pace()
    for number in range(kills):
        job = {"job": "plan", "folder": str(folder), "seed": seed, "profile": asdict(profile), "first": witness.done}
        # One kill in ten falls while the folder is opened, the others inside an operation or right behind it.
        if number % 10 == 9:
            kill_once(nursery, {**job, **words}, witness, OPENED, number % 20 // 19, opening, rng)
        else:
            times = rng.randint(1, operations_max)
            kill_once(nursery, {**job, **words}, witness, STARTED, times, working, rng)
        with hub.open(folder, clock=clock) as h:
            witness.verify(h, clock)
    with hub.open(folder, clock=clock) as h:
        witness.verify_all(h)
        h.check_blocks()
    print(f"{witness.redone} acknowledged operations checked; under way at a kill and durable: {witness.landed}")
    # Most kills must have met an operation at work, and others must have been acknowledged, or nothing is shown.
    assert sum(witness.landed.values()) >= kills / 3
    assert witness.redone >= kills / 3
    return witness


@pytest.mark.parametrize("life", range(4))
def test_small_operations_survive_60_kills(nursery: Nursery, tmp_path: Path, life: int) -> None:
    run_kills(nursery, tmp_path / "hub", SMALL, SEED + life, 60, 8)


@pytest.mark.parametrize("life", range(2))
def test_large_operations_survive_20_kills(nursery: Nursery, tmp_path: Path, life: int) -> None:
    run_kills(nursery, tmp_path / "hub", LARGE, SEED + 100 + life, 20, 3)


def test_an_acquisition_of_many_transactions_survives_30_kills(nursery: Nursery, tmp_path: Path) -> None:
    # With the real bound this takes millions of rows; the code is the same.
    run_kills(nursery, tmp_path / "hub", PARTED, SEED + 150, 30, 4, limits=PARTED_LIMITS)


def test_making_a_folder_survives_40_kills(nursery: Nursery, tmp_path: Path) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    rng = random.Random(SEED + 200)
    durations = []
    unfinished = 0
    for number in range(43):
        folder = tmp_path / f"hub{number}"
        with nursery.start(job="create", folder=str(folder)) as child:
            assert STARTED in hear_until(child, None, STARTED, WAIT_S)
            begun = time.monotonic()
            if number < 3:
                assert OPENED in hear_until(child, None, OPENED, WAIT_S)
                durations.append(time.monotonic() - begun)
                assert child.wait() == 0
            else:
                heard = hear_until(child, None, OPENED, rng.uniform(0, 1.1 * min(durations)))
                child.kill()
                heard += hear_until(child, None, OPENED, WAIT_S)
                status = child.wait()
                assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
                unfinished += OPENED not in heard
        # Made again where it was not finished, opened where it was: either way it is a whole hub.
        with hub.open(folder, create=True) as h:
            assert h.acquire("portal", ["90000000001"]).status.tolist() == [hub.Acquisition.CREATED]
        with hub.open(folder) as h:
            assert h.acquire("portal", ["90000000001"]).status.tolist() == [hub.Acquisition.ALREADY]
    print(f"{unfinished} kills before the folder was made")
    assert unfinished >= 20
