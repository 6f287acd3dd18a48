"""The life of an exchange, step by step: what a child does to a folder, and what must be true wherever it stopped.

The town keeps the permits that it collected in files of its own, as an institution does: what it answered once it can
say again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

import hub
import hub.provision.answers
import hub.provision.deliver
import hub.provision.delivery
import hub.provision.provide
import hub.requests.state
from hub.errors import RequestError
from hub.messages import Kind, Reason, Status
from hub.records.bodies import ROW, Bodies, links_of
from inquiries import tax_inquiry

START = 1_798_761_600  # 2027-01-01
DAY_S = 86_400
PERSONS = 12
ROWS = {"r0": range(12), "r1": range(6), "r2": range(6, 12)}


class Step(IntEnum):
    """What is done, in this order."""

    ASK_BULK = 0
    ASK_SMALL = 1
    COLLECT = 2
    PROVIDE = 3
    SORT = 4
    ASK_AGAIN = 5
    COLLECT_AGAIN = 6
    PROVIDE_AGAIN = 7
    SORT_AGAIN = 8
    LAPSE = 9
    SORT_ENDS = 10
    FETCH = 11


STEPS = len(Step)
ASKED = {"r0": Step.ASK_BULK, "r1": Step.ASK_SMALL, "r2": Step.ASK_AGAIN}

SMALL = {
    (hub.provision.deliver, "PERMITS_PER_SEGMENT"): 3, (hub.provision.deliver, "SMALL_SEGMENT"): 3,
    (hub.provision.deliver, "SMALL_SEGMENTS"): 2,
    (hub.provision.deliver, "STRETCH_RECORDS_MAX"): 8,
    (hub.provision.deliver, "STEP_BYTES"): 1, (hub.provision.provide, "ROWS_PER_CHUNK"): 4,
    (hub.requests.state, "ROWS_PER_CHUNK"): 4,
    (hub.provision.delivery, "DELAY_S"): 3_600.0,
}  # fmt: skip
"""So small that each step is several transactions."""

Given = tuple[int, int, bytes | None]


def make_small() -> None:
    """For a process that does nothing else."""
    for (module, name), value in SMALL.items():
        setattr(module, name, value)


class LifeClock:
    """The clock at a step: the permits lapse at one of them."""

    def __init__(self) -> None:
        self.step = 0

    def __call__(self) -> float:
        return float(START + 10 * self.step + (20 * DAY_S if self.step >= Step.LAPSE else 0))


def prepare(folder: Path, desk: Path) -> None:
    """A folder in which everybody is known, and what the two institutions know."""
    codes = [f"{10**9 + person:011}" for person in range(PERSONS)]
    with hub.open(folder, create=True, clock=LifeClock()) as h:
        town = h.catalog.institutions("市町村長")[0].code
        own, theirs = (h.acquire(code, codes).aliases for code in ("nenkin", town))
    known = {"town": town, "own": own.tobytes().hex(), "theirs": theirs.tobytes().hex()}
    (desk / "known").write_text(json.dumps(known))


class Desk:
    """What the two institutions know and keep, beside the hub."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        known = json.loads((folder / "known").read_text())
        self.town: str = known["town"]
        self.own, self.theirs = (
            np.frombuffer(bytes.fromhex(known[name]), np.uint8).reshape(-1, 16) for name in ("own", "theirs")
        )
        self._persons = {alias.tobytes(): person for person, alias in enumerate(self.theirs)}

    def __repr__(self) -> str:
        return "Desk()"

    def collect(self, h: hub.Hub, name: str) -> None:
        """Write down what waits."""
        found = [
            [number, self._persons[alias.tobytes()]]
            for permits in h.collect(self.town)
            for number, alias in zip(permits.permit.tolist(), permits.aliases, strict=True)
        ]
        partial = self.folder / f"{name}.new"
        partial.write_text(json.dumps(found))
        os.replace(partial, self.folder / name)

    def answer(self, h: hub.Hub, name: str, step: int) -> None:
        """Answer what was written down; the same each time."""
        chosen = [
            (number, given)
            for number, person in json.loads((self.folder / name).read_text())
            if (given := self.given(step, person)) is not None
        ]
        columns = [list(column) for column in zip(*(given for _, given in chosen), strict=True)]
        receipt = h.provide(self.town, [number for number, _ in chosen], columns[0], columns[2], reasons=columns[1])
        assert receipt.rows == len(chosen)

    def given(self, step: int, person: int) -> Given | None:
        """What the town answers about a person at a step; None: nothing yet."""
        if step == Step.PROVIDE:
            outcomes = (Status.PROVIDED, Status.REFUSED, Status.EMPTY, None)
        else:
            outcomes = (Status.PROVIDED, Status.MANUAL, None, Status.NO_RECORD)
        outcome = outcomes[person % 4]
        if outcome is None:
            return None
        payload = hashlib.sha256(self.theirs[person].tobytes()).digest() if outcome == Status.PROVIDED else None
        return outcome, Reason.UNDER_CORRECTION if outcome == Status.REFUSED else 0, payload


def perform(h: hub.Hub, desk: Desk, step: int) -> None:
    """Do a step, or do it again."""
    match step:
        case Step.ASK_BULK | Step.ASK_SMALL | Step.ASK_AGAIN:
            (name,) = (name for name, asked in ASKED.items() if asked == step)
            words: dict[str, Any] = {} if step == Step.ASK_SMALL else {"progress": lambda done: None}
            answer = h.inquire(tax_inquiry(name), np.ascontiguousarray(desk.own[list(ROWS[name])]), desk.town, **words)
            assert not answer.status.any()
        case Step.COLLECT | Step.COLLECT_AGAIN:
            desk.collect(h, f"permits{step}")
        case Step.PROVIDE | Step.PROVIDE_AGAIN:
            desk.answer(h, f"permits{step - 1}", step)
        case Step.SORT | Step.SORT_AGAIN | Step.SORT_ENDS:
            assert h._delivery is not None
            h._delivery.deliver()
        case Step.LAPSE:
            h.lapse()
        case Step.FETCH:
            assert h.fetched("nenkin", "r0") == 3


def states_after(desk: Desk, done: int) -> dict[str, list[tuple[int, int, bytes | None]]]:
    """How the rows of each request stand when so many steps are done."""
    found: dict[str, list[tuple[int, int, bytes | None]]] = {}
    for name, persons in ROWS.items():
        if done <= ASKED[name]:
            continue
        rows: list[tuple[int, int, bytes | None]] = []
        for person in persons:
            row: tuple[int, int, bytes | None] = (Status.PENDING, 0, None)
            for step in (Step.PROVIDE, Step.PROVIDE_AGAIN):
                given = desk.given(step, person)
                if step > ASKED[name] and step < done and row[0] == Status.PENDING and given is not None:
                    row = row if given[0] == Status.MANUAL else given
            if row[0] == Status.PENDING and done > Step.LAPSE:
                row = Status.LAPSED, 0, None
            if name == "r0" and done > Step.FETCH:
                row = (*row[:2], None)
            rows.append(row)
        found[name] = rows
    return found


def check_between(h: hub.Hub, desk: Desk, done: int) -> None:
    """Each row is as after ``done`` steps or as after the next one, the log is sound, and no change is in it twice."""
    report = h.verify()
    assert report.ok, report.problems
    before, after = states_after(desk, done), states_after(desk, done + 1)
    for name in after:
        try:
            answers = h.answers("nenkin", name)
        except RequestError:
            assert name not in before, "an acknowledged request is lost"
            continue
        found = list(zip(answers.status.tolist(), answers.reason.tolist(), answers.payloads, strict=True))
        for row, state in enumerate(found):
            assert state in (before.get(name, after[name])[row], after[name][row]), f"{name} row {row}"
    check_log(h)


def check_log(h: hub.Hub) -> Counter[int]:
    """Each permit ends in one record at most; the records by kind."""
    kinds: Counter[int] = Counter()
    linked: list[int] = []
    with h._store.snapshot() as snapshot:
        bodies = Bodies(snapshot, h._periods, h._heads)
        for key, _ in snapshot.items("records", b""):
            table = bodies.whole(int.from_bytes(key, "big"))[1].view(ROW)[:, 0]
            kinds.update(table["kind"].tolist())
            linked += links_of(table[np.isin(table["kind"], (Kind.PROVISION, Kind.LAPSE))]).tolist()
    assert len(set(linked)) == len(linked), "a state change is in the log twice"
    return kinds


def finish(h: hub.Hub, desk: Desk, clock: LifeClock, done: int) -> None:
    """Do the rest, beginning with the step that may have been under way, and compare the end."""
    for step in range(done, STEPS):
        clock.step = step
        perform(h, desk, step)
        check_between(h, desk, step + 1)
        # Once more: nothing is recorded again.
        before = h.stats()["records"]
        if step not in (Step.COLLECT, Step.COLLECT_AGAIN):
            perform(h, desk, step)
        assert h.stats()["records"] == before
    kinds = check_log(h)
    lapsed = sum(row[0] == Status.LAPSED for rows in states_after(desk, STEPS).values() for row in rows)
    assert kinds == {Kind.INQUIRY: 24, Kind.PROVISION: 24 - lapsed, Kind.LAPSE: lapsed}
    assert h.verify().problems == ()
