"""The life of two institutions' own folders beside a hub: linked, loaded, asked, answered, flagged, loaded again.

A child does it step by step; wherever it stopped, what is visible is as before or as after the step under way, and the
same steps given again end in the same state.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

import numpy as np

import hub
import hub.agency
from hub.agency import Agency, answering, compare, owncopy, runs
from hub.agency.owncopy import read_answered
from hub.messages import Status
from inquiries import tax_inquiry

START = 1_798_761_600  # 2027-01-01
PERSONS = 12

LAYOUT = """
name = "tax"
key = { column = "id", kind = "own_id" }
[[column]]
name = "income"
item = "市町村民税"
type = "int"
"""


class Step(IntEnum):
    """What is done, in this order."""

    LINK = 0
    LINK_MORE = 1
    REPLACE = 2
    DECLARE = 3
    CHUNK = 4
    CHUNK_MORE = 5
    FINISH = 6
    ASK = 7
    ANSWER = 8
    FLAG = 9
    LOAD_AGAIN = 10
    ASK_AGAIN = 11
    ANSWER_AGAIN = 12
    FETCH = 13


STEPS = len(Step)
ROWS = {"r0": list(range(PERSONS)), "r1": [0, 3, 6, 11]}
SMALL = {
    (runs, "FAN_OUT"): 2, (runs, "BLOCK_ROWS"): 2, (answering, "PAGE_ROWS"): 5, (owncopy, "CHUNKS_PER_COMMIT"): 1,
}  # fmt: skip
"""So small that each step is several durable changes."""


def make_small() -> None:
    """For a process that does nothing else."""
    for (module, name), value in SMALL.items():
        setattr(module, name, value)


def clock() -> float:
    return float(START)


def own_id(person: int) -> str:
    return f"id-{person}" + "x" * 12 * (person % 2)


def prepare(root: Path) -> None:
    """A hub in which everybody is known, and two empty folders."""
    root.mkdir(exist_ok=True)
    codes = [f"{10**9 + person:011}" for person in range(PERSONS)]
    with hub.open(root / "hub", create=True, clock=clock) as h:
        town = h.catalog.institutions("市町村長")[0].code
        own, theirs = (h.acquire(code, codes).aliases for code in ("nenkin", town))
    np.save(root / "own.npy", own)
    np.save(root / "theirs.npy", theirs)
    hub.agency.open(root / "town", institution=town, create=True, clock=clock).close()
    hub.agency.open(root / "pension", institution="nenkin", create=True, clock=clock).close()


class Life:
    """Everything opened."""

    def __init__(self, root: Path) -> None:
        self.own, self.theirs = np.load(root / "own.npy"), np.load(root / "theirs.npy")
        self.h = hub.open(root / "hub", clock=clock)
        try:
            self.town: Agency = hub.agency.open(root / "town", clock=clock)
            try:
                self.pension: Agency = hub.agency.open(root / "pension", clock=clock)
            except BaseException:
                self.town.close()
                raise
        except BaseException:
            self.h.close()
            raise

    def __enter__(self) -> Life:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for one in (self.h, self.town, self.pension):
            one.close()

    def link(self, persons: list[int], ids: list[str], *, replace: bool = False) -> None:
        self.town.link(ids, np.ascontiguousarray(self.theirs[persons]), replace=replace)

    def ask(self, request_id: str) -> None:
        aliases = np.ascontiguousarray(self.own[ROWS[request_id]])
        self.pension.inquire(self.h, tax_inquiry(request_id), aliases, self.town.institution)

    def chunk(self, persons: list[int], factor: int) -> bytes:
        return ("id,income\n" + "".join(f"{own_id(person)},{person * factor}\n" for person in persons)).encode()

    def perform(self, step: int) -> None:
        """Do a step, or do it again."""
        town = self.town
        match step:
            case Step.LINK:
                self.link(list(range(6)), [own_id(person) for person in range(6)])
            case Step.LINK_MORE:
                for person in range(6, PERSONS):
                    self.link([person], [own_id(person)])
            case Step.REPLACE:
                # Two change places and back: in the end everybody has their own.
                if town.own_ids_of(self.theirs[:1]) != ["moved"]:
                    self.link([0], ["moved"], replace=True)
                self.link([0], [own_id(0)], replace=True)
            case Step.DECLARE:
                town.declare(LAYOUT)
                town.begin_load("tax", "l1")
            case Step.CHUNK:
                town.load_chunk("tax", "l1", 1, self.chunk([0, 1, 2, 5, 8], 10))
            case Step.CHUNK_MORE:
                town.load_chunk("tax", "l1", 2, self.chunk([6, 7, 3], 10))
            case Step.FINISH:
                assert town.finish_load("tax", "l1", 2).rows == 8
            case Step.ASK:
                self.ask("r0")
            case Step.ANSWER | Step.ANSWER_AGAIN:
                town.answer(self.h)
            case Step.FLAG:
                town.flag(self.theirs[3:4])
            case Step.LOAD_AGAIN:
                if not town.begin_load("tax", "l2").complete:
                    town.load_chunk("tax", "l2", 1, self.chunk([0, 6, 3, 9], 7))
                    assert town.finish_load("tax", "l2", 1).rows == 4
            case Step.ASK_AGAIN:
                self.ask("r1")
            case Step.FETCH:
                for request_id in ROWS:
                    self.pension.answers(self.h, request_id)

    # -- what must be true

    def check_between(self, done: int) -> None:
        """What is visible is as after ``done`` steps, or as after one more."""
        linked = [one is not None for one in self.town.own_ids_of(self.theirs)]
        least = 0 if done <= Step.LINK else 6 if done <= Step.LINK_MORE else PERSONS
        assert sum(linked) >= least
        assert all(linked[:6]) or not any(linked[:6])
        (register,) = self.town.state().registers or [None]
        assert register is not None or done <= Step.DECLARE
        if register is not None:
            loads = {None} if done < Step.FINISH else {None, "l1"} if done == Step.FINISH else {"l1"}
            loads = {"l1", "l2"} if done == Step.LOAD_AGAIN else {"l2"} if done > Step.LOAD_AGAIN else loads
            assert register.load_id in loads
            assert register.rows == {None: 0, "l1": 8, "l2": 4}[register.load_id]
        state = self.town.state()
        assert state.unsettled == 0 or done in (Step.ANSWER, Step.ANSWER_AGAIN)
        assert self.pension.state().unfinished == 0 or done in (Step.ASK, Step.ASK_AGAIN)
        if state.unsettled == 0 and self.pension.state().unfinished == 0:
            found = compare(self.h, requester=self.pension, providers=[self.town])
            assert found.ok, found.differences
        assert self.h.verify().problems == ()

    def finish(self, done: int) -> None:
        """Do the rest, beginning with the step that may have been under way, and compare the end."""
        for step in range(done, STEPS):
            self.perform(step)
        self.check_between(STEPS)
        for request_id, expected in EXPECTED.items():
            answers = self.h.answers("nenkin", request_id)
            assert list(zip(answers.status.tolist(), map(income, answers.payloads), strict=True)) == expected
        with self.town._store.read() as reader:
            lines = [
                (permit, outcome)
                for rows in read_answered(reader)
                for permit, outcome in zip(rows.permits.tolist(), rows.outcomes.tolist(), strict=True)
                if outcome != Status.MANUAL
            ]
        assert len(lines) == len({permit for permit, _ in lines}) == PERSONS + 3
        found = compare(self.h, requester=self.pension, providers=[self.town])
        assert (found.requested, found.provided, found.waiting) == (PERSONS + 4, PERSONS + 3, 0)
        named = len(list((self.town._store.folder / "files").iterdir()))
        assert named == 2 + len({run.file for run in links_of(self.town)}), "a file that nothing names is left"


def links_of(town: Agency) -> list[runs.Run]:
    with town._store.read() as reader:
        return [run for name in ("links.alias", "links.own") for run in runs.read_runs(reader, name)]


def income(payload: bytes | None) -> int | None:
    import msgspec

    return None if payload is None else msgspec.msgpack.decode(payload)["市町村民税"]["income"]


FIRST, SECOND = {0, 1, 2, 5, 8, 6, 7, 3}, {0, 6, 3, 9}
EXPECTED = {
    "r0": [
        (Status.PROVIDED, 10 * person) if person in FIRST else (Status.NO_RECORD, None) for person in ROWS["r0"]
    ],
    "r1": [
        (Status.PENDING, None) if person == 3
        else (Status.PROVIDED, 7 * person) if person in SECOND else (Status.NO_RECORD, None)
        for person in ROWS["r1"]
    ],
}  # fmt: skip
