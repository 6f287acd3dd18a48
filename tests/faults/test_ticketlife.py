"""Links that are claimed, compared, held, confirmed and replaced by processes that die or whose disk fails."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
import test_lives
import ticketlife
from nursery import Nursery
from proof import COUNTED, DONE, FAILED, OPENED, STARTED, STOPPED
from test_kill import SEED, WAIT_S, Pace, hear_until

import hub

FAULTS = ["any * {} EIO before", "any * {} EIO after", "any * {} ENOSPC before"]


def check_folder(folder: Path, journal: Path, seed: int) -> tuple[str, str]:
    known = ticketlife.Journal.read(journal)
    with hub.open(folder) as h:
        return known.step, ticketlife.check(h, known, seed)


def test_a_life_of_links_survives_40_kills(nursery: Nursery, tmp_path: Path) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    seed, folder, pace = SEED + 500, tmp_path / "hub", Pace()
    rng = random.Random(seed)
    hub.open(folder, create=True).close()
    journal = tmp_path / "journal"
    outcomes: Counter[tuple[str, str]] = Counter()
    for _ in range(40):
        with nursery.start(job="tickets", folder=str(folder), journal=str(journal), seed=seed) as child:
            for _ in range(rng.randint(1, 8)):
                assert STARTED in hear_until(child, None, STARTED, WAIT_S), "the child ended by itself"
            hear_until(child, None, 0, pace.delay_s(rng))
            child.kill()
            child.wait()
        outcomes[check_folder(folder, journal, seed)] += 1
    print(dict(outcomes))
    assert sum(times for (_, how), times in outcomes.items() if how != "acknowledged") >= 5


class Bench(test_lives.Bench):
    """As for lives of aliases."""

    job = "tickets"


@pytest.fixture(scope="module")
def bench(recorder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(recorder, tmp_path_factory.mktemp("tickets"))


@pytest.mark.preload
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("number", range(len(ticketlife.STEPS)), ids=ticketlife.STEPS)
def test_a_failed_write_or_sync_loses_nothing(bench: Bench, number: int, fault: str) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    steps = number + len(ticketlife.STEPS)
    heard, calls = bench.run(steps, fault.format(1_000_000))
    assert heard == [OPENED, STARTED, DONE, COUNTED]
    assert calls >= 3
    for call in range(1, calls + 1):
        heard, _ = bench.run(steps, fault.format(call))
        assert heard in (
            [OPENED, STARTED, FAILED, DONE, COUNTED],
            [OPENED, STARTED, STOPPED, DONE, COUNTED],
        ), f"{fault.format(call)}: frames {heard}"
        assert check_folder(bench.folder, bench.journal, SEED)[1] == "acknowledged"
    print(f"{calls} calls failed")
