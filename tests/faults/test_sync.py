"""No answer leaves before the syncs that it rests on, and nothing is lost when the power goes after any of them.

A recorded process makes a hub and works through a plan; its log is replayed to every sync, and there the folder is
rebuilt as a loss of power would leave it (``tools/iolog.py`` has the rules), reopened and held against the model.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import watch
from nursery import CHILD, child_environment
from proof import DONE, FRAME, LARGE, OPENED, SMALL, Clock, Plan, Profile, Witness, perform

import hub
import iolog
from iolog import Operation

pytestmark = pytest.mark.preload

SEED = int(os.environ.get("HUB_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
BESIDE = ("lock.mdb", "hub.lock")
"""LMDB's table of readers is a writable map and made anew after a crash; ``hub.lock`` only says who holds it."""

@dataclass
class Recorded:
    """A finished recording of a plan's first operations, in a folder two levels below ``root``.

    Attributes:
        answers: what each operation gets when the folder, which has them all, is asked again.
    """

    root: Path
    log: Path
    plan: Plan
    catalog: hub.Catalog
    answers: list[tuple[Any, ...]]


FOLDER = "land/hub"
"""The hub is made below a folder that does not exist either."""


def record(recorder: Path, place: Path, profile: Profile, operations: int) -> Recorded:
    """Make a hub and run a plan under the recorder."""
    root = place / "root"
    root.mkdir()
    log = place / "log"
    job = {
        "job": "plan",
        "folder": str(root / FOLDER),
        "seed": SEED,
        "profile": asdict(profile),
        "first": 0,
        "stop": operations,
        "options": {"create": True},
    }
    out = os.open(os.devnull, os.O_WRONLY)
    try:
        env = child_environment(iolog.environment(recorder, root=root, log=log, mark_fd=out))
        command = [sys.executable, str(CHILD), "-", json.dumps(job), str(out)]
        subprocess.run(command, env=env, pass_fds=[out], check=True, timeout=300)
    finally:
        os.close(out)
    disk = iolog.Disk(root, empty=True)
    for event in iolog.read_log(log):
        disk.apply(event)
    iolog.check_complete(disk, root, beside=BESIDE)
    catalog = hub.Catalog.japan()
    plan = Plan(SEED, profile, catalog)
    clock = Clock()
    with hub.open(root / FOLDER, clock=clock) as h:
        answers = [perform(h, plan, plan.operation(number), clock) for number in range(operations)]
    return Recorded(root, log, plan, catalog, answers)


@dataclass
class State:
    """The folder as it may be found after a loss of power.

    Attributes:
        opened: whether ``hub.open`` had returned before.
        witness: knows what was acknowledged before.
    """

    name: str
    image: iolog.Image
    opened: bool
    witness: Witness


def states_of(recorded: Recorded, rng: random.Random, share: float, torn: int) -> Iterator[State]:
    """Every answer, and every sync or a share of them: with all that no sync covers lost, and before a sync's end.

    Before its end a random part of what it covers has survived, drawn ``torn`` times.
    """
    disk = iolog.Disk(recorded.root, empty=True)
    witness = Witness(recorded.plan, recorded.catalog)
    opened = False
    for number, event in enumerate(iolog.read_log(recorded.log)):
        ends_sync = _ends_sync(event)
        chosen = rng.random() < share
        if ends_sync and chosen:
            # Making a folder is short and done once: look closer.
            for _ in range(torn if opened else 4 * torn):
                yield State(f"operation {number}: its sync not finished", disk.torn(rng), opened, witness.twin())
        disk.apply(event)
        if event.operation is Operation.MARK:
            kind = witness.hear(event.data)
            opened = opened or kind == OPENED
            if kind == DONE:
                witness.take(*recorded.answers[witness.done])
                yield State(f"operation {number}: answer", disk.durable(), opened, witness.twin())
        elif ends_sync and chosen:
            yield State(f"operation {number}: synced", disk.durable(), opened, witness.twin())


def _ends_sync(event: iolog.Event) -> bool:
    return event.operation is Operation.SYNC_END or bool(
        event.operation is Operation.WRITE and event.flags & iolog.DURABLE
    )


def check_state(state: State, place: Path) -> None:
    """Reopen one rebuilt folder and hold it against what was acknowledged."""
    watch.moves()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    iolog.write_image(state.image, place)
    clock = Clock()
    # Before hub.open had returned nothing was promised; then the folder may be made again.
    with hub.open(place / FOLDER, create=not state.opened, clock=clock) as h:
        h.check_blocks()
        state.witness.verify_all(h, histories=1)
        state.witness.verify(h, clock)
        h.check_blocks()


def check_states(recorded: Recorded, place: Path, seed: int, *, share: float = 1.0, torn: int) -> int:
    states = 0
    landed = {"nothing": 0, "in part": 0, "whole": 0}
    for state in states_of(recorded, random.Random(seed), share, torn):
        try:
            check_state(state, place)
        except BaseException as error:
            error.add_note(f"{state.name}, HUB_FAULT_SEED={SEED}, folder as rebuilt then reopened: {place}")
            raise
        states += 1
        for how, times in state.witness.landed.items():
            landed[how] += times
    print(f"HUB_FAULT_SEED={SEED}: {states} states of the folder, the operation under way durable: {landed}")
    return states


@pytest.fixture(scope="module")
def small(recorder: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(recorder, tmp_path_factory.mktemp("small"), SMALL, 24)


@pytest.fixture(scope="module")
def large(recorder: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(recorder, tmp_path_factory.mktemp("large"), LARGE, 4)


def test_no_answer_leaves_before_the_syncs_it_rests_on(small: Recorded) -> None:
    disk = iolog.Disk(small.root, empty=True)
    answers = 0
    for event in iolog.read_log(small.log):
        disk.apply(event)
        if event.operation is Operation.MARK and FRAME.unpack(event.data)[1] in (OPENED, DONE):
            assert disk.unsynced(beside=BESIDE) == [], f"answer {answers} left before its sync"
            answers += 1
    assert answers == len(small.answers) + 1


def test_nothing_is_lost_when_all_after_any_sync_is_lost(small: Recorded, tmp_path: Path) -> None:
    states = check_states(small, tmp_path / "state", SEED, torn=4)
    assert states >= 300


def test_nothing_is_lost_between_the_chunks_of_large_operations(large: Recorded, tmp_path: Path) -> None:
    states = check_states(large, tmp_path / "state", SEED + 1, share=0.4, torn=1)
    assert states >= 10
