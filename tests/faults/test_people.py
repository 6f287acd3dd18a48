"""Persons who are merged, split, told dead and taken back by processes that die or whose disk fails.

Killed at random points, and every write and sync of each step failed in turn: a step that was under way is there whole
or not at all, is recorded once, and done again it is whole.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import people
import pytest
from nursery import Nursery
from proof import COUNTED, DONE, FAILED, OPENED, STARTED, STOPPED
from test_kill import SEED, WAIT_S, Pace, hear_until
from test_lives import FAULTS, Bench

import hub

SOME = (1, 2, 4, 5, 6, 8)
"""Each kind of step once, at the first time that it finds something to do."""


def check_folder(folder: Path, journal: Path, seed: int) -> tuple[str, str]:
    known = people.Journal.read(journal)
    with hub.open(folder) as h:
        return known.step, people.check(h, known, seed)


@pytest.mark.parametrize("life", range(2))
def test_a_life_of_persons_survives_25_kills(nursery: Nursery, tmp_path: Path, life: int) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    seed, folder, pace = SEED + 500 + life, tmp_path / "hub", Pace()
    rng = random.Random(seed)
    hub.open(folder, create=True).close()
    journal = tmp_path / "journal"
    outcomes: Counter[tuple[str, str]] = Counter()
    for _ in range(25):
        with nursery.start(job="people", folder=str(folder), journal=str(journal), seed=seed) as child:
            for _ in range(rng.randint(1, 8)):
                assert STARTED in hear_until(child, None, STARTED, WAIT_S), "the child ended by itself"
            hear_until(child, None, 0, pace.delay_s(rng))
            child.kill()
            child.wait()
        outcomes[check_folder(folder, journal, seed)] += 1
    print(dict(outcomes))
    assert sum(times for (_, how), times in outcomes.items() if how != "acknowledged") >= 3


class PeopleBench(Bench):
    """The same of persons."""

    job = "people"


@pytest.fixture(scope="module")
def bench(recorder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return PeopleBench(recorder, tmp_path_factory.mktemp("people"))


@pytest.mark.preload
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("number", SOME, ids=[people.STEPS[number] for number in SOME])
def test_a_failed_write_or_sync_loses_nothing_and_doubles_nothing(bench: Bench, number: int, fault: str) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    heard, calls = bench.run(number, fault.format(1_000_000))
    assert heard == [OPENED, STARTED, DONE, COUNTED]
    assert calls >= 2
    failed = 0
    for call in range(1, calls + 1):
        heard, _ = bench.run(number, fault.format(call))
        # Records are sorted in and merged beside the step: a few calls may be another thread's, or not come at all.
        passed = [kind for kind in heard if kind not in (FAILED, STOPPED)]
        assert passed == [OPENED, STARTED, DONE, COUNTED], f"{fault.format(call)}: frames {heard}"
        failed += heard != passed
        assert check_folder(bench.folder, bench.journal, SEED)[1] == "acknowledged"
    print(f"{calls} calls, {failed} failures")
    assert failed >= 2
