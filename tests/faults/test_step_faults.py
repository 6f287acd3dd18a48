"""Every durable step failed, before and after it took effect: an error of ours, nothing lost, and all goes on.

The recorder fails the Nth write, sync, or change of a name or length that a process makes while it opens a folder,
makes one, acquires or inquires. Either that call raises StorageError or nothing of it shows.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from nursery import Nursery
from proof import COUNTED, DONE, FAILED, FRAME, OPENED, SMALL, STARTED, STOPPED, Clock, Plan, Profile, Witness, run_plan

import hub
import iolog
from hub.records.log import default_head

pytestmark = pytest.mark.preload

SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
PREPARED = 6
"""Operations that the folder has before the one that fails; number 6 is an acquisition, 7 an inquiry."""

FAULTS = ["any * {} EIO before", "any * {} EIO after", "any * {} ENOSPC before", "write * {} SHORT"]
PROFILE = Profile(population=2_000, acquire_rows_max=600, inquire_rows_max=600, rows_min=300)
assert SMALL.population > PROFILE.population


class Bench:
    """A folder with a past, copied for every fault, and a forking process that is recorded."""

    def __init__(self, recorder: Path, place: Path) -> None:
        self.root = place / "root"
        self.root.mkdir()
        self.catalog = hub.Catalog.japan()
        self.plan = Plan(SEED, PROFILE, self.catalog)
        self._pasts: dict[int, tuple[Path, Witness]] = {}
        self._place = place
        environment = iolog.environment(recorder, root=self.root, log=Path(os.devnull))
        self.nursery = Nursery(environment)

    def past(self, operations: int) -> tuple[Path, Witness]:
        """A folder in which this many operations were done, and who knows them."""
        if operations not in self._pasts:
            folder = self._place / f"past{operations}"
            witness = Witness(self.plan, self.catalog)
            run_plan(str(folder), self.plan, 0, operations, witness.hear, create=True)
            clock = Clock()
            with hub.open(folder, clock=clock) as h:
                witness.verify(h, clock)
            self._pasts[operations] = folder, witness
        return self._pasts[operations]

    def run(self, operations: int, fail: str, *, at_open: bool) -> tuple[Path, Witness, list[int], int]:
        """Do the next operation with a fault; returns the folder, the witness, the frames heard, the calls counted."""
        past, known = self.past(operations)
        folder = self.root / "hub"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(past, folder)
        default_head(folder).unlink(missing_ok=True)
        if default_head(past).exists():
            shutil.copy(default_head(past), default_head(folder))
        return folder, *self.listen(known.twin(), operations, fail, at_open=at_open)

    def listen(self, witness: Witness, first: int, fail: str, **words: Any) -> tuple[Witness, list[int], int]:
        job = {
            "job": "faulty",
            "folder": str(self.root / "hub"),
            "seed": SEED,
            "profile": asdict(PROFILE),
            "first": first,
            "fail": fail,
            **words,
        }
        heard, counted = [], 0
        with self.nursery.start(**job) as child:
            while len(raw := os.read(child.pipe, FRAME.size)) == FRAME.size:
                kind = witness.hear(raw)
                heard.append(kind)
                if kind == COUNTED:
                    counted = FRAME.unpack(raw)[0]
            assert child.wait() == 0, f"{fail}: the process died, frames {heard}"
        return witness, heard, counted


@pytest.fixture(scope="module")
def bench(recorder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(recorder, tmp_path_factory.mktemp("steps"))
    yield made
    made.nursery.close()


def check(folder: Path, witness: Witness) -> None:
    clock = Clock()
    with hub.open(folder, clock=clock) as h:
        h.check_blocks()
        witness.verify(h, clock)
        witness.verify_all(h, histories=1)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", [PREPARED, PREPARED + 1], ids=["acquire", "inquire"])
def test_a_failed_step_loses_nothing(bench: Bench, operation: int, fault: str) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    never = fault.format(1_000_000)
    folder, witness, heard, steps = bench.run(operation, never, at_open=False)
    assert heard == [OPENED, STARTED, COUNTED, DONE]
    assert steps >= 3
    check(folder, witness)
    again = 0
    for step in range(1, steps + 1):
        spec = fault.format(step)
        folder, witness, heard, _ = bench.run(operation, spec, at_open=False)
        # A failure that is said to be passing must be passing, where the disk has recovered.
        assert heard in (
            [OPENED, STARTED, FAILED, COUNTED, DONE],
            [OPENED, STARTED, STOPPED, COUNTED, STOPPED],
            [OPENED, STARTED, STOPPED, COUNTED, DONE],
        ), f"{spec}: frames {heard}"
        again += heard[-1] == DONE
        check(folder, witness)
    print(f"{steps} steps failed, {again} times the same process could go on")


@pytest.mark.parametrize("operation", [PREPARED, PREPARED + 1], ids=["acquire", "inquire"])
def test_an_interrupt_at_any_step_doubles_nothing(bench: Bench, operation: int) -> None:
    # Most of a small call is spent waiting for the disk; there Ctrl-C strikes: behind the commit, before the answer.
    print(f"HUB_FAULT_SEED={SEED}")
    _, _, _, steps = bench.run(operation, "any * 1000000 INT", at_open=False)
    for step in range(1, steps + 1):
        folder, witness, heard, _ = bench.run(operation, f"any * {step} INT", at_open=False)
        assert heard == [OPENED, STARTED, FAILED, COUNTED, DONE], f"step {step}: frames {heard}"
        check(folder, witness)
    print(f"{steps} steps interrupted")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_step_of_opening_loses_nothing(bench: Bench, fault: str) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    _, _, heard, steps = bench.run(PREPARED, fault.format(1_000_000), at_open=True)
    assert heard == [COUNTED, OPENED, STARTED, DONE]
    for step in range(1, steps + 1):
        folder, witness, heard, _ = bench.run(PREPARED, fault.format(step), at_open=True)
        heard = [kind for kind in heard if kind not in (FAILED, STOPPED)]
        assert heard == [COUNTED, OPENED, STARTED, DONE], f"{fault.format(step)}: frames {heard}"
        check(folder, witness)
    print(f"{steps} steps failed")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_step_of_making_a_folder_leaves_one_that_can_be_made(bench: Bench, fault: str) -> None:
    print(f"HUB_FAULT_SEED={SEED}")
    steps = 0
    for step in [1_000_000, *range(1, 1_000)]:
        folder = bench.root / "hub"
        shutil.rmtree(folder, ignore_errors=True)
        witness = Witness(bench.plan, bench.catalog)
        spec = fault.format(step)
        witness, heard, counted = bench.listen(witness, 0, spec, at_open=True, options={"create": True})
        steps = max(steps, counted)
        heard = [kind for kind in heard if kind not in (FAILED, STOPPED)]
        assert heard == [COUNTED, OPENED, STARTED, DONE], f"{spec}: frames {heard}"
        check(folder, witness)
        if step == steps:
            break
    print(f"{steps} steps failed")
    assert steps >= 10
