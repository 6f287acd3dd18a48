"""The life of many small inquiries that come as columns: step by step a few, into a new day, keys into the index.

What must be true wherever a process stopped: each inquiry is there whole or not at all, and asked again it is there
once. Inquiries of one group are there together.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import hub
import hub.provision.delivery
import hub.requests.groups
import hub.runs.merger
from hub.errors import RequestError, StorageError
from hub.messages import Status
from inquiries import tax_inquiry
from smallrows import Asked, submit

START = 1_798_761_600  # 2027-01-01
PERSONS = 12
CODES = [f"{10**9 + person:011}" for person in range(PERSONS)]
STEPS = 6
NEW_DAY = 4
"""The first step of the second day: from then on keys of the first enter its index."""

WAIT_S = 60.0


def make_small() -> None:
    """For a process that does nothing else: nothing is sorted in or merged meanwhile, keys are folded soon."""
    hub.provision.delivery.DELAY_S = hub.runs.merger.DELAY_S = 3_600.0
    hub.requests.groups.FOLD_FROM = 20


class LifeClock:
    """The clock at a step."""

    def __init__(self) -> None:
        self.step = 0

    def __call__(self) -> float:
        return float(START + 10 * self.step + 86_400 * (self.step >= NEW_DAY))


def prepare(folder: Path, desk: Path) -> None:
    """A folder in which everybody is known, and what the institutions know."""
    with hub.open(folder, create=True, clock=LifeClock()) as h:
        town = h.catalog.institutions("市町村長")[0].code
        h.acquire(town, CODES[::2])
        (desk / "known").write_text(json.dumps([town, h.acquire("nenkin", CODES).aliases.tobytes().hex()]))


class Desk:
    """What the agency knows, beside the hub."""

    def __init__(self, folder: Path) -> None:
        self.town, own = json.loads((folder / "known").read_text())
        self.own = np.frombuffer(bytes.fromhex(own), np.uint8).reshape(-1, 16)

    def __repr__(self) -> str:
        return "Desk()"


def asked_in(desk: Desk, step: int) -> list[Asked]:
    """The inquiries of a step: of two sections, the first one twice."""
    asked: list[Asked] = [
        (tax_inquiry(f"s{step}-{number}", section=f"第{number % 2}課"), desk.own[number], desk.town)
        for number in range(PERSONS)
    ]
    return [*asked, asked[0]]


def perform(h: hub.Hub, desk: Desk, step: int) -> None:
    """Do a step, or do it again."""
    asked = asked_in(desk, step)
    futures = [submit(h, asked[:5]), submit(h, asked[5:])]
    for future in futures:
        answers = future.result(WAIT_S)
        for error in answers.errors.values():
            assert isinstance(error, StorageError)
            raise error
    found = np.concatenate([future.result().status for future in futures])
    assert found.tolist() == [Status.OK, Status.NO_ALIAS_AT_PROVIDER] * (PERSONS // 2) + [Status.OK]


def check_between(h: hub.Hub, desk: Desk, done: int) -> None:
    """All is as after ``done`` steps, or some of the next one is there as well; and all is sound."""
    report = h.verify()
    assert report.ok, report.problems
    assert done * PERSONS <= h.stats()["records"] <= min(done + 1, STEPS) * PERSONS
    there = 0
    for step in range(STEPS):
        for inquiry, _, _ in asked_in(desk, step)[:PERSONS]:  # type: ignore[misc]
            try:
                there += h.answers("nenkin", inquiry.request_id).status.tolist() in ([Status.PENDING], [3])
            except RequestError:
                assert done <= step, "an acknowledged request is lost"
    assert there == h.stats()["records"]


def finish(h: hub.Hub, desk: Desk, clock: LifeClock, done: int) -> None:
    """Do the rest, beginning with the step that may have been under way, each step twice, and compare the end."""
    for step in range(done, STEPS):
        clock.step = step
        perform(h, desk, step)
        assert h.stats()["records"] == (step + 1) * PERSONS
        perform(h, desk, step)
        assert h.stats()["records"] == (step + 1) * PERSONS
    for step in range(STEPS):
        perform(h, desk, step)
    assert h.stats()["records"] == STEPS * PERSONS
    assert h.verify().problems == ()
