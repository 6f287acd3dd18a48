"""Identifiers and proxies of processes that die or whose disk fails: each step is there whole or not at all.

Killed at random points, and every write and sync of each step failed in turn; done again, each step is whole.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import identity_life
import pytest
from nursery import Nursery
from proof import COUNTED, DONE, FAILED, FRAME, OPENED, STARTED, STOPPED
from test_kill import SEED, WAIT_S, Pace, hear_until

import iolog
from hub.records.log import default_head

STEPS = identity_life.STEPS
FAULTS = [(step, "any * {} EIO after") for step in STEPS]
FAULTS += [(step, "any * {} EIO before") for step in ("register", "renew", "again", "grant", "view")]
FAULTS += [(step, fault) for step in ("again", "grant") for fault in ("any * {} ENOSPC before", "write * {} SHORT")]
"""What other steps of the same kind of commit show is not shown by each."""

ROUNDS = 3
"""Each step is failed in the third round, where all of them find something to do."""


def check_folder(folder: Path, journal: Path, seed: int) -> tuple[str, str]:
    model = identity_life.read_journal(journal)
    with identity_life.open_folder(folder) as h:
        return identity_life.step_of(model), identity_life.check(h, model, seed)


def test_a_life_of_identifiers_and_proxies_survives_20_kills(nursery: Nursery, tmp_path: Path) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    seed, folder, pace = SEED + 700, tmp_path / "hub", Pace()
    rng = random.Random(seed)
    identity_life.open_folder(folder).close()
    journal = tmp_path / "journal"
    outcomes: Counter[tuple[str, str]] = Counter()
    for _ in range(20):
        with nursery.start(job="identities", folder=str(folder), journal=str(journal), seed=seed) as child:
            for _ in range(rng.randint(1, 8)):
                assert STARTED in hear_until(child, None, STARTED, WAIT_S), "the child ended by itself"
            hear_until(child, None, 0, pace.delay_s(rng))
            child.kill()
            child.wait()
        outcomes[check_folder(folder, journal, seed)] += 1
    print(dict(outcomes))
    assert sum(times for (_, how), times in outcomes.items() if how != "acknowledged") >= 5


class Bench:
    """A folder with a life behind it, copied for every fault, and a forking process that is recorded."""

    def __init__(self, recorder: Path, place: Path) -> None:
        self._place = place
        # Not in the folder whose calls are failed.
        self.root, self.journal = place / "root", place / "journal"
        self.root.mkdir()
        self._plain = Nursery()
        self.nursery = Nursery(iolog.environment(recorder, root=self.root, log=Path(os.devnull)))

    @property
    def folder(self) -> Path:
        return self.root / "hub"

    def past(self, steps: int) -> Path:
        """A folder in which so many steps were done."""
        folder = self._place / f"past{steps}"
        if not folder.exists():
            identity_life.open_folder(folder).close()
            words = {"folder": str(folder), "journal": str(folder.with_suffix(".journal")), "seed": SEED}
            with self._plain.start(job="identities", stop=steps, **words) as child:
                hear_until(child, None, 0, WAIT_S)
                assert child.wait() == 0
        return folder

    def run(self, steps: int, fail: str) -> tuple[list[int], int]:
        """Do one more step with a fault; returns the frames heard and the calls counted."""
        past = self.past(steps)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(past, self.folder)
        shutil.copy(past.with_suffix(".journal"), self.journal)
        default_head(self.folder).unlink(missing_ok=True)
        if default_head(past).exists():
            shutil.copy(default_head(past), default_head(self.folder))
        heard, counted = [], 0
        words = {"folder": str(self.folder), "journal": str(self.journal), "seed": SEED, "fail": fail}
        with self.nursery.start(job="identities", stop=steps + 1, **words) as child:
            while len(raw := os.read(child.pipe, FRAME.size)) == FRAME.size:
                number, kind, _, _ = FRAME.unpack(raw)
                heard.append(kind)
                counted = number if kind == COUNTED else counted
            assert child.wait() == 0, f"{fail}: the process failed, frames {heard}"
        return heard, counted


@pytest.fixture(scope="module")
def bench(recorder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(recorder, tmp_path_factory.mktemp("identities"))


@pytest.mark.preload
@pytest.mark.parametrize(("step", "fault"), FAULTS)
def test_a_failed_write_or_sync_loses_nothing(bench: Bench, step: str, fault: str) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    steps = STEPS.index(step) + (ROUNDS - 1) * len(STEPS)
    heard, calls = bench.run(steps, fault.format(1_000_000))
    assert heard == [OPENED, STARTED, DONE, COUNTED]
    for call in range(1, calls + 1):
        heard, _ = bench.run(steps, fault.format(call))
        assert heard in (
            [OPENED, STARTED, FAILED, DONE, COUNTED],
            [OPENED, STARTED, STOPPED, DONE, COUNTED],
        ), f"{fault.format(call)}: frames {heard}"
        assert check_folder(bench.folder, bench.journal, SEED)[1] == "acknowledged"
    print(f"{calls} calls failed")
