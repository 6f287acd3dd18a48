"""The life of a wrong link, step by step: asked through, suspended, corrected, reported, resumed.

What must be true wherever a process stopped: each step is there whole or not at all, and done again it is there once.
"""

from __future__ import annotations

import json
from collections import Counter
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

import hub
import hub.provision.delivery
from hub.errors import RequestError
from hub.messages import Kind, Status
from hub.records.bodies import ROW, Bodies
from hub.records.events import EventKind
from inquiries import tax_inquiry

START = 1_798_761_600  # 2027-01-01
PERSONS = 3
WRONG, RIGHT, OTHER = range(PERSONS)
CODES = [f"{10**9 + person:011}" for person in range(PERSONS)]
WORDS = {"clerk": "sato", "reason": "two people of one name"}


class Step(IntEnum):
    """What is done, in this order."""

    ASK = 0
    PROVIDE = 1
    SUSPEND = 2
    SUSPEND_ALL = 3
    ASK_AGAIN = 4
    RESUME_ALL = 5
    REPORT = 6
    RESUME = 7


STEPS = len(Step)


def make_small() -> None:
    """For a process that does nothing else: nothing is sorted in meanwhile."""
    hub.provision.delivery.DELAY_S = 3_600.0


class LifeClock:
    """The clock at a step."""

    def __init__(self) -> None:
        self.step = 0

    def __call__(self) -> float:
        return float(START + 10 * self.step)


def prepare(folder: Path, desk: Path) -> None:
    """A folder in which everybody is known, and what the institutions know."""
    with hub.open(folder, create=True, clock=LifeClock()) as h:
        town = h.catalog.institutions("市町村長")[0].code
        tables = [h.acquire(code, CODES).aliases.tobytes().hex() for code in ("nenkin", town, "portal")]
    (desk / "known").write_text(json.dumps([town, *tables]))


class Desk:
    """What the institutions know, beside the hub."""

    def __init__(self, folder: Path) -> None:
        self.town, *tables = json.loads((folder / "known").read_text())
        self.own, self.theirs, self.portal = (
            np.frombuffer(bytes.fromhex(table), np.uint8).reshape(-1, 16) for table in tables
        )

    def __repr__(self) -> str:
        return "Desk()"


def perform(h: hub.Hub, desk: Desk, step: int) -> None:
    """Do a step, or do it again."""
    town = desk.town
    match step:
        case Step.ASK:
            assert not h.inquire(tax_inquiry("r0"), desk.own, town).status.any()
        case Step.ASK_AGAIN:
            assert set(h.inquire(tax_inquiry("r1"), desk.own, town).status.tolist()) == {Status.SUSPENDED}
        case Step.PROVIDE:
            for permits in h.collect(town):
                h.provide(town, permits, Status.PROVIDED, [b"tax"] * len(permits))
        case Step.SUSPEND:
            assert h.suspend(town, desk.theirs[:2], **WORDS) in (0, 2)
        case Step.SUSPEND_ALL:
            assert h.suspend(town, **WORDS) in (0, 1)
        case Step.RESUME_ALL:
            assert h.resume(town, **WORDS) in (0, 1)
        case Step.REPORT:
            found = h.report_mislink(
                town, desk.theirs[WRONG], desk.theirs[RIGHT], second_clerk="suzuki", request_id="case", **WORDS
            )
            assert (found.notified, found.otherwise, len(found.blast.updates)) == (2, 0, 1)
        case Step.RESUME:
            assert h.resume(town, desk.theirs[:2], **WORDS) in (0, 2)


def flags_after(done: int) -> tuple[list[int], bool]:
    """How the town's people stand, and all of them, when so many steps are done."""
    some = [8, 8, 0] if Step.SUSPEND < done <= Step.RESUME else [0, 0, 0]
    return some, Step.SUSPEND_ALL < done <= Step.RESUME_ALL


def events_after(done: int) -> Counter[int]:
    """The events when so many steps are done."""
    found: Counter[int] = Counter()
    for step, kind, times in (
        (Step.SUSPEND, EventKind.SUSPENDED, 2),
        (Step.SUSPEND_ALL, EventKind.SUSPENDED, 1),
        (Step.RESUME_ALL, EventKind.RESUMED, 1),
        (Step.REPORT, EventKind.MISLINK_RECORDED, 2),
        (Step.REPORT, EventKind.MISLINK_NOTIFIED, 1),
        (Step.REPORT, EventKind.MISLINK_DRAFTED, 1),
        (Step.RESUME, EventKind.RESUMED, 2),
    ):
        if step < done:
            found[kind] += times
    return found


def told(h: hub.Hub, desk: Desk, person: int) -> tuple[int, int]:
    """How many records and notices of the report a citizen reads."""
    records = h.history(desk.portal[person]).records
    return sum(one.kind == Kind.MISLINK for one in records), len(h.notices(desk.portal[person]))


def check_between(h: hub.Hub, desk: Desk, done: int) -> None:
    """All is as after ``done`` steps or as after the next one, or between the steps of a report; and all is sound."""
    report = h.verify()
    assert report.ok, report.problems
    states = [flags_after(done), flags_after(done + 1)]
    assert (h.flags(desk.town, desk.theirs).tolist(), h.suspended(desk.town)) in states
    events = Counter(int(event.kind) for event in h.events())
    before, after = events_after(done), events_after(done + 1)
    if done == Step.REPORT:
        recorded = before + Counter({EventKind.MISLINK_RECORDED: 2})
        assert events in (before, recorded, after)
        citizens = [told(h, desk, person) for person in (WRONG, RIGHT)]
        # Both records are one transaction; notices come behind them, each once.
        assert {one[0] for one in citizens} == {int(events != before)}
        assert all(one[1] <= 1 for one in citizens)
        assert events != after or [one[1] for one in citizens] == [1, 1]
    else:
        assert events in (before, after)
    for name, step in (("r0", Step.ASK), ("r1", Step.ASK_AGAIN)):
        try:
            found = h.answers("nenkin", name).status.tolist()
        except RequestError:
            assert done <= step, "an acknowledged request is lost"
            continue
        if name == "r1":
            assert found == [Status.SUSPENDED] * PERSONS
        elif done > Step.PROVIDE:
            assert found == [Status.PROVIDED] * PERSONS


def finish(h: hub.Hub, desk: Desk, clock: LifeClock, done: int) -> None:
    """Do the rest, beginning with the step that may have been under way, each step twice, and compare the end."""
    for step in range(done, STEPS):
        clock.step = step
        perform(h, desk, step)
        check_between(h, desk, step + 1)
        before = h.stats()["records"], len(h.events())
        perform(h, desk, step)
        assert (h.stats()["records"], len(h.events())) == before
    assert kinds_of(h) == {Kind.INQUIRY: 6, Kind.PROVISION: 3, Kind.MISLINK: 2, Kind.NOTICE: 2}
    assert Counter(int(event.kind) for event in h.events()) == events_after(STEPS)
    assert [told(h, desk, person) for person in range(PERSONS)] == [(1, 1), (1, 1), (0, 0)]
    assert h.verify().problems == ()


def kinds_of(h: hub.Hub) -> Counter[int]:
    """The records of the log by kind."""
    kinds: Counter[Any] = Counter()
    with h._store.snapshot() as snapshot:
        bodies = Bodies(snapshot, h._periods, h._heads)
        for key, _ in snapshot.items("records", b""):
            kinds.update(bodies.whole(int.from_bytes(key, "big"))[1].view(ROW)[:, 0]["kind"].tolist())
    return kinds
